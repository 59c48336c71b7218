//! Reads one release from a mirror, whether a file of its own or a bundle holds it.
//!
//! `cargo run -p mirror-repo --example read_release -- MIRROR NAME VERSION > NAME-VERSION.crate`. Takes no lock and
//! writes nothing, so a download into the same mirror may be running. Memory: the size of the release.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::Path;

use mirror_repo::{Mirror, ReleaseId};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, name, version] = &arguments[..] else {
        return Err("usage: read_release MIRROR NAME VERSION".into());
    };
    let id = ReleaseId { name: name.parse()?, version: version.parse()? };
    let bytes = read(&Mirror::open(Path::new(root), None)?, &id)?;
    Ok(io::stdout().write_all(&bytes)?)
}

/// Returns the bytes of a release that the mirror offers.
pub(crate) fn read(mirror: &Mirror, id: &ReleaseId) -> Result<Vec<u8>, Box<dyn Error>> {
    let held = mirror.held(id)?.ok_or_else(|| format!("{id} is not held"))?;
    let located = mirror.locate(id, &held)?.ok_or_else(|| format!("the bytes of {id} are gone"))?;
    Ok(mirror.read(id, &located)?)
}

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use mirror_types::{CrateName, VersionText};

use super::fault::BundleFault;
use super::record::BundleMember;
use crate::disk::patient;
use crate::error::{StoreError, at};

/// Bytes of a manifest that are looked through at once; also the longest line.
const CHUNK: usize = 1 << 20;

/// The members of one crate, or of one release, in a bundle's manifest, in its order. Only lines with the
/// name in them are understood, so a manifest of 16 MB takes milliseconds. Memory: 2 MiB. Blocks.
///
/// # Errors
/// When the file cannot be read, or a line that has the name is no record.
pub fn find_members(
    manifest: &Path,
    name: &CrateName,
    version: Option<&VersionText>,
) -> Result<Vec<BundleMember>, StoreError> {
    let needle = match version {
        Some(version) => format!("/{name}-{version}.crate\""),
        None => format!("\"{name}\""),
    };
    let finder = Finder::new(needle.as_bytes());
    let mut file = patient(|| File::open(manifest)).map_err(at("open", manifest))?;
    let mut found = Vec::new();
    let mut buffer = vec![0; 2 * CHUNK];
    let mut have = 0;
    loop {
        let n = file.read(&mut buffer[have..]).map_err(at("read", manifest))?;
        have += n;
        // A last line without its newline was not written whole.
        let Some(end) = memrchr(b'\n', &buffer[..have]).map(|end| end + 1) else {
            if n == 0 {
                return Ok(found);
            }
            if have == buffer.len() {
                let fault = BundleFault::Line { line: 0, reason: "it is too long".to_owned() };
                return Err(StoreError::bundle(manifest, None, None, fault));
            }
            continue;
        };
        lines_with(&buffer[..end], &finder, &mut |line| {
            let member: BundleMember = serde_json::from_slice(line).map_err(|error| {
                let fault = BundleFault::Line { line: 0, reason: error.to_string() };
                StoreError::bundle(manifest, None, None, fault)
            })?;
            if is_of(&member, name, version) {
                found.push(member);
            }
            Ok(())
        })?;
        buffer.copy_within(end..have, 0);
        have -= end;
        if n == 0 {
            return Ok(found);
        }
    }
}

fn is_of(member: &BundleMember, name: &CrateName, version: Option<&VersionText>) -> bool {
    super::names::release_of(&member.bundle_member)
        .is_ok_and(|(id, _)| id.name == *name && version.is_none_or(|version| id.version == *version))
}

/// Gives every line that has the needle in it to `take`, once.
fn lines_with(
    text: &[u8],
    needle: &Finder<'_>,
    take: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = 0;
    while let Some(hit) = needle.find(&text[from..]).map(|at| from + at) {
        let start = memrchr(b'\n', &text[..hit]).map_or(0, |at| at + 1);
        let end = memchr(b'\n', &text[hit..]).map_or(text.len(), |at| hit + at);
        take(&text[start..end])?;
        from = end;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_found_wherever_it_stands() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("m");
        let mut text = String::new();
        for n in 0..20_000 {
            let name = format!("name-{n}");
            let (sum, short) = ("0".repeat(64), format!("n/am/{name}"));
            for version in ["1.0.0", "1.0.1"] {
                text += &format!(
                    "{{\"crate\":\"{name}\",\"bundle_path\":\"b\",\"bundle_member\":\"{short}-{version}.crate\",\
                     \"size\":{n},\"sha256\":\"{sum}\"}}\n"
                );
            }
        }
        text += "{\"crate\":\"name-7\",\"bundle_me";
        std::fs::write(&path, &text).expect("write");
        assert!(text.len() > 2 * CHUNK);
        for n in [0, 7, 9_999, 19_999] {
            let name: CrateName = format!("name-{n}").parse().expect("name");
            let both = find_members(&path, &name, None).expect("find");
            assert_eq!(both.iter().map(|one| one.size).collect::<Vec<_>>(), [n, n]);
            let version = "1.0.1".parse().expect("version");
            let one = find_members(&path, &name, Some(&version)).expect("find");
            assert_eq!(one.len(), 1);
            assert!(one[0].bundle_member.ends_with("-1.0.1.crate"));
        }
        assert_eq!(find_members(&path, &"name".parse().expect("name"), None).expect("find"), []);
    }
}

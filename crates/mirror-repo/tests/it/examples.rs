//! Runs the example program for embedders.

use std::fs;

use mirror_repo::Mirror;

use crate::transaction::{BYTES, Made, To, hold, id};

#[path = "../../examples/read_release.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod read_release;

#[test]
fn a_release_is_read_whatever_holds_it() {
    let made = Made::new();
    let (mut writer, _) = made.open();
    for (name, to) in [("aaaa", To::Tree), ("bbbb", To::Bundle), ("cccc", To::Both)] {
        hold(&mut writer, &[name], to);
    }
    let mirror = Mirror::open(&made.path(""), None).expect("open");
    let read = |name| read_release::read(&mirror, &id(name)).map_err(|error| error.to_string());
    for name in ["aaaa", "bbbb", "cccc"] {
        assert_eq!(read(name).as_deref(), Ok(BYTES), "{name}");
    }
    assert_eq!(read("dddd"), Err("dddd 1.0.0 is not held".to_owned()));
    fs::remove_file(made.file("aaaa")).expect("remove");
    assert_eq!(read("aaaa"), Err("the bytes of aaaa 1.0.0 are gone".to_owned()));
    fs::remove_file(made.file("cccc")).expect("remove");
    assert_eq!(read("cccc").as_deref(), Ok(BYTES), "the bundle has it");
}

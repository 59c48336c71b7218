use std::collections::BTreeMap;
use std::path::Path;

/// Returns the files below `root`: their bytes, by path with `/`. Leaves out `.mirror`, where a program keeps its own
/// state, the manifest of a mirror, and its snapshots; follows links to files, not to directories. Empty when `root` does not exist.
///
/// # Panics
/// When something cannot be read, or a name is no UTF-8.
#[must_use]
pub fn tree(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.file_name().is_some_and(|name| name == ".mirror" || name == "snapshots") {
                continue;
            }
            if path.symlink_metadata().expect("what it is").is_dir() {
                dirs.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8");
                if name == "manifest.jsonl" {
                    continue;
                }
                found.insert(name.replace('\\', "/"), std::fs::read(&path).expect("a file"));
            }
        }
    }
    found
}

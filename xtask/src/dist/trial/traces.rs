//! Looks for paths of the machine that built an archive.

use anyhow::bail;
use memchr::memmem;

use super::archive::Contents;

/// Checks that no file contains one of the paths. Two builds on one machine, whose bytes `--check` compares, have the same
/// home directory, so that comparison does not find traces of it.
pub(super) fn check(contents: &Contents, paths: &[String]) -> anyhow::Result<()> {
    for path in paths {
        let finder = memmem::Finder::new(path);
        for (name, (_, _, bytes)) in contents {
            if finder.find(bytes).is_some() {
                bail!("{name} contains {path}, a path of this machine");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_machine_is_a_fault() {
        let contents =
            Contents::from([("bin/x".to_owned(), (0o755, 1, b"\0/home/a/.cargo/registry\0".to_vec()))]);
        check(&contents, &["/home/b/.cargo".to_owned()]).unwrap();
        let fault = check(&contents, &["/home/a/.cargo".to_owned()]).unwrap_err().to_string();
        assert_eq!(fault, "bin/x contains /home/a/.cargo, a path of this machine");
    }
}

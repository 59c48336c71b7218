//! Checks the workflows of GitHub.

use super::workspace::File;

/// Checks that each action of a workflow is pinned by commit, with its version in a comment: a tag can be moved to
/// other code, which would run with the permissions of the workflow.
pub(crate) fn pinned_actions(files: &[File]) -> Vec<String> {
    let mut faults = Vec::new();
    for File { path, text } in files.iter().filter(|file| file.path.starts_with(".github/")) {
        for (line, number) in text.lines().zip(1..) {
            let Some(action) = used(line) else { continue };
            if !is_pinned(action) {
                faults.push(format!(
                    "{path}:{number}: pin the action by its full commit, as in `uses: name@COMMIT # v1.2.3`"
                ));
            }
        }
    }
    faults
}

fn used(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let action = line.strip_prefix("- ").unwrap_or(line).trim_start().strip_prefix("uses:")?.trim();
    // An action in this repository belongs to the commit.
    (!action.starts_with("./")).then_some(action)
}

fn is_pinned(action: &str) -> bool {
    let Some((_, pin)) = action.split_once('@') else { return false };
    let Some((commit, version)) = pin.split_once(" # v") else { return false };
    let is_commit =
        commit.len() == 40 && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_commit && version.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::workspace::build::file;
    use super::*;

    const PATH: &str = ".github/workflows/ci.yml";
    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_commit_with_its_version_passes() {
        let good = format!("      - uses: a/b@{COMMIT} # v1.2.3\n        uses: ./local\n        run: uses\n");
        assert_eq!(pinned_actions(&[file(PATH, &good)]), Vec::<String>::new());
        let elsewhere = file("docs/ci.md", "- uses: a/b@v1\n");
        assert_eq!(pinned_actions(&[elsewhere]), Vec::<String>::new());
    }

    #[test]
    fn tags_short_commits_and_missing_versions_are_faults() {
        let short = &COMMIT[1..];
        for action in
            ["a/b", "a/b@v1", &format!("a/b@{COMMIT}"), &format!("a/b@{short} # v1"), "a/b@main # v1"]
        {
            for line in [format!("      - uses: {action}\n"), format!("        uses: {action}\n")] {
                let faults = pinned_actions(&[file(PATH, &line)]);
                assert_eq!(faults.len(), 1, "{line}");
                assert!(faults[0].starts_with(".github/workflows/ci.yml:1: "), "{faults:?}");
            }
        }
    }

    /// Returns a Python that reads YAML, if there is one.
    fn python() -> Option<&'static str> {
        let reads_yaml = |python: &&str| {
            let tried = Command::new(python).args(["-c", "import yaml"]).output();
            tried.is_ok_and(|output| output.status.success())
        };
        let found = ["python3", "/usr/bin/python3"].into_iter().find(reads_yaml);
        if found.is_none() {
            mirror_testkit::has("python3", &["-c", "import yaml"]);
        }
        found
    }

    fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn every_file_for_github_is_valid_yaml() {
        let Some(python) = python() else { return };
        let read = "import sys, yaml, pathlib\n\
                    files = sorted(pathlib.Path(sys.argv[1]).rglob('*.yml'))\n\
                    for file in files: assert isinstance(yaml.safe_load(file.read_text()), dict), file\n\
                    print(len(files))";
        let mut command = Command::new(python);
        let ended = mirror_testkit::run(command.args(["-c", read]).arg(root().join(".github"))).expect(0);
        assert!(ended.stdout.trim().parse::<u32>().unwrap() >= 3, "{}", ended.stdout);
    }

    /// Has every script in a workflow read by shellcheck, with words in place of GitHub's expressions.
    #[test]
    fn every_script_of_a_workflow_passes_shellcheck() {
        let Some(python) = python() else { return };
        if !mirror_testkit::has("shellcheck", &["--version"]) {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let extract = r"import pathlib, re, sys, yaml
for file in sorted(pathlib.Path(sys.argv[1]).glob('*.yml')):
    for name, job in yaml.safe_load(file.read_text())['jobs'].items():
        for at, step in enumerate(job['steps']):
            if 'run' in step:
                # GitHub runs bash with these options.
                text = 'set -eo pipefail\n' + re.sub(r'\$\{\{.*?\}\}', 'EXPRESSION', step['run'])
                pathlib.Path(sys.argv[2], f'{file.stem}-{name}-{at}').write_text(text)";
        let mut command = Command::new(python);
        command.args(["-c", extract]).arg(root().join(".github/workflows")).arg(dir.path());
        mirror_testkit::run(&mut command).expect(0);
        let scripts: Vec<PathBuf> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(scripts.len() > 15, "{scripts:?}");
        mirror_testkit::run(Command::new("shellcheck").args(["--shell", "bash"]).args(scripts)).expect(0);
    }

    #[test]
    fn the_script_of_the_gate_passes_shellcheck() {
        if mirror_testkit::has("shellcheck", &["--version"]) {
            mirror_testkit::run(Command::new("shellcheck").arg(root().join(".ci/run"))).expect(0);
        }
    }
}

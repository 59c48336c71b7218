//! Man pages and completions as the programs that read them see them.

use std::path::Path;
use std::process::Command;

use crate::program::{has, run};

/// Makes the man pages and completions of a program, and has them read by mandoc, groff, bash, zsh and fish, each as far
/// as it is there. `flag` is one that completions must offer. Blocks.
///
/// # Panics
/// When one of them finds a fault, or is required and missing.
pub fn check_pages(program: &str, flag: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = Path::new(program).file_stem().expect("a name").to_string_lossy().into_owned();
    let commands = generated(program, &[], "commands");
    let commands: Vec<&str> = commands.lines().collect();
    assert_eq!(commands.first(), Some(&name.as_str()), "{commands:?}");
    for command in commands {
        let below: Vec<&str> = command.split(' ').skip(1).collect();
        let page = dir.path().join(format!("{}.1", command.replace(' ', "-")));
        std::fs::write(&page, generated(program, &below, "man")).expect("the page");
        check_man(&page);
    }
    let script = |shell: &str| {
        let path = dir.path().join(shell);
        std::fs::write(&path, generated(program, &[], shell)).expect("the script");
        path
    };
    check_completion("bash", &script("bash"), &name, flag);
    check_completion("zsh", &script("zsh"), &name, flag);
    check_completion("fish", &script("fish"), &name, flag);
}

fn generated(program: &str, below: &[&str], kind: &str) -> String {
    // The date is that of the build; a page without one is a page that mandoc warns about.
    let mut command = Command::new(program);
    command.args(below).args(["--generate", kind]).env("SOURCE_DATE_EPOCH", "1700000000");
    run(&mut command).expect(0).stdout
}

/// Has a man page read by mandoc and groff, each if it is there. Blocks.
///
/// # Panics
/// When one of them finds a fault, or is required and missing.
pub fn check_man(page: &Path) {
    if has("mandoc", &["-T", "lint", "-W", "error", "/dev/null"]) {
        let ended = run(Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(page));
        let shown = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!((ended.code, shown.as_str()), (0, ""), "{}", page.display());
    }
    if has("groff", &["--version"]) {
        let ended = run(Command::new("groff").args(["-man", "-ww", "-z", "-Tutf8"]).arg(page)).expect(0);
        assert_eq!(ended.stderr, "", "{}", page.display());
    }
}

/// Loads the completions of the program `name` in their shell, if it is there: bash, zsh or fish. `flag` is one that they
/// must offer. Blocks.
///
/// # Panics
/// When the shell finds a fault, or is required and missing; when it is another shell.
pub fn check_completion(shell: &str, script: &Path, name: &str, flag: &str) {
    match shell {
        "bash" => check_bash(script, name, flag),
        "zsh" => check_zsh(script, name),
        "fish" => check_fish(script, name, flag),
        other => panic!("completions for {other} cannot be checked"),
    }
}

/// Offers the beginning of the flag, as a person does who types it and asks for the rest.
fn check_bash(script: &Path, name: &str, flag: &str) {
    if !has("bash", &["--version"]) {
        return;
    }
    let complete = r#"
        source "$1" || exit 1
        function=$(complete -p "$2" | sed 's/.* -F \([^ ]*\) .*/\1/')
        COMP_WORDS=("$2" "$3") COMP_CWORD=1
        "$function" "$2" "$3" "$2"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", complete, "bash"]).arg(script).args([name, &flag[..flag.len() - 1]]);
    let offered = run(&mut command).expect(0);
    assert!(offered.stdout.lines().any(|line| line == flag), "{}{}", offered.stdout, offered.stderr);
}

fn check_zsh(script: &Path, name: &str) {
    if !has("zsh", &["--version"]) {
        return;
    }
    let load = r#"
        autoload -Uz compinit && compinit -u -D || exit 1
        source "$1" || exit 1
        print -r -- "${_comps[$2]}""#;
    let ended = run(Command::new("zsh").args(["-f", "-c", load, "zsh"]).arg(script).arg(name)).expect(0);
    assert_eq!((ended.stdout.trim_end(), ended.stderr.as_str()), (format!("_{name}").as_str(), ""));
}

fn check_fish(script: &Path, name: &str, flag: &str) {
    if !has("fish", &["--version"]) {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary directory");
    let home = home.path();
    let complete = "source $argv[1]; complete --do-complete \"$argv[2] $argv[3]\"";
    let mut command = Command::new("fish");
    // fish keeps a history in the home directory of the user.
    command.env("HOME", home).env("XDG_CONFIG_HOME", home).env("XDG_DATA_HOME", home);
    command.args(["--no-config", "-c", complete]).arg(script).args([name, &flag[..flag.len() - 1]]);
    let offered = run(&mut command).expect(0);
    let is_offered = offered.stdout.lines().any(|line| line.split('\t').next() == Some(flag));
    assert!(is_offered, "{}{}", offered.stdout, offered.stderr);
}

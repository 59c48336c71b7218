//! The parts of a run that a person or a script sees: help, settings, start and end.

use std::process::Command;

use mirror_testkit::{OriginOptions, TestRegistry};
use serde_json::Value;

use crate::world::{World, run};

fn world() -> World {
    World::with(TestRegistry::generate(5, 20, 600), OriginOptions::default())
}

fn help(flag: &str) -> String {
    let shown =
        Command::new(env!("CARGO_BIN_EXE_download-crates")).arg(flag).env("COLUMNS", "100").output().unwrap();
    assert!(shown.status.success());
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn the_short_help_fits_a_screen_and_the_long_one_has_no_noise() {
    let short = help("-h");
    assert!(short.lines().count() <= 48, "{} lines:\n{short}", short.lines().count());
    assert_eq!(short.matches("\n  download-crates --").count(), 3, "{short}");
    let long = help("--help");
    assert!(!long.contains("[possible values: true, false]"), "{long}");
    let compatibility = long.find("\nCompatibility:").unwrap();
    assert!(
        long[compatibility..].contains("--downloader-path") && !long[compatibility..].contains("\nOutput:")
    );
}

#[test]
fn settings_come_from_a_file_and_the_environment_and_a_dry_run_says_so() {
    let world = world();
    std::fs::write(world.path("mirror.toml"), "concurrency = 9\nlimit = 5\nexclude = ['none-such']\n")
        .unwrap();
    let mut command = world.mirroring("out");
    command.args(["--dry-run", "--config", "mirror.toml"]).env("MIRROR_LIMIT", "7");
    let ended = run(&mut command).expect(0);
    let row = |name: &str| {
        let found = ended.stdout.lines().find(|line| line.trim_start().starts_with(name));
        found.unwrap_or_else(|| panic!("no {name}: {}", ended.stdout)).to_owned()
    };
    assert!(row("concurrency").ends_with('9'));
    assert!(row("limit").contains('7') && row("limit").ends_with("variable MIRROR_LIMIT"));
    assert!(row("exclude").contains("none-such") && row("exclude").ends_with("mirror.toml"));
    assert!(row("crates-base-url").ends_with("flag"));
    assert_eq!(ended.count("selected"), 7);

    std::fs::write(world.path("mirror.toml"), "concurency = 5\n").unwrap();
    let refused = run(world.mirroring("out").args(["--config", "mirror.toml"])).expect(2);
    assert!(refused.stderr.contains("did you mean `concurrency`?"), "{}", refused.stderr);
    assert!(!world.path("out").exists());
}

#[test]
fn a_misspelt_variable_is_named_and_does_not_stop_the_run() {
    let world = world();
    let mut command = world.mirroring("out");
    command.args(["--dry-run", "--offline"]);
    command.env("MIRROR_CONCURENCY", "9").env("MIRROR_UNHEARD_OF", "x").env("MIRROR_HASH_WORKERS", "2");
    let ended = run(&mut command).expect(0);
    let warned = "warning: the variable MIRROR_CONCURENCY sets nothing; did you mean MIRROR_CONCURRENCY?";
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(warnings, [warned]);
    assert!(ended.stdout.contains("\nconcurrency        128\n"), "{}", ended.stdout);
}

#[test]
fn a_run_says_where_the_console_and_the_mirror_are_and_what_comes_next() {
    let world = world();
    let mut command = world.mirroring("out");
    command.args(["--listen", "127.0.0.1:0", "--threads", "7"]);
    let ended = run(&mut command).expect(0);
    let start = ended.stderr.lines().find(|line| line.contains("mirroring the index at")).unwrap();
    assert!(start.contains("to out; up to 7 requests at a time; console at http://127.0.0.1:"), "{start}");
    assert!(ended.stderr.contains("--threads is --concurrency here"), "{}", ended.stderr);
    let mirror = format!("mirror             {}", world.path("out").display());
    assert!(ended.stdout.contains(&mirror), "{}", ended.stdout);
    assert!(ended.stdout.contains("serve-mirror --mirror out lets Cargo build from it"), "{}", ended.stdout);
}

#[test]
fn a_quiet_run_logs_nothing_and_a_json_summary_is_one_object() {
    let world = world();
    let ended = run(world.mirroring("out").args(["-q", "--summary", "json"])).expect(0);
    assert_eq!(ended.stderr, "");
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&summary["exit_code"], &summary["downloaded"]), (&0.into(), &summary["selected"]));
    let ended = run(world.mirroring("two").args(["-q", "--dry-run", "--summary", "json"])).expect(0);
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert!(summary["would_fetch"].as_u64().unwrap() > 0 && summary["most_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_run_that_ends_with_an_error_has_a_summary_for_programs_too() {
    let world = world();
    std::fs::write(world.path("file"), "no directory").unwrap();
    for (more, code, why) in [
        (&["--cargo-lock", "not-there"][..], 2, "not-there"),
        (&["--dry-run", "--cargo-lock", "not-there"], 2, "not-there"),
        (&["--crates", "a@one"], 2, "a@one"),
        (&["--listen", "256.0.0.1:0"], 2, "256.0.0.1"),
        (&["--out", "file"], 6, "file"),
    ] {
        let ended = run(world.mirroring("out").args(["-q", "--summary", "json"]).args(more)).expect(code);
        let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(summary["exit_code"], code, "{more:?}: {summary}");
        assert_eq!(summary["dry_run"], more.contains(&"--dry-run"), "{more:?}: {summary}");
        assert!(summary["error"].as_str().unwrap().contains(why), "{more:?}: {summary}");
    }
}

#[test]
fn a_dry_run_that_listens_nowhere_says_so() {
    let ended = run(world().mirroring("out").args(["--dry-run", "--listen", "127.0.0.1:0"])).expect(0);
    assert!(ended.stderr.contains("a dry run listens nowhere unless --linger"), "{}", ended.stderr);
    let ended = run(world().mirroring("out").arg("--dry-run")).expect(0);
    assert!(!ended.stderr.contains("listens nowhere"), "it was not asked to: {}", ended.stderr);
}

#[test]
fn json_logs_have_progress_as_fields_and_debug_logs_name_requests_alone() {
    let world = world();
    let mut command = world.mirroring("out");
    command.args(["--log-format", "json", "--log-level", "debug", "--progress-every", "1"]);
    let ended = run(&mut command).expect(0);
    let lines: Vec<Value> = ended.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let own = |line: &Value| line["level"] != "DEBUG" || line["fields"]["message"] == "answered";
    assert!(lines.iter().all(own), "{}", ended.stderr);
    assert!(lines.iter().any(|line| line["fields"]["status"] == 200));
}

#[test]
fn a_dry_run_compares_the_need_with_the_room() {
    let ended = run(world().mirroring("out").arg("--dry-run")).expect(0);
    assert!(ended.stdout.lines().any(|line| line.starts_with("free space") && line.contains("enough for")));
}

#[test]
fn a_dry_run_that_knows_no_sizes_does_not_call_the_room_enough() {
    let ended = run(world().mirroring("out").args(["--dry-run", "--offline"])).expect(0);
    assert!(ended.value("bytes").starts_with("unknown"), "{}", ended.stdout);
    assert!(ended.value("free space").contains("how much is needed is unknown"), "{}", ended.stdout);
}

#[test]
fn red_failures_are_for_terminals_and_for_those_who_ask() {
    let world = world();
    world.origin.script(|_| mirror_testkit::Fault::Status(404));
    for (colour, red) in [("always", true), ("auto", false), ("never", false)] {
        let ended = run(world.mirroring("out").args(["--color", colour])).expect(3);
        assert_eq!(ended.stdout.contains("\u{1b}[31munavailable"), red, "{colour}: {}", ended.stdout);
    }
}

#[test]
fn a_refused_setting_of_a_variable_or_the_file_shows_no_password() {
    let world = world();
    for (file, variable) in [
        ("index-url = \"sparse+https://user:hunter2@host/\n", ""),
        ("concurrency = \"https://user:hunter2@host/\"\n", ""),
        ("", "https://user:hunter2@host/"),
    ] {
        std::fs::write(world.path("mirror.toml"), file).unwrap();
        let mut command = world.mirroring("out");
        let refused =
            run(command.args(["--config", "mirror.toml"]).env("MIRROR_CONCURRENCY", variable)).expect(2);
        assert!(!refused.stderr.contains("hunter2") && !refused.stderr.is_empty(), "{}", refused.stderr);
    }
}

#[test]
fn what_the_log_does_not_name_it_counts_as_it_says() {
    let world = world();
    let names: Vec<String> = (0..100).map(|number| format!("none-such-{number}")).collect();
    let mut command = world.mirroring("out");
    let ended = run(command.args(["--dry-run", "--crates", &names.join(",")])).expect(0);
    let named = ended.stderr.matches("crate_name=none-such-").count();
    assert_eq!(named, 10, "{}", ended.stderr);
    assert!(ended.stderr.contains("a line follows when there are 100"), "{}", ended.stderr);
    assert!(ended.stderr.contains("100 crates that would fail so far"), "{}", ended.stderr);
}

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
#[command(name = "serve-mirror", args_conflicts_with_subcommands = true)]
struct Flags {
    #[arg(long, alias = "directory", default_value = "out")]
    out: PathBuf,
    #[arg(long, default_value_t = 128)]
    concurrency: u32,
    #[arg(long, value_delimiter = ',')]
    crates: Vec<String>,
    #[arg(long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    offline: bool,
    #[arg(long)]
    no_snapshot: bool,
    #[arg(long, conflicts_with_all = ["offline", "no_snapshot"])]
    index_only: bool,
    #[command(subcommand)]
    below: Option<Below>,
}

#[derive(Debug, clap::Subcommand)]
enum Below {
    Export {
        #[arg(long, default_value = "index")]
        format: String,
    },
}

struct World {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
}

impl World {
    fn new(file: &str, variables: &[(&'static str, &'static str)]) -> Self {
        let dir = tempfile::tempdir().expect("dir");
        #[expect(clippy::disallowed_methods, reason = "a test writes its own files")]
        std::fs::write(dir.path().join("mirror.toml"), file).expect("written");
        Self { dir, variables: variables.to_vec() }
    }

    fn file(&self) -> String {
        self.dir.path().join("mirror.toml").display().to_string()
    }

    fn layered(&self, line: &str) -> Result<Layered, String> {
        let line = line.replace("FILE", &self.file());
        let args =
            std::iter::once("serve-mirror").chain(line.split_whitespace()).map(OsString::from).collect();
        let variable = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        layered(&command::<Flags>(), args, &variable)
    }

    fn flags(&self, line: &str) -> (Flags, Vec<Setting>) {
        use clap::FromArgMatches as _;
        let layered = self.layered(line).expect(line);
        let program = command::<Flags>();
        let matches = program.clone().try_get_matches_from(layered.args.clone()).expect(line);
        let settings = settings(&program, &layered, &matches);
        (Flags::from_arg_matches(&matches).expect(line), settings)
    }
}

#[test]
fn a_flag_counts_over_a_variable_and_that_over_the_file() {
    let file = "out = 'file'\nconcurrency = 1\ncrates = ['a', 'b']\noffline = true\nno_snapshot = true\n";
    let world = World::new(file, &[("MIRROR_CONCURRENCY", "2"), ("MIRROR_OUT", "variable")]);
    let (flags, settings) = world.flags("--out flag --config FILE");
    assert_eq!((flags.out, flags.concurrency), ("flag".into(), 2));
    assert_eq!(
        (flags.crates, flags.offline, flags.no_snapshot),
        (vec!["a".to_owned(), "b".to_owned()], true, true)
    );
    let origin =
        |name: &str| settings.iter().find(|setting| setting.name == name).map(|found| found.origin.clone());
    assert_eq!(origin("out"), Some(Origin::Flag));
    assert_eq!(origin("concurrency"), Some(Origin::Variable("MIRROR_CONCURRENCY".to_owned())));
    assert_eq!(origin("offline"), Some(Origin::File(world.file().into())));
    // A list on the command line is not mixed with that of the file, and an alias is the flag.
    let (flags, _) = world.flags("--crates=c --directory=typed --offline=false --config FILE");
    assert_eq!((flags.crates, flags.out, flags.offline), (vec!["c".to_owned()], "typed".into(), false));
    let (flags, settings) = World::new("", &[]).flags("");
    assert_eq!((flags.out, settings), ("out".into(), vec![]));
}

#[test]
fn programs_and_commands_have_tables_of_their_own() {
    // Of another program alone, and of both.
    let file = "cargo-lock = ['a']\nupdate_index = true\nconcurrency = 1\n[serve-mirror]\nconcurrency = 2\n[serve-mirror.export]\nformat = 'web'\n\
                [download-crates]\nanything = 3\n";
    let world = World::new(file, &[("MIRROR_CONFIG", "")]);
    assert_eq!(world.flags("--config=FILE").0.concurrency, 2);
    let (flags, settings) = world.flags("--config FILE export");
    let Some(Below::Export { format }) = flags.below else { panic!("a command") };
    assert_eq!((format.as_str(), settings.len(), flags.concurrency), ("web", 1, 128));
}

#[test]
fn the_file_is_named_before_and_behind_a_command() {
    let world = World::new("[serve-mirror.export]\nformat = 'web'\n", &[]);
    for line in [
        "--config FILE export",
        "--config=FILE export",
        "export --config FILE",
        "export --config=FILE",
        "--config none.toml export --config FILE",
    ] {
        let (flags, settings) = world.flags(line);
        let Some(Below::Export { format }) = flags.below else { panic!("{line}") };
        assert_eq!(format, "web", "{line}");
        let found = settings.iter().find(|setting| setting.name == "format").expect(line);
        assert_eq!(found.origin, Origin::File(world.file().into()), "{line}");
    }
    for line in ["--config", "export --config"] {
        let layered = world.layered(line).expect(line);
        let parsed = command::<Flags>().try_get_matches_from(layered.args);
        let why = parsed.expect_err(line).to_string();
        assert!(why.contains("a value is required for '--config <FILE>'"), "{why}");
    }
    let help = world.layered("--config FILE export --help").expect("help");
    let shown = command::<Flags>().try_get_matches_from(help.args).expect_err("help");
    assert_eq!(shown.kind(), clap::error::ErrorKind::DisplayHelp);
}

#[test]
fn a_variable_may_have_the_other_name_of_a_flag() {
    let world = World::new("", &[("MIRROR_DIRECTORY", "other")]);
    let (flags, settings) = world.flags("");
    assert_eq!((flags.out, settings[0].name.as_str()), ("other".into(), "out"));
    let both = World::new("", &[("MIRROR_DIRECTORY", "other"), ("MIRROR_OUT", "own")]);
    assert_eq!(both.flags("").0.out, PathBuf::from("own"));
}

#[test]
fn mistakes_are_refused_with_what_was_meant() {
    for (file, words) in [
        ("concurency = 1", "`concurency` is no setting of serve-mirror; did you mean `concurrency`?"),
        ("zebra = true", "`zebra` is no setting of serve-mirror; --help lists"),
        ("out = ['a', 'b']", "`out` takes one value, not a list"),
        ("no-snapshot = 'x'", "`no-snapshot` is true or false"),
        ("[serve-mirror]\ncargo-lock = ['a']", "`cargo-lock` is no setting of serve-mirror"),
        ("[archive]\nout = 1", "there is no program or command `archive`"),
        ("[serve-mirror.export]\nfromat = 1", "did you mean `format`?"),
        ("out = ", "could not read the settings"),
    ] {
        let refused = World::new(file, &[])
            .layered(if file.contains("export") { "--config FILE export" } else { "--config FILE" })
            .expect_err(file);
        assert!(refused.contains(words) && refused.contains("mirror.toml"), "{file}: {refused}");
    }
    let refused = World::new("", &[("MIRROR_NO_SNAPSHOT", "maybe")]).layered("").expect_err("maybe");
    assert!(refused.contains("MIRROR_NO_SNAPSHOT"), "{refused}");
    assert!(World::new("", &[]).layered("--config none.toml").is_err());
    assert!(World::new("broken", &[]).layered("--config FILE --help").is_ok(), "help never fails");
}

#[test]
fn secrets_are_not_shown() {
    let world = World::new("", &[("MIRROR_CRATES", "http://user:secret@host/")]);
    let (_, settings) = world.flags("");
    assert_eq!(settings[0].value, "http://host/");
}

#[test]
fn a_file_with_a_typing_error_is_not_quoted() {
    for (file, place) in [
        ("out = 'x'\ncrates = 'sparse+https://user:secret@host/\n", "line 2, column"),
        ("out = https://user:secret@host/\n", "line 1, column 7"),
        ("crates = \"https://user:secret@host/\" x\n", "line 1, column"),
        ("out = 'secret'\nout = 'secret'\n", "line 2, column 1"),
    ] {
        let refused = World::new(file, &[]).layered("--config FILE").expect_err(file);
        assert!(refused.contains(place) && !refused.contains("secret"), "{file}: {refused}");
    }
}

#[test]
fn a_switch_that_is_off_excludes_nothing() {
    for (file, variables) in [
        ("offline = false\nno-snapshot = false\n", &[][..]),
        ("", &[("MIRROR_OFFLINE", "false"), ("MIRROR_NO_SNAPSHOT", "false")]),
        // A variable unsets a switch of the file.
        ("no-snapshot = true\n", &[("MIRROR_NO_SNAPSHOT", "false")]),
    ] {
        let (flags, settings) = World::new(file, variables).flags("--index-only --config FILE");
        assert!(flags.index_only && !flags.offline && !flags.no_snapshot, "{file}");
        assert_eq!(settings.iter().filter(|setting| setting.name != "index-only").count(), 1, "{settings:?}");
    }
}

#[test]
fn a_setting_gives_way_to_what_excludes_it_above() {
    let file = World::new("offline = true\nno-snapshot = true\nconcurrency = 7\n", &[]);
    let (flags, _) = file.flags("--index-only --config FILE");
    assert_eq!(
        (flags.index_only, flags.offline, flags.no_snapshot, flags.concurrency),
        (true, false, false, 7)
    );
    let variable = World::new("index-only = true\n", &[("MIRROR_OFFLINE", "true")]);
    let (flags, _) = variable.flags("--config FILE");
    assert_eq!((flags.index_only, flags.offline), (false, true));
    let layered = variable.layered("--offline=false --config FILE").expect("layers");
    assert!(
        layered.args.iter().any(|arg| arg == "--index-only=true" || arg == "--index-only"),
        "false excludes nothing"
    );
    let both =
        World::new("offline = true\nindex-only = true\n", &[]).layered("--config FILE").expect("layers");
    assert!(command::<Flags>().try_get_matches_from(both.args).is_err(), "one layer that excludes itself");
}

#[test]
fn a_sample_that_a_program_cannot_read_is_refused() {
    assert_eq!(check_sample::<Flags>("# Why.\n#out = 'x'\n#[serve-mirror.export]\n#format = 'web'\n"), Ok(2));
    for (sample, words) in [
        ("#concurency = 1\n", "did you mean"),
        ("#concurrency = 'x'\n", "invalid value"),
        ("#out = [", "line 1, column"),
        ("#offline = true\n#index-only = true\n", "cannot be used with"),
    ] {
        assert!(check_sample::<Flags>(sample).is_err_and(|why| why.contains(words)), "{sample}");
    }
}

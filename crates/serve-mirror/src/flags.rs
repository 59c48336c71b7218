//! The command line, as it was typed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use mirror_cli::{LogFormat, LogLevel, duration};
use mirror_serve::{ExportFormat, ExportOptions, Mirror, ServeError, ServeOptions, TlsFiles, public_url};
use mirror_telemetry::LogOptions;

/// Lets Cargo build from a mirror.
///
/// Serves the sparse index of what the mirror holds, downloads from its tree and its bundles, and search. The index
/// lists only what is held: with a partial mirror, Cargo fails when it resolves, never because of a missing file.
/// Writes nothing; download-crates may run meanwhile, and what it commits is served at once.
/// The page at / shows the lines for Cargo's configuration. See docs/serve.md.
///
/// Exit codes: 0 stopped by a signal, in good order; 1 internal error; 2 usage, or there is no mirror; 4 the
/// mirror is damaged; 6 disk or network.
#[derive(Debug, Parser)]
#[command(name = "serve-mirror", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) serve: Serve,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes what the mirror holds as plain files, for use without serve-mirror.
    ///
    /// --format static is a sparse registry for any web server, a bucket or a disk that travels to one: index/
    /// with config.json, and crates/. --format local-registry is a directory that Cargo reads itself. Loose
    /// files become hard links where the file system allows it, else copies; what bundles hold is unpacked.
    /// A second run writes only what is new, and removes what is not held any more. At every moment, all that is
    /// listed exists.
    ///
    /// Exit codes: 0 complete; 2 usage; 4 the mirror is damaged; 6 disk; 7 another export writes there; 8 no policy
    /// has judged the new catalogue of the mirror; 130, 143 stopped by a signal: the same command continues.
    Export(Export),
    /// Tries the mirror with the real Cargo, and prints what works.
    ///
    /// Serves it on a free port of this machine, and runs cargo with a home of its own in a temporary
    /// directory: fetch, build, search, info, add, names and versions of every kind, a crate that does not exist.
    ///
    /// Exit codes: 0 everything that could be tried works; 2 usage, or there is no mirror; 3 something does not.
    Doctor(Doctor),
}

/// To export.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// Directory to write to; made when it is not there.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) source: Source,
    /// Form of the export.
    #[arg(long, value_enum, default_value_t = Format::Static)]
    pub(crate) format: Format,
    /// Address at which clients will reach DIR, for config.json: `https://crates.example.org`. Needed with --format
    /// static.
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Copy loose files; never make hard links.
    #[arg(long)]
    pub(crate) copy: bool,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Static,
    LocalRegistry,
}

/// To try it.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) source: Source,
    /// Path of the cargo to try.
    #[arg(long, value_name = "PROGRAM", default_value = "cargo")]
    pub(crate) cargo: PathBuf,
    #[command(flatten)]
    pub(crate) reports: Reports,
}

impl Export {
    pub(crate) fn options(&self) -> Result<ExportOptions> {
        let format = match (self.format, &self.public_url) {
            (Format::Static, Some(url)) => ExportFormat::Static { base_url: public_url(url)? },
            (Format::Static, None) => bail!("--public-url says where clients will reach the files"),
            (Format::LocalRegistry, _) => ExportFormat::LocalRegistry,
        };
        let mut options = ExportOptions::new(self.source.mirror.clone(), self.dir.clone(), format);
        options.bundles_dir = self.source.bundles_dir.clone();
        options.snapshot = self.source.snapshot;
        options.copy = self.copy;
        Ok(options)
    }
}

/// Which mirror.
#[derive(Debug, Clone, Args)]
pub(crate) struct Source {
    /// Root of the mirror: the --out of download-crates.
    #[arg(long, value_name = "DIR", default_value = "out", help_heading = "Mirror")]
    pub(crate) mirror: PathBuf,
    /// Directory of its bundles. Default: where download-crates put them, or `bundles` beside the mirror.
    #[arg(long, value_name = "DIR", help_heading = "Mirror")]
    pub(crate) bundles_dir: Option<PathBuf>,
    /// Offer exactly what this snapshot states, as far as its bytes are held, whatever came later. `download-crates
    /// --snapshots` lists those that are known.
    #[arg(long, value_name = "SERIAL", help_heading = "Mirror")]
    pub(crate) snapshot: Option<u64>,
}

impl Source {
    /// Opens the mirror.
    pub(crate) fn open(&self) -> Result<Mirror, ServeError> {
        let mirror = mirror_serve::open(&self.mirror, self.bundles_dir.as_deref())?;
        Ok(mirror.at_snapshot(self.snapshot)?)
    }
}

/// The flags for logging.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reports {
    /// Format of log lines.
    #[arg(long, value_enum, default_value_t = LogFormat::Text, help_heading = "Reports")]
    log_format: LogFormat,
    /// Least important level that is logged.
    #[arg(long, value_enum, default_value_t = LogLevel::Info, help_heading = "Reports")]
    log_level: LogLevel,
    /// Log to this file instead of standard error.
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    log_path: Option<PathBuf>,
}

impl Reports {
    pub(crate) fn options(&self) -> LogOptions {
        let mut options = LogOptions::default();
        options.format = self.log_format.into();
        options.level = self.log_level.into();
        options.path = self.log_path.clone();
        options
    }
}

/// To serve.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) source: Source,

    /// Address to listen at; `:8080` means all interfaces.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", help_heading = "Network")]
    listen: String,
    /// Certificate and its chain (PEM): serves TLS, with HTTP/2 and HTTP/1.1.
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Network")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Network")]
    tls_key: Option<PathBuf>,
    /// Address at which clients reach the server, as behind a proxy: `https://crates.example.org`. Default: by the name
    /// that they request.
    #[arg(long, value_name = "URL", help_heading = "Network")]
    public_url: Option<String>,

    /// Name under which the console may be reached, beside addresses, `localhost` and that of --public-url; repeatable.
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "Network")]
    allow_host: Vec<String>,

    /// Most connections at a time. For a further one, the one that has read nothing for the longest time makes room,
    /// or the slowest of those that read less than 16 KiB a second.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Limits")]
    max_connections: u16,
    /// Close connections that read less than a KiB of answers in this time; pings and heads do not count.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration, help_heading = "Limits")]
    idle_timeout: Duration,
    /// Time for the head of a request to arrive.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    head_timeout: Duration,
    /// Time for an answer to begin.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration, help_heading = "Limits")]
    request_timeout: Duration,
    /// Time for requests to finish when the server is stopped.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration, help_heading = "Limits")]
    grace: Duration,
    /// MiB of prepared index files to keep in memory.
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Limits")]
    cache_mb: u16,

    #[command(flatten)]
    pub(crate) reports: Reports,
}

impl Serve {
    pub(crate) fn options(&self) -> Result<ServeOptions> {
        for (flag, time) in [
            ("idle-timeout", self.idle_timeout),
            ("head-timeout", self.head_timeout),
            ("request-timeout", self.request_timeout),
        ] {
            if time.is_zero() {
                bail!("--{flag} 0 would close every connection at once; give a time, like 30s");
            }
        }
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Some(TlsFiles::new(cert.clone(), key.clone())),
            _ => None,
        };
        let mut options = ServeOptions::new(self.source.mirror.clone());
        options.bundles_dir = self.source.bundles_dir.clone();
        options.snapshot = self.source.snapshot;
        options.listen = self.listen.clone();
        options.tls = tls;
        options.public_url = self.public_url.clone();
        options.allowed_hosts = self.allow_host.clone();
        options.limits.connections = self.max_connections.into();
        options.limits.idle_time = self.idle_timeout;
        options.limits.head_time = self.head_timeout;
        options.limits.request_time = self.request_timeout;
        options.limits.grace_time = self.grace;
        options.limits.cache_bytes = usize::from(self.cache_mb) << 20;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        mirror_cli::parse(std::iter::once("serve-mirror").chain(line.split_whitespace()).map(Into::into))
    }

    #[test]
    fn a_flag_given_twice_counts_as_its_last() {
        let checked = mirror_cli::check_repeats::<Flags>(&["--mirror=m", "dir --mirror=m"]).unwrap();
        assert!(checked > 10, "{checked} flags");
    }

    #[test]
    fn every_flag_has_a_variable_that_is_known() {
        let known = mirror_cli::check_variables::<Flags>().unwrap();
        assert!(known > 5, "{known} names");
    }

    #[test]
    fn hints_name_flags_that_are_there() {
        let named = mirror_cli::check_hints::<Flags>(mirror_cli::Program::ServeMirror).unwrap();
        assert!(named > 1, "{named} flags");
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Flags::command().debug_assert();
    }

    #[test]
    fn without_flags_options_are_those_that_embedders_begin_with() {
        let options = flags("").expect("flags").serve.options().expect("options");
        assert_eq!(format!("{options:?}"), format!("{:?}", ServeOptions::new("out".into())));
    }

    #[test]
    fn what_is_typed_is_what_is_served() {
        let options = flags("").expect("flags").serve.options().expect("options");
        assert_eq!((options.mirror, options.listen), ("out".into(), "127.0.0.1:8080".to_owned()));
        let typed = "-mirror m -bundles-dir b -listen :80 --tls-cert c --tls-key k --cache-mb 1";
        let options = flags(typed).expect("flags").serve.options().expect("options");
        assert_eq!((options.bundles_dir, options.limits.cache_bytes), (Some("b".into()), 1 << 20));
        assert!(options.tls.is_some());
        for bad in ["--tls-cert c", "--tls-key k", "--max-connections 0", "--cache-mb 0", "--idle-timeout 5"]
        {
            assert!(flags(bad).is_err(), "{bad}");
        }
        for good in
            ["export d --public-url https://x", "export d --format local-registry", "doctor --mirror m"]
        {
            flags(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for bad in ["export", "export d --format tar --public-url http://x", "--mirror m doctor"] {
            assert!(flags(bad).is_err(), "{bad}");
        }
        let Some(Command::Export(export)) = flags("export d").expect("flags").command else { panic!() };
        assert!(export.options().is_err(), "where will it be?");
        assert!(flags("--idle-timeout 0").expect("flags").serve.options().is_err());
    }

    #[test]
    fn every_setting_of_the_sample_file_is_read() {
        let sample = include_str!("../../../docs/mirror.toml");
        let counted = mirror_cli::check_sample::<Flags>(sample).unwrap();
        assert!(counted >= 4, "{counted}");
    }
}

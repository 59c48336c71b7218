//! Resolves flags to options; reads only the file with the passphrase, and writes nothing.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use mirror_archive::{Against, CreateOptions, HashKind, Passphrase, Signing, VerifyOptions};
use mirror_telemetry::{LogLevel, LogOptions};

use crate::flags::{Create, Reports, Verify};

/// The environment variable with the passphrase, read when no file is named.
const PASSPHRASE_VARIABLE: &str = "ARCHIVE_HASHER_PASSPHRASE";
const MAX_PASSPHRASE_BYTES: u64 = 4096;

pub(crate) fn create(flags: &Create) -> Result<CreateOptions> {
    let Some(dir) = &flags.dir else {
        bail!("give the directory to archive, --dir DIR, or `verify --inventory FILE` (--help shows all)");
    };
    if flags.no_sign && (flags.gpgkey.is_some() || flags.passphrase_file.is_some()) {
        bail!("--no-sign and --gpgkey or --passphrase-file cannot be combined");
    }
    let signing = if flags.no_sign {
        Signing::No
    } else {
        let passphrase = passphrase(flags.passphrase_file.as_deref())?;
        match &flags.gpgkey {
            Some(file) => Signing::Key { file: file.clone(), passphrase },
            None => Signing::Own { passphrase },
        }
    };
    let mut options = CreateOptions::new(dir.clone());
    options.out_dir = flags.out_dir.clone();
    options.prefix = flags.out_prefix.clone();
    options.hashes = HashKind::parse_list(&flags.hashes).context("--hashes")?;
    options.workers = workers(flags.hash_workers);
    options.tar = !flags.no_tar;
    options.zip = flags.zip;
    options.signing = signing;
    Ok(options)
}

pub(crate) fn verify(flags: &Verify) -> Result<VerifyOptions> {
    let against = match (&flags.dir, &flags.tar) {
        (Some(dir), _) => Against::Dir(dir.clone()),
        (None, Some(tar)) => Against::Tar(tar.clone()),
        (None, None) => Against::Nothing,
    };
    let mut options = VerifyOptions::new(flags.inventory.clone(), against);
    options.public_key = flags.public_key.clone();
    options.skip_signature = flags.skip_signature;
    options.hashes = HashKind::parse_list(&flags.hashes).context("--hashes")?;
    options.workers = workers(flags.hash_workers);
    Ok(options)
}

pub(crate) fn logging(flags: &Reports) -> LogOptions {
    let mut options = LogOptions::default();
    options.format = flags.log_format.into();
    options.level = match flags.log_level {
        Some(level) => level.into(),
        None if flags.verbose => LogLevel::Debug,
        None => LogLevel::Info,
    };
    options
}

fn workers(asked: usize) -> usize {
    if asked > 0 { asked } else { std::thread::available_parallelism().map_or(1, usize::from) }
}

/// Reads the passphrase of the private key, from its file or from the environment.
pub(crate) fn passphrase(file: Option<&Path>) -> Result<Option<Passphrase>> {
    let Some(path) = file else {
        let value = std::env::var_os(PASSPHRASE_VARIABLE).filter(|value| !value.is_empty());
        return Ok(value.map(|value| Passphrase::new(value.into_encoded_bytes())));
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_PASSPHRASE_BYTES).read_to_end(&mut bytes))
        .with_context(|| format!("reading --passphrase-file {}", path.display()))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        bail!("the first line of --passphrase-file {} is empty", path.display());
    }
    Ok(Some(Passphrase::new(line)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Command, Flags};

    fn flags(line: &str) -> Flags {
        mirror_cli::parse(line.split_whitespace().map(Into::into)).expect("flags")
    }

    #[test]
    fn default_flags_give_the_default_options() {
        let created = create(&flags("archive-hasher --dir d --no-sign").create).expect("options");
        assert_eq!(format!("{created:?}"), format!("{:?}", CreateOptions::new("d".into())));
        let Some(Command::Verify(typed)) = flags("archive-hasher verify --inventory i --dir d").command
        else {
            panic!("no verify")
        };
        let wanted = VerifyOptions::new("i".into(), Against::Dir("d".into()));
        assert_eq!(format!("{:?}", verify(&typed).expect("options")), format!("{wanted:?}"));
    }
}

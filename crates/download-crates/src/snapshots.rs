//! Lists, compares and checks snapshots, in the words of the program.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use mirror_sync::Printable;
use mirror_sync::snapshot::{
    Acceptance, AllowedSigners, Change, CheckedSnapshot, Difference, GpgKey, GpgKeyring, ListedSnapshot,
    Passphrase, RevokedKeys, SnapshotDemands, SnapshotKey, SnapshotOptions, SshSigner, Trust, Unit,
};

use crate::flags::Flags;

/// The environment variable with the passphrase of the signing keys, read when no file is named.
const PASSPHRASE_VARIABLE: &str = "MIRROR_SIGN_PASSPHRASE";
/// The longest list of signers or revoked keys that is read, in bytes.
const MAX_LIST_BYTES: u64 = 16 << 20;

/// Resolves the flags about the snapshots of a run. Opens the keys, so that a wrong passphrase ends a run before it
/// begins.
pub(crate) fn options(flags: &Flags) -> Result<Option<SnapshotOptions>> {
    let has_keys = !flags.sign_key.is_empty() || !flags.sign_gpg.is_empty();
    if flags.no_snapshot && has_keys {
        bail!(
            "--no-snapshot takes no snapshot, and --sign-key and --sign-gpg sign one; leave one of them out"
        );
    }
    if flags.passphrase_file.is_some() && flags.sign_key.is_empty() {
        bail!("--passphrase-file unlocks a key of --sign-key; give that, too");
    }
    if flags.no_snapshot {
        return Ok(None);
    }
    if flags.valid_for.as_secs() == 0 {
        bail!("--valid-for must be at least a second");
    }
    let mut options = SnapshotOptions::default();
    options.valid_for = flags.valid_for;
    options.keep = flags.keep_snapshots;
    let passphrase = if flags.sign_key.is_empty() { None } else { passphrase(flags)? };
    for path in &flags.sign_key {
        let key = SshSigner::open(path, &mut |_| passphrase.clone()).context("--sign-key")?;
        options.keys.push(Arc::new(SnapshotKey::Ssh(key)));
    }
    let gpg = flags.sign_gpg.iter().map(|key| Arc::new(SnapshotKey::OpenPgp(GpgKey::new(key.clone()))));
    options.keys.extend(gpg);
    Ok(Some(options))
}

/// Reads the passphrase of the keys, from its file or from the environment.
fn passphrase(flags: &Flags) -> Result<Option<Passphrase>> {
    let Some(path) = &flags.passphrase_file else {
        let value = std::env::var_os(PASSPHRASE_VARIABLE).filter(|value| !value.is_empty());
        return Ok(value.map(|value| Passphrase::new(value.into_encoded_bytes())));
    };
    let text = mirror_sync::read_text("the passphrase", path, MAX_LIST_BYTES)?;
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("the first line of --passphrase-file {} is empty", path.display());
    }
    Ok(Some(Passphrase::new(line)))
}

/// Resolves the flags about the snapshot that is to be checked.
pub(crate) fn demands(flags: &Flags) -> Result<SnapshotDemands> {
    let mut demands = SnapshotDemands::new();
    demands.at = flags.at;
    demands.after = flags.after.clone();
    demands.mirror = flags.check_rows.then(|| flags.out.clone());
    let has_keys = flags.allowed_signers.is_some() || flags.gpg_keyring.is_some();
    match (has_keys, flags.allow_unsigned) {
        (true, true) => bail!("--allow-unsigned asks for no signature; leave the keys out"),
        (false, true) => return Ok(demands),
        (false, false) => {
            bail!(
                "say whose signature counts: --allowed-signers FILE or --gpg-keyring FILE; or --allow-unsigned"
            )
        }
        (true, false) => {}
    }
    let mut trust = Trust::default();
    if let Some(path) = &flags.allowed_signers {
        let text = mirror_sync::read_text("the allowed signers", path, MAX_LIST_BYTES)?;
        trust.allowed_signers = AllowedSigners::parse(&text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &flags.revoked_keys {
        let text = mirror_sync::read_text("the revoked keys", path, MAX_LIST_BYTES)?;
        trust.revoked = RevokedKeys::parse(text.as_bytes()).with_context(|| path.display().to_string())?;
    }
    trust.identity = flags.identity.clone();
    trust.keyring = flags.gpg_keyring.clone().map(GpgKeyring::new);
    let threshold = NonZeroUsize::new(flags.threshold).context("--threshold must be at least 1")?;
    demands.signed = Some((trust, threshold));
    Ok(demands)
}

/// Parses `OLD..NEW`, `OLD..` or `OLD`: two serials, or one and what is offered now.
pub(crate) fn serials(text: &str) -> Result<(u64, Option<u64>)> {
    let (old, new) = text.split_once("..").unwrap_or((text, ""));
    let serial =
        |text: &str| text.parse::<u64>().context("--diff-snapshots takes OLD..NEW, two serials, or OLD..");
    Ok((serial(old)?, if new.is_empty() { None } else { Some(serial(new)?) }))
}

/// Writes a snapshot as a line of the list, separated by tabs.
pub(crate) fn of_listed(one: &ListedSnapshot, now: SystemTime) -> String {
    let mut notes = Vec::new();
    if one.expires <= now {
        notes.push("expired");
    }
    notes.push(if one.is_signed { "signed" } else { "not signed" });
    if one.is_pinned {
        notes.push("pinned");
    }
    if !one.has_rows {
        notes.push("its releases are not known any more");
    }
    format!(
        "{}\tfrom {}\tuntil {}\t{} releases of {} crates\t{} gaps\t{}\n",
        one.serial,
        moment(one.created),
        moment(one.expires),
        one.counts.releases,
        one.counts.crates,
        one.gaps,
        notes.join(", ")
    )
}

fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

/// Numbers of differences.
#[derive(Default)]
pub(crate) struct Differences {
    added: u64,
    removed: u64,
    held_back: u64,
    replaced: u64,
    yanked: u64,
    unyanked: u64,
}

impl Differences {
    /// Counts a difference, and writes it as a line.
    pub(crate) fn add(&mut self, Difference { change, held_back, .. }: &Difference) -> String {
        let (count, word) = match (change, held_back) {
            (Change::Added(_), _) => (&mut self.added, "added"),
            (Change::Removed(_), None) => (&mut self.removed, "removed"),
            (Change::Removed(_), Some(_)) => (&mut self.held_back, "held back"),
            (Change::Replaced { .. }, _) => (&mut self.replaced, "replaced"),
            (Change::Yanked(_), _) => (&mut self.yanked, "yanked"),
            (Change::Unyanked(_), _) => (&mut self.unyanked, "unyanked"),
        };
        *count += 1;
        let why =
            held_back.as_ref().map_or(String::new(), |why| format!("\t{}", Printable(&why.to_string())));
        format!("{word}\t{}{why}\n", change.id())
    }

    /// Writes the numbers, and the units in which the differences are.
    pub(crate) fn sum(&self, units: &[Unit]) -> String {
        let Self { added, removed, held_back, replaced, yanked, unyanked } = self;
        format!(
            "{added} added, {removed} removed, {held_back} newly held back, {replaced} replaced, {yanked} yanked, \
             {unyanked} unyanked; {}\n",
            of_units(units)
        )
    }
}

/// Names the units in which two snapshots differ.
fn of_units(units: &[Unit]) -> String {
    match units {
        [] => "no unit differs".to_owned(),
        [one] => format!("unit {one} differs"),
        many => {
            let named: Vec<String> = many.iter().map(ToString::to_string).collect();
            format!("{} units differ: {}", many.len(), named.join(" "))
        }
    }
}

/// Writes the result of a check.
pub(crate) fn of_checked(checked: &CheckedSnapshot, path: &Path) -> String {
    let contents = checked.snapshot.contents();
    let mut text =
        format!("{} is snapshot {} of mirror {}\n", path.display(), contents.serial, contents.mirror);
    let mut line = |name: &str, value: String| mirror_cli::row(&mut text, name, value);
    line("sha256", checked.snapshot.digest().to_hex());
    line("created", moment(contents.created));
    line("expires", moment(contents.expires));
    line("offers", format!("{} releases of {} crates", contents.counts.releases, contents.counts.crates));
    line("gaps", contents.gaps.len().to_string());
    for signer in &checked.signers {
        line("signed by", format!("{} ({})", Printable(&signer.name), signer.key));
    }
    if checked.signers.is_empty() {
        line("signed by", "not checked".to_owned());
    }
    line(
        "follows",
        match checked.acceptance {
            Acceptance::First => "not checked".to_owned(),
            Acceptance::Next => "the one before".to_owned(),
            Acceptance::Later { skipped } => format!("an earlier one; {skipped} between are not known"),
            Acceptance::AlreadyHeld => "it is the one before".to_owned(),
        },
    );
    if checked.acceptance != Acceptance::First {
        line("differences", of_units(&checked.differing));
    }
    let rows = if checked.has_checked_rows { "those of the mirror" } else { "not checked" };
    line("rows", rows.to_owned());
    text
}

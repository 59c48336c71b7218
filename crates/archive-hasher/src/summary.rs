//! The summary that a person reads at the end.

use std::fmt::Write as _;
use std::time::Duration;

use mirror_archive::{Created, FileSignature, SignatureState, Verified};

struct Table(String);

impl Table {
    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "{name:<15}{value}");
    }
}

pub(crate) fn created(created: &Created, elapsed: Duration) -> String {
    let mut table = Table(String::new());
    table.line("files", created.files);
    table.line("directories", created.directories);
    table.line("symlinks", created.symlinks);
    table.line("bytes", created.bytes);
    table.line("elapsed", format_args!("{:.1}s", elapsed.as_secs_f64()));
    for (kind, digest) in &created.hashes {
        table.line(kind.key(), digest);
    }
    table.line("inventory", created.inventory.display());
    if let Some(tar) = &created.tar {
        table.line("tar", tar.display());
    }
    if let Some(zip) = &created.zip {
        table.line("zip", zip.display());
    }
    match &created.signature {
        Some(signature) => table.line("signature", signature.display()),
        None => table.line("signature", "none (--no-sign)"),
    }
    if let Some(key) = &created.key {
        table.line("signed by", &key.fingerprint);
        if let Some((secret, public)) = &key.own {
            let history = if key.new { "made by this run" } else { "made by an earlier run, used again" };
            table.line("secret key", format_args!("{} ({history})", secret.display()));
            table.line("public key", public.display());
            table.0.push_str(
                "\nThe inventory was signed with a key that this program generated, because no --gpgkey was given. \
                 Keep the\nsecret key on this machine: it must not travel with the archive. Tell receivers the \
                 fingerprint above\nthrough another channel; a public key that comes with the archive does not prove \
                 who sent it.\n",
            );
        }
    }
    for note in &created.notes {
        let _ = writeln!(table.0, "\nnote: {note}");
    }
    table.0
}

pub(crate) fn signed(signature: &FileSignature) -> String {
    let mut table = Table(String::new());
    table.line("signature", signature.path.display());
    table.line("signed by", &signature.fingerprint);
    table.0
}

pub(crate) fn verified(verified: &Verified, compared: bool, elapsed: Duration) -> String {
    let mut table = Table(String::new());
    match &verified.signature {
        SignatureState::Good { fingerprint, user, known_key, detached } => {
            table.line("signature", format_args!("good, by {fingerprint} ({user})"));
            if !known_key {
                table.line("", "the key came with the inventory: compare the fingerprint with the sender's");
            }
            if !detached {
                table.line(
                    "",
                    "the detached .yaml.asc is missing; the signature in the inventory was checked",
                );
            }
        }
        SignatureState::Unsigned => table.line("signature", "none: nothing proves who made this inventory"),
        SignatureState::Skipped => table.line("signature", "not checked (--skip-signature)"),
        _ => table.line("signature", "BAD"),
    }
    if compared {
        table.line("files", verified.files);
        table.line("bytes", verified.bytes);
        for kind in &verified.hashes {
            table.line("also compared", kind);
        }
        table.line("changed", verified.changed);
        table.line("missing", verified.missing);
        table.line("extra", verified.extra);
    }
    if verified.other > 0 {
        table.line("other faults", verified.other);
    }
    table.line("elapsed", format_args!("{:.1}s", elapsed.as_secs_f64()));
    table.line(
        "result",
        if verified.is_good() { "everything matches the inventory" } else { "DIFFERS from the inventory" },
    );
    table.0
}

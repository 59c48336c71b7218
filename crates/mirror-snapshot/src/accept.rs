use std::time::{Duration, SystemTime};

use mirror_types::{FaultKind, MirrorId, Sha256};

use crate::document::Snapshot;
use crate::time::shown;

/// The time by which a snapshot may be newer than the clock that judges it. A day covers a clock that was set to local
/// time in any time zone.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The facts of the snapshot that was accepted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The mirror that it is of.
    pub mirror: MirrorId,
    /// Its number.
    pub serial: u64,
    /// SHA-256 of its document.
    pub digest: Sha256,
    /// The time at which it was made.
    pub created: SystemTime,
}

impl From<&Snapshot> for Held {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            mirror: snapshot.mirror(),
            serial: snapshot.serial(),
            digest: snapshot.digest(),
            created: snapshot.contents().created,
        }
    }
}

/// The way in which an accepted snapshot follows the held one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// Nothing was held.
    First,
    /// It names the held one as the one before.
    Next,
    /// It is newer, and snapshots between are not known, so that nothing shows that it was made from the held one.
    /// [`accept_chain`] proves it from the documents between.
    Later {
        /// The number of snapshots between.
        skipped: u64,
    },
    /// It is the held one: there is nothing to do.
    AlreadyHeld,
}

/// Why a snapshot is not accepted, though its signatures may be good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The snapshot is of another mirror. Find out who sent it; follow one mirror only.
    #[error("the snapshot is of mirror {theirs}, and the one held is of mirror {ours}")]
    OtherMirror {
        /// The mirror that is followed.
        ours: MirrorId,
        /// The mirror of the new snapshot.
        theirs: MirrorId,
    },
    /// The snapshot is older than the held one. Somebody offers an old state, perhaps to hide what changed since.
    #[error("the snapshot has serial {theirs}, and serial {ours} is held: it would go back")]
    Rollback {
        /// The serial that is held.
        ours: u64,
        /// The serial of the new snapshot.
        theirs: u64,
    },
    /// Two snapshots have the same serial. The mirror was restored from a backup, or two mirrors have one id.
    #[error(
        "serial {serial} is held with digest {ours}, and the snapshot of that serial has digest {theirs}"
    )]
    Fork {
        /// The serial of both.
        serial: u64,
        /// The digest that is held.
        ours: Sha256,
        /// The digest of the new snapshot.
        theirs: Sha256,
    },
    /// A snapshot names another one before it than the one with that serial. The mirror was restored from a backup, or
    /// somebody left a snapshot out.
    #[error("snapshot {serial} does not follow snapshot {before}: it names {}", named(.stated))]
    BrokenChain {
        /// The serial of the later snapshot.
        serial: u64,
        /// The serial of the one before.
        before: u64,
        /// The digest that the later one states; `None` when it states none.
        stated: Option<Sha256>,
    },
    /// A document of the chain is missing, or does not belong there. Send all snapshots between the held one and the new.
    #[error("snapshot {expected} is missing from the chain; in its place is snapshot {found}")]
    MissingLink {
        /// The serial that should come.
        expected: u64,
        /// The serial that comes.
        found: u64,
    },
    /// The snapshot is too old. Send a newer one; or judge it by the right time, when this clock is wrong.
    #[error("the snapshot expired at {}, and it is {}", shown(*expires), shown(*now))]
    Expired {
        /// The end of its validity.
        expires: SystemTime,
        /// The time by which it was judged.
        now: SystemTime,
    },
    /// The snapshot has a higher serial than the held one and an earlier time. A clock of the mirror was wrong.
    #[error("the snapshot was made at {}, before the held one, which was made at {}", shown(*theirs), shown(*ours))]
    OlderThanHeld {
        /// The time of the held snapshot.
        ours: SystemTime,
        /// The time of the new snapshot.
        theirs: SystemTime,
    },
    /// The snapshot was made in the future. This clock, or that of the mirror, is wrong.
    #[error("the snapshot was made at {}, and it is only {}: set the clock", shown(*created), shown(*now))]
    InTheFuture {
        /// The time at which it says that it was made.
        created: SystemTime,
        /// The time by which it was judged.
        now: SystemTime,
    },
}

impl Refusal {
    /// Returns the kind of fault.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        FaultKind::Refused
    }
}

fn named(digest: &Option<Sha256>) -> String {
    digest.map_or_else(|| "none".to_owned(), Sha256::to_hex)
}

/// Decides whether a snapshot may take the place of the held one. Looks at the documents alone: their signatures are
/// checked elsewhere, and first. A snapshot with the next serial must name the held one. One that skips serials is
/// accepted on the word of its signer, as [`Acceptance::Later`].
///
/// # Errors
/// The first rule that the snapshot breaks, in the order of [`Refusal`].
pub fn accept(held: Option<&Held>, new: &Snapshot, now: SystemTime) -> Result<Acceptance, Refusal> {
    let acceptance = match held {
        None => Acceptance::First,
        Some(held) => follow(held, new)?,
    };
    if acceptance != Acceptance::AlreadyHeld {
        check_times(held, new, now)?;
    }
    Ok(acceptance)
}

/// Decides as [`accept`] does, from a snapshot and those between it and the held one, in order of their serials. When
/// serials were skipped, all between must be there, each must name the one before it, the first of them the held one,
/// and the new one the last of them. Snapshots up to the held one are passed over, so that a chain may begin earlier;
/// that of the held serial must be the held one. Those between may have expired.
///
/// # Errors
/// As [`accept`]; also when a snapshot of the chain is missing or belongs to another mirror.
pub fn accept_chain(
    held: Option<&Held>,
    between: &[Snapshot],
    new: &Snapshot,
    now: SystemTime,
) -> Result<Acceptance, Refusal> {
    let acceptance = accept(held, new, now)?;
    let Some(held) = held.filter(|_| acceptance != Acceptance::AlreadyHeld) else { return Ok(acceptance) };
    let mut last = *held;
    for snapshot in between.iter().chain([new]) {
        if snapshot.mirror() != held.mirror {
            return Err(Refusal::OtherMirror { ours: held.mirror, theirs: snapshot.mirror() });
        }
        if snapshot.serial() < held.serial {
            continue;
        }
        if snapshot.serial() == held.serial {
            follow(held, snapshot)?;
            continue;
        }
        if snapshot.serial() != last.serial + 1 {
            return Err(Refusal::MissingLink { expected: last.serial + 1, found: snapshot.serial() });
        }
        check_link(&last, snapshot)?;
        last = Held::from(snapshot);
    }
    Ok(Acceptance::Next)
}

/// Compares a snapshot with the held one by id, serial and digest.
fn follow(held: &Held, new: &Snapshot) -> Result<Acceptance, Refusal> {
    if new.mirror() != held.mirror {
        return Err(Refusal::OtherMirror { ours: held.mirror, theirs: new.mirror() });
    }
    if new.serial() < held.serial {
        return Err(Refusal::Rollback { ours: held.serial, theirs: new.serial() });
    }
    if new.serial() == held.serial {
        if new.digest() != held.digest {
            return Err(Refusal::Fork { serial: held.serial, ours: held.digest, theirs: new.digest() });
        }
        return Ok(Acceptance::AlreadyHeld);
    }
    match new.serial() - held.serial - 1 {
        0 => check_link(held, new).map(|()| Acceptance::Next),
        skipped => Ok(Acceptance::Later { skipped }),
    }
}

/// Checks that a snapshot names the one before it.
fn check_link(before: &Held, after: &Snapshot) -> Result<(), Refusal> {
    let stated = after.contents().previous;
    if stated == Some(before.digest) {
        return Ok(());
    }
    Err(Refusal::BrokenChain { serial: after.serial(), before: before.serial, stated })
}

fn check_times(held: Option<&Held>, new: &Snapshot, now: SystemTime) -> Result<(), Refusal> {
    let (created, expires) = (new.contents().created, new.contents().expires);
    if new.is_expired(now) {
        return Err(Refusal::Expired { expires, now });
    }
    if let Some(held) = held.filter(|held| created < held.created) {
        return Err(Refusal::OlderThanHeld { ours: held.created, theirs: created });
    }
    let latest = now.checked_add(CLOCK_TOLERANCE);
    if latest.is_some_and(|latest| created > latest) {
        return Err(Refusal::InTheFuture { created, now });
    }
    Ok(())
}

//! The age of the state that a mirror offers.

use std::time::SystemTime;

use mirror_repo::Mirror;
use mirror_types::ReleaseId;

use crate::error::ServeError;

/// The snapshot that is served, or else the newest one of the mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotState {
    /// Its number.
    pub serial: u64,
    /// The time at which it was taken.
    pub created: SystemTime,
    /// The time from which it is too old.
    pub expires: SystemTime,
    /// True if exactly this state is served, whatever came later.
    pub is_chosen: bool,
}

impl SnapshotState {
    /// Reads it; `None` when the mirror has no snapshots. Blocks.
    ///
    /// # Errors
    /// When the document is damaged or missing, or the disk refuses.
    pub fn of(mirror: &Mirror) -> Result<Option<Self>, ServeError> {
        let dir = mirror.snapshot_dir();
        let chosen = mirror.snapshot();
        let snapshot = match chosen {
            None => dir.newest()?,
            Some(serial) => Some(dir.find(serial)?),
        };
        Ok(snapshot.map(|snapshot| {
            let contents = snapshot.contents();
            let (serial, created, expires) = (contents.serial, contents.created, contents.expires);
            Self { serial, created, expires, is_chosen: chosen.is_some() }
        }))
    }

    /// Returns whether it is too old at a time.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }

    /// Returns a sentence without its full stop: `snapshot 7 of 2026-11-28 is good until 2027-02-26`.
    #[must_use]
    pub fn sentence(&self, now: SystemTime) -> String {
        let (serial, created, expires) = (self.serial, date(self.created), date(self.expires));
        match (self.is_expired(now), self.is_chosen) {
            (false, false) => format!("snapshot {serial} of {created} is good until {expires}"),
            (false, true) => {
                format!("exactly snapshot {serial} of {created} is served, which is good until {expires}")
            }
            (true, false) => format!(
                "the newest snapshot, {serial} of {created}, was good until {expires}: no run has gone through since, so \
                 that nobody knows what upstream has removed or published meanwhile"
            ),
            (true, true) => {
                format!("exactly snapshot {serial} of {created} is served, which was good until {expires}")
            }
        }
    }
}

fn date(time: SystemTime) -> String {
    let text = jiff::Timestamp::try_from(time).map(|time| time.to_string());
    text.map_or_else(|_| "an unknown time".to_owned(), |text| text.chars().take(10).collect())
}

/// The part of a snapshot that can still be served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotRemains {
    /// The releases that it states.
    pub stated: u64,
    /// Those of them that are served.
    pub served: u64,
    /// Those of the served that policy holds back today.
    pub held_back_now: u64,
}

impl SnapshotRemains {
    /// Compares the snapshot that `mirror` tells of with what it offers now. Reads all of the catalogue; blocks.
    ///
    /// # Errors
    /// When the document or the catalogue cannot be read, or `mirror` tells of no snapshot.
    pub fn of(mirror: &Mirror) -> Result<Self, ServeError> {
        let serial = mirror.snapshot().unwrap_or_default();
        let snapshot = mirror.snapshot_dir().find(serial)?;
        let now = Mirror::open(mirror.root(), Some(mirror.bundles_dir()))?.catalogue()?;
        let mut remains = Self { stated: snapshot.contents().counts.releases, ..Self::default() };
        let mut failed = None;
        mirror.catalogue()?.releases(&mut |name, version| {
            remains.served += 1;
            let (Ok(name), Ok(version)) = (name.parse(), version.parse()) else { return };
            match now.held_back(&ReleaseId { name, version }) {
                Ok(decision) => remains.held_back_now += u64::from(decision.is_some()),
                Err(error) => failed = Some(error),
            }
        })?;
        failed.map_or(Ok(remains), |error| Err(error.into()))
    }

    /// Returns a sentence without its full stop; `None` when all of the snapshot is served and nothing of it is held back.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let gone = self.stated.saturating_sub(self.served);
        let mut parts = Vec::new();
        if gone > 0 {
            parts.push(format!(
                "{gone} of its {} releases are not served: upstream deleted them since, or their bytes are not held any \
                 more",
                self.stated
            ));
        }
        if self.held_back_now > 0 {
            parts
                .push(format!("{} that are served are held back by the policy of today", self.held_back_now));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_snapshot_past_its_date_says_what_that_means() {
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
        let mut state = SnapshotState { serial: 7, created: at(10), expires: at(20), is_chosen: false };
        assert_eq!(state.sentence(at(19)), "snapshot 7 of 1970-01-11 is good until 1970-01-21");
        assert!(state.is_expired(at(20)) && !state.is_expired(at(19)));
        assert!(state.sentence(at(20)).starts_with("the newest snapshot, 7 of 1970-01-11, was good until"));
        state.is_chosen = true;
        assert!(state.sentence(at(21)).contains("is served, which was good until 1970-01-21"));
    }

    #[test]
    fn what_remains_of_a_snapshot_is_said_where_something_is_missing() {
        let remains = |stated, served, held_back_now| SnapshotRemains { stated, served, held_back_now };
        assert_eq!(remains(3, 3, 0).sentence(), None);
        let said = remains(3, 2, 1).sentence().expect("said");
        assert!(
            said.starts_with("1 of its 3 releases are not served") && said.ends_with("the policy of today"),
            "{said}"
        );
    }
}

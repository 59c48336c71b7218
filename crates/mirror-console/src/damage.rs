//! Damaged releases that a verification found, and what became of them.

use std::collections::BTreeMap;

use mirror_types::Printable;
use serde_json::{Value, json};

/// Most damaged releases that are named.
const MAX_NAMED: usize = 200;

/// What became of a damaged release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageState {
    /// It was set aside, and is fetched again.
    Found,
    /// It was fetched again, or another store holds it.
    Repaired,
    /// It could not be fetched again.
    Lost,
}

impl DamageState {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Repaired => "repaired",
            Self::Lost => "lost",
        }
    }
}

#[derive(Debug)]
struct Damaged {
    place: String,
    state: DamageState,
}

/// The damaged releases of a run.
#[derive(Debug, Default)]
pub struct DamageLog {
    found: u64,
    lost: u64,
    named: BTreeMap<String, Damaged>,
    /// True once the run is over: what was not lost is repaired.
    is_over: bool,
}

impl DamageLog {
    /// Adds a damaged release, and where it is held.
    pub fn push(&mut self, release: &str, place: &str) {
        self.found += 1;
        if self.named.len() < MAX_NAMED {
            let damaged = Damaged { place: Printable(place).to_string(), state: DamageState::Found };
            self.named.insert(Printable(release).to_string(), damaged);
        }
    }

    /// Notes that a release could not be fetched, which matters if it is one of these.
    pub fn failed(&mut self, release: &str) {
        if let Some(damaged) = self.named.get_mut(&Printable(release).to_string()) {
            self.lost += u64::from(damaged.state != DamageState::Lost);
            damaged.state = DamageState::Lost;
        }
    }

    /// Ends the run, with the exact number of releases that could not be repaired. `is_whole`: it was not stopped.
    pub fn end(&mut self, lost: u64, is_whole: bool) {
        self.lost = lost;
        self.is_over = is_whole;
        if is_whole {
            let found = self.named.values_mut().filter(|damaged| damaged.state == DamageState::Found);
            found.for_each(|damaged| damaged.state = DamageState::Repaired);
        }
    }

    /// Returns the number of damaged releases found.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Returns how many of them could not be fetched again.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Returns how many of them are known to be repaired: known at the end of a run.
    #[must_use]
    pub fn repaired(&self) -> u64 {
        if self.is_over { self.found.saturating_sub(self.lost) } else { 0 }
    }

    /// Returns them as JSON: the numbers, the first by name, and how many are left out.
    #[must_use]
    pub fn json(&self) -> Value {
        let named: Vec<Value> = self
            .named
            .iter()
            .map(|(release, damaged)| {
                json!({"release": release, "place": damaged.place, "state": damaged.state.as_str()})
            })
            .collect();
        json!({
            "found": self.found,
            "repaired": self.repaired(),
            "lost": self.lost,
            "left_out": self.found.saturating_sub(named.len() as u64),
            "named": named,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_lost_is_repaired_when_the_run_ends() {
        let mut log = DamageLog::default();
        log.push("a 1.0.0", "its file");
        log.push("b 1.0.0", "bundle 3");
        log.failed("b 1.0.0");
        log.failed("c 1.0.0");
        assert_eq!((log.found(), log.lost(), log.repaired()), (2, 1, 0));
        assert_eq!(log.json()["named"][0]["state"], "found");
        log.end(1, true);
        assert_eq!((log.found(), log.lost(), log.repaired()), (2, 1, 1));
        let json = log.json();
        assert_eq!(
            (&json["named"][0]["state"], &json["named"][1]["state"]),
            (&"repaired".into(), &"lost".into())
        );
    }

    #[test]
    fn a_stopped_run_repaired_nothing_for_sure() {
        let mut log = DamageLog::default();
        log.push("a 1.0.0", "its file");
        log.end(0, false);
        assert_eq!((log.repaired(), log.json()["named"][0]["state"].clone()), (0, "found".into()));
    }

    #[test]
    fn names_are_bounded() {
        let mut log = DamageLog::default();
        (0..1_000).for_each(|n| log.push(&format!("a {n}"), "its file"));
        let json = log.json();
        assert_eq!((&json["found"], &json["left_out"]), (&1_000.into(), &800.into()));
    }
}

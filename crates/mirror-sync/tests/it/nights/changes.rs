//! What changes between nights: the registry, the policy, the advisories, and the files of the mirror.

use mirror_types::{Layout, ReleaseId};

use super::licences::{Body, LicenceRule};
use super::rules::{Advice, Entry, Line, Range, Waiver};
use super::{CRATES, DAY, HOUR, Simulation, id};

/// The rules in waivers.
const WAIVED: [&str; 8] =
    ["deny", "allow", "advisories", "yanked", "min-publish-age", "max-crate-size", "licenses", "newest"];

impl Simulation {
    fn body(&mut self, id: &ReleaseId) -> Body {
        self.serials += 1;
        match self.has_packages {
            true => Body::package(self.serials, id, &mut self.random),
            false => Body::text(self.serials, self.random.usize(20..200)),
        }
    }

    fn published(&mut self) -> Option<u64> {
        let at = self.now - self.random.u64(0..30) * HOUR;
        (self.random.u8(..8) > 0).then_some(at)
    }

    fn any(&mut self, of: impl Fn(&Self) -> Vec<ReleaseId>) -> Option<ReleaseId> {
        let mut ids = of(self);
        ids.retain(|id| id.name.as_str() != "old");
        (!ids.is_empty()).then(|| ids.swap_remove(self.random.usize(..ids.len())))
    }

    pub(super) fn change(&mut self) {
        let listed = self.any(|this| this.truth.keys().cloned().collect());
        match (self.random.u8(..12), listed) {
            (0 | 1, Some(id)) => {
                let line = self.truth.remove(&id).expect("listed");
                self.buried.insert(id, line);
            }
            (2 | 3, Some(id)) => {
                let line = self.truth.get_mut(&id).expect("listed");
                line.yanked = !line.yanked;
            }
            (4, Some(id)) => {
                let body = self.body(&id);
                let published = self.published();
                let keeps = self.random.bool();
                let line = self.truth.get_mut(&id).expect("listed");
                line.body = body;
                if !keeps {
                    line.published = published;
                }
            }
            (5, _) => {
                let Some(id) = self.any(|this| this.buried.keys().cloned().collect()) else { return };
                let mut line = self.buried.remove(&id).expect("buried");
                if self.random.u8(..3) == 0 {
                    line.body = self.body(&id);
                }
                self.truth.insert(id, line);
            }
            (6, Some(id)) if self.random.u8(..3) == 0 => {
                let gone: Vec<_> = self.truth.keys().filter(|other| other.name == id.name).cloned().collect();
                for id in gone {
                    let line = self.truth.remove(&id).expect("listed");
                    self.buried.insert(id, line);
                }
            }
            _ => {
                let name = CRATES[self.random.usize(..CRATES.len())];
                let pre = if self.random.u8(..6) == 0 { "-rc.1" } else { "" };
                let version = format!("{}.{}.0{pre}", self.random.u8(0..4), self.random.u8(0..12));
                let id = id(name, &version);
                if self.truth.contains_key(&id) || self.buried.contains_key(&id) {
                    return;
                }
                let (body, published) = (self.body(&id), self.published());
                self.truth.insert(id, Line { body, yanked: false, published });
            }
        }
    }

    pub(super) fn change_policy(&mut self) {
        let entries = [
            ("aa", vec!["aa"]),
            ("BB", vec!["Bb"]),
            ("cc_d", vec!["cc-d"]),
            ("c*", vec!["cc-d"]),
            ("?", vec!["e"]),
        ];
        let entry = |random: &mut fastrand::Rng, with_range: bool| {
            let (text, names) = entries[random.usize(..entries.len())].clone();
            let (major, minor) = (random.u64(0..4), random.u64(0..12));
            let range = match random.u8(..4) {
                0 if with_range => Range::Before(major, minor),
                1 | 2 if with_range => Range::From(major, minor),
                _ => Range::All,
            };
            Entry { text, names, range }
        };
        match self.random.u8(..9) {
            _ if self.has_packages && self.random.u8(..4) == 0 => {
                let rule = self.random.u8(..3) > 0;
                self.rules.licences = rule.then(|| LicenceRule::any(&mut self.random));
            }
            0 | 1 => self.rules.age = self.random.u64(0..5) * DAY,
            2 => self.rules.deny = vec![entry(&mut self.random, true)],
            3 => self.rules.deny.clear(),
            4 if self.rules.allow.is_empty() && self.random.bool() => {
                let any = |random: &mut fastrand::Rng| entry(random, false);
                self.rules.allow = vec![any(&mut self.random), any(&mut self.random)];
            }
            4 => self.rules.allow.clear(),
            5 => {
                let middle = if self.has_packages { 330 } else { 120 };
                self.rules.largest = self.random.bool().then_some(middle);
            }
            6 => self.rules.newest = self.random.usize(0..4),
            7 => self.rules.denies_yanked = !self.rules.denies_yanked,
            _ => {
                let Some(id) = self.any(|this| this.truth.keys().cloned().collect()) else { return };
                let rule = WAIVED[self.random.usize(..WAIVED.len())];
                let ends = (self.now / DAY + self.random.u64(1..4)) * DAY;
                self.rules.waivers.retain(|waiver| waiver.id != id || waiver.rule != rule);
                self.rules.waivers.push(Waiver { id, rule, ends });
            }
        }
    }

    pub(super) fn change_advice(&mut self) {
        if !self.advice.is_empty() && self.random.bool() {
            let at = self.random.usize(..self.advice.len());
            self.advice.remove(at);
            return;
        }
        self.serials += 1;
        self.advice.push(Advice {
            serial: self.serials,
            name: CRATES[self.random.usize(..CRATES.len())],
            is_malicious: self.random.u8(..4) > 0,
            patched: (self.random.u64(0..4), self.random.u64(0..12)),
        });
        self.rules.denies_vulnerable = self.random.bool();
    }

    /// Removes the file of a held release.
    pub(super) fn lose(&mut self) {
        let Some(id) = self.any(|this| this.held.keys().cloned().collect()) else { return };
        std::fs::remove_file(self.out().join(Layout::Shard.path(&id))).expect("removed");
        self.held.remove(&id);
        self.read.remove(&id);
        self.lost.insert(id);
    }
}

//! What the mirror has seen, and what follows from it.

use std::collections::{BTreeMap, BTreeSet};

use mirror_repo::Mirror;
use mirror_types::{ReleaseId, index_path};

use super::licences::Body;
use super::rules::Line;
use super::{Kind, Replaced, Simulation};

impl Simulation {
    /// Notes which bytes the mirror sees replace others.
    pub(super) fn note_replaced(&mut self, kind: &Kind, held_before: &BTreeMap<ReleaseId, Body>) {
        let is_stopped = matches!(kind, Kind::Stopped(_));
        let seen: Vec<_> = self.truth.clone().into_iter().collect();
        for (id, line) in seen {
            if !is_stopped && !Self::looks_at(kind, &id) {
                continue;
            }
            let now = self.now;
            if let Some(known) = self.replaced.get_mut(&id).filter(|known| known.body == line.body) {
                if !is_stopped {
                    known.latest.get_or_insert(now);
                }
                continue;
            }
            let latest = (!is_stopped).then_some(now);
            let replaced = Replaced { body: line.body.clone(), earliest: now, latest, was_held: false };
            match held_before.get(&id) {
                Some(body) if *body != line.body => {
                    self.replaced.insert(id, replaced);
                }
                Some(_) => {
                    self.replaced.remove(&id);
                }
                // Nobody says whether bytes replace others that were lost on the same night.
                None if self.lost.contains(&id) => {
                    self.replaced.insert(id, Replaced { earliest: 0, ..replaced });
                }
                None => {}
            }
        }
    }

    pub(super) fn since(&self, id: &ReleaseId, line: &Line, latest: bool) -> Option<u64> {
        let replaced = self.replaced.get(id).filter(|replaced| replaced.body == line.body)?;
        Some(if latest { replaced.latest.unwrap_or(self.now) } else { replaced.earliest })
    }

    /// Returns the releases that are certainly admitted, or those that perhaps are, by what the mirror has seen.
    pub(super) fn admitted(&self, certainly: bool) -> BTreeSet<ReleaseId> {
        let passes = |id: &ReleaseId, line: &Line| {
            // The licence of what is not held yet is read when it is fetched.
            let is_known = !self.is_held(id, line) || self.is_licence_known(id);
            self.rules.admits_licence(id, &line.body, self.now) && (is_known || !certainly)
        };
        // Where it is not known, it may be any.
        let counts = |id: &ReleaseId, line: &Line| {
            let passes = self.rules.admits_licence(id, &line.body, self.now);
            if certainly { passes || !self.is_licence_known(id) } else { passes && self.is_licence_known(id) }
        };
        self.admitted_with(certainly, &passes, &counts)
    }

    /// Returns the releases of which a run reads the licence when it has their bytes, because no other rule holds them
    /// back. `all`: it reads every one that it has to.
    fn asked(&self, all: bool) -> BTreeSet<ReleaseId> {
        let passes = |id: &ReleaseId, line: &Line| {
            self.rules.asks_licence(id, self.now) && self.is_held(id, line) && !self.deleted.contains(id)
        };
        let counts = |id: &ReleaseId, line: &Line| {
            self.rules.admits_licence(id, &line.body, self.now) || !(all || self.is_licence_known(id))
        };
        self.admitted_with(true, &passes, &counts)
    }

    fn is_held(&self, id: &ReleaseId, line: &Line) -> bool {
        self.held.get(id) == Some(&line.body)
    }

    /// Returns whether the licence of a held release is certainly known, as far as a rule asks for it.
    fn is_licence_known(&self, id: &ReleaseId) -> bool {
        !self.rules.asks_licence(id, self.now) || self.read.contains(id)
    }

    /// Returns the releases that all rules admit, with `passes` in place of that on licences. `counts` says whether it lets
    /// a held release take a place among the newest versions.
    fn admitted_with(
        &self,
        certainly: bool,
        passes: &dyn Fn(&ReleaseId, &Line) -> bool,
        counts: &dyn Fn(&ReleaseId, &Line) -> bool,
    ) -> BTreeSet<ReleaseId> {
        let admits = |id: &ReleaseId, line: &Line, certainly: bool| {
            self.rules.admit(id, line, self.since(id, line, certainly), &self.advice, self.now)
        };
        let fits = |id: &ReleaseId, line: &Line| self.rules.admits_size(id, line.body.bytes.len(), self.now);
        let mut ids: BTreeSet<ReleaseId> = self
            .known
            .iter()
            .filter(|(id, line)| admits(id, line, certainly) && fits(id, line) && passes(id, line))
            .map(|(id, _)| id.clone())
            .collect();
        // Those that are not held may have any size, and may come or not.
        let counted: Vec<(ReleaseId, bool)> = self
            .known
            .iter()
            .filter(|(id, line)| match self.is_held(id, line) {
                true => admits(id, line, !certainly) && fits(id, line) && counts(id, line),
                false => certainly && admits(id, line, false),
            })
            .map(|(id, line)| (id.clone(), line.yanked))
            .collect();
        self.rules.keep_newest(&mut ids, &counted, self.now);
        ids
    }

    /// Notes of which releases the mirror has read the licence: a run reads those that it fetches, and one that verifies
    /// all others.
    pub(super) fn note_read(&mut self, kind: &Kind, held_before: &BTreeMap<ReleaseId, Body>) {
        let verifies = *kind == Kind::Verify;
        let mut read = std::mem::take(&mut self.read);
        read.retain(|id| self.held.contains_key(id) && self.held.get(id) == held_before.get(id));
        self.read = read;
        let asked = self.asked(verifies);
        let came = |id: &ReleaseId| self.held.get(id) != held_before.get(id);
        let found: Vec<_> = asked.into_iter().filter(|id| verifies || came(id)).collect();
        self.read.extend(found);
    }

    /// Brings what the mirror has seen up to date.
    pub(super) fn learn(&mut self, kind: &Kind, mirror: &Mirror) {
        let ever: BTreeSet<ReleaseId> =
            self.truth.keys().chain(self.known.keys()).chain(self.held.keys()).cloned().collect();
        for name in ever.iter().map(|id| id.name.clone()).collect::<BTreeSet<_>>() {
            let of = |lines: &BTreeMap<ReleaseId, Line>| -> BTreeMap<ReleaseId, Line> {
                lines
                    .iter()
                    .filter(|(id, _)| id.name == name)
                    .map(|(id, line)| (id.clone(), line.clone()))
                    .collect()
            };
            let (new, old) = (of(&self.truth), of(&self.known));
            let some = ever.iter().find(|id| id.name == name).expect("one");
            let sees = if matches!(kind, Kind::Stopped(_)) {
                let text = mirror.index_text(&index_path(&name)).expect("lines").unwrap_or_default();
                let has = |lines| text == Self::text_of(lines).into_bytes();
                if !has(&new) && !has(&old) && !old.is_empty() {
                    self.fail(kind, "the lines are neither those of before nor the new ones", some);
                }
                has(&new)
            } else {
                Self::looks_at(kind, some)
            };
            if sees {
                self.known.retain(|id, _| id.name != name);
                self.known.extend(new);
            }
        }
        for id in ever {
            let is_gone = !self.truth.contains_key(&id);
            let is_deleted = mirror.is_deleted(&id).expect("deleted");
            if matches!(kind, Kind::Stopped(_)) {
                if is_deleted && !is_gone && !self.deleted.contains(&id) {
                    self.fail(kind, "counts as deleted and is listed", &id);
                }
                if is_deleted {
                    self.deleted.insert(id.clone());
                } else {
                    self.deleted.remove(&id);
                }
            } else if Self::looks_at(kind, &id) {
                if is_gone {
                    self.deleted.insert(id.clone());
                } else {
                    self.deleted.remove(&id);
                }
            }
            // Bytes that were never held and come back are seen anew.
            let is_pending =
                |replaced: &Replaced| !replaced.was_held && self.held.get(&id) != Some(&replaced.body);
            if is_gone && self.replaced.get(&id).is_some_and(is_pending) {
                if Self::looks_at(kind, &id) {
                    self.replaced.remove(&id);
                } else if let (Kind::Stopped(_), Some(replaced)) = (kind, self.replaced.get_mut(&id)) {
                    replaced.latest = None;
                }
            }
        }
    }
}

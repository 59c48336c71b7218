//! Compares the mirror with the model.

use std::collections::{BTreeMap, BTreeSet};

use mirror_checksum::Hasher;
use mirror_repo::{At, Listing, Mirror, SnapshotDir, check_rows, rows_of};
use mirror_snapshot::{Held as HeldSnapshot, Row, RowError, RowState, accept, digest_rows, row_order};
use mirror_sync::Outcome;
use mirror_testkit::TestRegistry;
use mirror_types::{ReleaseId, index_path};

use super::licences::Body;
use super::rules::{Line, rfc3339};
use super::{CRATES, Kind, Simulation, id};

impl Simulation {
    pub(super) fn check(&mut self, kind: &Kind, outcome: &Outcome) {
        let some = id("old", "1.0.0");
        // A crate that is named must be in the index.
        let is_listed = |name: &str| self.truth.keys().any(|id| id.name.as_str() == name);
        let missing = self.named(kind).iter().filter(|name| !is_listed(name)).count() as u64;
        let failed = match kind {
            Kind::Stopped(_) => outcome.failed > missing,
            _ => outcome.failed != missing,
        };
        if failed || outcome.unavailable > 0 {
            self.fail(kind, &format!("the run failed: {outcome:?}"), &some);
        }
        let before = self.held.clone();
        self.note_replaced(kind, &before);
        let mirror = Mirror::open(&self.out(), None).expect("a mirror");
        self.learn(kind, &mirror);
        self.check_held(kind, &mirror, &before);
        self.note_read(kind, &before);
        self.check_offered(kind, &mirror);
        self.check_snapshots(kind, outcome, &mirror);
    }

    /// Checks that the newest snapshot states what the index files list and the files hold, and that the rows of earlier
    /// ones can still be told.
    fn check_snapshots(&mut self, kind: &Kind, outcome: &Outcome, mirror: &Mirror) {
        let dir = SnapshotDir::of(&self.out());
        // A run that is to be stopped may have ended before. One that refuses to prune ends with another code than 0 or 3.
        if !matches!(kind, Kind::Stopped(_)) {
            let refuses = self.refuses_to_prune(kind);
            if (outcome.snapshot.is_none(), outcome.prune_refused > 0) != (refuses, refuses) {
                self.fail(
                    kind,
                    &format!("the run took no snapshot, or did not refuse: {outcome:?}"),
                    &id("old", "1.0.0"),
                );
            }
        }
        if let Some(serial) = outcome.snapshot {
            let snapshot = dir.read(serial).expect("read").expect("there");
            assert_eq!(dir.list().expect("list").last().map(|file| file.serial), Some(serial), "the newest");
            let rows = self.listed(mirror);
            let (units, counts) = digest_rows(rows.into_iter().map(Ok::<_, RowError>)).expect("sorted");
            let stated = snapshot.contents();
            if stated.units != units {
                self.name_difference(kind, mirror);
            }
            assert_eq!(
                (&stated.units, stated.counts.crates, stated.counts.releases),
                (&units, counts.crates, counts.releases),
                "seed {}, night {}",
                self.seed,
                self.night
            );
            if let Some(before) = &self.snapshot {
                let acceptance = accept(Some(&HeldSnapshot::from(before)), &snapshot, stated.created);
                assert!(acceptance.is_ok(), "{acceptance:?}");
            }
            self.snapshot = Some(snapshot);
        }
        let catalogue = mirror.catalogue().expect("catalogue");
        for row in catalogue.snapshots().expect("snapshots") {
            let snapshot = dir.read(row.serial).expect("read").expect("there");
            check_rows(&catalogue, &snapshot).unwrap_or_else(|error| {
                panic!("seed {}, night {}, snapshot {}: {error}", self.seed, self.night, row.serial)
            });
        }
    }

    /// Fails with the first release about which the catalogue and the index files differ, if there is one.
    fn name_difference(&self, kind: &Kind, mirror: &Mirror) {
        let catalogue = mirror.catalogue().expect("catalogue");
        let listed = self.listed(mirror);
        for name in CRATES {
            let told = rows_of(&catalogue, At::Now, &name.parse().expect("name")).expect("rows");
            if let Some(row) = told.iter().find(|row| !listed.contains(row)) {
                let what = format!("is in the snapshot ({:?}) and not listed so", row.state);
                self.fail(kind, &what, &row.id);
            }
            let mut of_name = listed.iter().filter(|row| row.id.name.as_str() == name);
            if let Some(row) = of_name.find(|row| !told.contains(row)) {
                let why = catalogue.held_back_of(&row.id.name).expect("rows");
                let failed = catalogue.failures().expect("failures");
                let state = row.state;
                let what = format!("is listed ({state:?}) and not in the snapshot: {why:?} {failed:?}");
                self.fail(kind, &what, &row.id);
            }
        }
    }

    /// Returns the rows of what the index files list, with the checksums of the bytes.
    fn listed(&self, mirror: &Mirror) -> Vec<Row> {
        let mut rows = Vec::new();
        for path in mirror.index_paths().expect("paths") {
            let Some(listing) = mirror.listing_at(&path).expect("listing") else { continue };
            let text = String::from_utf8(listing.text.to_vec()).expect("text");
            for (id, line) in listing.releases().zip(text.lines()) {
                let line: serde_json::Value = serde_json::from_str(line).expect("a line");
                let state = if line["yanked"] == true { RowState::Yanked } else { RowState::Offered };
                rows.push(Row { checksum: Hasher::of(&self.held[&id].bytes), id, state });
            }
        }
        rows.sort_by(|one, other| row_order(&one.id, &other.id));
        rows
    }

    pub(super) fn text_of(lines: &BTreeMap<ReleaseId, Line>) -> String {
        let mut registry = TestRegistry::default();
        for (id, line) in lines {
            let release = registry.add(id.name.as_str(), id.version.as_str(), &line.body.bytes);
            (release.yanked, release.pubtime) = (line.yanked, line.published.map(rfc3339));
        }
        registry.releases().fold(String::new(), |text, release| text + &release.line() + "\n")
    }

    fn check_held(&mut self, kind: &Kind, mirror: &Mirror, before: &BTreeMap<ReleaseId, Body>) {
        let catalogue = mirror.catalogue().expect("catalogue");
        let names: BTreeSet<_> = self.truth.keys().chain(before.keys()).map(|id| id.name.clone()).collect();
        let mut held = BTreeMap::new();
        for name in names {
            for row in catalogue.held_of(&name).expect("held") {
                let id = id(name.as_str(), &row.version);
                // A run that is stopped may not have looked.
                if self.lost.contains(&id) && !mirror.is_there(&id, &row).expect("look") {
                    continue;
                }
                let located = mirror.locate(&id, &row).expect("locate");
                let Some(located) = located else { self.fail(kind, "is held and not there", &id) };
                let bytes = mirror.read(&id, &located).expect("bytes");
                let bodies = [self.truth.get(&id).map(|line| &line.body), before.get(&id)];
                let Some(body) = bodies.into_iter().flatten().find(|body| body.bytes == bytes) else {
                    self.fail(kind, "is held with bytes that are neither its own nor those of before", &id)
                };
                held.insert(id, body.clone());
            }
        }
        for (id, body) in before {
            let listed = self.truth.get(id).map(|line| &line.body);
            match held.get(id) {
                None if self.prunes(kind) && listed.is_none() => {}
                None => self.fail(kind, "is not held any more", id),
                Some(_) if self.prunes(kind) && listed.is_none() => self.fail(kind, "was not pruned", id),
                Some(found) if found != body && Some(found) != listed => {
                    self.fail(kind, "has other bytes", id)
                }
                Some(_) => {}
            }
        }
        for (id, body) in &held {
            if before.get(id) == Some(body) {
                continue;
            }
            let Some(line) = self.truth.get(id).filter(|line| line.body == *body) else {
                self.fail(kind, "is held with bytes that upstream does not list", id)
            };
            if !self.rules.admit(id, line, self.since(id, line, false), &self.advice, self.now) {
                self.fail(kind, "was fetched although the policy forbids it", id);
            }
        }
        self.held = held;
        for (id, replaced) in &mut self.replaced {
            replaced.was_held |= self.held.get(id) == Some(&replaced.body);
        }
        for id in self.admitted(true) {
            if Self::looks_at(kind, &id) && self.held.get(&id) != self.truth.get(&id).map(|line| &line.body) {
                self.fail(kind, "is admitted and not fetched", &id);
            }
        }
    }

    pub(super) fn check_offered(&self, kind: &Kind, mirror: &Mirror) {
        let (must, may) = (self.admitted(true), self.admitted(false));
        let ever: BTreeSet<_> =
            self.truth.keys().chain(self.known.keys()).chain(self.held.keys()).cloned().collect();
        let names: BTreeSet<_> = ever.iter().map(|id| id.name.clone()).collect();
        let mut listed = BTreeMap::new();
        for name in names {
            let listing = mirror.listing_at(&index_path(&name)).expect("listing");
            let text =
                listing.as_ref().map(|listing| String::from_utf8(listing.text.to_vec()).expect("text"));
            let lines = text.iter().flat_map(|text| text.lines()).map(|line| format!("{line}\n"));
            listed.extend(listing.iter().flat_map(Listing::releases).zip(lines.collect::<Vec<_>>()));
        }
        for id in &ever {
            let line = self.known.get(id);
            let is_whole = line.is_some_and(|line| self.held.get(id) == Some(&line.body));
            let may_be = is_whole && may.contains(id) && !self.deleted.contains(id);
            let must_be = is_whole && must.contains(id) && !self.deleted.contains(id);
            let is_held = mirror.held(id).expect("held").is_some();
            if let Some(text) = listed.get(id) {
                if !may_be {
                    self.fail(kind, "is listed and must not be", id);
                }
                if *text != Self::text_of(&[(id.clone(), line.expect("known").clone())].into()) {
                    self.fail(kind, "is listed with another line", id);
                }
            }
            if is_held && is_whole && !may_be {
                self.fail(kind, "is offered and must not be", id);
            }
            if is_held && self.deleted.contains(id) {
                self.fail(kind, "is offered and was deleted", id);
            }
            let is_stopped = matches!(kind, Kind::Stopped(_));
            if must_be && !is_stopped && !(is_held && listed.contains_key(id)) {
                let decision = mirror.catalogue().expect("catalogue").held_back(id).expect("row");
                self.fail(kind, &format!("is not offered and must be ({decision:?})"), id);
            }
        }
    }
}

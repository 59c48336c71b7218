//! Plans of small indexes, decision by decision, without files, threads or a network.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use mirror_index::sparse::DlTemplate;
use mirror_index::{IndexLimits, LockSet, LockSources, NameSet, Selection};
use mirror_manifest::{DeferredGroup, HeldBackRelease, LicenceRow, ReplacedRelease, UpstreamRemoval};
use mirror_types::{
    CrateName, Location, Locations, MemberLocation, ReleaseId, Sha256, StoreId, VersionText, index_path,
};
use url::Url;

mod deferred;

use super::Totals;
use super::{
    Decision, FailedRelease, HeldRow, HeldView, Index, Item, Parsed, Planned, Scope, SeenIn, Wanted, plan,
};
use crate::error::SyncError;

fn id(name: &str, version: &str) -> ReleaseId {
    ReleaseId { name: name.parse().expect("name"), version: version.parse().expect("version") }
}

fn name(name: &str) -> CrateName {
    name.parse().expect("name")
}

fn sum(n: u8) -> Sha256 {
    Sha256::from_bytes([n; 32])
}

/// Makes an index line; `!` behind a version makes it yanked.
fn line(name: &str, version: &str, cksum: u8) -> String {
    let (version, yanked) = version.strip_suffix('!').map_or((version, false), |version| (version, true));
    let cksum = sum(cksum);
    format!(r#"{{"name":"{name}","vers":"{version}","cksum":"{cksum}","yanked":{yanked}}}"#)
}

fn file(name: &str, lines: &[String]) -> Item {
    let path = index_path(&name.parse().expect("name"));
    Item::File(Parsed::of(&path, lines.join("\n").as_bytes(), &IndexLimits::default()))
}

/// An index in memory.
struct Items(Vec<Item>);

impl Index for Items {
    fn read(&mut self, take: &mut (dyn FnMut(Item) -> ControlFlow<()> + Send)) -> Result<(), SyncError> {
        let _ = self.0.drain(..).try_for_each(take);
        Ok(())
    }
}

/// Held releases, in memory.
#[derive(Default)]
struct HeldInMemory {
    rows: BTreeMap<String, HashMap<String, HeldRow>>,
    removed_upstream: HashMap<ReleaseId, UpstreamRemoval>,
    failed: Vec<(String, FailedRelease)>,
    unrecorded: HashSet<ReleaseId>,
    deferred: Vec<HeldBackRelease>,
    groups: BTreeMap<String, Vec<DeferredGroup>>,
}

impl HeldInMemory {
    fn with(mut self, id: &ReleaseId, row: HeldRow) -> Self {
        let versions = self.rows.entry(id.name.to_string()).or_default();
        versions.insert(id.version.to_string(), row);
        self
    }

    fn failed(mut self, id: &ReleaseId, lost: bool) -> Self {
        self.failed.push((id.name.to_string(), FailedRelease { id: Some(id.clone()), lost }));
        self
    }
}

impl HeldView for HeldInMemory {
    fn versions(&self, name: &CrateName) -> Result<HashMap<String, HeldRow>, SyncError> {
        Ok(self.rows.get(name.as_str()).cloned().unwrap_or_default())
    }
    fn crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError> {
        self.rows.keys().for_each(|name| visit(name));
        Ok(())
    }
    fn crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError> {
        Ok(self.rows.keys().filter(|name| name.eq_ignore_ascii_case(file)).cloned().collect())
    }
    fn removed_upstream(&self) -> Result<HashMap<ReleaseId, UpstreamRemoval>, SyncError> {
        Ok(self.removed_upstream.clone())
    }
    fn failed_crates(&self) -> Result<HashSet<String>, SyncError> {
        Ok(self.failed.iter().map(|(name, _)| name.clone()).collect())
    }
    fn failures_of(&self, name: &CrateName) -> Result<Vec<FailedRelease>, SyncError> {
        let of = self.failed.iter().filter(|(failed, _)| failed == name.as_str());
        Ok(of.map(|(_, failed)| failed.clone()).collect())
    }
    fn deferred_crates(&self) -> Result<Vec<String>, SyncError> {
        Ok(self.deferred.iter().map(|release| release.id.name.to_string()).collect())
    }
    fn deferred_of(&self, name: &CrateName) -> Result<Vec<HeldBackRelease>, SyncError> {
        Ok(self.deferred.iter().filter(|release| release.id.name == *name).cloned().collect())
    }
    fn grouped_crates(&self, visit: &mut dyn FnMut(&str)) -> Result<(), SyncError> {
        self.groups.keys().for_each(|name| visit(name));
        Ok(())
    }
    fn grouped_crates_of_file(&self, file: &str) -> Result<Vec<String>, SyncError> {
        Ok(self.groups.keys().filter(|name| name.eq_ignore_ascii_case(file)).cloned().collect())
    }
    fn deferred_groups_of(&self, name: &CrateName) -> Result<Vec<DeferredGroup>, SyncError> {
        Ok(self.groups.get(name.as_str()).cloned().unwrap_or_default())
    }
    fn replaced_of(&self, _: &CrateName) -> Result<Vec<ReplacedRelease>, SyncError> {
        Ok(Vec::new())
    }
    fn licences_of(&self, _: &CrateName) -> Result<Vec<LicenceRow>, SyncError> {
        Ok(Vec::new())
    }
    fn has_unrecorded(&mut self, id: &ReleaseId) -> Result<bool, SyncError> {
        Ok(self.unrecorded.contains(id))
    }
}

fn held(cksum: u8) -> HeldRow {
    HeldRow {
        sha256: sum(cksum),
        bytes: 100 + u64::from(cksum),
        locations: Location::LOOSE.into(),
        seen: SeenIn::Here,
        recorded: true,
    }
}

fn wanted() -> Wanted {
    Wanted {
        selection: Selection::default(),
        named: Vec::new(),
        must: None,
        template: Arc::new(DlTemplate::from_base("http://127.0.0.1/crates").expect("template")),
        checksums: None,
        limit: 0,
        offline: false,
        verify: false,
        audits: false,
        copies: Vec::new(),
        scope: Scope::All,
        policy: None,
        now: UNIX_EPOCH,
    }
}

/// Describes a decision in a few words.
fn word(decision: &Decision) -> String {
    let at = |held: &HeldRow| {
        format!("{}{}", held.locations.is_loose(), if held.recorded { "" } else { ", unrecorded" })
    };
    match decision {
        Decision::Existing { id, bytes, audit: None } => format!("existing {id} {bytes}"),
        Decision::Existing { id, audit: Some(audited), .. } => {
            format!("audit {id} {} at {}", audited.id, audited.url)
        }
        Decision::Verify { job, held } => format!("verify {} loose {}", job.id, at(held)),
        Decision::Fetch(job) if job.replaces.is_some() => format!("refetch {}", job.id),
        Decision::Fetch(job) => format!("fetch {} of {}", job.id, job.largest_held_bytes),
        Decision::Fail { id, fault, .. } => format!("fail {id} {}", fault.kind()),
        Decision::FailCrate { name, fault } => format!("fail {name} {}", fault.kind()),
        Decision::Unchanged(totals) => format!("unchanged {}", totals.selected),
        Decision::YankedSkipped(n) => format!("skip {n}"),
        Decision::Undated(n) => format!("undated {n}"),
        Decision::Deferred { release, known } => {
            let until = release
                .decision
                .until
                .map(|until| until.duration_since(UNIX_EPOCH).expect("until").as_secs());
            let until = until.map_or("ever".to_owned(), |until| until.to_string());
            format!("deferred {} until {until}{}", release.id, if *known { ", known" } else { "" })
        }
        Decision::DeferredGroups { name, groups } => {
            let groups = groups.iter().map(|DeferredGroup { rule, why, versions, .. }| {
                let versions: Vec<&str> = versions.iter().map(VersionText::as_str).collect();
                format!(" {rule} ({why}): {};", versions.join(" "))
            });
            format!("groups of {name}:{}", groups.collect::<String>())
        }
        Decision::Undeferred(id) => format!("undeferred {id}"),
        Decision::CrateRead(name) => format!("read {name}"),
        Decision::Resolved(id) => format!("resolved {id}"),
        Decision::Dropped(id) => format!("dropped {id}"),
        Decision::Seen(id) => format!("seen {id}"),
        Decision::Yanked(id) => format!("yanked {id}"),
        Decision::YankedBefore(id) => format!("yanked before {id}"),
        Decision::Unyanked(id) => format!("unyanked {id}"),
        Decision::Reinstated(id) => format!("reinstated {id}"),
        Decision::Removed(id) => format!("removed {id}"),
        Decision::IndexFile { removes, .. } => format!("lines {removes}"),
        Decision::BadFile { path, bad, .. } => format!("bad {path} {bad}"),
        Decision::BadLine(text) => format!("bad {text}"),
    }
}

fn run(wanted: Wanted, items: Vec<Item>, mut held: HeldInMemory) -> (Vec<String>, Planned) {
    let mut words = Vec::new();
    let planned = plan(wanted, &mut Items(items), &mut held, &mut |decision| {
        words.push(word(&decision));
        ControlFlow::Continue(())
    });
    (words, planned.expect("planned"))
}

#[test]
fn what_is_held_as_the_index_has_it_exists_and_the_rest_is_fetched() {
    let lines = [line("a", "1.0.0", 1), line("a", "1.1.0", 2), line("a", "1.2.0", 3), line("a", "1.3.0!", 4)];
    let view = HeldInMemory::default().with(&id("a", "1.0.0"), held(1)).with(&id("a", "1.1.0"), held(9));
    let (words, planned) = run(wanted(), vec![file("a", &lines)], view);
    assert_eq!(words, ["skip 1", "existing a 1.0.0 101", "refetch a 1.1.0", "fetch a 1.2.0 of 109"]);
    assert!(planned.complete);
}

#[test]
fn a_file_in_no_record_is_hashed_once() {
    let view = HeldInMemory { unrecorded: [id("a", "1.0.0")].into(), ..HeldInMemory::default() };
    let (words, _) = run(wanted(), vec![file("a", &[line("a", "1.0.0", 1)])], view);
    assert_eq!(words, ["verify a 1.0.0 loose true, unrecorded"]);
}

#[test]
fn a_release_in_one_of_two_wanted_places_is_made_from_the_other() {
    let wanted = Wanted { copies: vec![StoreId::LOOSE, StoreId::BUNDLES], ..wanted() };
    let both = HeldRow { locations: Locations::of(true, Some(MemberLocation::tar(0, 0, 9))), ..held(1) };
    let view = HeldInMemory::default().with(&id("a", "1.0.0"), both).with(&id("a", "1.1.0"), held(2));
    let lines = [line("a", "1.0.0", 1), line("a", "1.1.0", 2)];
    let (words, _) = run(wanted, vec![file("a", &lines)], view);
    assert_eq!(words, ["existing a 1.0.0 101", "verify a 1.1.0 loose true"]);
}

#[test]
fn verification_hashes_everything_that_is_held() {
    let wanted = Wanted { verify: true, ..wanted() };
    let view = HeldInMemory::default().with(&id("a", "1.0.0"), held(1));
    let (words, _) = run(wanted, vec![file("a", &[line("a", "1.0.0", 1)])], view);
    assert_eq!(words, ["verify a 1.0.0 loose true"]);
}

/// Checks that a run looks again at what is in the ledger, and removes it only for a reason.
#[test]
fn the_ledger_is_resolved_crate_by_crate() {
    let lines = [line("a", "1.0.0", 1), line("a", "1.1.0", 2), line("a", "1.2.0", 3)];
    let view = || {
        let view = HeldInMemory::default().with(&id("a", "1.0.0"), held(1)).with(&id("a", "1.1.0"), held(2));
        let view = view.failed(&id("a", "1.0.0"), true).failed(&id("a", "1.1.0"), false);
        let mut view = view.failed(&id("a", "1.2.0"), false).failed(&id("a", "9.0.0"), false);
        view.failed.push(("a".to_owned(), FailedRelease { id: None, lost: false }));
        view.failed(&id("gone", "1.0.0"), false)
    };
    let all = [
        "resolved a 1.0.0",
        "dropped a 9.0.0",
        "read a",
        "existing a 1.0.0 101",
        "verify a 1.1.0 loose true, unrecorded",
        "fetch a 1.2.0 of 102",
        "dropped gone 1.0.0",
    ];
    assert_eq!(run(wanted(), vec![file("a", &lines)], view()).0, all);
    let part = Wanted { scope: Scope::Part, ..wanted() };
    let (words, planned) = run(part, vec![file("a", &lines)], view());
    assert_eq!(words, all.iter().filter(|word| !word.starts_with("dropped")).copied().collect::<Vec<_>>());
    assert!(!planned.complete);
}

/// Checks that what an earlier run noted of a crate is resolved first: it has the same place in the ledger.
#[test]
fn a_version_that_is_not_there_fails_again_in_the_next_run() {
    let texts = ["a@1.0.0".to_owned(), "a@9".to_owned()];
    let mut wanted = Wanted { scope: Scope::Part, limit: 5, ..wanted() };
    wanted.selection.include = NameSet::parse_with_versions(&texts).expect("names");
    let mut view = HeldInMemory::default();
    view.failed.push(("a".to_owned(), FailedRelease { id: None, lost: false }));
    let (words, _) = run(wanted, vec![file("a", &[line("a", "1.0.0", 1)])], view);
    assert_eq!(words, ["read a", "fail a not-in-index", "fetch a 1.0.0 of 0"]);
}

#[test]
fn what_upstream_removes_and_reinstates_is_reported_once() {
    let lines =
        [line("a", "1.0.0!", 1), line("a", "1.1.0", 2), line("a", "1.2.0", 3), line("a", "1.3.0!", 4)];
    let mut view = HeldInMemory::default();
    for (version, n) in [("1.0.0", 1), ("1.1.0", 2), ("1.2.0", 3), ("1.4.0", 5)] {
        view = view.with(&id("a", version), held(n));
    }
    view.removed_upstream = [
        (id("a", "1.1.0"), UpstreamRemoval::Yanked),
        (id("a", "1.2.0"), UpstreamRemoval::Deleted),
        (id("x", "1.0.0"), UpstreamRemoval::Deleted),
    ]
    .into();
    let mut wanted = wanted();
    wanted.selection.include_yanked = true;
    let (words, planned) = run(wanted, vec![file("a", &lines)], view);
    let expected = ["yanked a 1.0.0", "unyanked a 1.1.0", "reinstated a 1.2.0", "removed a 1.4.0"];
    assert_eq!(words[..4], expected);
    assert!(words.contains(&"yanked before a 1.3.0".to_owned()), "{words:?}");
    let kinds = [
        ("1.0.0", UpstreamRemoval::Yanked),
        ("1.3.0", UpstreamRemoval::Yanked),
        ("1.4.0", UpstreamRemoval::Deleted),
    ];
    for (version, kind) in kinds {
        assert_eq!(planned.removed_upstream.get(&id("a", version)), Some(&kind), "{version}");
    }
    assert_eq!(planned.removed_upstream.len(), 4);
}

/// Checks that an index which still lists a release does not contradict the one that took it down, and that only an
/// index which listed a release can report it as deleted.
#[test]
fn only_the_index_that_listed_a_release_takes_it_down_or_brings_it_back() {
    let elsewhere = HeldRow { seen: SeenIn::Elsewhere, ..held(1) };
    let view = || {
        let mut view = HeldInMemory::default()
            .with(&id("a", "1.0.0"), elsewhere.clone())
            .with(&id("a", "2.0.0"), elsewhere.clone());
        view.removed_upstream = [(id("a", "1.0.0"), UpstreamRemoval::Deleted)].into();
        view
    };
    let (words, _) = run(wanted(), vec![file("a", &[line("a", "1.0.0", 1)])], view());
    assert_eq!(words, ["existing a 1.0.0 101"]);
    let mut view = view();
    view.removed_upstream.clear();
    let (words, _) = run(wanted(), vec![file("a", &[line("a", "1.0.0", 1)])], view);
    assert_eq!(words, ["seen a 1.0.0", "existing a 1.0.0 101"]);
}

#[test]
fn a_crate_that_is_not_in_a_whole_index_is_gone_unless_its_file_is_bad() {
    let view = || {
        HeldInMemory::default()
            .with(&id("gone", "1.0.0"), held(1))
            .with(&id("torn", "1.0.0"), held(2))
            .with(&id("there", "1.0.0"), held(3))
    };
    let items = || vec![file("there", &[line("there", "1.0.0", 3)]), file("torn", &["{".to_owned()])];
    let (words, _) = run(wanted(), items(), view());
    assert_eq!(words, ["existing there 1.0.0 103", "bad to/rn/torn 1", "removed gone 1.0.0"]);
    let part = Wanted { scope: Scope::Part, ..wanted() };
    assert!(!run(part, items(), view()).0.iter().any(|word| word.starts_with("removed")));
}

#[test]
fn lines_go_ahead_of_the_releases_and_say_when_some_are_removed() {
    let lines = line("a", "1.0.0", 1);
    let packed = || {
        let mut packer = mirror_manifest::LinePacker::new().expect("packer");
        let digest = mirror_manifest::TextDigest::of(lines.as_bytes());
        Some(Box::new(packer.pack("1/a", digest, lines.as_bytes()).expect("packed")))
    };
    let item = || Item::File(Parsed::of("1/a", lines.as_bytes(), &IndexLimits::default()).with(packed()));
    let (words, _) = run(wanted(), vec![item()], HeldInMemory::default());
    assert_eq!(words, ["lines false", "fetch a 1.0.0 of 0"]);
    let view = HeldInMemory::default().with(&id("a", "0.9.0"), held(7));
    let (words, _) = run(wanted(), vec![item()], view);
    assert_eq!(words, ["removed a 0.9.0", "lines true", "fetch a 1.0.0 of 107"]);
    let mut nothing_wanted = wanted();
    nothing_wanted.selection.include = NameSet::parse(&["b".to_owned()]).expect("names");
    assert!(run(nothing_wanted, vec![item()], HeldInMemory::default()).0.is_empty());
}

#[test]
fn what_was_named_and_is_not_there_is_reported() {
    let named = || Wanted { named: vec![name("a"), name("B-b")], scope: Scope::Part, ..wanted() };
    let (words, _) = run(named(), vec![file("a", &[line("a", "1.0.0", 1)])], HeldInMemory::default());
    assert_eq!(words, ["fetch a 1.0.0 of 0", "fail B-b not-in-index"]);
    let unread = Item::Unread { name: name("B-b"), why: "no answer".to_owned() };
    let (words, _) = run(named(), vec![unread, Item::Exists(name("a"))], HeldInMemory::default());
    assert_eq!(words, ["fail B-b index"]);
    let bad = file("B-b", &["nonsense".to_owned()]);
    let (words, _) = run(named(), vec![Item::Exists(name("a")), bad], HeldInMemory::default());
    assert_eq!(words, ["bad b-/b/b-b 1", "fail B-b index"].map(|word| word.replace("b-/b/b-b", "3/b/b-b")));
}

#[test]
fn a_lockfile_says_what_must_be_found_and_with_which_checksum() {
    let package = |version: &str, cksum: u8| {
        format!(
            "[[package]]\nname = \"a\"\nversion = \"{version}\"\nsource = \"{}\"\nchecksum = \"{}\"\n",
            mirror_types::upstream::lock_sources()[0],
            sum(cksum)
        )
    };
    let text = format!("version = 3\n{}{}{}", package("1.0.0", 1), package("1.1.0", 9), package("3.0.0", 3));
    let sources = LockSources::new(mirror_types::upstream::lock_sources());
    let locked = LockSet::parse(&[("Cargo.lock".to_owned(), text)], &sources).expect("lock");
    let mut wanted = Wanted { must: Some(locked.clone()), scope: Scope::Part, ..wanted() };
    wanted.selection.locked = Some(locked);
    let lines = [line("a", "1.0.0!", 1), line("a", "1.1.0", 2), line("a", "1.2.0", 3)];
    let (words, _) = run(wanted, vec![file("a", &lines)], HeldInMemory::default());
    assert_eq!(
        words,
        [
            "fail a 1.1.0 checksum-conflict",
            "yanked before a 1.0.0",
            "fetch a 1.0.0 of 0",
            "fail a 3.0.0 not-in-index"
        ]
    );
}

#[test]
fn a_list_names_releases_and_may_demand_checksums() {
    let url = |version: &str| Url::parse(&format!("http://h/a/a-{version}.crate")).expect("url");
    let entries = || {
        let entries = ["1.0.0", "1.1.0"].map(|version| (id("a", version), url(version)));
        vec![Item::Listed { name: name("a"), entries: entries.into() }]
    };
    let part = || Wanted { scope: Scope::Part, ..wanted() };
    let view = || HeldInMemory::default().with(&id("a", "1.0.0"), held(1));
    assert_eq!(run(part(), entries(), view()).0, ["existing a 1.0.0 101", "fetch a 1.1.0 of 101"]);
    let sums = [(url("1.0.0").to_string(), sum(2))].into();
    let checked = Wanted { checksums: Some(sums), ..part() };
    assert_eq!(run(checked, entries(), view()).0, ["refetch a 1.0.0", "fail a 1.1.0 no-checksum"]);
}

#[test]
fn the_limit_ends_a_plan_and_so_does_its_consumer() {
    let lines = [line("a", "1.0.0", 1), line("a", "1.1.0", 2), line("a", "1.2.0", 3)];
    let limited = Wanted { limit: 2, scope: Scope::Part, named: vec![name("other")], ..wanted() };
    let (words, planned) = run(limited, vec![file("a", &lines)], HeldInMemory::default());
    assert_eq!(words, ["fetch a 1.0.0 of 0", "fetch a 1.1.0 of 0"]);
    assert!(!planned.complete);
    let mut taken = 0;
    let view = &mut HeldInMemory::default().with(&id("gone", "1.0.0"), held(1));
    let planned = plan(wanted(), &mut Items(vec![file("a", &lines)]), view, &mut |_| {
        taken += 1;
        if taken == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(!planned.expect("planned").complete);
    assert_eq!(taken, 2, "nothing is decided behind a break, not even what is gone");
}

#[test]
fn what_did_not_change_is_carried_on() {
    let totals = Totals { selected: 7, yanked_skipped: 1, deferred: 2 };
    let wanted = Wanted { scope: Scope::Changes, ..wanted() };
    let view = HeldInMemory::default().with(&id("a", "1.0.0"), held(1));
    let (words, planned) = run(wanted, vec![Item::Unchanged(totals)], view);
    assert_eq!(words, ["unchanged 7"]);
    assert!(planned.complete);
}

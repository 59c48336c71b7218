//! Held releases that are offered, or not, when upstream or the policy changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_fetch::FetchObserver;
use mirror_repo::{Listing, Mirror};
use mirror_sync::{SyncEvent, SyncObserver, download};
use mirror_types::index_path;
use tokio_util::sync::CancellationToken;

use crate::deferral::{World, id, policy};

impl World {
    /// Runs at an hour under a policy.
    fn night(&self, at: u64, text: &str) {
        let mut options = self.options(at);
        options.policy = policy(text);
        options.accept_mass_removal = false;
        options.include_yanked = true;
        self.run(options, 0);
    }

    /// Returns the versions of a crate that are listed, after checking that the same are served.
    fn offered(&self, name: &str) -> Vec<String> {
        Self::offered_in(&self.path("out"), name)
    }

    fn offered_in(out: &Path, name: &str) -> Vec<String> {
        let mirror = Mirror::open(out, None).expect("open");
        let listing = mirror.listing_at(&index_path(&name.parse().expect("name"))).expect("listing");
        let ids: Vec<_> = listing.iter().flat_map(Listing::releases).collect();
        assert!(ids.iter().all(|id| mirror.held(id).expect("held").is_some()));
        ids.into_iter().map(|id| id.version.to_string()).collect()
    }
}

fn with_two() -> World {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.publish("a", "1.1.0", 0);
    world.publish("b", "1.0.0", 0);
    world.offer();
    world
}

#[test]
fn a_deleted_release_takes_no_place_among_the_newest() {
    let mut world = with_two();
    world.night(1, "");
    world.night(2, "newest = 1");
    assert_eq!(world.offered("a"), ["1.1.0"]);
    world.delete("a", "1.1.0");
    world.offer();
    world.night(3, "newest = 1");
    assert_eq!(world.offered("a"), ["1.0.0"]);
}

/// The line of the other release comes with those that lack the deleted one.
#[test]
fn a_release_that_is_yanked_while_another_is_deleted_is_judged() {
    let mut world = with_two();
    world.night(1, "yanked = \"deny\"");
    assert_eq!(world.offered("a"), ["1.0.0", "1.1.0"]);
    world.delete("a", "1.1.0");
    world.registry.crates.get_mut("a").expect("a crate")[0].yanked = true;
    world.offer();
    world.night(2, "yanked = \"deny\"");
    assert!(world.offered("a").is_empty());
}

#[test]
fn a_release_that_comes_back_is_judged() {
    let mut world = with_two();
    world.night(1, "");
    let before = world.registry.clone();
    world.delete("b", "1.0.0");
    world.offer();
    world.night(2, "");
    assert!(world.offered("b").is_empty());
    world.night(3, "deny = [\"b\"]");
    world.registry = before;
    world.offer();
    world.night(4, "deny = [\"b\"]");
    assert!(world.offered("b").is_empty());
    world.night(5, "");
    assert_eq!(world.offered("b"), ["1.0.0"]);
}

#[test]
fn new_bytes_without_a_date_are_not_fetched() {
    let mut world = with_two();
    let rule = "min-publish-age = \"24 hours\"";
    world.night(30, rule);
    world.registry.republish("b", "1.0.0", b"other bytes");
    world.registry.crates.get_mut("b").expect("a crate")[0].pubtime = None;
    world.offer();
    for at in [31, 80] {
        world.night(at, rule);
        assert!(world.offered("b").is_empty());
        let file = mirror_types::Layout::Shard.path(&id("b", "1.0.0"));
        let bytes = std::fs::read(world.path("out").join(file)).expect("read");
        assert_ne!(bytes, b"other bytes");
    }
}

/// Replaced bytes count from the moment at which a run saw them, whatever the policy was at that time.
#[test]
fn new_bytes_stay_young_when_the_policy_changes() {
    for first in ["", "min-publish-age = \"24 hours\""] {
        let mut world = with_two();
        world.night(30, first);
        world.registry.republish("b", "1.0.0", b"other bytes");
        world.offer();
        world.night(31, first);
        world.night(60, first);
        assert_eq!(world.offered("b"), ["1.0.0"], "after {first:?}");
        let longer = "min-publish-age = \"48 hours\"";
        for (at, offered) in [(61, 0), (78, 0), (79, 1)] {
            world.night(at, longer);
            assert_eq!(world.offered("b").len(), offered, "after {first:?}, at {at}");
        }
    }
}

/// The bytes before are not listed any more, so that they displace nothing.
#[test]
fn new_bytes_that_wait_take_no_place_among_the_newest() {
    let mut world = with_two();
    let rules = "newest = 1\nmin-publish-age = \"24 hours\"";
    world.night(29, "");
    world.night(30, rules);
    assert_eq!(world.offered("a"), ["1.1.0"]);
    world.registry.republish("a", "1.1.0", b"other bytes");
    world.offer();
    for (at, offered) in [(31, "1.0.0"), (54, "1.0.0"), (55, "1.1.0")] {
        world.night(at, rules);
        assert_eq!(world.offered("a"), [offered], "at {at}");
    }
}

#[test]
fn a_release_that_is_too_large_makes_room_in_the_next_run() {
    let mut world = with_two();
    world.registry.republish("a", "1.1.0", &[b'.'; 500]);
    world.offer();
    let rules = "newest = 1\nmax-crate-size = \"100 B\"";
    world.night(1, rules);
    assert!(world.offered("a").is_empty());
    world.night(2, rules);
    assert_eq!(world.offered("a"), ["1.0.0"]);
}

/// Copies the mirror when the first release is committed: a run that is killed then leaves this.
struct Copier {
    from: PathBuf,
    to: PathBuf,
}

impl FetchObserver for Copier {}

impl SyncObserver for Copier {
    fn event(&self, event: SyncEvent<'_>) {
        if matches!(event, SyncEvent::Downloaded { .. }) && !self.to.exists() {
            copy(&self.from, &self.to);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").map(|entry| entry.expect("an entry")) {
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("a copy");
        }
    }
}

#[test]
fn a_run_that_is_killed_before_it_judges_skips_nothing() {
    let world = with_two();
    let options = |at, out: &str| {
        let mut options = world.options(at);
        options.policy = policy("max-crate-size = \"1 MB\"");
        options.out = world.path(out);
        options
    };
    let copier = Copier { from: world.path("out"), to: world.path("killed") };
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let run = download(options(1, "out"), Arc::new(copier), CancellationToken::new());
    runtime.block_on(run).expect("run");
    let killed = world.path("killed");
    assert!(World::offered_in(&killed, "a").is_empty(), "nothing is judged yet");
    world.run(options(2, "killed"), 0);
    for name in ["a", "b"] {
        assert_eq!(World::offered_in(&killed, name), world.offered(name));
        assert!(!world.offered(name).is_empty());
    }
}

//! Incremental runs under a list of allowed crates: what it keeps out is listed by crate, and no date changes it.

use mirror_manifest::{Catalogue, DeferredGroup};
use mirror_sync::DownloadOptions;

use crate::deferral::{World, policy};

/// Makes a registry of `wanted` and six other crates, each with two versions, one of them published at hour 30.
fn world() -> World {
    let mut world = World::new();
    for name in ["wanted", "a", "b", "C", "d", "e", "f"] {
        world.publish(name, "1.0.0", 0);
        world.publish(name, "1.1.0", 30);
    }
    world.offer();
    world
}

/// Returns the options of a run at hour `at`, which allows `wanted` and what is a day old.
fn allowing(world: &World, at: u64) -> DownloadOptions {
    let mut options = world.options(at);
    options.policy = policy("allow = [\"wanted\"]\nmin-publish-age = \"24 hours\"");
    options
}

fn groups_of(world: &World, name: &str) -> Vec<DeferredGroup> {
    let path = world.path("out").join(".mirror/catalogue.sqlite");
    let catalogue = Catalogue::open_read_only(&path).expect("open").expect("a catalogue");
    catalogue.deferred_groups_of(&name.parse().expect("name")).expect("groups")
}

fn versions(world: &World, name: &str) -> Vec<String> {
    groups_of(world, name).iter().flat_map(|group| &group.versions).map(ToString::to_string).collect()
}

#[test]
fn what_is_not_allowed_is_counted_each_night_and_has_no_date() {
    let mut world = world();
    let first = world.run(allowing(&world, 48), 0);
    assert_eq!(first.counts(), (1, 0, 13));
    assert_eq!(versions(&world, "a"), ["1.0.0", "1.1.0"]);
    assert_eq!(groups_of(&world, "C").len(), 1, "one row for the crate");
    assert_eq!(world.deferred().into_keys().map(|id| id.to_string()).collect::<Vec<_>>(), ["wanted 1.1.0"]);

    let quiet = world.run(allowing(&world, 49), 0);
    assert_eq!(quiet.counts(), (0, 1, 13));
    assert!(quiet.looked_at_nothing());

    // The clock alone makes the allowed release due, and no other.
    let due = world.run(allowing(&world, 54), 0);
    assert_eq!(due.counts(), (1, 1, 12));
    assert!(world.run(allowing(&world, 55), 0).looked_at_nothing());

    // A night with news: a crate grows, another loses a version, a third disappears.
    world.publish("a", "1.2.0", 0);
    world.delete("b", "1.1.0");
    world.delete("C", "1.0.0");
    world.delete("C", "1.1.0");
    world.offer();
    let news = world.run(allowing(&world, 56), 0);
    assert_eq!(news.counts(), (0, 2, 10));
    let left = ["a", "b", "C"].map(|name| versions(&world, name));
    assert_eq!(left, [vec!["1.0.0", "1.1.0", "1.2.0"], vec!["1.0.0"], vec![]]);
    let quiet = world.run(allowing(&world, 57), 0);
    assert_eq!(quiet.counts(), (0, 2, 10));
    assert!(quiet.looked_at_nothing());
}

#[test]
fn another_policy_fetches_what_the_list_kept_out() {
    let world = world();
    assert_eq!(world.run(allowing(&world, 60), 0).counts(), (2, 0, 12));
    let mut more = allowing(&world, 60);
    more.policy = policy("allow = [\"wanted\", \"[a-c]\"]");
    assert_eq!(world.run(more, 0).counts(), (6, 2, 6));
    assert_eq!(["a", "b", "d"].map(|name| versions(&world, name).len()), [0, 0, 2]);
    let mut everything = allowing(&world, 60);
    everything.policy = None;
    assert_eq!(world.run(everything, 0).counts(), (6, 8, 0));
    assert_eq!(versions(&world, "d"), [""; 0]);
}

/// A run that is stopped before it fetched what became allowed leaves no cursor, so the next run fetches the rest.
#[test]
fn a_stopped_run_skips_nothing_that_left_the_list() {
    let world = world();
    assert_eq!(world.run(allowing(&world, 60), 0).counts(), (2, 0, 12));
    let everything = || {
        let mut options = allowing(&world, 60);
        options.policy = policy("deny = [\"f\"]");
        options
    };
    let stopped = world.run(everything(), 1);
    assert!(stopped.outcome.interrupted || stopped.outcome.downloaded == 10, "{:?}", stopped.outcome);
    world.run(everything(), 0);
    let quiet = world.run(everything(), 0);
    assert_eq!(quiet.counts(), (0, 12, 2));
    assert!(quiet.looked_at_nothing());
}

#[test]
fn each_machine_counts_what_the_list_keeps_out_of_its_part() {
    let world = world();
    let part = |shard: &str| {
        let mut options = allowing(&world, 60);
        options.shard = shard.parse().expect("shard");
        world.run(options, 0)
    };
    let first = part("1/2").counts();
    let second = part("2/2").counts();
    assert_eq!((first.0 + second.0, first.2 + second.2), (2, 12));
    assert!(first.2 > 0 && second.2 > 0);
    let again = part("2/2");
    assert_eq!(again.counts(), (0, second.0, second.2));
    assert!(again.looked_at_nothing());
}

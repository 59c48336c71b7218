//! Snapshots and the clock.

use std::time::{Duration, SystemTime};

use mirror_repo::SnapshotDir;
use mirror_snapshot::{Held, Snapshot, accept};
use mirror_sync::NameSet;

use crate::deferral::World;

const DAY: u64 = 24;

impl World {
    /// Runs at an hour, and returns the newest snapshot.
    fn snapshot_at(&self, hour: u64) -> Snapshot {
        self.run(self.options(hour), 0);
        SnapshotDir::of(&self.path("out")).newest().expect("read").expect("there is one")
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Returns a document without what may differ between equal states.
fn without_times(snapshot: &Snapshot) -> String {
    let text = std::str::from_utf8(snapshot.as_bytes()).expect("UTF-8");
    let differs = |line: &&str| {
        !["\"serial\"", "\"created\"", "\"expires\"", "\"previous\""].iter().any(|field| line.contains(field))
    };
    text.lines().filter(differs).collect::<Vec<_>>().join("\n")
}

#[test]
fn when_nothing_changes_the_next_comes_half_way_to_the_expiry_and_says_the_same() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.offer();
    let first = world.snapshot_at(DAY);
    assert_eq!(seconds(first.contents().expires), (1 + 90) * 86_400);
    assert_eq!(world.snapshot_at(45 * DAY).serial(), 1);
    let second = world.snapshot_at(46 * DAY);
    assert_eq!((second.serial(), second.contents().previous), (2, Some(first.digest())));
    assert_eq!(without_times(&first), without_times(&second));
    assert_ne!(first.digest(), second.digest());
}

/// A snapshot that was taken before the one before would be refused.
#[test]
fn a_clock_that_was_put_back_makes_no_snapshot_that_is_refused() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.offer();
    let first = world.snapshot_at(10 * DAY);
    world.publish("a", "1.1.0", 0);
    world.offer();
    let second = world.snapshot_at(10 * DAY - 12);
    assert_eq!((second.serial(), second.contents().created), (2, first.contents().created));
    let now = first.contents().created + Duration::from_secs(60);
    accept(Some(&Held::from(&first)), &second, now).expect("it may follow");
}

/// Everybody refuses a snapshot from the future, so that nobody holds it: the next one does not follow its time.
#[test]
fn a_clock_that_was_far_ahead_is_left_behind() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.offer();
    world.snapshot_at(3_650 * DAY);
    let second = world.snapshot_at(2 * DAY);
    assert_eq!((second.serial(), seconds(second.contents().created)), (2, 2 * 86_400));
    accept(None, &second, second.contents().created).expect("it is accepted");
    assert_eq!(world.snapshot_at(3 * DAY).serial(), 2);
}

/// A run of a part says nothing of the rest of the index.
#[test]
fn only_a_run_of_the_whole_index_states_it() {
    let mut world = World::new();
    world.publish("a", "1.0.0", 0);
    world.publish("b", "1.0.0", 0);
    world.offer();
    let whole = world.snapshot_at(2 * DAY);
    assert!(whole.contents().index.commit.is_some() && whole.contents().index.tree.is_some());
    // The index moves on, and nothing that is mirrored changes.
    world.publish("c", "1.0.0", 0);
    world.offer();
    let part = |world: &World, hour: u64| {
        let mut options = world.options(hour);
        options.include = NameSet::parse(&["a".to_owned()]).expect("names");
        world.run(options, 0);
        SnapshotDir::of(&world.path("out")).newest().expect("read").expect("there is one")
    };
    assert_eq!(part(&world, 3 * DAY).serial(), 1);
    world.publish("a", "1.1.0", 0);
    world.offer();
    let second = part(&world, 4 * DAY);
    assert_eq!((second.serial(), second.contents().index.commit.is_some()), (2, false));
    let third = world.snapshot_at(5 * DAY);
    assert_eq!((third.serial(), third.contents().counts.releases), (3, 4));
    assert!(third.contents().index.commit.is_some());
}

//! Crates that are named with versions.

use std::sync::Arc;

use mirror_repo::{MirrorWriter, OpenOptions};
use mirror_sync::{
    CancellationToken, ClosureOptions, DownloadOptions, ExitStatus, NameSet, SyncError, Upstream, download,
};
use mirror_types::ReleaseId;

use crate::{World, run};

fn named(options: &mut DownloadOptions, texts: &[String]) {
    options.include = NameSet::parse_with_versions(texts).expect("names");
}

fn one_release(world: &World) -> ReleaseId {
    world.registry.releases().next().expect("a release").id.clone()
}

#[test]
fn a_version_that_is_not_there_counts_as_failed_in_every_run_with_and_without_its_dependencies() {
    for closure in [None, Some(ClosureOptions::default())] {
        let world = World::new(40);
        let id = one_release(&world);
        let texts = [format!("{}@{}", id.name, id.version), format!("{}@=99.0.0", id.name)];
        for round in ["the first run", "the second run", "the third run"] {
            let (outcome, _) = run(world.options_with(|options| {
                named(options, &texts);
                options.closure.clone_from(&closure);
            }));
            let what = format!("{round}, closure: {}", closure.is_some());
            assert_eq!((outcome.failed, outcome.unsatisfied), (1, 0), "{what}");
            assert_eq!(outcome.exit_status(), ExitStatus::Records, "{what}");
            assert!(outcome.first_failures[0].why.contains("satisfies =99.0.0"), "{what}");
            let mut options = OpenOptions::default();
            options.root = world.path("out");
            let mirror = MirrorWriter::open(&options).expect("mirror").0;
            let failures = mirror.catalogue().unfetched().expect("ledger");
            assert_eq!(failures.len(), 1, "{what}: {failures:?}");
            assert_eq!(failures[0].name, id.name, "{what}");
        }
    }
}

#[test]
fn versions_of_crates_contradict_a_lockfile_and_a_list() {
    let world = World::new(10);
    let id = one_release(&world);
    let texts = [format!("{}@{}", id.name, id.version)];
    let refused = |change: &dyn Fn(&mut DownloadOptions)| {
        let options = world.options_with(|options| {
            named(options, &texts);
            change(options);
        });
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let error = runtime.block_on(download(options, Arc::new(()), CancellationToken::new()));
        matches!(error, Err(SyncError::Usage(why)) if why.contains("without versions"))
    };
    std::fs::write(world.path("Cargo.lock"), "version = 4\n").expect("write");
    std::fs::write(world.path("list"), "").expect("write");
    assert!(refused(&|options| options.cargo_locks = vec![world.path("Cargo.lock")]));
    assert!(refused(&|options| options.upstream = Upstream::List(world.path("list"))));
    assert!(!world.path("out").exists(), "it is refused before anything is made");
    assert!(!refused(&|_| {}));
}

//! Runs the example program for embedders.

use mirror_sync::{CancellationToken, DownloadOptions, ExitStatus, NameSet, Outcome};
use mirror_testkit::Fault;

use crate::World;

#[path = "../../examples/embed_sync.rs"]
#[expect(dead_code, reason = "its main is not called")]
mod embed_sync;

/// Runs to the end; returns the outcome and all displayed lines.
fn sync(options: DownloadOptions) -> (Outcome, Vec<String>) {
    let mut lines = Vec::new();
    let mut show = |line| lines.push(line);
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let outcome =
        runtime.block_on(embed_sync::sync(options, CancellationToken::new(), &mut show)).expect("run");
    (outcome, lines)
}

#[test]
fn a_sync_in_another_tool_shows_what_it_does() {
    let world = World::new(50);
    let all = world.registry.len() as u64;
    let (outcome, lines) = sync(world.options());
    assert_eq!((outcome.exit_status(), outcome.downloaded), (ExitStatus::Complete, all));
    let last = lines.last().expect("a line");
    let received = last.strip_prefix(&format!("{all} of {all} releases, 0 failed, ")).expect(last);
    // A request may be sent a second time when it takes long.
    let kib: u64 = received.strip_suffix(" KiB received").expect(last).parse().expect(last);
    assert!(kib >= world.total_bytes() >> 10, "{last}");
    // Held releases count as well.
    let (_, lines) = sync(world.options());
    assert_eq!(lines.last(), Some(&format!("{all} of {all} releases, 0 failed, 0 KiB received")));
}

#[test]
fn what_a_sync_in_another_tool_cannot_have_is_shown() {
    let world = World::new(50);
    let gone = world.registry.releases().next().expect("one");
    let name = gone.id.name.as_str();
    let wanted = world.registry.crates[name].len();
    let path = gone.url_path();
    world.origin.script(move |ask| if ask.path.ends_with(&path) { Fault::Status(404) } else { Fault::None });
    let include = NameSet::parse(&[name.to_owned()]).expect("a name");
    let (outcome, lines) = sync(world.options_with(|options| options.include = include));
    assert_eq!(outcome.exit_status(), ExitStatus::Records);
    assert!(outcome.first_failures[0].what.contains(&gone.id.to_string()), "{:?}", outcome.first_failures);
    let last = lines.last().expect("a line");
    assert!(last.starts_with(&format!("{} of {wanted} releases, 1 failed, ", wanted - 1)), "{last}");
}

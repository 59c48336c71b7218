//! Failing networks, hanging servers, and two updates at a time.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use mirror_git::{
    QuietObserver, UpdateError, UpdateEvent, UpdateObserver, UpdatePhase, UpdateStatus, update_index,
};
use mirror_testkit::{GitDaemon, GitFault, GitHttp};
use mirror_types::{FaultKind, chain};

use crate::fixture::{Upstream, assert_at, assert_sound, options, update};

/// Stops the update when `when` returns true.
struct Stopper<F: Fn(&UpdateStatus) -> bool> {
    when: F,
    stopped: AtomicBool,
    retries: AtomicU64,
    notices: RefCell<Vec<String>>,
}

impl<F: Fn(&UpdateStatus) -> bool> Stopper<F> {
    fn new(when: F) -> Self {
        Self {
            when,
            stopped: AtomicBool::new(false),
            retries: AtomicU64::new(0),
            notices: RefCell::default(),
        }
    }
}

impl<F: Fn(&UpdateStatus) -> bool> UpdateObserver for Stopper<F> {
    fn stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }
    fn status(&self, status: &UpdateStatus) {
        if (self.when)(status) {
            self.stopped.store(true, SeqCst);
        }
    }
    fn event(&self, event: UpdateEvent) {
        match event {
            UpdateEvent::Retrying { .. } => drop(self.retries.fetch_add(1, SeqCst)),
            UpdateEvent::Notice(text) => self.notices.borrow_mut().push(text),
            _ => {}
        }
    }
}

/// Ends the connection after each number of bytes, in every part of the conversation.
#[test]
fn a_connection_that_is_cut_changes_nothing_and_is_tried_again() {
    let mut upstream = Upstream::new(300);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    let sent = daemon.sent();
    update(&dir, &options).unwrap();
    let whole = daemon.sent() - sent;
    std::fs::remove_dir_all(&dir).unwrap();
    for part in 0..12 {
        let at = whole * part / 12;
        daemon.misbehave(GitFault::Cut(at), 1);
        let cut = update(&dir, &options).unwrap_err();
        assert_eq!(cut.kind(), FaultKind::Origin, "at {at}: {cut}");
        assert!(!dir.exists(), "at {at}");
        assert_eq!(std::fs::read_dir(upstream.dir.path()).unwrap().count(), 1, "only the remote is there");
    }
    daemon.misbehave(GitFault::Cut(whole / 2), 2);
    let observer = Stopper::new(|_| false);
    let mut again = options.clone();
    again.retries = 3;
    update_index(&dir, &again, &observer).unwrap();
    assert_eq!(observer.retries.load(SeqCst), 2);
    assert_at(&dir, &upstream.tip());

    let old = upstream.tip();
    let new = upstream.publish();
    for at in [0, 10, 300, 700, 900] {
        daemon.misbehave(GitFault::Cut(at), 1);
        if update(&dir, &options).is_err() {
            assert_at(&dir, &old);
        }
    }
    update(&dir, &options).unwrap();
    assert_at(&dir, &new);
}

#[test]
fn a_silent_server_is_given_up() {
    let mut upstream = Upstream::new(300);
    let daemon = GitDaemon::start(upstream.dir.path());
    let patient = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    for at in [0, 100, 2_000] {
        daemon.misbehave(GitFault::Stall(at), 1);
        let mut options = patient.clone();
        options.idle_timeout = Duration::from_millis(300);
        let silent = update(&dir, &options).unwrap_err();
        assert_eq!(silent.kind(), FaultKind::Origin);
        assert!(chain(&silent).contains("nothing came for 300ms"), "{silent:?}");
        assert!(!dir.exists());
    }
    update(&dir, &patient).unwrap();
    let old = upstream.tip();
    let new = upstream.publish();
    daemon.misbehave(GitFault::Stall(600), 1);
    let mut options = patient.clone();
    options.idle_timeout = Duration::from_millis(300);
    update(&dir, &options).unwrap_err();
    assert_at(&dir, &old);
    update(&dir, &patient).unwrap();
    assert_at(&dir, &new);
}

#[test]
fn a_wish_to_stop_is_honoured_at_once() {
    // Half of it is more than the 64 KiB that git sends in one piece.
    let upstream = Upstream::new(2_500);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    update(&dir, &options).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(daemon.sent() > 200_000, "{}", daemon.sent());
    for (at, phase) in [(0, UpdatePhase::Connecting), (daemon.sent() / 2, UpdatePhase::Receiving)] {
        daemon.misbehave(GitFault::Stall(at), 1);
        let observer = Stopper::new(|status| status.phase == phase);
        let began = Instant::now();
        let stopped = update_index(&dir, &options, &observer).unwrap_err();
        assert!(matches!(stopped, UpdateError::Stopped), "{stopped}");
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(!dir.exists());
    }
}

/// Stops the update when the first attempt has failed.
#[derive(Default)]
struct StopAtRetry(AtomicBool);

impl UpdateObserver for StopAtRetry {
    fn stopped(&self) -> bool {
        self.0.load(SeqCst)
    }
    fn status(&self, _: &UpdateStatus) {}
    fn event(&self, event: UpdateEvent) {
        if let UpdateEvent::Retrying { why, wait } = event {
            assert!(wait > Duration::from_secs(1000) && !why.is_empty());
            self.0.store(true, SeqCst);
        }
    }
}

#[test]
fn a_wish_to_stop_is_honoured_between_attempts() {
    let upstream = Upstream::new(5);
    let daemon = GitDaemon::start(upstream.dir.path());
    daemon.misbehave(GitFault::Cut(0), 1);
    let hour = Duration::from_secs(3600);
    let url = daemon.url("remote/.git");
    let mut options = options(&url);
    options.retries = 3;
    options.retry_base = hour;
    options.retry_max = hour;
    let stopped = update_index(&upstream.path("clone"), &options, &StopAtRetry::default());
    assert!(matches!(stopped, Err(UpdateError::Stopped)), "{stopped:?}");
}

#[test]
fn http_errors_are_distinguished() {
    let upstream = Upstream::new(20);
    let server = GitHttp::start(upstream.dir.path(), false);
    let dir = upstream.path("clone");
    let mut options = options(&server.url("remote/.git"));
    options.retries = 2;
    server.refuse(503, 2);
    let observer = Stopper::new(|_| false);
    update_index(&dir, &options, &observer).unwrap();
    assert_eq!(observer.retries.load(SeqCst), 2);
    for status in [403, 404, 401] {
        server.refuse(status, 1);
        let before = server.requests();
        let refused = update_index(&dir, &options, &observer).unwrap_err();
        assert_eq!(refused.kind(), FaultKind::Origin);
        assert_eq!(server.requests(), before + 1, "{status} is not tried again");
        assert_at(&dir, &upstream.tip());
    }
}

#[test]
fn a_certificate_of_a_stranger_is_refused() {
    let upstream = Upstream::new(5);
    let server = GitHttp::start(upstream.dir.path(), true);
    let mut options = options(&server.url("remote/.git"));
    options.retries = 3;
    let observer = Stopper::new(|_| false);
    let refused = update_index(&upstream.path("clone"), &options, &observer).unwrap_err();
    assert_eq!(refused.kind(), FaultKind::Origin);
    assert!(chain(&refused).contains("certificate"), "{refused:?}");
    assert_eq!(observer.retries.load(SeqCst), 0, "it would be refused again");
}

#[test]
fn the_second_of_two_updates_is_refused() {
    let mut upstream = Upstream::new(200);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    for round in 0..2 {
        daemon.misbehave(GitFault::Stall(if round == 0 { 2_000 } else { 50 }), 1);
        let release = Stopper::new(|_| false);
        let begun = daemon.connections();
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| update_index(&dir, &options, &AtomicObserver(&release.stopped)));
            while daemon.connections() == begun {
                std::thread::yield_now();
            }
            let second = update(&dir, &options);
            release.stopped.store(true, SeqCst);
            (first.join().unwrap(), second)
        });
        assert!(matches!(first, Err(UpdateError::Stopped)));
        let second = second.unwrap_err();
        assert_eq!(second.kind(), FaultKind::Locked);
        assert!(second.to_string().contains("process"), "{second}");
        update(&dir, &options).unwrap();
        assert_at(&dir, &upstream.tip());
        upstream.publish();
    }
}

struct AtomicObserver<'a>(&'a AtomicBool);

impl UpdateObserver for AtomicObserver<'_> {
    fn stopped(&self) -> bool {
        self.0.load(SeqCst)
    }
    fn status(&self, _: &UpdateStatus) {}
    fn event(&self, _: UpdateEvent) {}
}

#[test]
fn twenty_at_once_leave_one_whole_clone() {
    let upstream = Upstream::new(50);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    let done = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..20).map(|_| scope.spawn(|| update_index(&dir, &options, &QuietObserver))).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    for result in &done {
        assert!(matches!(result, Ok(_) | Err(UpdateError::Locked { .. })), "{result:?}");
    }
    assert!(done.iter().any(Result::is_ok));
    assert_at(&dir, &upstream.tip());
}

/// Checks that the leftovers of a killed run are removed.
#[test]
fn leftovers_are_removed() {
    let mut upstream = Upstream::new(20);
    let daemon = GitDaemon::start(upstream.dir.path());
    let options = options(&daemon.url("remote/.git"));
    let dir = upstream.path("clone");
    let beside = upstream.path(".clone.incoming");
    std::fs::create_dir_all(beside.join("repository/objects/pack")).unwrap();
    std::fs::write(beside.join("lock"), "4711").unwrap();
    std::fs::write(beside.join("repository/objects/pack/tmp_pack"), "half").unwrap();
    update(&dir, &options).unwrap();
    assert_sound(&dir);
    std::fs::create_dir_all(dir.join("mirror-incoming-0/objects/pack")).unwrap();
    std::fs::write(dir.join("mirror-incoming-0/objects/pack/pack-1.pack"), "half").unwrap();
    let tip = upstream.publish();
    update(&dir, &options).unwrap();
    assert_at(&dir, &tip);
}

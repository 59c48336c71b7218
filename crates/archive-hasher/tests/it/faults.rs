//! Entries that must not be archived, and runs that end early.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{BIN, World, run};

/// Waits for a condition.
#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn special_files_are_refused() {
    let world = World::small();
    run(Command::new("mkfifo").arg(world.path("t/d/pipe"))).expect(0);
    let ended = world.create(&[]).expect(2);
    assert!(ended.stderr.contains("d/pipe is a named pipe"), "{}", ended.stderr);
    assert_eq!(world.outputs(), Vec::<String>::new());
}

#[test]
fn outputs_inside_the_directory_are_refused() {
    let world = World::small();
    std::os::unix::fs::symlink("t/d", world.path("door")).unwrap();
    for out in ["t", "t/new/deep", "door", "t/../t"] {
        let ended = run(&mut world.command(&["--dir", "t", "--out-dir", out])).expect(2);
        assert!(ended.stderr.contains("is inside the directory to archive"), "{out}: {}", ended.stderr);
        assert!(
            ended.stderr.contains("\nhint: --out-dir names a directory outside of --dir"),
            "{out}: {}",
            ended.stderr
        );
    }
    assert!(!world.path("t/new").exists());
    run(&mut world.command(&["--dir", "t"])).expect(0);
    assert!(world.path("t.yaml").exists(), "beside the directory is the default");
}

#[test]
fn a_file_with_the_name_of_the_metadata_is_refused() {
    let world = World::small();
    world.write("t.toml", b"");
    let ended = world.create(&[]).expect(2);
    assert!(ended.stderr.contains("choose another --out-prefix"), "{}", ended.stderr);
    world.create(&["--no-tar"]).expect(0);
    world.create(&["--out-prefix", "other"]).expect(0);
    world.write("d/other.toml", b"");
    world.create(&["--out-prefix", "other"]).expect(0);
    run(&mut world.command(&["verify", "--inventory", "out/other.yaml", "--tar", "out/other.tar"])).expect(0);
}

#[test]
fn senseless_flags_are_refused() {
    let world = World::small();
    for arguments in [
        &[][..],
        &["--dir", "nowhere"],
        &["--dir", "t/a"],
        &["--dir", "/"],
        &["--dir", "t", "--out-prefix", "a/b"],
    ] {
        run(&mut world.command(arguments)).expect(2);
    }
    for prefix in ["", "..", ".", "a\nb"] {
        world.create(&["--out-prefix", prefix]).expect(2);
    }
    for key in ["nowhere", "t/a"] {
        world.create(&["--gpgkey", key]).expect(2);
    }
    assert_eq!(world.outputs(), Vec::<String>::new());
}

#[test]
fn a_second_writer_is_refused() {
    let world = World::small();
    world.create(&[]).expect(0);
    let before = std::fs::read(world.path("out/t.yaml")).unwrap();
    let lock = std::fs::File::create(world.path("out/.t.lock")).unwrap();
    lock.lock().unwrap();
    let ended = world.create(&[]).expect(7);
    assert!(ended.stderr.contains("another run holds"), "{}", ended.stderr);
    assert_eq!(std::fs::read(world.path("out/t.yaml")).unwrap(), before);
    world.create(&["--out-prefix", "u"]).expect(0);
    lock.unlock().unwrap();
    world.create(&[]).expect(0);
    assert!(!world.path("out/.t.lock").exists());
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let world = World::small();
    std::fs::create_dir(world.path("out")).unwrap();
    std::os::unix::fs::symlink("../t/a", world.path("out/.t.tar.partial")).unwrap();
    for name in [".t.yaml.partial", ".t.unsigned.partial", ".t.entries.partial", ".t.secret.asc.partial"] {
        std::fs::write(world.path("out").join(name), "half").unwrap();
    }
    world.create(&[]).expect(0);
    assert_eq!(std::fs::read(world.path("t/a")).unwrap(), b"first", "a link in the way is not followed");
    assert_eq!(world.outputs(), ["t.public.asc", "t.secret.asc", "t.tar", "t.yaml", "t.yaml.asc"]);
}

#[test]
fn a_refused_run_leaves_no_directory() {
    let world = World::small();
    run(Command::new("mkfifo").arg(world.path("t/pipe"))).expect(0);
    world.create(&[]).expect(2);
    world.create(&["--gpgkey", "t/a"]).expect(2);
    assert!(!world.path("out").exists());
}

/// Checks the operating system's counters for a run that hashes, packs and signs.
#[cfg(target_os = "linux")]
#[test]
fn each_file_is_read_once() {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    const SIZE: u64 = 20_000_000;
    let world = World::small();
    std::fs::File::create(world.path("t/large")).unwrap().set_len(SIZE).unwrap();
    let mut child = Command::new(BIN)
        .current_dir(world.0.path())
        .args(["--dir", "t", "--out-dir", "out"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let id = Pid::from_raw(child.id().cast_signed()).unwrap();
    // The kernel keeps the counters until the process is reaped.
    waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
    let figures = std::fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap();
    assert!(child.wait().unwrap().success());
    let read = figures.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap();
    let read: u64 = read.parse().unwrap();
    assert!((SIZE..SIZE + 1_000_000).contains(&read), "{read} bytes were read");
}

/// Adds a sparse file that keeps a run busy for long and takes no room on disk.
fn endless(world: &World) {
    std::fs::File::create(world.path("t/sparse")).unwrap().set_len(1 << 40).unwrap();
}

#[test]
fn a_signal_leaves_nothing_half_done() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let world = World::small();
        endless(&world);
        let mut child = Command::new(BIN)
            .current_dir(world.0.path())
            .args(["--dir", "t", "--out-dir", "out", "--progress-interval", "10ms"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let partial = world.path("out/.t.tar.partial");
        until("the tar to grow", || std::fs::metadata(&partial).is_ok_and(|tar| tar.len() > 1_000_000));
        let id = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert_eq!(world.outputs(), Vec::<String>::new());
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let world = World::small();
    // Large enough to be read for a while, small enough to end.
    std::fs::File::create(world.path("t/sparse")).unwrap().set_len(64 << 20).unwrap();
    let mut child = Command::new(BIN)
        .current_dir(world.0.path())
        .args(["--dir", "t", "--out-dir", "out", "--hash-workers", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let partial = world.path("out/.t.tar.partial");
    until("the file to be read", || std::fs::metadata(&partial).is_ok_and(|tar| tar.len() > 1_000_000));
    std::fs::File::options().append(true).open(world.path("t/sparse")).unwrap().set_len(65 << 20).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(4), "{said}");
    assert!(said.contains("sparse grew while it was being read"), "{said}");
    assert_eq!(world.outputs(), Vec::<String>::new());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::small();
    std::fs::set_permissions(world.path("t/a"), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::read(world.path("t/a")).is_ok() {
        eprintln!("skipped: this user reads everything");
        return;
    }
    let ended = world.create(&[]).expect(6);
    assert!(ended.stderr.contains("opening a: Permission denied"), "{}", ended.stderr);
    assert_eq!(world.outputs(), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_reported_as_full() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    // The run chooses the temporary name itself, so /dev/full cannot take its place: a limit on the size of files
    // stands in for a full disk.
    let world = World::small();
    world.write("large", &vec![1; 3_000_000]);
    let line = format!("ulimit -f 1000; trap '' XFSZ; exec {BIN} --dir t --out-dir out");
    let ended = run(Command::new("bash").current_dir(world.0.path()).args(["-c", &line])).expect(6);
    assert!(ended.stderr.contains("writing the tar at large: File too large"), "{}", ended.stderr);
    assert_eq!(world.outputs(), Vec::<String>::new());
}

#[test]
fn progress_and_logs_go_to_standard_error() {
    let world = World::small();
    std::fs::File::create(world.path("t/sparse")).unwrap().set_len(40 << 20).unwrap();
    let ended = world.create(&["--progress-interval", "10ms", "--log-format", "json", "--verbose"]).expect(0);
    assert!(ended.stderr.lines().all(|line| line.starts_with('{')), "{}", ended.stderr);
    assert!(ended.stderr.contains("of 6 files, "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"path\":\"d/e/c\""), "{}", ended.stderr);
    let quiet = world.create(&["--progress=false", "--log-level", "error"]).expect(0);
    assert_eq!(quiet.stderr, "");
}

#[test]
fn a_link_in_the_place_of_the_lock_or_of_a_temporary_file_is_not_followed() {
    for name in
        [".t.lock", ".t.yaml.partial", ".t.tar.partial", ".t.entries.partial", ".t.secret.asc.partial"]
    {
        for there in [true, false] {
            let world = World::small();
            std::fs::create_dir(world.path("out")).unwrap();
            if there {
                std::fs::write(world.path("victim"), "precious").unwrap();
            }
            std::os::unix::fs::symlink(world.path("victim"), world.path("out").join(name)).unwrap();
            let code = if name == ".t.lock" { 4 } else { 0 };
            let ended = world.create(&[]).expect(code);
            assert!(code == 0 || ended.stderr.contains(name), "{}", ended.stderr);
            assert_eq!(
                std::fs::read(world.path("victim")).ok(),
                there.then(|| b"precious".to_vec()),
                "{name}"
            );
        }
    }
}

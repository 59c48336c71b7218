use std::io;
use std::thread;
use std::time::Duration;

const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(50);

/// Repeats `open` for some ten seconds while this process, or the system, has no file descriptor left: connections are
/// closed meanwhile, and a run must not end for that. Blocks.
///
/// # Errors
/// The errors of `open`.
pub fn patient<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        match open() {
            Err(error) if cfg!(unix) && matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) => {
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
    open()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_a_lack_of_descriptors_is_waited_for() {
        for (errno, calls) in [(EMFILE, 2), (ENFILE, 2), (2, 1)] {
            let mut called = 0;
            let opened = patient(|| {
                called += 1;
                if called == 1 { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
            });
            assert_eq!((called, opened.is_ok()), (calls, calls == 2), "{errno}");
        }
    }
}

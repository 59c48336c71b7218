//! The way this process takes memory from the system.

/// Takes memory in pages of the usual size. The allocator asks for huge ones, and each thread touches some of its own: a
/// run that finds nothing new would hold 56 MiB instead of 24, and be no faster.
#[cfg(target_os = "linux")]
pub(crate) fn take_small_pages() {
    // A system that refuses costs memory and nothing else.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn take_small_pages() {}

//! Compresses members to frames on several threads.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use crate::partial::compressor;
use crate::record::BundleMember;
use crate::tar;
use crate::tar_frames;

/// A member with its data.
pub(crate) type Loaded = (BundleMember, Box<dyn AsRef<[u8]> + Send>);

/// A batch of members, to become consecutive frames.
pub(crate) struct Job {
    pub(crate) members: Vec<Loaded>,
    pub(crate) done: Sender<io::Result<Packed>>,
}

/// Consecutive frames.
pub(crate) struct Packed {
    pub(crate) data: Vec<u8>,
    /// The members, each with length and unpacked size of its frame.
    pub(crate) members: Vec<(BundleMember, u32, u32)>,
    /// Bytes of the members' data, to be returned to the budget.
    pub(crate) bytes: u64,
}

/// Takes jobs until there are no more.
pub(crate) fn pack_all(jobs: &Receiver<Job>, level: i32) {
    let mut compressor = compressor(level);
    let mut plain = Vec::new();
    for Job { members, done } in jobs {
        let packed = match &mut compressor {
            Ok(compressor) => pack(compressor, &mut plain, members),
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        // If the writer was dropped, no thread receives it.
        let _ = done.send(packed);
    }
}

fn pack(
    compressor: &mut zstd::bulk::Compressor<'static>,
    plain: &mut Vec<u8>,
    members: Vec<Loaded>,
) -> io::Result<Packed> {
    let mut packed = Packed { data: Vec::new(), members: Vec::with_capacity(members.len()), bytes: 0 };
    for (member, body) in members {
        let body = (*body).as_ref();
        plain.clear();
        tar::write_headers(plain, &member.bundle_member, body.len() as u64);
        plain.extend_from_slice(body);
        plain.resize(plain.len() + tar::padding(body.len() as u64), 0);
        let frame = tar_frames::append(compressor, plain, &mut packed.data)?;
        packed.bytes += body.len() as u64;
        packed.members.push((member, frame.len, frame.size));
    }
    Ok(packed)
}

/// A budget of bytes that may wait at the same time. A member larger than the whole budget goes alone.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug)]
struct State {
    most: u64,
    used: u64,
}

impl State {
    fn fits(&self, bytes: u64) -> bool {
        self.used == 0 || self.used.saturating_add(bytes) <= self.most
    }
}

impl Budget {
    pub(crate) fn new(most: u64) -> Self {
        Self { state: Mutex::new(State { most, used: 0 }), freed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `bytes` if that is possible at once, and returns whether it was.
    pub(crate) fn try_take(&self, bytes: u64) -> bool {
        let mut state = self.lock();
        let fits = state.fits(bytes);
        if fits {
            state.used = state.used.saturating_add(bytes);
        }
        fits
    }

    /// Waits until `bytes` can be taken.
    pub(crate) fn take(&self, bytes: u64) {
        let mut state = self.lock();
        while !state.fits(bytes) {
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.used = state.used.saturating_add(bytes);
    }

    pub(crate) fn give_back(&self, bytes: u64) {
        let mut state = self.lock();
        state.used = state.used.saturating_sub(bytes);
        drop(state);
        self.freed.notify_all();
    }

    /// Lifts the limit, so that no thread waits any more: nothing further is written, and new members are dropped.
    pub(crate) fn lift(&self) {
        self.lock().most = u64::MAX;
        self.freed.notify_all();
    }
}

//! Bounds what a remote may send beside its pack.
//!
//! gix collects capabilities, references, shallow commits and acknowledgements in memory for as long as the remote
//! sends them. Therefore every byte that arrives is counted below gix, in each transport; the count begins again
//! whenever objects of the pack are passed on.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

/// Most bytes of capabilities and references: some 200,000 references. gix takes about six times as much memory for
/// them. An index has a few dozen.
const MAX_LISTING_BYTES: u64 = 16 << 20;

/// Most bytes of answers before the pack, and of messages between two pieces of it. Answers take some kilobytes,
/// messages about a hundred bytes a second.
const MAX_TALK_BYTES: u64 = 1 << 20;

/// The bytes that a request over HTTP counts as, so that empty answers are bounded, too.
const REQUEST_COST_BYTES: u64 = 1 << 10;

/// The stage of the conversation with a remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// The remote lists its capabilities and references.
    Listing,
    /// The remote answers what is wanted and what is there.
    Negotiating,
    /// The remote sends a pack, with messages in between.
    Sending,
}

impl Stage {
    /// Returns how many bytes may arrive in this stage without an object, and what they would be.
    fn limit(self) -> (u64, &'static str) {
        match self {
            Self::Listing => (
                MAX_LISTING_BYTES,
                "of capabilities and references before any object; a crate index has a few dozen references",
            ),
            Self::Negotiating => (
                MAX_TALK_BYTES,
                "of shallow commits and acknowledgements before any object; an answer takes some kilobytes",
            ),
            Self::Sending => (MAX_TALK_BYTES, "of messages in a row and no object among them"),
        }
    }
}

/// The bytes that a remote may still send; shared by the readers of one connection.
#[derive(Clone, Default)]
pub(super) struct Allowance(Arc<Spent>);

#[derive(Default)]
struct Spent {
    /// Bytes since the last object, or since the stage began.
    bytes: AtomicU64,
    /// A [`Stage`].
    stage: AtomicU8,
}

impl Allowance {
    /// Enters a stage, which has its own allowance.
    pub(super) fn enter(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Relaxed);
        self.0.bytes.store(0, Relaxed);
    }

    fn stage(&self) -> Stage {
        match self.0.stage.load(Relaxed) {
            stage if stage == Stage::Listing as u8 => Stage::Listing,
            stage if stage == Stage::Negotiating as u8 => Stage::Negotiating,
            _ => Stage::Sending,
        }
    }

    /// Returns why the remote is cut off, in words for people; `None` while it is not.
    pub(super) fn exceeded(&self) -> Option<String> {
        let (limit_bytes, what) = self.stage().limit();
        let spent = self.0.bytes.load(Relaxed);
        (spent > limit_bytes).then(|| format!("it sent more than {} MiB {what}", limit_bytes >> 20))
    }

    /// Returns `inner`, counted.
    pub(super) fn counted<R>(&self, inner: R) -> Counted<R> {
        Counted { inner, allowance: self.clone() }
    }

    /// Returns a reader of the pack; each piece of it renews the allowance.
    pub(super) fn renewed_by<'p>(&self, pack: &'p mut dyn BufRead) -> Objects<'p> {
        Objects { pack, allowance: self.clone() }
    }

    /// Counts a request, whose answer may be empty.
    pub(super) fn request(&self) -> io::Result<()> {
        self.spend(REQUEST_COST_BYTES);
        self.check()
    }

    fn spend(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    fn check(&self) -> io::Result<()> {
        match self.exceeded() {
            Some(why) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            None => Ok(()),
        }
    }
}

/// A reader that counts what arrives from a remote.
pub(super) struct Counted<R> {
    inner: R,
    allowance: Allowance,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.allowance.check()?;
        let read = self.inner.read(buf)?;
        self.allowance.spend(read as u64);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.allowance.check()?;
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.allowance.spend(amount as u64);
        self.inner.consume(amount);
    }
}

/// The pack.
pub(super) struct Objects<'p> {
    pack: &'p mut dyn BufRead,
    allowance: Allowance,
}

impl Objects<'_> {
    fn renew(&self, handed_on: usize) {
        if handed_on > 0 {
            self.allowance.0.bytes.store(0, Relaxed);
        }
    }
}

impl Read for Objects<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.pack.read(buf)?;
        self.renew(read);
        Ok(read)
    }
}

impl BufRead for Objects<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.pack.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.pack.consume(amount);
        self.renew(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(reader: &mut impl Read) -> io::Result<u64> {
        io::copy(reader, &mut io::sink())
    }

    #[test]
    fn words_without_an_object_end_soon_after_the_bound_of_their_stage_and_stay_ended() {
        for (stage, whole, words) in [
            (Stage::Listing, MAX_LISTING_BYTES, "16 MiB of capabilities and references"),
            (Stage::Negotiating, MAX_TALK_BYTES, "1 MiB of shallow commits and acknowledgements"),
            (Stage::Sending, MAX_TALK_BYTES, "1 MiB of messages"),
        ] {
            let allowance = Allowance::default();
            drain(&mut allowance.counted(io::repeat(b'x').take(100))).expect("the stage before");
            allowance.enter(stage);
            assert_eq!(drain(&mut allowance.counted(io::repeat(b'x').take(whole))).ok(), Some(whole));
            assert_eq!(allowance.exceeded(), None);
            let refused = drain(&mut allowance.counted(io::repeat(b'x'))).expect_err("too much");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            assert!(refused.to_string().contains(words), "{refused}");
            assert!(allowance.0.bytes.load(Relaxed) < whole + (64 << 10));
            allowance.counted(io::empty()).read(&mut [0]).expect_err("another reader of it");
            allowance.counted(io::empty()).fill_buf().expect_err("another reader of it");
            allowance.request().expect_err("another request");
        }
    }

    #[test]
    fn a_pack_may_have_any_length() {
        let allowance = Allowance::default();
        allowance.enter(Stage::Sending);
        let length = 3 * MAX_TALK_BYTES;
        let counted = allowance.counted(io::repeat(b'x').take(length));
        let mut buffered = io::BufReader::new(counted);
        assert_eq!(drain(&mut allowance.renewed_by(&mut buffered)).ok(), Some(length));
        let counted = allowance.counted(io::repeat(b'x').take(length));
        let mut buffered = io::BufReader::new(counted);
        let mut objects = allowance.renewed_by(&mut buffered);
        let mut seen = 0;
        while let Some(n @ 1..) = objects.fill_buf().ok().map(<[u8]>::len) {
            objects.consume(n);
            seen += n as u64;
        }
        assert_eq!((seen, allowance.exceeded()), (length, None));
    }

    #[test]
    fn requests_without_an_answer_come_to_an_end() {
        let allowance = Allowance::default();
        allowance.enter(Stage::Negotiating);
        let granted = (0..1_000_000).take_while(|_| allowance.request().is_ok()).count() as u64;
        assert_eq!(granted, MAX_TALK_BYTES / REQUEST_COST_BYTES);
    }
}

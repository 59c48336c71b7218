//! Receives body bytes: counts and hashes them, and keeps them in memory or spools them.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderValue, LAST_MODIFIED};
use mirror_checksum::Hasher;
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::{Body, Whole};
use crate::failure::{FailureKind, Fault};
use crate::hash_batcher::HashBatcher;
use crate::shared::Core;
use crate::spool::Spool;

/// Bytes of one permit of the memory budget.
pub(crate) const PERMIT_BYTES: u64 = 1024;

/// Returns the permits for `bytes`.
pub(crate) fn permits_for(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(PERMIT_BYTES)).unwrap_or(u32::MAX)
}

enum Store {
    Memory(BytesMut),
    Spooled(Box<dyn Spool>),
}

/// Largest announced body that is hashed after it has arrived, together with others.
const TOGETHER_BYTES: u64 = 128 << 10;

/// The destination of the chunks of a body.
pub(crate) struct Sink {
    store: Store,
    /// `None` if the whole body is hashed at the end; it is in memory then.
    hasher: Option<Hasher>,
    size: u64,
    max_bytes: u64,
    hold: Option<OwnedSemaphorePermit>,
    /// The permit of a large body, kept while it waits to be continued.
    large: Option<OwnedSemaphorePermit>,
}

impl Sink {
    /// Makes the sink of one body. `hold` is the memory that was reserved before the request was sent; `length` is the
    /// length that the origin announced; more than `max_bytes` is refused.
    pub(crate) fn new(
        core: &Core,
        length: Option<u64>,
        max_bytes: u64,
        hold: OwnedSemaphorePermit,
    ) -> Result<Self, Fault> {
        let small = length.is_some_and(|length| length <= TOGETHER_BYTES);
        let mut sink = Self {
            store: Store::Memory(BytesMut::new()),
            hasher: (!small).then(Hasher::default),
            size: 0,
            max_bytes,
            hold: Some(hold),
            large: None,
        };
        let capacity = length.unwrap_or(0);
        if !sink.reserve(core, capacity) {
            sink.spill(core)?;
        } else if let Store::Memory(bytes) = &mut sink.store {
            bytes.reserve(usize::try_from(capacity).unwrap_or(0));
        }
        Ok(sink)
    }

    /// Grows the share of the memory budget to `total` bytes. Never waits: a request that waits for memory
    /// while it fills the connection's window would starve those that would free it.
    fn reserve(&mut self, core: &Core, total: u64) -> bool {
        if total > core.options.spool_above_bytes {
            return false;
        }
        let Some(hold) = &mut self.hold else { return false };
        let have = hold.num_permits();
        let need = permits_for(total) as usize;
        if need <= have {
            return true;
        }
        let Ok(more) = u32::try_from(need - have) else { return false };
        match core.budget.clone().try_acquire_many_owned(more) {
            Ok(more) => {
                hold.merge(more);
                true
            }
            Err(_) => false,
        }
    }

    /// Moves from memory to a spool.
    fn spill(&mut self, core: &Core) -> Result<(), Fault> {
        let mut spool = core.spools.create().map_err(|e| spool_fault(&e))?;
        if let Store::Memory(bytes) = &self.store {
            if !bytes.is_empty() {
                spool.write(bytes).map_err(|e| spool_fault(&e))?;
            }
            self.hasher.get_or_insert_with(|| {
                let mut hasher = Hasher::default();
                hasher.update(bytes);
                hasher
            });
            self.store = Store::Spooled(spool);
        }
        self.hold = None;
        Ok(())
    }

    /// Returns whether this many more bytes need the permit of a large body.
    pub(crate) fn becomes_large(&self, core: &Core, more_bytes: u64) -> bool {
        self.large.is_none() && self.size + more_bytes > core.options.large_above_bytes
    }

    pub(crate) fn allow_large(&mut self, permit: OwnedSemaphorePermit) {
        self.large = Some(permit);
    }

    pub(crate) fn push(&mut self, core: &Core, chunk: &[u8]) -> Result<(), Fault> {
        let size = self.size + chunk.len() as u64;
        if size > self.max_bytes {
            let cap = self.max_bytes;
            return Err(Fault::new(
                FailureKind::TooLarge,
                format_args!("the body is larger than {cap} bytes"),
            ));
        }
        if matches!(self.store, Store::Memory(_)) && !self.reserve(core, size) {
            self.spill(core)?;
        }
        match &mut self.store {
            Store::Memory(bytes) => bytes.extend_from_slice(chunk),
            Store::Spooled(spool) => spool.write(chunk).map_err(|e| spool_fault(&e))?,
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(chunk);
        }
        self.size = size;
        Ok(())
    }

    /// Discards everything, to begin again.
    pub(crate) fn restart(&mut self) -> Result<(), Fault> {
        match &mut self.store {
            Store::Memory(bytes) => bytes.clear(),
            Store::Spooled(spool) => spool.restart().map_err(|e| spool_fault(&e))?,
        }
        if let Some(hasher) = &mut self.hasher {
            *hasher = Hasher::default();
        }
        self.size = 0;
        Ok(())
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) const fn is_spooled(&self) -> bool {
        matches!(self.store, Store::Spooled(_))
    }

    /// Returns the body, its checksum and its share of the memory. Waits for the driver's `batcher`, if there is one.
    pub(crate) async fn finish(self, batcher: Option<&HashBatcher>) -> Result<Whole, Fault> {
        let (size, mut hold) = (self.size, self.hold);
        if let Some(hold) = &mut hold {
            // A reservation beyond the true size is returned now, not when the body is dropped.
            let needed = permits_for(size).max(1) as usize;
            drop(hold.split(hold.num_permits().saturating_sub(needed)));
        }
        let (body, sha256) = match (self.store, self.hasher) {
            (Store::Memory(bytes), Some(hasher)) => (Body::Memory(bytes.freeze()), hasher.finish()),
            (Store::Memory(bytes), None) => {
                let bytes = bytes.freeze();
                let (bytes, sum) = match batcher {
                    Some(batcher) => batcher
                        .hash(bytes)
                        .await
                        .ok_or_else(|| Fault::new(FailureKind::Cancelled, "the fetcher is closed"))?,
                    None => {
                        let sum = Hasher::of(&bytes);
                        (bytes, sum)
                    }
                };
                (Body::Memory(bytes), sum)
            }
            (Store::Spooled(spool), hasher) => (Body::Spooled(spool), hasher.unwrap_or_default().finish()),
        };
        Ok(Whole { body, sha256, size, hold })
    }
}

fn spool_fault(error: &std::io::Error) -> Fault {
    Fault::new(FailureKind::Spool, format_args!("spooling the body: {error}"))
}

/// An interrupted spooled body, and the validator that proves that the rest belongs to it.
pub(crate) struct Resume {
    pub(crate) sink: Sink,
    pub(crate) validator: HeaderValue,
    pub(crate) total: Option<u64>,
}

impl Resume {
    /// Keeps `sink` when it can be continued.
    pub(crate) fn of(sink: Sink, validator: Option<HeaderValue>, total: Option<u64>) -> Option<Self> {
        let validator = validator?;
        (sink.is_spooled() && sink.size() > 0).then_some(Self { sink, validator, total })
    }

    /// Returns whether a 206 continues exactly where the spool ends.
    pub(crate) fn continues(&self, headers: &HeaderMap) -> bool {
        let range = headers.get(CONTENT_RANGE).and_then(|v| v.to_str().ok()).and_then(parse_content_range);
        let Some((first, last, total)) = range else { return false };
        first == self.sink.size()
            && last.checked_add(1) == Some(total)
            && self.total.is_none_or(|known| known == total)
            && validator(headers).as_ref() == Some(&self.validator)
    }
}

/// Longest header value that is kept, and sent back to its origin.
const MAX_KEPT_VALUE_BYTES: usize = 1 << 10;

/// Returns copies of the headers that callers may need: the originals keep the whole head in memory, and the origin
/// decides how long that is.
pub(crate) fn kept(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in [ETAG, LAST_MODIFIED, CONTENT_LENGTH] {
        if let Some(value) = headers.get(&name).and_then(copy) {
            kept.insert(name, value);
        }
    }
    kept
}

fn copy(value: &HeaderValue) -> Option<HeaderValue> {
    let bytes = Some(value.as_bytes()).filter(|bytes| bytes.len() <= MAX_KEPT_VALUE_BYTES)?;
    HeaderValue::from_bytes(bytes).ok()
}

/// Returns the validator for `If-Range`: a strong `ETag`, else `Last-Modified`.
pub(crate) fn validator(headers: &HeaderMap) -> Option<HeaderValue> {
    match headers.get(ETAG) {
        Some(tag) if tag.as_bytes().starts_with(b"\"") => copy(tag),
        _ => headers.get(LAST_MODIFIED).and_then(copy),
    }
}

/// Parses `bytes first-last/total`.
fn parse_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn content_ranges_round_trip(first: u64, last: u64, total: u64) {
            let text = format!("bytes {first}-{last}/{total}");
            prop_assert_eq!(parse_content_range(&text), Some((first, last, total)));
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC*") {
            parse_content_range(&text);
        }
    }
}

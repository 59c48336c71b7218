//! A cache of prepared answers, limited in bytes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// The memory of an entry, beside its contents.
const ENTRY_BYTES: usize = 160;

/// Keeps recently used entries. It has two generations: when the young one has half of the bytes, it becomes the old
/// one, and the entries of the previous old one that were not used since are dropped.
pub(crate) struct Cache<K, V> {
    most_bytes: usize,
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, (Arc<V>, usize)>,
    old: HashMap<K, (Arc<V>, usize)>,
    young_bytes: usize,
}

impl<K: Hash + Eq + Clone, V> Cache<K, V> {
    pub(crate) fn new(most_bytes: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), young_bytes: 0 };
        Self { most_bytes, generations: Mutex::new(generations) }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((value, _)) = all.young.get(key) {
            return Some(Arc::clone(value));
        }
        let (key, (value, bytes)) = all.old.remove_entry(key)?;
        let found = Arc::clone(&value);
        self.put(&mut all, key, value, bytes);
        Some(found)
    }

    /// Keeps an entry of `bytes` bytes, unless it alone would be too large.
    pub(crate) fn insert(&self, key: K, value: Arc<V>, bytes: usize) {
        let bytes = bytes + ENTRY_BYTES;
        if bytes > self.most_bytes / 2 {
            return;
        }
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        all.old.remove(&key);
        self.put(&mut all, key, value, bytes);
    }

    fn put(&self, all: &mut Generations<K, V>, key: K, value: Arc<V>, bytes: usize) {
        if all.young_bytes + bytes > self.most_bytes / 2 {
            all.old = std::mem::take(&mut all.young);
            all.young_bytes = 0;
        }
        all.young_bytes += bytes;
        if let Some((_, replaced)) = all.young.insert(key, (value, bytes)) {
            all.young_bytes -= replaced;
        }
    }

    /// Removes an entry.
    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        let mut all = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, bytes)) = all.young.remove(key) {
            all.young_bytes -= bytes;
        }
        all.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_bytes_are_bounded() {
        let cache = Cache::new(100 * (ENTRY_BYTES + 100));
        for n in 0..1_000_u32 {
            cache.insert(n, Arc::new(n), 100);
            assert!(cache.get(&0).is_some(), "used all the time");
        }
        let kept = (0..1_000).filter(|n| cache.get(n).is_some()).count();
        assert!((25..=100).contains(&kept), "{kept}");
        let all = cache.generations.lock().expect("lock");
        assert!(all.young.len() + all.old.len() <= 100);
        let sum: usize = all.young.values().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, all.young_bytes);
        drop(all);
        cache.insert(5_000, Arc::new(1), 1 << 20);
        assert!(cache.get(&5_000).is_none(), "too large");
        cache.remove(&999);
        assert!(cache.get(&999).is_none());
    }
}

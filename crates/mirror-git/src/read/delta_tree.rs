//! Reads blobs out of packs by delta tree: a base is inflated once, and every object that is made from it is made while
//! the base is in memory. gix opens packs and their indexes, decodes entries and inflates.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gix::ObjectId;
use gix::odb::pack;
use gix::odb::pack::data::entry::Header;
use mirror_index::{Visit, oversize};

use super::delta::{self, Applied};
use super::{GitIndex, of_a_large_base, tree};
use crate::error::IndexError;

/// Most files of an index, many times as many as there are crates today.
const MAX_FILES: usize = 8_000_000;
/// Longest chain of deltas that a thread holds, in objects of the largest size.
const MAX_CHAIN_OBJECTS: usize = 3;
/// Largest buffer that is kept for reuse, bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;
/// Delta trees that a thread takes at once.
const TREES_AT_ONCE: usize = 64;
const NONE: u32 = u32::MAX;

/// The files of the index: paths one after another, and their blobs.
#[derive(Default)]
struct Files {
    paths: String,
    blobs: Vec<(Range<u32>, ObjectId)>,
}

impl Files {
    fn path(&self, at: usize) -> &str {
        let range = &self.blobs[at].0;
        &self.paths[range.start as usize..range.end as usize]
    }
}

/// A pack and its index.
struct Pack {
    index: pack::index::File,
    data: pack::data::File,
}

/// An object of a pack that is wanted, or that wanted ones are made from.
struct Node {
    offset: u64,
    /// The number of the file; [`NONE`] when the object is only a base.
    file: u32,
    /// The first object made from it: a list through `next`.
    child: u32,
    next: u32,
}

/// The delta trees of one pack that are to be read: nodes in no order, and the roots, which are stored whole, by
/// offset.
struct DeltaTrees<'a> {
    pack: &'a Pack,
    nodes: Vec<Node>,
    roots: Vec<u32>,
    /// The number of nodes that are files.
    wanted: usize,
}

pub(super) fn scan<'v>(
    index: &GitIndex,
    threads: usize,
    visitor: &(dyn Fn() -> Visit<'v> + Sync),
) -> Result<(), IndexError> {
    let mut files = Files::default();
    let _ = tree::walk(index, index.tree, &mut String::new(), &mut |path, id| {
        if files.blobs.len() == MAX_FILES {
            return Err(index.fail("list the files of", "it has more than an index can have"));
        }
        let start = files.paths.len();
        files.paths.push_str(path);
        let end = u32::try_from(files.paths.len()).map_err(|error| index.fail("list the files of", error))?;
        #[expect(clippy::cast_possible_truncation, reason = "not after the end, which fits")]
        files.blobs.push((start as u32..end, id));
        Ok(ControlFlow::Continue(()))
    })?;
    let packs = packs(index)?;
    let mut by_pack: Vec<Vec<(u64, u32)>> = packs.iter().map(|_| Vec::new()).collect();
    let mut elsewhere = Vec::new();
    for (at, (_, id)) in files.blobs.iter().enumerate() {
        let found = packs.iter().zip(&mut by_pack).find_map(|(pack, wanted)| {
            let entry = pack.index.lookup(id)?;
            Some((wanted, pack.index.pack_offset_at_index(entry)))
        });
        let file = u32::try_from(at).map_err(|error| index.fail("list the files of", error))?;
        match found {
            Some((wanted, offset)) => wanted.push((offset, file)),
            None => elsewhere.push(file),
        }
    }
    for (pack, wanted) in packs.iter().zip(by_pack) {
        let trees = DeltaTrees::of(pack, wanted, &mut elsewhere)
            .map_err(|reason| index.fail("read a pack of", reason))?;
        if read_all(index, &files, &trees, threads, visitor)?.is_break() {
            return Ok(());
        }
    }
    let mut visit = visitor();
    for file in elsewhere {
        let file = file as usize;
        if visit(files.path(file), &index.read_file(files.blobs[file].1)?).is_break() {
            break;
        }
    }
    Ok(())
}

/// Opens the packs of the repository and of those that it borrows from. Skips one that cannot be opened: gix reports
/// the reason if the pack is needed.
fn packs(index: &GitIndex) -> Result<Vec<Pack>, IndexError> {
    let store = index.repo.objects.store_ref();
    let mut stores = vec![store.path().to_owned()];
    stores.extend(store.alternate_db_paths().map_err(|error| index.fail("find the packs of", error))?);
    let mut packs = Vec::new();
    for path in
        stores.iter().filter_map(|store| std::fs::read_dir(store.join("pack")).ok()).flatten().flatten()
    {
        let path = path.path();
        if path.extension().is_some_and(|extension| extension == "idx")
            && let Some(pack) = open(&path, index.repo.object_hash())
        {
            packs.push(pack);
        }
    }
    Ok(packs)
}

fn open(path: &Path, hash: gix::hash::Kind) -> Option<Pack> {
    let index = pack::index::File::at(path, hash).ok()?;
    let data = pack::data::File::at(path.with_extension("pack"), hash).ok()?;
    Some(Pack { index, data })
}

impl<'a> DeltaTrees<'a> {
    /// Finds the objects that the wanted ones are made from. Of two equal files, one goes to `elsewhere`.
    fn of(pack: &'a Pack, wanted: Vec<(u64, u32)>, elsewhere: &mut Vec<u32>) -> Result<Self, String> {
        let mut nodes: Vec<Node> = Vec::with_capacity(wanted.len());
        let mut at_offset = std::collections::HashMap::with_capacity(wanted.len());
        let mut add = |nodes: &mut Vec<Node>, offset: u64| {
            *at_offset.entry(offset).or_insert_with(|| {
                nodes.push(Node { offset, file: NONE, child: NONE, next: NONE });
                nodes.len() - 1
            })
        };
        for (offset, file) in wanted {
            let at = add(&mut nodes, offset);
            if nodes[at].file == NONE {
                nodes[at].file = file;
            } else {
                elsewhere.push(file);
            }
        }
        let mut roots = Vec::new();
        let mut at = 0;
        // Bases are appended, and looked at in their turn.
        while at < nodes.len() {
            let offset = nodes[at].offset;
            let number = u32::try_from(at).map_err(|error| error.to_string())?;
            let entry = pack.data.entry(offset).map_err(|error| error.to_string())?;
            let base = match entry.header {
                Header::OfsDelta { base_distance } => {
                    let base = Header::verified_base_pack_offset(offset, base_distance);
                    Some(
                        base.ok_or_else(|| format!("the base of the object at {offset} is before the pack"))?,
                    )
                }
                Header::RefDelta { base_id } => match pack.index.lookup(base_id) {
                    Some(entry) => Some(pack.index.pack_offset_at_index(entry)),
                    None => return Err(format!("the base {base_id} is not in the pack")),
                },
                _ => None,
            };
            match base {
                None => roots.push(number),
                Some(base) => {
                    let parent = add(&mut nodes, base);
                    nodes[at].next = std::mem::replace(&mut nodes[parent].child, number);
                }
            }
            at += 1;
        }
        roots.sort_unstable_by_key(|root| nodes[*root as usize].offset);
        let wanted = nodes.iter().filter(|node| node.file != NONE).count();
        Ok(Self { pack, nodes, roots, wanted })
    }
}

/// Shares the delta trees of a pack among threads.
fn read_all<'v>(
    index: &GitIndex,
    files: &Files,
    trees: &DeltaTrees<'_>,
    threads: usize,
    visitor: &(dyn Fn() -> Visit<'v> + Sync),
) -> Result<ControlFlow<()>, IndexError> {
    let (next, given) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (stop, max_bytes) = (AtomicBool::new(false), index.max_bytes);
    let work = || -> Result<(), String> {
        let mut reader = Reader::new(files, trees, max_bytes);
        let mut visit = visitor();
        while !stop.load(Ordering::Relaxed) {
            let start = next.fetch_add(TREES_AT_ONCE, Ordering::Relaxed);
            let Some(roots) = trees.roots.get(start..) else { break };
            if roots.is_empty() {
                break;
            }
            for root in roots.iter().take(TREES_AT_ONCE) {
                if reader.visit_tree(*root, &mut visit)?.is_break() {
                    stop.store(true, Ordering::Relaxed);
                    break;
                }
            }
        }
        given.fetch_add(reader.given, Ordering::Relaxed);
        Ok(())
    };
    let stopping = || work().inspect_err(|_| stop.store(true, Ordering::Relaxed));
    let done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(stopping)).collect();
        let own = stopping();
        others.into_iter().fold(own, |done, other| {
            done.and(other.join().unwrap_or_else(|_| Err("a thread that read it ended badly".to_owned())))
        })
    });
    done.map_err(|reason| index.fail("read a pack of", reason))?;
    if stop.into_inner() {
        return Ok(ControlFlow::Break(()));
    }
    // No base leads to deltas that are made from each other.
    if given.into_inner() != trees.wanted {
        return Err(index.fail("read a pack of", "some of its deltas have no base"));
    }
    Ok(ControlFlow::Continue(()))
}

/// The state of one reading thread.
struct Reader<'a> {
    files: &'a Files,
    trees: &'a DeltaTrees<'a>,
    max_bytes: usize,
    inflate: gix::zlib::Inflate,
    /// Buffers for reuse.
    free: Vec<Vec<u8>>,
    given: usize,
}

/// An object or a delta, as it is stored at a node.
enum Stored {
    Bytes(Vec<u8>),
    /// The object has this many bytes and was not inflated.
    TooLarge(u64),
}

/// The object that a delta makes.
enum Made {
    Data(Vec<u8>),
    /// The object would have this many bytes; `None` when the delta itself is too large.
    TooLarge(Option<u64>),
}

impl<'a> Reader<'a> {
    fn new(files: &'a Files, trees: &'a DeltaTrees<'a>, max_bytes: usize) -> Self {
        let inflate = gix::zlib::Inflate::default();
        Self { files, trees, max_bytes, inflate, free: Vec::new(), given: 0 }
    }

    /// Visits a root and everything made from it, depth first: only one chain of ancestors is in memory.
    fn visit_tree(&mut self, root: u32, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, String> {
        let data = match self.inflated(root)? {
            Stored::Bytes(data) => data,
            Stored::TooLarge(size) => return Ok(self.pass_over(root, Some(size), visit)),
        };
        let mut line = vec![(self.trees.nodes[root as usize].child, data)];
        if self.give(root, &line[0].1, visit).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        while let Some((child, base)) = line.last_mut() {
            if *child == NONE {
                if let Some((_, data)) = line.pop() {
                    self.keep(data);
                }
                continue;
            }
            let node = *child;
            *child = self.trees.nodes[node as usize].next;
            let flow = match self.made(node, base)? {
                Made::Data(data) => {
                    let flow = self.give(node, &data, visit);
                    let held: usize = line.iter().map(|(_, data)| data.len()).sum();
                    if held + data.len() <= MAX_CHAIN_OBJECTS * self.max_bytes {
                        line.push((self.trees.nodes[node as usize].child, data));
                        flow
                    } else if flow.is_break() {
                        flow
                    } else {
                        self.pass_over_children(node, visit)
                    }
                }
                Made::TooLarge(size) => self.pass_over(node, size, visit),
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Makes the object of a node from its base.
    fn made(&mut self, node: u32, base: &[u8]) -> Result<Made, String> {
        let delta = match self.inflated(node)? {
            Stored::Bytes(delta) => delta,
            Stored::TooLarge(_) => return Ok(Made::TooLarge(None)),
        };
        let mut data = self.free.pop().unwrap_or_default();
        let made = delta::apply(base, &delta, self.max_bytes, &mut data);
        let made = made.map_err(|error| format!("{error}, at {}", self.trees.nodes[node as usize].offset))?;
        self.keep(delta);
        Ok(match made {
            Applied::Made => Made::Data(data),
            Applied::TooLarge(size) => {
                self.keep(data);
                Made::TooLarge(Some(size))
            }
        })
    }

    fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_KEPT_BYTES {
            self.free.push(buffer);
        }
    }

    /// Passes on the stand-in for the file of a node that is too large, and for all files made from it.
    fn pass_over(&mut self, node: u32, size_bytes: Option<u64>, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let text = match size_bytes {
            Some(size) => oversize::large(size, self.max_bytes),
            None => of_a_large_base(self.max_bytes),
        };
        self.give(node, &text, visit)?;
        self.pass_over_children(node, visit)
    }

    fn pass_over_children(&mut self, node: u32, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let text = of_a_large_base(self.max_bytes);
        let mut open = vec![self.trees.nodes[node as usize].child];
        while let Some(node) = open.pop() {
            if node != NONE {
                let Node { child, next, .. } = self.trees.nodes[node as usize];
                open.extend([next, child]);
                self.give(node, &text, visit)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn give(&mut self, node: u32, data: &[u8], visit: &mut Visit<'_>) -> ControlFlow<()> {
        match self.trees.nodes[node as usize].file {
            NONE => ControlFlow::Continue(()),
            file => {
                self.given += 1;
                visit(self.files.path(file as usize), data)
            }
        }
    }

    fn inflated(&mut self, node: u32) -> Result<Stored, String> {
        let offset = self.trees.nodes[node as usize].offset;
        let fail = |reason: &dyn std::fmt::Display| format!("the object at {offset}: {reason}");
        let pack = &self.trees.pack.data;
        let entry = pack.entry(offset).map_err(|error| fail(&error))?;
        let size = match usize::try_from(entry.decompressed_size) {
            Ok(size) if size <= self.max_bytes => size,
            _ => return Ok(Stored::TooLarge(entry.decompressed_size)),
        };
        let mut out = self.free.pop().unwrap_or_default();
        out.resize(size, 0);
        pack.decompress_entry(&entry, &mut self.inflate, &mut out).map_err(|error| fail(&error))?;
        Ok(Stored::Bytes(out))
    }
}

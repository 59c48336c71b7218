//! A yardstick: reads every file of a git index in the order of its pack, in the way of this crate or with gix-pack's
//! own delta tree.
//!
//! `cargo run --release -p mirror-git --example pack_walk -- ours|gix INDEX THREADS`, where INDEX is a bare repository
//! with one pack. Prints what was read (equal for both ways), the time and the memory. `docs/performance.md` has the
//! figures.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use gix::odb::pack;
use gix::odb::pack::data::entry::Header;
use mirror_git::IndexSource;
use mirror_index::is_index_file;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// A summary of what was read, independent of the order.
#[derive(Default)]
struct Totals {
    files: AtomicU64,
    bytes: AtomicU64,
    digest: AtomicU64,
}

impl Totals {
    fn add(&self, path: &str, data: &[u8]) {
        let words = path.as_bytes().chunks(8).chain(data.chunks(8)).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        });
        let digest = words.fold(0_u64, |sum, word| (sum ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        self.digest.fetch_add(digest, Ordering::Relaxed);
    }
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, way, index, threads] = &arguments[..] else {
        return Err("usage: pack_walk ours|gix INDEX THREADS".into());
    };
    let (index, threads) = (Path::new(index), threads.parse()?);
    let (totals, begun) = (Totals::default(), Instant::now());
    match way.as_str() {
        "ours" => ours(index, threads, &totals)?,
        "gix" => with_gix(index, threads, &totals)?,
        _ => return Err("the first argument is ours or gix".into()),
    }
    let Totals { files, bytes, digest } = totals;
    let (files, bytes, digest) = (files.into_inner(), bytes.into_inner(), digest.into_inner());
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{files} files, {bytes} bytes, digest {digest:016x}, {seconds:.3} s")?;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("RssFile")) {
        writeln!(std::io::stdout(), "{line}")?;
    }
    Ok(())
}

fn ours(index: &Path, threads: usize, totals: &Totals) -> Outcome<()> {
    let source = IndexSource::open(index)?;
    source.scan_unordered(threads, &|| {
        Box::new(|path, data| {
            totals.add(path, data);
            ControlFlow::Continue(())
        })
    })?;
    Ok(())
}

/// An object that is wanted, or only the base of one.
struct Item {
    offset: u64,
    file: Option<usize>,
}

fn with_gix(index: &Path, threads: usize, totals: &Totals) -> Outcome<()> {
    let repo = gix::open(index)?;
    let hash = repo.object_hash();
    let mut files = repo.head_commit()?.tree()?.traverse().breadthfirst.files()?;
    files.retain(|file| file.mode.is_blob() && std::str::from_utf8(&file.filepath).is_ok_and(is_index_file));
    let directory = repo.objects.store_ref().path().join("pack");
    let mut packs = std::fs::read_dir(directory)?.filter_map(|entry| Some(entry.ok()?.path()));
    let path = packs.find(|path| path.extension().is_some_and(|extension| extension == "idx"));
    let path = path.ok_or("the repository has no pack")?;
    let offsets = pack::index::File::at(&path, hash)?;
    let data = pack::data::File::at(path.with_extension("pack"), hash)?;

    let items = items(&offsets, &data, files.iter().map(|file| file.oid))?;
    let stop = AtomicBool::new(false);
    let tree = pack::cache::delta::Tree::from_offsets_in_pack(
        data.path(),
        items.into_iter(),
        &|item: &Item| item.offset,
        &|id| Ok(offsets.lookup(id).map(|at| offsets.pack_offset_at_index(at))),
        &mut gix::progress::Discard,
        &stop,
        hash,
    )?;
    tree.traverse(
        |range, data: &pack::data::File| data.entry_slice(range),
        &data,
        data.pack_end() as u64,
        |item: &mut Item, _, context| {
            if let Some(file) = item.file {
                let path = std::str::from_utf8(&files[file].filepath).unwrap_or_default();
                totals.add(path, context.decompressed);
            }
            Ok(())
        },
        pack::cache::delta::traverse::Options {
            object_progress: Box::new(gix::progress::Discard),
            size_progress: &mut gix::progress::Discard,
            thread_limit: Some(threads),
            should_interrupt: &stop,
            object_hash: hash,
            alloc_limit_bytes: Some(mirror_index::MAX_FILE_BYTES),
        },
    )?;
    Ok(())
}

/// Finds the objects in the pack, and what they are made of; in the order of the pack.
fn items(
    offsets: &pack::index::File,
    data: &pack::data::File,
    wanted: impl Iterator<Item = gix::ObjectId>,
) -> Outcome<Vec<Item>> {
    let mut found: HashMap<u64, Option<usize>> = HashMap::new();
    // gix-pack begins to read behind the header of the pack, whichever offset comes first.
    let first = u64::try_from(pack::data::header::SIZE)?;
    let mut open = vec![first];
    found.insert(first, None);
    for (file, id) in wanted.enumerate() {
        let at = offsets.lookup(id).ok_or("an object is not in the pack")?;
        let offset = offsets.pack_offset_at_index(at);
        if found.insert(offset, Some(file)).flatten().is_some() {
            return Err("two files are equal: this yardstick reads each object once".into());
        }
        open.push(offset);
    }
    while let Some(offset) = open.pop() {
        let base = match data.entry(offset)?.header {
            Header::OfsDelta { base_distance } => offset.checked_sub(base_distance),
            Header::RefDelta { base_id } => {
                offsets.lookup(base_id).map(|at| offsets.pack_offset_at_index(at))
            }
            _ => continue,
        };
        let base = base.ok_or("a base is not in the pack")?;
        if let std::collections::hash_map::Entry::Vacant(entry) = found.entry(base) {
            entry.insert(None);
            open.push(base);
        }
    }
    let mut items: Vec<Item> = found.into_iter().map(|(offset, file)| Item { offset, file }).collect();
    items.sort_unstable_by_key(|item| item.offset);
    Ok(items)
}

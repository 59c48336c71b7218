//! Merges old packs into one. Every update adds a pack; without this, daily runs would leave hundreds.
//!
//! A bare shallow repository keeps what its refs reach: the snapshots of earlier runs go. Any other keeps every object
//! of the packs that are combined, and its largest pack stays as it is.
//!
//! The combined packs stay until the next update: readers of the index hold no lock, and may still use them.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use gix::ObjectId;
use gix_pack::data::output::{self, bytes::FromEntriesIter, count::objects::ObjectExpansion};

use super::disk;
use super::error::UpdateError;
use super::incoming;
use super::options::{UpdateEvent, UpdateObserver, UpdateOptions};
use super::stored;
use super::supervise::{Meter, Patience, supervised};
use super::take;

/// A file that names the new pack and those that it replaces, from when the new one is in place until the old ones are
/// gone. It also lists what the refs reached, if the new pack has only that.
const REPLACED: &str = "mirror-packs-replaced";
/// The prefix of lines with what the refs reached.
const REACHED: &str = "reached ";
/// The prefix of lines with loose objects that the refs did not reach.
const LOOSE: &str = "loose ";
/// Files that accompany the index of a pack under the same name.
const COMPANIONS: [&str; 3] = ["pack", "rev", "bitmap"];
/// Local work without a sign of life for this long hangs.
const PATIENCE: Patience = Patience { idle: Duration::from_secs(600), until: None };
const COPY_BYTES: usize = 256 << 10;

struct Pack {
    /// The path without extension.
    path: PathBuf,
    bytes: u64,
}

/// Combines packs when there are too many. Returns the number of packs that the next update removes. A fault is
/// reported and does no harm: the packs stay as they were.
pub(crate) fn consolidate(
    repo: &gix::Repository,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> u64 {
    match attempt(repo, options, observer) {
        Ok(replaced) => replaced,
        Err(why) => {
            let _ = incoming::remove_leftovers(repo.common_dir());
            if !observer.stopped() {
                let text = format!("the packs of the {} stay as they are: {why}", options.what);
                observer.event(UpdateEvent::Notice(text));
            }
            0
        }
    }
}

fn attempt(
    repo: &gix::Repository,
    options: &UpdateOptions,
    observer: &dyn UpdateObserver,
) -> Result<u64, String> {
    let common = repo.common_dir().to_owned();
    if ["gc.pid", "objects/info/alternates"].iter().any(|name| common.join(name).exists()) {
        return Ok(0);
    }
    let mut packs = list(&common.join("objects/pack")).map_err(|error| error.to_string())?;
    packs.sort_by_key(|pack| std::cmp::Reverse(pack.bytes));
    let Some((largest, rest)) = packs.split_first() else { return Ok(0) };
    let reachable_only = repo.is_bare() && super::state::is_shallow(repo);
    let small: u64 = rest.iter().map(|pack| pack.bytes).sum();
    let many = rest.len() >= options.packs_most;
    if !(many || reachable_only && small > largest.bytes / 2) {
        return Ok(0);
    }
    let tips = if reachable_only { tips(repo)? } else { Vec::new() };
    let work = Work {
        incoming: common.join(format!("{}packs", incoming::PREFIX)),
        objects: common.join("objects"),
        max_bytes: options.max_object_bytes,
        what: if reachable_only {
            What::Reachable(tips.clone())
        } else {
            What::Packs(rest.iter().map(|pack| pack.path.clone()).collect())
        },
    };
    let replaced = if reachable_only { &packs[..] } else { rest };
    let made = supervised(observer, PATIENCE, move |meter, interrupt| {
        meter.packing();
        work.make(meter, interrupt)
    });
    let made = made.map_err(|halt| format!("{halt:?}"))??;
    replace(&common, &made, replaced, &tips).map_err(|error| error.to_string())?;
    Ok(replaced.len() as u64)
}

/// Returns the packs that may be replaced: those with an index that nothing marks to be kept, and that are not of a
/// partial clone.
fn list(dir: &Path) -> std::io::Result<Vec<Pack>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let kept = ["keep", "promisor", "mtimes"].iter().any(|ext| path.with_extension(ext).exists());
        if path.extension().is_some_and(|ext| ext == "idx") && !kept {
            match fs::metadata(path.with_extension("pack")) {
                Ok(found) => packs.push(Pack { path: path.with_extension(""), bytes: found.len() }),
                // An index without its pack has no objects.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(packs)
}

/// Returns the objects that HEAD and every ref point to.
fn tips(repo: &gix::Repository) -> Result<Vec<ObjectId>, String> {
    let fail = |error: gix::error::Error| error.to_string();
    let mut tips = vec![repo.head_id().map_err(fail)?.detach()];
    for reference in repo.references().map_err(fail)?.all().map_err(fail)? {
        if let Some(id) = reference.map_err(fail)?.try_id() {
            tips.push(id.detach());
        }
    }
    tips.sort_unstable();
    tips.dedup();
    Ok(tips)
}

enum What {
    Reachable(Vec<ObjectId>),
    Packs(Vec<PathBuf>),
}

struct Work {
    incoming: PathBuf,
    objects: PathBuf,
    /// Largest object to be processed in memory.
    max_bytes: usize,
    what: What,
}

/// The result of combining packs.
struct Made {
    /// The new pack, without extension.
    pack: PathBuf,
    /// Objects in it.
    count: usize,
    /// Large loose objects that no ref reaches.
    unreached: Vec<ObjectId>,
}

impl Work {
    /// Writes the new pack and its index.
    fn make(self, meter: &Meter, interrupt: &AtomicBool) -> Result<Made, String> {
        let text_of = |error: UpdateError| error.to_string();
        disk::remove_tree(&self.incoming).map_err(text_of)?;
        disk::make_dir(&self.incoming).map_err(text_of)?;
        let stream = self.incoming.join("stream");
        let mut made = self.write(&stream, meter, interrupt).map_err(|error| error.to_string())?;
        let mut input =
            BufReader::with_capacity(COPY_BYTES, File::open(&stream).map_err(|error| error.to_string())?);
        // Reads every object back, and computes its id from its bytes.
        let bundle = gix_pack::Bundle::write_to_directory(
            &mut input,
            Some(&self.incoming),
            &mut meter.root(),
            interrupt,
            None::<gix::odb::Handle>,
            gix::hash::Kind::Sha1,
            gix_pack::bundle::write::Options {
                alloc_limit_bytes: Some(take::alloc_limit(self.max_bytes, made.count)),
                ..Default::default()
            },
        )
        .map_err(|error| error.to_string())?;
        disk::remove_file(&stream).map_err(text_of)?;
        if bundle.index.num_objects as usize != made.count {
            return Err(format!("{} objects were written, not {}", bundle.index.num_objects, made.count));
        }
        let path = bundle.data_path.ok_or("the pack got no name")?;
        for extension in ["pack", "idx"] {
            disk::seal(&path.with_extension(extension)).map_err(text_of)?;
        }
        made.pack = path.with_extension("");
        Ok(made)
    }

    /// Writes the objects as a pack; copies deltas as they are. Large loose objects stay loose.
    fn write(&self, to: &Path, meter: &Meter, interrupt: &AtomicBool) -> gix::error::Result<Made> {
        let options = gix::odb::store::init::Options {
            alloc_limit_bytes: Some(take::alloc_limit(self.max_bytes, 0)),
            ..Default::default()
        };
        let db = gix::odb::at_opts(self.objects.clone(), gix::hash::Kind::Sha1, None, options)
            .and_then(gix::odb::Handle::into_arc);
        let mut db = db.map_err(gix::error::Error::from_error)?;
        db.prevent_pack_unload();
        let (ids, expansion) = self.ids()?;
        let (mut counts, _) = output::count::objects_unthreaded(
            &db,
            &mut ids.into_iter().map(Ok),
            &meter.root(),
            interrupt,
            expansion,
        )?;
        let mut large = stored::large_files(&self.objects, self.max_bytes as u64)?;
        if !large.is_empty() {
            let mut reached = BTreeSet::new();
            counts.retain(|count| !large.contains(&count.id) || !reached.insert(count.id));
            large.retain(|id| !reached.contains(id));
        }
        let count = counts.len();
        let entries = output::entry::iter_from_counts(
            counts,
            db,
            Box::new(meter.root()),
            output::entry::iter_from_counts::Options::default(),
        )?;
        let input = gix::parallel::InOrderIter::from(entries);
        let file = disk::create_anew(to).map_err(gix::error::Error::from_error)?;
        let entries = u32::try_from(count).map_err(gix::error::Error::from_error)?;
        let mut written = FromEntriesIter::new(
            input,
            BufWriter::with_capacity(COPY_BYTES, file),
            entries,
            gix_pack::data::Version::V2,
            gix::hash::Kind::Sha1,
        );
        for chunk in &mut written {
            chunk?;
            meter.sign();
            if interrupt.load(std::sync::atomic::Ordering::Relaxed) {
                return Err(gix::error::Error::from_error(std::io::Error::from(
                    std::io::ErrorKind::Interrupted,
                )));
            }
        }
        written.into_write().flush().map_err(gix::error::Error::from_error)?;
        let unreached = match self.what {
            What::Reachable(_) => large.into_iter().collect(),
            What::Packs(_) => Vec::new(),
        };
        Ok(Made { pack: PathBuf::new(), count, unreached })
    }

    fn ids(&self) -> gix::error::Result<(Vec<ObjectId>, ObjectExpansion)> {
        let mut ids = Vec::new();
        match &self.what {
            What::Packs(packs) => {
                for pack in packs {
                    let index = gix_pack::index::File::at(pack.with_extension("idx"), gix::hash::Kind::Sha1)?;
                    ids.extend(index.iter().map(|entry| entry.oid));
                }
                ids.sort_unstable();
                ids.dedup();
                Ok((ids, ObjectExpansion::AsIs))
            }
            What::Reachable(tips) => {
                let git_dir = self.objects.parent().unwrap_or(&self.objects);
                let repo = gix::open_opts(git_dir, crate::repository::options_within(self.max_bytes))?;
                // Histories of tags begin at their commits; the tags themselves are objects too.
                let mut commits = Vec::new();
                for tip in tips {
                    ids.push(*tip);
                    let peeled = repo.find_object(*tip)?.peel_tags_to_end()?;
                    if peeled.kind.is_commit() {
                        commits.push(peeled.id);
                    }
                }
                for commit in repo.rev_walk(commits).all()? {
                    ids.push(commit?.id);
                }
                ids.sort_unstable();
                ids.dedup();
                Ok((ids, ObjectExpansion::TreeContents))
            }
        }
    }
}

/// Moves the new pack in and lists the others for [`finish`], in an order that is safe against a kill at any point.
fn replace(common: &Path, made: &Made, old: &[Pack], tips: &[ObjectId]) -> Result<(), UpdateError> {
    let dir = common.join("objects/pack");
    let Made { pack: made, unreached, .. } = made;
    let name = made.file_name().unwrap_or_default();
    let target = dir.join(name);
    let old: Vec<_> = old.iter().filter(|pack| pack.path != target).collect();
    for extension in ["pack", "idx"] {
        disk::rename(&made.with_extension(extension), &target.with_extension(extension))?;
    }
    disk::sync(&dir)?;
    let names = old.iter().filter_map(|pack| pack.path.file_name()?.to_str());
    let mut list = format!("{}\n", name.to_string_lossy());
    names.for_each(|name| list += &format!("{name}\n"));
    tips.iter().for_each(|tip| list += &format!("{REACHED}{tip}\n"));
    unreached.iter().for_each(|id| list += &format!("{LOOSE}{id}\n"));
    let path = common.join(REPLACED);
    disk::replace(&path, &path.with_extension("new"), list.as_bytes())?;
    disk::sync(common)?;
    incoming::remove_leftovers(common)
}

/// Removes packs that an earlier update, killed or not, replaced. Refs that were made since may need objects that only
/// the old packs have: then these stay, and are combined again later.
pub(crate) fn finish(repo: &gix::Repository) -> Result<(), UpdateError> {
    let common = repo.common_dir();
    let list = common.join(REPLACED);
    let text = match fs::read_to_string(&list) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(UpdateError::storage("read", &list)(error)),
    };
    let dir = common.join("objects/pack");
    let mut names = text.lines().filter(|name| {
        name.starts_with("pack-") && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    let stands = |name: &str| ["idx", "pack"].iter().all(|ext| dir.join(name).with_extension(ext).exists());
    if names.next().is_some_and(stands) && nothing_new(repo, &text) {
        // It names packs that are about to be removed.
        disk::remove_file(&dir.join("multi-pack-index"))?;
        for name in names {
            let pack = dir.join(name);
            if pack.with_extension("keep").exists() {
                continue;
            }
            // Without its index, no program finds the pack.
            disk::remove_file(&pack.with_extension("idx"))?;
            for extension in COMPANIONS {
                disk::remove_file(&pack.with_extension(extension))?;
            }
        }
        disk::sync(&dir)?;
        for id in
            text.lines().filter_map(|line| ObjectId::from_hex(line.strip_prefix(LOOSE)?.as_bytes()).ok())
        {
            disk::remove_file(&stored::path_of(&common.join("objects"), id))?;
        }
        super::install::prune_boundary(&super::state::open(repo.git_dir())?)?;
    }
    disk::remove_file(&list)
}

/// Returns whether the refs still reach only what they reached when the packs were combined.
fn nothing_new(repo: &gix::Repository, list: &str) -> bool {
    let reached: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_prefix(REACHED)).collect();
    let known = |tip: &ObjectId| reached.contains(tip.to_string().as_str());
    reached.is_empty() || tips(repo).is_ok_and(|tips| tips.iter().all(known))
}

//! Resolves deltas that involve large objects.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use gix::ObjectId;
use gix::hash::Kind::Sha1;
use gix::objs::{Kind, Write as _};
use gix::odb::loose;
use gix_pack::data::entry::Header;

use super::super::inflate::{Exact, Inflated};
use super::super::{disk, stored};
use super::patch::{Base, Patched};
use super::survey::{Entry, damaged, not_a_file};
use super::{Aside, SiftError, Work};
use crate::read::delta::{self, Applied};

const COPY_BYTES: usize = 64 << 10;

/// Resolves every delta whose base or object is large, and stores the object as a loose one.
pub(super) fn weave(
    work: &Work<'_>,
    pack: &Path,
    entries: &[Entry],
    aside: &mut Aside,
) -> Result<(), SiftError> {
    let mut open: Vec<&Entry> =
        entries.iter().filter(|entry| entry.header.is_delta() && entry.is_large(work.max_bytes)).collect();
    if open.is_empty() {
        return Ok(());
    }
    let mut weaver = Weaver {
        work,
        pack: File::open(pack)?,
        entries,
        open: open.iter().map(|entry| entry.offset).collect(),
        aside,
        object_dirs: stored::object_dirs(work.repo)?,
        store: loose::Store::at(work.repo.objects.store_ref().path(), Sha1),
        scratch: None,
    };
    // A base named by id may be anywhere in the pack; one referred to by offset is before.
    while !open.is_empty() {
        let before = open.len();
        let mut waiting = Vec::new();
        for entry in open {
            if !weaver.resolve(entry)? {
                waiting.push(entry);
            }
        }
        open = waiting;
        if open.len() == before {
            return Err(SiftError::Beyond(format!(
                "it has a large file as a difference to an object that is not known by its name, at {}",
                open[0].offset
            )));
        }
    }
    Ok(())
}

struct Weaver<'a> {
    work: &'a Work<'a>,
    pack: File,
    entries: &'a [Entry],
    /// The offsets of the deltas that are not resolved yet.
    open: HashSet<u64>,
    aside: &'a mut Aside,
    object_dirs: Vec<PathBuf>,
    store: loose::Store,
    /// A large base in a temporary file, inflated: the next delta often has the same base.
    scratch: Option<(ObjectId, PathBuf)>,
}

impl<'a> Weaver<'a> {
    /// Resolves a delta and stores its object; returns whether its base was known.
    fn resolve(&mut self, entry: &Entry) -> Result<bool, SiftError> {
        let Some(sizes) = entry.delta else { return Ok(true) };
        let Some((base, len)) = self.base(entry)? else { return Ok(false) };
        if len != sizes.base {
            return Err(damaged(delta::Damaged));
        }
        let delta = BufReader::with_capacity(COPY_BYTES, self.stream(entry)?);
        let patched = Patched::new(base, delta)?;
        let mut exact = Exact::new(patched, sizes.object, self.work.meter, self.work.interrupt);
        let id = self.store.write_stream(Kind::Blob, sizes.object, &mut exact)?;
        drop(exact);
        self.aside.insert(entry.offset, id);
        self.open.remove(&entry.offset);
        Ok(true)
    }

    /// Returns the base of a delta and its size; `None` when it is not known yet.
    fn base(&mut self, entry: &Entry) -> Result<Option<(Base, u64)>, SiftError> {
        let id = match (entry.base_offset()?, entry.header) {
            (Some(offset), _) if self.open.contains(&offset) => return Ok(None),
            (Some(offset), _) => match self.aside.get(&offset) {
                Some(id) => *id,
                None => return Ok(self.small(offset)?.map(memory)),
            },
            (None, Header::RefDelta { base_id }) => base_id,
            (None, _) => return Err(damaged(delta::Damaged)),
        };
        self.named(id)
    }

    /// Returns an object that is aside, or was here before.
    fn named(&mut self, id: ObjectId) -> Result<Option<(Base, u64)>, SiftError> {
        let Some(header) = self.work.repo.try_find_header(id)? else { return Ok(None) };
        if header.kind() != Kind::Blob {
            return Err(not_a_file(header.size(), self.work.max_bytes));
        }
        if header.size() <= self.work.max_bytes {
            let data = self.work.repo.find_object(id)?.detach().data;
            return Ok(Some(memory(data)));
        }
        let path = match &self.scratch {
            Some((known, path)) if *known == id => path.clone(),
            _ => self.put_down(id)?,
        };
        Ok(Some((Base::File(File::open(path)?), header.size())))
    }

    /// Inflates a large object into a file.
    fn put_down(&mut self, id: ObjectId) -> Result<PathBuf, SiftError> {
        let path = self.work.dir.join("base");
        let blob = stored::open(&self.object_dirs, id).map_err(|error| match error.kind() {
            io::ErrorKind::Unsupported => SiftError::Beyond(format!(
                "it has a file as a difference to {id}, which is larger than what is worked on and is stored as a \
                 difference itself; `git -c core.bigFileThreshold=16m repack -adf` in the index stores it whole"
            )),
            _ => error.into(),
        })?;
        let mut bytes = Exact::new(blob.bytes, blob.size_bytes, self.work.meter, self.work.interrupt);
        self.scratch = None;
        io::copy(&mut bytes, &mut disk::create_anew(&path)?)?;
        self.scratch = Some((id, path.clone()));
        Ok(path)
    }

    /// Returns a small file of the pack, made from its bases; `None` when one of them is not known yet.
    fn small(&mut self, offset: u64) -> Result<Option<Vec<u8>>, SiftError> {
        let (mut line, mut at) = (Vec::new(), offset);
        let mut data = loop {
            if self.open.contains(&at) {
                return Ok(None);
            }
            if let Some(id) = self.aside.get(&at) {
                break self.small_named(*id)?;
            }
            let entry = self.entry_at(at)?;
            match (entry.base_offset()?, entry.header) {
                (Some(base), _) => at = base,
                (None, Header::RefDelta { base_id }) => {
                    line.push(entry);
                    break self.small_named(base_id)?;
                }
                (None, Header::Blob) => break self.inflate(entry)?,
                (None, _) => return Err(damaged(delta::Damaged)),
            }
            line.push(entry);
        };
        let max_bytes = usize::try_from(self.work.max_bytes).unwrap_or(usize::MAX);
        let mut made = Vec::new();
        for entry in line.into_iter().rev() {
            let delta = self.inflate(entry)?;
            match delta::apply(&data, &delta, max_bytes, &mut made).map_err(damaged)? {
                Applied::Made => std::mem::swap(&mut data, &mut made),
                Applied::TooLarge(_) => return Err(damaged(delta::Damaged)),
            }
        }
        Ok(Some(data))
    }

    fn small_named(&mut self, id: ObjectId) -> Result<Vec<u8>, SiftError> {
        match self.named(id)? {
            Some((Base::Memory(data), _)) => Ok(data),
            _ => Err(SiftError::Beyond(format!(
                "it has a large file as a difference to one that is made of {id}, which is not known by its name"
            ))),
        }
    }

    fn entry_at(&self, offset: u64) -> Result<&'a Entry, SiftError> {
        let entries: &'a [Entry] = self.entries;
        let found = entries.binary_search_by_key(&offset, |entry| entry.offset);
        found.map(|at| &entries[at]).map_err(|_| damaged(delta::Damaged))
    }

    /// Inflates an entry that is small.
    fn inflate(&self, entry: &Entry) -> Result<Vec<u8>, SiftError> {
        let mut data = Vec::new();
        self.stream(entry)?.read_to_end(&mut data)?;
        Ok(data)
    }

    fn stream(&self, entry: &Entry) -> Result<impl Read, SiftError> {
        let mut pack = &self.pack;
        pack.seek(SeekFrom::Start(entry.data))?;
        let stream = Inflated::new(BufReader::with_capacity(COPY_BYTES, pack));
        Ok(Exact::new(stream, entry.size, self.work.meter, self.work.interrupt))
    }
}

fn memory(data: Vec<u8>) -> (Base, u64) {
    let len = data.len() as u64;
    (Base::Memory(data), len)
}

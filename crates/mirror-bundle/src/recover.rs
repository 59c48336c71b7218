//! Repairs what an interrupted run left.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use mirror_checksum::Hasher;
use mirror_fs::{AppendLog, Fs};
use mirror_types::{BundleNumber, MirrorId, Sha256};

use crate::error::{BundleError, at};
use crate::fault::{BundleFault, Trouble};
use crate::limits::BundleLimits;
use crate::member::with_place;
use crate::names::{self, BundleFiles};
use crate::partial::{Extent, PartialBundle, Sums, append_to_index, publish};
use crate::reader::BundleReader;
use crate::record::{BundleIndexLine, BundleLine, BundleMember, FORMAT, read_lines};
use crate::stream::FrameStream;
use crate::tar::{self, Step};
use crate::zframe::Frame;

/// The findings and repairs of opening a directory of bundles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BundleReport {
    /// Whole members of a partial bundle that were not in its manifest; they are now.
    pub relisted: Vec<BundleMember>,
    /// Bytes of torn frames that were cut.
    pub cut_bytes: u64,
    /// Sealed bundles whose manifest or line in the index was repaired.
    pub repaired: Vec<String>,
}

/// The data that recovery needs.
pub(crate) struct Recovery<'a> {
    pub(crate) fs: &'a Arc<dyn Fs>,
    pub(crate) dir: &'a Path,
    pub(crate) base_url: &'a str,
    pub(crate) verify_committed: bool,
    pub(crate) level: i32,
    pub(crate) mirror: Option<MirrorId>,
    pub(crate) report: BundleReport,
}

/// Reads the whole lines of a JSONL file. A torn last line is to be cut; a bad line with good ones after it is a fault.
fn whole_lines<T: BundleLine>(path: &Path) -> Result<(Vec<T>, u64), BundleError> {
    let (mut records, mut good) = (Vec::new(), 0);
    let read = read_lines(path, &mut |record, end| {
        records.push(record);
        good = end;
        Ok(())
    });
    if let Err(error) = read {
        let mut file = fs::File::open(path).map_err(at("open", path))?;
        file.seek(std::io::SeekFrom::Start(good)).map_err(at("read", path))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(at("read", path))?;
            if serde_json::from_slice::<T>(&line).is_ok() {
                return Err(error);
            }
        }
    }
    Ok((records, good))
}

/// Returns whether a file without a whole line begins like one, and so may be cut. After a power cut, the rest may be
/// zeros.
fn begins_like<T: BundleLine>(path: &Path) -> Result<bool, BundleError> {
    let mut head = Vec::new();
    let file = fs::File::open(path).map_err(at("open", path))?;
    file.take(T::HEAD.len() as u64).read_to_end(&mut head).map_err(at("read", path))?;
    let text = head.iter().rposition(|byte| *byte != 0).map_or(&[][..], |last| &head[..=last]);
    Ok(T::HEAD.starts_with(text) && (head.is_empty() || !text.is_empty()))
}

impl Recovery<'_> {
    /// Repairs everything; returns the partial bundle and the number of the next one.
    pub(crate) fn run(&mut self) -> Result<(Option<PartialBundle>, u32), BundleError> {
        let index = self.index()?;
        let bundles = names::list_bundles(self.dir)?;
        let numbered = bundles.iter().filter_map(|one| one.number);
        let indexed =
            index.iter().filter_map(|line| BundleNumber::of_path(&line.bundle_path)).map(BundleNumber::get);
        let next = numbered.chain(indexed).max().map_or(0, |last| last + 1);
        let mut partial = None;
        for one in &bundles {
            let Some(number) = one.number else { continue };
            if one.sealed {
                self.sealed(one, number, &index)?;
                continue;
            }
            let recovered = self.partial(number, one)?;
            if number + 1 < next {
                // An older partial bundle, which no run of this program leaves: it is not continued.
                if recovered.extent.entries > 0 {
                    recovered.seal(self.level)?;
                }
            } else {
                partial = Some(recovered);
            }
        }
        Ok((partial, next))
    }

    /// Reads the lines of the index, and cuts torn ones.
    fn index(&mut self) -> Result<Vec<BundleIndexLine>, BundleError> {
        let path = self.dir.join(names::INDEX);
        if !mirror_fs::is_file(&path).map_err(at("look at", &path))? {
            return Ok(Vec::new());
        }
        let (lines, good) = whole_lines(&path)?;
        // A foreign file of that name is not cut to nothing.
        if good == 0 && !begins_like::<BundleIndexLine>(&path)? {
            let reason = "the file is none of this system's".to_owned();
            return Err(BundleError::damaged(&path, None, None, BundleFault::Line { line: 1, reason }));
        }
        let mut file = AppendLog::open(Arc::clone(self.fs), path)?;
        if good < file.len() {
            file.cut(good)?;
            file.sync()?;
            self.report.repaired.push(names::INDEX.to_owned());
        }
        Ok(lines)
    }

    /// Completes a sealed bundle of ours: gives its manifest the final name, and the index a line.
    fn sealed(
        &mut self,
        one: &BundleFiles,
        number: u32,
        index: &[BundleIndexLine],
    ) -> Result<(), BundleError> {
        let is_listed = || index.iter().any(|line| names::file_name(&line.bundle_path) == one.name);
        let Some(manifest) = &one.manifest else { return Ok(()) };
        let grows = manifest.to_str().is_some_and(|path| path.ends_with(names::PARTIAL));
        if !grows && is_listed() {
            return Ok(());
        }
        let mut extent = Extent::default();
        let mut ours = true;
        read_lines(manifest, &mut |member: BundleMember, _| {
            extent.add(&member);
            ours &= member.frame_offset.is_some();
            Ok(())
        })?;
        if !ours || extent.entries == 0 {
            return Ok(());
        }
        if grows {
            let to = self.dir.join(extent.manifest_name(number));
            publish(&**self.fs, self.dir, manifest, &to)?;
        }
        if !is_listed() {
            let len = fs::metadata(&one.path).map_err(at("look at", &one.path))?.len();
            append_to_index(self.fs, self.dir, number, &extent, &Sums::of_file(&one.path)?, len)?;
        }
        self.report.repaired.push(one.name.clone());
        Ok(())
    }

    fn partial(&mut self, number: u32, one: &BundleFiles) -> Result<PartialBundle, BundleError> {
        // The bundle gets its final name before its manifest does; a person who renamed it back did not keep that
        // order.
        let expected = self.dir.join(names::partial_manifest(number));
        if let Some(manifest) = one.manifest.as_ref().filter(|path| **path != expected) {
            publish(&**self.fs, self.dir, manifest, &expected)?;
        }
        let (members, good) = if expected.exists() { whole_lines(&expected)? } else { (Vec::new(), 0) };
        let mut partial = PartialBundle::open(self.fs, self.dir, number)?;
        partial.manifest.cut(good)?;
        let reader = BundleReader::open(partial.bundle.path(), BundleLimits::default())?;
        let committed = self.committed(&mut partial, &reader, &members)?;
        self.tail(&mut partial, &reader, committed)?;
        Ok(partial)
    }

    /// Notes the members in the manifest. All of them must be in the bundle, one after the other.
    fn committed(
        &self,
        partial: &mut PartialBundle,
        reader: &BundleReader,
        members: &[BundleMember],
    ) -> Result<u64, BundleError> {
        let mut end = 0;
        for (at, member) in members.iter().enumerate() {
            let path = member.bundle_member.as_str();
            let wrong = |fault| BundleError::damaged(reader.path(), Some(path), member.frame_offset, fault);
            let (Some(offset), Some(len), Some(next)) =
                (member.frame_offset, member.frame_len, member.frame_end())
            else {
                return Err(wrong(BundleFault::Misplaced));
            };
            if offset != end || partial.seen.contains(path) {
                return Err(wrong(BundleFault::Misplaced));
            }
            if next > reader.len() {
                return Err(wrong(BundleFault::NotInBundle));
            }
            // Syncs keep their order, so all members are sound when the last one is, unless the disk decays.
            if self.verify_committed || at + 1 == members.len() {
                reader.read_at(offset, len, &mut |found| hold_against(reader.path(), found, member))?;
            }
            let size = tar::framed_size(path, member.size);
            let frame = u32::try_from(len).ok().zip(u32::try_from(size).ok());
            let (len, size) = frame.ok_or_else(|| wrong(BundleFault::Misplaced))?;
            partial.note(member, Frame { offset, len, size });
            end = next;
        }
        Ok(end)
    }

    /// Lists the whole frames after the committed ones, and cuts the rest.
    fn tail(
        &mut self,
        partial: &mut PartialBundle,
        reader: &BundleReader,
        begin: u64,
    ) -> Result<(), BundleError> {
        let mut found: Vec<(BundleMember, Frame)> = Vec::new();
        let mut end = begin;
        let mut stream = FrameStream::new(reader.piece(begin, reader.len()), BundleLimits::default())
            .map_err(at("unpack", reader.path()))?;
        while end < reader.len() {
            match next_whole(&mut stream) {
                Ok(Some((path, id, size, sha256, frame))) if !partial.seen.contains(&path) => {
                    let frame = Frame { offset: begin + frame.offset, ..frame };
                    let member = BundleMember {
                        url: id.readable_url(self.base_url),
                        crate_name: id.name.to_string(),
                        version: Some(id.version.to_string()),
                        bundle_path: self
                            .dir
                            .join(names::bundle(partial.number))
                            .to_string_lossy()
                            .into_owned(),
                        bundle_member: path,
                        size,
                        sha256,
                        frame_offset: Some(frame.offset),
                        frame_len: Some(u64::from(frame.len)),
                        format: Some(FORMAT),
                        mirror: self.mirror,
                    };
                    partial.note(&member, frame);
                    end = frame.offset + u64::from(frame.len);
                    found.push((member, frame));
                }
                Ok(_) | Err(Trouble::Fault(_) | Trouble::Of(..)) => break,
                Err(trouble) => return Err(with_place(reader.path(), None, Some(end), trouble)),
            }
        }
        self.report.cut_bytes += partial.bundle.len() - end;
        partial.bundle.cut(end)?;
        partial.bundle.sync()?;
        let found: Vec<BundleMember> = found.into_iter().map(|(member, _)| member).collect();
        partial.list(&found)?;
        self.report.relisted.extend(found);
        Ok(())
    }
}

type Whole = (String, mirror_types::ReleaseId, u64, Sha256, Frame);

/// Reads the next frame, when it is whole and has a member. `None` for the end of an archive.
fn next_whole<R: std::io::Read>(stream: &mut FrameStream<R>) -> Result<Option<Whole>, Trouble> {
    let begun = stream.frames().len();
    let Step::Member(entry) = tar::step(stream, &BundleLimits::default())? else { return Ok(None) };
    let mut hasher = Hasher::default();
    let mut left = entry.size;
    let mut buffer = vec![0; 64 << 10];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        std::io::Read::read_exact(stream, &mut buffer[..want]).map_err(tar::torn)?;
        hasher.update(&buffer[..want]);
        left -= want as u64;
    }
    tar::skip_padding(stream, entry.size)?;
    if !stream.end_frame()? || stream.frames().len() != begun + 1 {
        return Ok(None);
    }
    let frame = stream.frames()[begun];
    Ok(Some((entry.path, entry.id, entry.size, hasher.finish(), frame)))
}

/// Checks that a member is the one in the manifest.
pub(crate) fn hold_against(
    path: &Path,
    found: &mut crate::member::Member<'_>,
    listed: &BundleMember,
) -> Result<(), BundleError> {
    let offset = Some(found.frame_offset());
    let fault = if found.path() != listed.bundle_member {
        BundleFault::Misplaced
    } else if found.size() != listed.size {
        BundleFault::Size { found: found.size(), listed: listed.size }
    } else if found.sha256()? != listed.sha256 {
        BundleFault::Checksum
    } else {
        return Ok(());
    };
    Err(BundleError::damaged(path, Some(&listed.bundle_member), offset, fault))
}

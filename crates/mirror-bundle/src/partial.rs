//! The one partial bundle.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mirror_checksum::Hasher;
use mirror_fs::{AppendLog, Fs, ReadAt, SequentialReader};
use mirror_types::MirrorId;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

use crate::error::{BundleError, at};
use crate::fault::BundleFault;
use crate::member::Seen;
use crate::names;
use crate::record::{BundleIndexLine, BundleMember, FORMAT, push_lines};
use crate::stored;
use crate::tar;
use crate::zframe::{self, Frame};

/// Both checksums of a bundle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sums {
    sha256: Hasher,
    blake3: blake3::Hasher,
}

impl Sums {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.sha256.update(data);
        self.blake3.update(data);
    }

    /// Reads a whole file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, BundleError> {
        let mut file = mirror_fs::patient(|| File::open(path)).map_err(at("open", path))?;
        let mut buffer = vec![0; 1 << 20];
        let mut sums = Self::default();
        loop {
            match file.read(&mut buffer).map_err(at("read", path))? {
                0 => return Ok(sums),
                n => sums.update(&buffer[..n]),
            }
        }
    }
}

/// The figures for the index about the members of a bundle.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extent {
    pub(crate) min: Option<String>,
    pub(crate) max: Option<String>,
    pub(crate) entries: u64,
    pub(crate) size_bytes: u64,
    pub(crate) mirror: Option<MirrorId>,
}

impl Extent {
    pub(crate) fn add(&mut self, member: &BundleMember) {
        let name = &member.crate_name;
        if self.min.as_ref().is_none_or(|min| name < min) {
            self.min = Some(name.clone());
        }
        if self.max.as_ref().is_none_or(|max| name > max) {
            self.max = Some(name.clone());
        }
        self.entries += 1;
        self.size_bytes += member.size;
        self.mirror = self.mirror.or(member.mirror);
    }

    pub(crate) fn manifest_name(&self, number: u32) -> String {
        names::manifest(number, self.min.as_deref().unwrap_or(""), self.max.as_deref().unwrap_or(""))
    }
}

/// Appends a line to `bundles.index.jsonl` and makes it durable.
pub(crate) fn append_to_index(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    number: u32,
    extent: &Extent,
    sums: &Sums,
    len: u64,
) -> Result<(), BundleError> {
    let shown = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (min, max) = (extent.min.clone().unwrap_or_default(), extent.max.clone().unwrap_or_default());
    let line = BundleIndexLine {
        bundle_path: shown(&names::bundle(number)),
        manifest_path: shown(&extent.manifest_name(number)),
        crate_min_label: names::label(&min),
        crate_max_label: names::label(&max),
        crate_min: min,
        crate_max: max,
        entries: extent.entries,
        size_bytes: extent.size_bytes,
        sha256: Some(sums.sha256.clone().finish()),
        blake3: Some(sums.blake3.finalize().to_hex().to_string()),
        compressed_bytes: Some(len),
        format: Some(FORMAT),
        mirror: extent.mirror,
    };
    let mut index = AppendLog::open(Arc::clone(fs), dir.join(names::INDEX))?;
    let mut text = Vec::new();
    push_lines(&mut text, &[line]).map_err(|error| at("write", index.path())(error.into()))?;
    index.append(&text)?;
    index.sync()?;
    fs.sync_dirs(dir, &[dir]).map_err(at("make durable", dir))
}

/// Returns a compressor that makes frames in the form that the format requires.
pub(crate) fn compressor(level: i32) -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::new(level)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
    Ok(compressor)
}

#[derive(Debug)]
pub(crate) struct PartialBundle {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    pub(crate) number: u32,
    pub(crate) bundle: AppendLog,
    pub(crate) manifest: AppendLog,
    pub(crate) frames: Vec<Frame>,
    pub(crate) seen: Seen,
    pub(crate) extent: Extent,
    /// Members appended since the last commit.
    pending: Vec<BundleMember>,
    /// `None` when a part of the bundle was written by an earlier run.
    sums: Option<Sums>,
}

impl PartialBundle {
    /// Opens the bundle `number` with its existing contents, which must have been recovered.
    pub(crate) fn open(fs: &Arc<dyn Fs>, dir: &Path, number: u32) -> Result<Self, BundleError> {
        let bundle = AppendLog::open(Arc::clone(fs), names::bundle_path(dir, number, false))?;
        let manifest = AppendLog::open(Arc::clone(fs), dir.join(names::partial_manifest(number)))?;
        fs.sync_dirs(dir, &[dir]).map_err(at("make durable", dir))?;
        let sums = bundle.is_empty().then(Sums::default);
        Ok(Self {
            fs: Arc::clone(fs),
            dir: dir.to_owned(),
            number,
            bundle,
            manifest,
            frames: Vec::new(),
            seen: Seen::default(),
            extent: Extent::default(),
            pending: Vec::new(),
            sums,
        })
    }

    /// Notes a member that is already in the bundle and in its manifest.
    pub(crate) fn note(&mut self, member: &BundleMember, frame: Frame) {
        self.frames.push(frame);
        self.seen.insert(&member.bundle_member);
        self.extent.add(member);
    }

    fn write(&mut self, data: &[u8]) -> Result<(), BundleError> {
        self.bundle.append(data)?;
        if let Some(sums) = &mut self.sums {
            sums.update(data);
        }
        Ok(())
    }

    /// Appends consecutive frames; `members` has length and unpacked size of each.
    pub(crate) fn append(
        &mut self,
        data: &[u8],
        members: impl IntoIterator<Item = (BundleMember, u32, u32)>,
    ) -> Result<(), BundleError> {
        let mut offset = self.bundle.len();
        self.write(data)?;
        for (member, len, size) in members {
            self.place(member, Frame { offset, len, size });
            offset += u64::from(len);
        }
        Ok(())
    }

    fn place(&mut self, mut member: BundleMember, frame: Frame) {
        member.bundle_path = self.dir.join(names::bundle(self.number)).to_string_lossy().into_owned();
        member.frame_offset = Some(frame.offset);
        member.frame_len = Some(u64::from(frame.len));
        self.note(&member, frame);
        self.pending.push(member);
    }

    /// Appends a member whose data is too large for memory.
    pub(crate) fn append_large(
        &mut self,
        member: BundleMember,
        large: &dyn ReadAt,
        level: i32,
    ) -> Result<(), BundleError> {
        let offset = self.bundle.len();
        let data_bytes = large.len();
        let size = tar::framed_size(&member.bundle_member, data_bytes);
        let path = self.bundle.path().to_owned();
        let mut headers = Vec::new();
        tar::write_headers(&mut headers, &member.bundle_member, data_bytes);
        let sums = self.sums.clone();
        let mut encoder = zstd::stream::write::Encoder::new(Into(self), level).map_err(at("pack", &path))?;
        encoder
            .include_checksum(true)
            .and_then(|()| encoder.include_contentsize(true))
            .and_then(|()| encoder.set_pledged_src_size(Some(size)))
            .map_err(at("pack", &path))?;
        let packed = encoder.write_all(&headers).and_then(|()| {
            let found = io::copy(&mut SequentialReader::new(large), &mut encoder)?;
            if found < data_bytes {
                return Err(BundleFault::ShortBody { found, said: data_bytes }.into());
            }
            encoder.write_all(&[0; tar::BLOCK][..tar::padding(data_bytes)])?;
            encoder.finish().map(|_| ())
        });
        packed.map_err(at("append to", &path))?;
        if stored::is_suspicious(size, self.bundle.len() - offset) {
            self.bundle.cut(offset)?;
            self.sums = sums;
            let padding = tar::padding(data_bytes) as u64;
            let data = SequentialReader::new(large);
            let mut plain = headers.as_slice().chain(data).chain(io::repeat(0).take(padding));
            stored::store(&mut plain, size, &mut Into(self)).map_err(at("append to", &path))?;
        }
        let len = u32::try_from(self.bundle.len() - offset).unwrap_or(u32::MAX);
        self.place(member, Frame { offset, len, size: u32::try_from(size).unwrap_or(u32::MAX) });
        Ok(())
    }

    /// Makes the appended members durable: data first, then the lines of the manifest.
    pub(crate) fn commit(&mut self) -> Result<Vec<BundleMember>, BundleError> {
        if self.pending.is_empty() {
            return Ok(Vec::new());
        }
        self.bundle.sync()?;
        let placed = std::mem::take(&mut self.pending);
        self.list(&placed)?;
        Ok(placed)
    }

    /// Appends lines to the manifest and makes them durable.
    pub(crate) fn list(&mut self, members: &[BundleMember]) -> Result<(), BundleError> {
        if members.is_empty() {
            return Ok(());
        }
        let mut text = Vec::with_capacity(members.len() * 400);
        push_lines(&mut text, members).map_err(|error| at("write", self.manifest.path())(error.into()))?;
        self.manifest.append(&text)?;
        Ok(self.manifest.sync()?)
    }

    /// Ends the bundle and gives it its final name. Nothing may be pending.
    pub(crate) fn seal(mut self, level: i32) -> Result<(), BundleError> {
        let mut end = compressor(level)
            .and_then(|mut compressor| compressor.compress(&tar::END))
            .map_err(at("pack the end of", self.bundle.path()))?;
        let len = u32::try_from(end.len()).unwrap_or(u32::MAX);
        self.frames.push(Frame { offset: self.bundle.len(), len, size: 1024 });
        end.extend_from_slice(&zframe::table(&self.frames));
        self.write(&end)?;
        self.bundle.sync()?;
        let sums = match self.sums.take() {
            Some(sums) => sums,
            None => Sums::of_file(self.bundle.path())?,
        };
        let final_path = self.dir.join(names::bundle(self.number));
        publish(&*self.fs, &self.dir, self.bundle.path(), &final_path)?;
        let manifest = self.dir.join(self.extent.manifest_name(self.number));
        publish(&*self.fs, &self.dir, self.manifest.path(), &manifest)?;
        append_to_index(&self.fs, &self.dir, self.number, &self.extent, &sums, self.bundle.len())
    }
}

/// Renames a file to its final name, which must be free.
pub(crate) fn publish(fs: &dyn Fs, dir: &Path, from: &Path, to: &Path) -> Result<(), BundleError> {
    if std::fs::symlink_metadata(to).is_ok() {
        let taken = io::Error::new(io::ErrorKind::AlreadyExists, "a sealed bundle is never written again");
        return Err(at("publish", to)(taken));
    }
    fs.rename(from, to).map_err(at("publish", to))?;
    fs.sync_dirs(dir, &[dir]).map_err(at("make durable", dir))
}

/// Lets an encoder write into the bundle.
struct Into<'a>(&'a mut PartialBundle);

impl Write for Into<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.write(data).map_err(|error| match error {
            BundleError::Io { source, .. } => source,
            other => io::Error::other(other),
        })?;
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

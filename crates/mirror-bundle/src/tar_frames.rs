//! A tar of small files as a sequence of zstd frames, for outputs that are no bundles.

use std::io::{self, Cursor};

use zstd::bulk::Compressor;
use zstd::zstd_safe;

use crate::partial::compressor;
use crate::stored;
use crate::tar;
use crate::zframe::{self, Frame};

/// Packs files into zstd frames that, one behind another, are one tar. Files and frames have the form that they have
/// in a bundle: mode 0644, owner and time 0, and a checksum in each frame. The same files give the same bytes.
pub struct TarFrames {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for TarFrames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TarFrames").field("plain_bytes", &self.plain.len()).finish_non_exhaustive()
    }
}

impl TarFrames {
    /// Begins a frame, to be compressed at a level of zstd.
    ///
    /// # Errors
    /// When zstd cannot be set up, for lack of memory or because there is no such level.
    pub fn new(level: i32) -> io::Result<Self> {
        Ok(Self { compressor: compressor(level)?, plain: Vec::new() })
    }

    /// Adds a file to the frame. `path` is relative, with `/` between its parts; `.` and `..` are not looked for.
    pub fn add(&mut self, path: &str, body: &[u8]) {
        tar::write_headers(&mut self.plain, path, body.len() as u64);
        self.plain.extend_from_slice(body);
        self.plain.resize(self.plain.len() + tar::padding(body.len() as u64), 0);
    }

    /// Returns the number of bytes in the frame, before it is compressed.
    #[must_use]
    pub fn plain_bytes(&self) -> usize {
        self.plain.len()
    }

    /// Appends the frame to `out`, begins the next one, and returns its place in `out`. A frame without files has a
    /// place, too: callers pack what they added.
    ///
    /// # Errors
    /// When zstd fails, or the frame has more than 4 GiB.
    pub fn pack(&mut self, out: &mut Vec<u8>) -> io::Result<Frame> {
        let frame = append(&mut self.compressor, &self.plain, out)?;
        self.plain.clear();
        Ok(frame)
    }

    /// Returns what follows all `frames`: the end of the tar, and the seek table of zstd's seekable format. Their
    /// offsets do not count, only their order.
    ///
    /// # Errors
    /// When zstd fails.
    pub fn end(mut self, frames: &[Frame]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let end = append(&mut self.compressor, &tar::END, &mut out)?;
        out.extend(zframe::table(&[frames, &[end]].concat()));
        Ok(out)
    }
}

/// Appends `plain` to `out` as one frame, and returns its place there.
pub(crate) fn append(
    compressor: &mut Compressor<'static>,
    plain: &[u8],
    out: &mut Vec<u8>,
) -> io::Result<Frame> {
    let start = out.len();
    out.reserve(zstd_safe::compress_bound(plain.len()));
    // The frame is written directly into the buffer.
    let mut cursor = Cursor::new(out);
    cursor.set_position(start as u64);
    compressor.compress_to_buffer(plain, &mut cursor)?;
    let out = cursor.into_inner();
    if stored::is_suspicious(plain.len() as u64, (out.len() - start) as u64) {
        out.truncate(start);
        stored::store(&mut &*plain, plain.len() as u64, out)?;
    }
    let len = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("a frame of more than 4 GiB"));
    Ok(Frame { offset: start as u64, len: len(out.len() - start)?, size: len(plain.len())? })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const ZEROS: usize = 3 << 20;

    /// Packs three files into two frames.
    fn packed() -> (Vec<u8>, Vec<Frame>) {
        let mut frames = TarFrames::new(3).expect("level");
        let mut out = Vec::new();
        frames.add("a/b.json", b"{}\n");
        frames.add(&format!("{}/c.json", "d".repeat(120)), &[7; 1_000]);
        let first = frames.pack(&mut out).expect("frame");
        assert_eq!(frames.plain_bytes(), 0);
        frames.add("zeros", &vec![0; ZEROS]);
        let both = vec![first, frames.pack(&mut out).expect("frame")];
        out.extend(frames.end(&both).expect("end"));
        (out, both)
    }

    #[test]
    fn all_frames_are_one_tar() {
        let (bytes, _) = packed();
        let plain = zstd::stream::decode_all(&*bytes).expect("zstd");
        let mut archive = ::tar::Archive::new(&*plain);
        let files: Vec<(String, Vec<u8>)> = archive
            .entries()
            .expect("tar")
            .map(|entry| {
                let mut entry = entry.expect("entry");
                let path = entry.path().expect("path").to_string_lossy().into_owned();
                let mut body = Vec::new();
                entry.read_to_end(&mut body).expect("body");
                (path, body)
            })
            .collect();
        let long = format!("{}/c.json", "d".repeat(120));
        let expected = [
            ("a/b.json".to_owned(), b"{}\n".to_vec()),
            (long, vec![7; 1_000]),
            ("zeros".to_owned(), vec![0; ZEROS]),
        ];
        assert_eq!(files, expected);
        assert_eq!(bytes, packed().0);
    }

    #[test]
    fn each_frame_decodes_alone_and_the_table_names_it() {
        let (bytes, frames) = packed();
        for frame in &frames {
            let start = usize::try_from(frame.offset).expect("offset");
            let plain =
                zstd::bulk::decompress(&bytes[start..start + frame.len as usize], 4 << 20).expect("frame");
            assert_eq!(plain.len(), frame.size as usize);
        }
        // What is nearly empty is stored: the packed form would look like a bomb.
        assert!(frames[1].len as usize > ZEROS);
        let content = 3 * 8 + zframe::FOOTER;
        let table = zframe::read_table(&bytes[bytes.len() - content..]).expect("table");
        assert_eq!(table[..2], frames[..]);
        assert_eq!(table[2].size, 1_024);
    }
}

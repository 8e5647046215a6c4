//! The file with all data: a snapshot, then one entry for each later change.
//!
//! An entry is a 12-byte header (payload length, payload CRC-32C, CRC-32C of those eight bytes; big endian) and its
//! payload, whose first byte is the [`Kind`]. The header has its own checksum, because a damaged length would otherwise
//! look like an entry that was cut off, and everything after it would be dropped.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use bytes::{Buf, Bytes};

use crate::BrokerError;

const HEADER: usize = 12;
/// The capacity that the buffer keeps between two appends, in bytes.
const BUFFER_KEPT: usize = 1 << 20;

/// What an entry is; the number is the first byte of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A snapshot without its records. The first entry of every file.
    State = 1,
    /// One record batch of a snapshot.
    Batch = 2,
    /// The end of the snapshot.
    SnapshotEnd = 3,
    /// A client's request, applied after everything above it.
    Request = 4,
    /// A run of the log cleaner that removed something.
    Clean = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::State, Self::Batch, Self::SnapshotEnd, Self::Request, Self::Clean]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

fn encode(buffer: &mut Vec<u8>, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
    buffer.clear();
    buffer.resize(HEADER, 0);
    buffer.push(kind as u8);
    for part in parts {
        buffer.extend_from_slice(part);
    }
    let payload = &buffer[HEADER..];
    let length = u32::try_from(payload.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let crc = crc32c::crc32c(payload);
    buffer[..4].copy_from_slice(&length.to_be_bytes());
    buffer[4..8].copy_from_slice(&crc.to_be_bytes());
    let header_crc = crc32c::crc32c(&buffer[..8]);
    buffer[8..HEADER].copy_from_slice(&header_crc.to_be_bytes());
    Ok(())
}

/// The open log. Changes are appended to it.
pub(crate) struct Log {
    file: File,
    len: u64,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens `path` and truncates it to `len` bytes.
    pub(crate) fn open(path: &Path, len: u64) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        if file.metadata()?.len() != len {
            file.set_len(len)?;
        }
        Ok(Self { file, len, buffer: Vec::new() })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Writes one entry to the kernel. From then on it survives any end of this process.
    pub(crate) fn append(&mut self, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
        encode(&mut self.buffer, kind, parts)?;
        if let Err(error) = self.file.write_all(&self.buffer) {
            // A partial entry must not come before a complete one.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(())
    }
}

/// Writes a new file beside the old one and replaces it. Whenever the process ends, one of the two is complete.
pub(crate) struct Rewrite {
    file: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    len: u64,
    buffer: Vec<u8>,
}

impl Rewrite {
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        let temporary = temporary(path);
        let file = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
        Ok(Self { file, temporary, path: path.to_path_buf(), len: 0, buffer: Vec::new() })
    }

    pub(crate) fn entry(&mut self, kind: Kind, parts: &[&[u8]]) -> io::Result<()> {
        encode(&mut self.buffer, kind, parts)?;
        self.file.write_all(&self.buffer)?;
        self.len += self.buffer.len() as u64;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<Log> {
        self.file.flush()?;
        // The rename must not reach the disk before the file's content.
        self.file.get_ref().sync_data()?;
        let log = Log::open(&self.temporary, self.len)?;
        fs::rename(&self.temporary, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(log)
    }
}

/// What the reader finds next.
pub(crate) enum Next {
    Entry(Kind, Bytes),
    /// The end of the file, or of its complete entries. Everything after [`Reader::offset`] is to be cut off.
    End {
        torn: bool,
    },
}

/// Reads the entries of a file in order.
pub(crate) struct Reader {
    file: BufReader<File>,
    path: PathBuf,
    offset: u64,
    len: u64,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file: BufReader::with_capacity(1 << 20, file), path: path.to_path_buf(), offset: 0, len })
    }

    /// Where the next entry begins, in bytes.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The error for the entry that begins at `offset`.
    pub(crate) fn corrupt(&self, offset: u64, reason: impl Into<String>) -> BrokerError {
        BrokerError::CorruptLog { path: self.path.clone(), offset, reason: reason.into() }
    }

    pub(crate) fn next(&mut self) -> Result<Next, BrokerError> {
        self.read()
            .map_err(|error| BrokerError::io(&self.path, error))?
            .map_err(|reason| self.corrupt(self.offset, reason))
    }

    fn read(&mut self) -> io::Result<Result<Next, &'static str>> {
        let remaining = self.len - self.offset;
        if remaining < HEADER as u64 {
            return Ok(Ok(Next::End { torn: remaining > 0 }));
        }
        let mut header = [0; HEADER];
        self.file.read_exact(&mut header)?;
        let [length, crc, header_crc] = [0, 4, 8]
            .map(|at| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]));
        if crc32c::crc32c(&header[..8]) != header_crc {
            // After a power cut, a file system may have extended the file without its bytes.
            return if header == [0; HEADER] && self.rest_is_zero()? {
                Ok(Ok(Next::End { torn: true }))
            } else {
                Ok(Err("the entry's header fails its checksum"))
            };
        }
        let end = self.offset + HEADER as u64 + u64::from(length);
        if end > self.len {
            return Ok(Ok(Next::End { torn: true }));
        }
        let mut payload = vec![0; length as usize];
        self.file.read_exact(&mut payload)?;
        if crc32c::crc32c(&payload) != crc {
            return if end == self.len {
                Ok(Ok(Next::End { torn: true }))
            } else {
                Ok(Err("the entry fails its checksum"))
            };
        }
        let Some(kind) = payload.first().copied().and_then(Kind::of) else {
            return Ok(Err("the entry has an unknown kind"));
        };
        self.offset = end;
        let mut payload = Bytes::from(payload);
        payload.advance(1);
        Ok(Ok(Next::Entry(kind, payload)))
    }

    fn rest_is_zero(&mut self) -> io::Result<bool> {
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = [0; 8192];
        loop {
            match self.file.read(&mut chunk)? {
                0 => return Ok(true),
                n if chunk[..n].iter().any(|byte| *byte != 0) => return Ok(false),
                _ => {}
            }
        }
    }
}

/// Removes the files of an unfinished rewrite.
pub(crate) fn remove_leftovers(path: &Path) -> io::Result<()> {
    match fs::remove_file(temporary(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where a rewrite is written until it is complete.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(payloads: &[&[u8]]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut rewrite = Rewrite::begin(&path).unwrap();
        for payload in payloads {
            rewrite.entry(Kind::Request, &[payload]).unwrap();
        }
        rewrite.finish().unwrap();
        (dir, path)
    }

    fn read_all(path: &Path) -> Result<(Vec<Vec<u8>>, bool), BrokerError> {
        let mut reader = Reader::open(path).unwrap();
        let mut payloads = Vec::new();
        loop {
            match reader.next()? {
                Next::Entry(_, payload) => payloads.push(payload.to_vec()),
                Next::End { torn } => return Ok((payloads, torn)),
            }
        }
    }

    #[test]
    fn a_file_cut_at_any_byte_yields_its_whole_entries() {
        let (_dir, path) = file_of(&[b"first", b"", b"third"]);
        let whole = fs::read(&path).unwrap();
        let ends = [18, 18 + 13, 18 + 13 + 18];
        assert_eq!(whole.len(), ends[2]);
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let (payloads, torn) = read_all(&path).unwrap();
            assert_eq!(payloads.len(), ends.iter().filter(|end| **end <= cut).count(), "cut at {cut}");
            assert_eq!(torn, cut != 0 && !ends.contains(&cut), "cut at {cut}");
        }
    }

    #[test]
    fn a_flipped_bit_before_the_last_entry_is_never_read_over() {
        let (_dir, path) = file_of(&[b"first", b"second", b"third"]);
        let whole = fs::read(&path).unwrap();
        let last = whole.len() - 18;
        for at in 0..last {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            assert!(matches!(read_all(&path), Err(BrokerError::CorruptLog { .. })), "flipped at {at}");
        }
    }

    #[test]
    fn zeros_behind_the_last_entry_are_a_torn_tail() {
        let (_dir, path) = file_of(&[b"first"]);
        let mut grown = fs::read(&path).unwrap();
        grown.resize(grown.len() + 20_000, 0);
        fs::write(&path, &grown).unwrap();
        assert_eq!(read_all(&path).unwrap(), (vec![b"first".to_vec()], true));
    }

    #[test]
    fn what_is_appended_after_a_cut_follows_the_last_whole_entry() {
        let (_dir, path) = file_of(&[b"first", b"second"]);
        let mut log = Log::open(&path, 18).unwrap();
        log.append(Kind::Clean, &[b"th", b"ird"]).unwrap();
        assert_eq!(log.len(), fs::metadata(&path).unwrap().len());
        assert_eq!(read_all(&path).unwrap(), (vec![b"first".to_vec(), b"third".to_vec()], false));
    }
}

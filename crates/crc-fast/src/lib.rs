//! The three algorithms of the crate `crc-fast` that the AWS SDK uses to check what it writes to S3 and reads from it.
//!
//! The crate itself has all algorithms of the CRC catalogue, each with tables of 8 to 32 kB, in one `match`. No linker
//! can drop the unused ones from it. They were 660 kB of the executables of archive-quotes, load-quotes and
//! reconcile-quotes, and 0.5 MB of each zip, because tables do not compress. `Cargo.toml` puts this crate in its place.
//! If the SDK needs more of `crc-fast`, the build fails.

use crc::{Crc, Table};

/// The checksums of S3 that are not digests:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity-upload.html>.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC-32, which the SDK adds to each object that it writes.
    Crc32IsoHdlc,
    /// CRC-32C.
    Crc32Iscsi,
    /// CRC-64/NVME, which S3 adds to an object that was written without a checksum.
    Crc64Nvme,
}

static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&crc::CRC_32_ISCSI);
static CRC64: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&crc::CRC_64_NVME);

/// A checksum of bytes that arrive piece by piece.
#[derive(Debug, Clone)]
pub struct Digest(State);

#[derive(Clone)]
enum State {
    Crc32(crc32fast::Hasher),
    Crc32C(crc::Digest<'static, u32, Table<1>>),
    Crc64(crc::Digest<'static, u64, Table<1>>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Crc32(_) => "Crc32IsoHdlc",
            Self::Crc32C(_) => "Crc32Iscsi",
            Self::Crc64(_) => "Crc64Nvme",
        })
    }
}

impl Digest {
    /// The checksum of no bytes.
    #[must_use]
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        Self(match algorithm {
            CrcAlgorithm::Crc32IsoHdlc => State::Crc32(crc32fast::Hasher::new()),
            CrcAlgorithm::Crc32Iscsi => State::Crc32C(CRC32C.digest()),
            CrcAlgorithm::Crc64Nvme => State::Crc64(CRC64.digest()),
        })
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(hasher) => hasher.update(bytes),
            State::Crc32C(digest) => digest.update(bytes),
            State::Crc64(digest) => digest.update(bytes),
        }
    }

    /// The checksum of all bytes so far. The upper half of a 32-bit checksum is 0.
    #[must_use]
    pub fn finalize(&self) -> u64 {
        match &self.0 {
            State::Crc32(hasher) => hasher.clone().finalize().into(),
            State::Crc32C(digest) => digest.clone().finalize().into(),
            State::Crc64(digest) => digest.clone().finalize(),
        }
    }
}

/// The checksum of `bytes`.
#[must_use]
pub fn checksum(algorithm: CrcAlgorithm, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new(algorithm);
    digest.update(bytes);
    digest.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the catalogue: <https://reveng.sourceforge.io/crc-catalogue/>.
    const CHECKS: [(CrcAlgorithm, u64); 3] = [
        (CrcAlgorithm::Crc32IsoHdlc, 0xcbf4_3926),
        (CrcAlgorithm::Crc32Iscsi, 0xe306_9283),
        (CrcAlgorithm::Crc64Nvme, 0xae8b_1486_0a79_9888),
    ];

    #[test]
    fn each_checksum_of_the_catalogues_nine_digits_is_the_catalogues() {
        for (algorithm, check) in CHECKS {
            assert_eq!(checksum(algorithm, b"123456789"), check, "{algorithm:?}");
        }
    }

    #[test]
    fn bytes_may_come_in_any_pieces() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for (algorithm, _) in CHECKS {
            let mut digest = Digest::new(algorithm);
            for piece in bytes.chunks(37) {
                digest.update(piece);
                // Asking in between changes nothing.
                let _ = digest.finalize();
            }
            assert_eq!(digest.finalize(), checksum(algorithm, &bytes), "{algorithm:?}");
        }
    }
}

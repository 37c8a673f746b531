//! What events are known by: hashes over pieces, each with its length in front, so that `ab`, `c` is
//! not `a`, `bc`. They are stored and outlive the process: none of them may ever change.

use sha2::{Digest, Sha256};

/// A dedup key: 128 bits over a namespace and the parts of an id. A webhook and a poll of one namespace
/// have the same for the same id.
pub fn key_of_pieces<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> [u8; 16] {
    front(&digest(pieces))
}

/// A namespace as a number.
pub fn scope_of(namespace: &str) -> u64 {
    let digest: [u8; 32] = Sha256::digest(namespace.as_bytes()).into();
    u64::from_be_bytes(front(&digest))
}

/// The SHA-256 of pieces, each with its length in front (8 bytes, big endian).
pub fn digest<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for piece in pieces {
        let piece = piece.as_ref();
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece);
    }
    hash.finalize().into()
}

/// The first bytes of a digest.
pub fn front<const N: usize>(digest: &[u8; 32]) -> [u8; N] {
    let mut front = [0; N];
    for (to, from) in front.iter_mut().zip(digest) {
        *to = *from;
    }
    front
}

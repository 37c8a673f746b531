//! Requests signed as GitHub signs them, and bytes to sign.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::client::Request;

/// The secret that [`post`] signs with.
pub const SECRET: &str = "It's a Secret to Everybody";
/// The header that carries the signature.
pub const HEADER: &str = "X-Hub-Signature-256";

/// The value of the signature header for this body under [`SECRET`].
pub fn signature(body: &[u8]) -> String {
    signature_with(SECRET, body)
}

pub fn signature_with(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length");
    mac.update(body);
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// A signed `POST`.
pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Request {
    let body = body.into();
    Request::new("POST", target)
        .header(HEADER, signature(&body))
        .body(body)
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Bytes without pattern, NUL, CR, LF and invalid UTF-8 among them; the same ones every time.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length as u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

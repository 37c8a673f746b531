//! Heads and bodies as they are on disk: sealed with a key from the file, or as they are.
//!
//! Sealed is XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha) with a random nonce, bound to the id of the
//! event, so that nothing can be moved to another one. New things are sealed with the first key; all
//! keys open.

use std::borrow::Cow;
use std::fmt;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// What is not plain begins with these bytes; what is plain and begins so is marked as plain.
const MARK: &[u8] = b"\0hg";
const IS_SEALED: u8 = b's';
const IS_PLAIN: u8 = b'p';
const NONCE_BYTES: usize = 24;

/// How every [`CannotOpen`] begins.
pub const SEALED: &str = "it is sealed";

/// Which key it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Why something cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    /// It was sealed with another key.
    #[error("it is sealed with key {0}, which is not among store.encryption")]
    Key(KeyId),
    /// Somebody has changed it.
    #[error("it is sealed and was changed, or belongs to another event")]
    Changed,
}

/// Seals and opens.
#[derive(Clone, Default)]
pub struct Cipher {
    keys: Vec<(KeyId, XChaCha20Poly1305)>,
}

impl Cipher {
    /// Seals with the first key; without keys nothing is sealed.
    pub fn new(secrets: &[Secret]) -> Self {
        let key = |secret: &Secret| {
            let hash = |purpose: &[u8]| -> [u8; 32] {
                let mut hash = Sha256::new();
                hash.update(purpose);
                hash.update(secret.expose().as_bytes());
                hash.finalize().into()
            };
            let [a, b, c, d, ..] = hash(b"hookgate store key id\0");
            let key = hash(b"hookgate store key\0");
            (KeyId([a, b, c, d]), XChaCha20Poly1305::new(&key.into()))
        };
        Self {
            keys: secrets.iter().map(key).collect(),
        }
    }

    /// The key that seals; `None` = nothing is sealed.
    pub fn first(&self) -> Option<KeyId> {
        self.keys.first().map(|(id, _)| *id)
    }

    /// Whether this key is among those that open.
    pub fn knows(&self, id: &str) -> bool {
        self.keys.iter().any(|(known, _)| known.to_string() == id)
    }

    /// What is written for a text; `of` is what it belongs to.
    pub fn seal<'t>(&self, text: &'t [u8], of: &[u8]) -> Cow<'t, [u8]> {
        let sealed = self.keys.first().and_then(|(id, key)| {
            let mut nonce = [0; NONCE_BYTES];
            getrandom::fill(&mut nonce).ok()?;
            let payload = Payload { msg: text, aad: of };
            let sealed = key.encrypt(&XNonce::from(nonce), payload).ok()?;
            Some([MARK, &[IS_SEALED], &id.0, &nonce, &sealed].concat())
        });
        match sealed {
            Some(sealed) => Cow::Owned(sealed),
            None if text.starts_with(MARK) => Cow::Owned([MARK, &[IS_PLAIN], text].concat()),
            None => Cow::Borrowed(text),
        }
    }

    /// The text of what was written.
    ///
    /// # Errors
    /// [`CannotOpen`] when it is sealed with an unknown key, or was changed.
    pub fn open<'t>(&self, written: &'t [u8], of: &[u8]) -> Result<Cow<'t, [u8]>, CannotOpen> {
        let Some((kind, rest)) = written
            .strip_prefix(MARK)
            .and_then(|rest| rest.split_first())
        else {
            return Ok(Cow::Borrowed(written));
        };
        if *kind == IS_PLAIN {
            return Ok(Cow::Borrowed(rest));
        }
        let (id, rest) = rest.split_first_chunk::<4>().ok_or(CannotOpen::Changed)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or(CannotOpen::Changed)?;
        let id = KeyId(*id);
        let known = self.keys.iter().find(|(known, _)| *known == id);
        let (_, key) = known.ok_or(CannotOpen::Key(id))?;
        let payload = Payload {
            msg: sealed,
            aad: of,
        };
        let text = key.decrypt(&XNonce::from(*nonce), payload);
        text.map(Cow::Owned).map_err(|_| CannotOpen::Changed)
    }
}

/// Without the keys.
impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|(id, _)| id))
            .finish()
    }
}

/// By the ids of their keys.
impl PartialEq for Cipher {
    fn eq(&self, other: &Self) -> bool {
        let ids = |cipher: &Self| cipher.keys.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        ids(self) == ids(other)
    }
}

impl Eq for Cipher {}

#[cfg(test)]
mod tests {
    use super::*;

    fn cipher(secrets: &[&str]) -> Cipher {
        let secrets: Vec<_> = secrets.iter().map(|&secret| Secret::new(secret)).collect();
        Cipher::new(&secrets)
    }

    #[test]
    fn what_is_sealed_is_opened_with_its_key_and_for_its_event() {
        let old = cipher(&["old"]);
        let both = cipher(&["new", "old"]);
        for text in [&b""[..], b"{}", b"\0hgs", &[7; 100_000]] {
            let sealed = old.seal(text, b"a").into_owned();
            let is_hidden = memchr::memmem::find(&sealed, text).is_none();
            assert!(is_hidden || text.is_empty() || text.starts_with(MARK));
            assert_eq!(both.open(&sealed, b"a").unwrap(), text);
            assert_eq!(old.open(&sealed, b"b"), Err(CannotOpen::Changed));
            let unknown = cipher(&["new"]).open(&sealed, b"a");
            assert_eq!(unknown, Err(CannotOpen::Key(old.first().unwrap())));
            let mut changed = sealed.clone();
            if let Some(last) = changed.last_mut() {
                *last ^= 1;
            }
            assert_eq!(old.open(&changed, b"a"), Err(CannotOpen::Changed));
            for cut in 4..sealed.len().min(40) {
                assert!(old.open(sealed.split_at(cut).0, b"a").is_err(), "{cut}");
            }
        }
    }

    #[test]
    fn without_keys_everything_is_as_it_is() {
        let none = Cipher::default();
        for text in [&b""[..], b"{}", b"\0hgs", b"\0hg", b"\0hgp"] {
            let written = none.seal(text, b"a").into_owned();
            assert_eq!(none.open(&written, b"a").unwrap(), text);
            assert_eq!(cipher(&["k"]).open(&written, b"a").unwrap(), text);
        }
        assert_eq!(none.seal(b"{}", b""), Cow::Borrowed(b"{}"));
    }

    #[test]
    fn no_two_are_sealed_alike() {
        let cipher = cipher(&["key"]);
        assert_ne!(cipher.seal(b"{}", b"a"), cipher.seal(b"{}", b"a"));
        assert!(!format!("{cipher:?}").contains("key\""));
    }
}

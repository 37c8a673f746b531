//! The ways to authenticate, and the hashes below them.

use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::digest::DynDigest;
use sha2::{Sha256, Sha384, Sha512};
use smallvec::SmallVec;

/// The bytes of a signature: those of a MAC fit without an allocation.
pub(super) type TagBytes = SmallVec<[u8; 64]>;

/// The ways to authenticate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC (RFC 2104).
    Hmac(Hash),
    /// A hash of a text with the secret in it: only where a provider knows nothing better.
    Hash(Hash),
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    EcdsaP256Sha256(EcdsaForm),
    /// RSA with PKCS#1 v1.5 padding (RFC 8017).
    Rsa(Hash),
    /// A JSON Web Token (RFC 7519) that holds the hash of the body.
    Jwt,
    /// The secret itself stands in the request.
    Static,
    /// HTTP basic authentication (RFC 7617); the secret is written `user:password`.
    Basic,
    /// A bearer token (RFC 6750) in the `Authorization` header.
    Bearer,
}

/// A hash function. MD5 and SHA-1 are here for providers that know nothing better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// MD5 (RFC 1321).
    Md5,
    /// SHA-1 (FIPS 180-4).
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How the two numbers of an ECDSA signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EcdsaForm {
    /// An ASN.1 sequence of both (RFC 3279).
    Der,
    /// 32 bytes each (IEEE P1363).
    Raw,
}

impl Algorithm {
    /// Whether a public key verifies.
    pub fn is_public(self) -> bool {
        matches!(
            self,
            Self::Ed25519 | Self::EcdsaP256Sha256(_) | Self::Rsa(_)
        )
    }

    /// Whether it signs a text, rather than present the secret.
    pub fn signs(self) -> bool {
        !matches!(self, Self::Static | Self::Basic | Self::Bearer | Self::Jwt)
    }

    /// Its name, with an article.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hmac(_) => "an HMAC",
            Self::Hash(_) => "a hash",
            Self::Ed25519 => "an Ed25519",
            Self::EcdsaP256Sha256(_) => "a P-256",
            Self::Rsa(_) => "an RSA",
            Self::Jwt => "a token's",
            Self::Static | Self::Basic | Self::Bearer => "a token's",
        }
    }

    /// The word for it in a file.
    pub fn word(self) -> String {
        match self {
            Self::Hmac(hash) => format!("hmac-{}", hash.word()),
            Self::Hash(hash) => format!("hash-{}", hash.word()),
            Self::Rsa(hash) => format!("rsa-pkcs1-{}", hash.word()),
            Self::Ed25519 => "ed25519".to_owned(),
            Self::EcdsaP256Sha256(_) => "ecdsa-p256-sha256".to_owned(),
            Self::Jwt => "jwt".to_owned(),
            Self::Static => "static".to_owned(),
            Self::Basic => "basic".to_owned(),
            Self::Bearer => "bearer".to_owned(),
        }
    }
}

impl Hash {
    fn word(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// Begins a hash.
    pub(super) fn begin(self) -> Box<dyn DynDigest> {
        match self {
            Self::Md5 => Box::<Md5>::default(),
            Self::Sha1 => Box::<Sha1>::default(),
            Self::Sha256 => Box::<Sha256>::default(),
            Self::Sha384 => Box::<Sha384>::default(),
            Self::Sha512 => Box::<Sha512>::default(),
        }
    }

    /// The hash of a text.
    pub(super) fn of(self, text: &[u8]) -> Vec<u8> {
        let mut hash = self.begin();
        hash.update(text);
        hash.finalize().into_vec()
    }

    /// A MAC with the first block hashed already; `None` = no key is as short.
    pub(super) fn mac(self, key: &[u8]) -> Option<MacKey> {
        Some(match self {
            Self::Md5 => MacKey::Md5(Hmac::new_from_slice(key).ok()?),
            Self::Sha1 => MacKey::Sha1(Hmac::new_from_slice(key).ok()?),
            Self::Sha256 => MacKey::Sha256(Hmac::new_from_slice(key).ok()?),
            Self::Sha384 => MacKey::Sha384(Hmac::new_from_slice(key).ok()?),
            Self::Sha512 => MacKey::Sha512(Hmac::new_from_slice(key).ok()?),
        })
    }
}

/// A keyed MAC of one algorithm.
#[derive(Clone)]
pub enum MacKey {
    /// HMAC-MD5.
    Md5(Hmac<Md5>),
    /// HMAC-SHA-1.
    Sha1(Hmac<Sha1>),
    /// HMAC-SHA-256.
    Sha256(Hmac<Sha256>),
    /// HMAC-SHA-384.
    Sha384(Hmac<Sha384>),
    /// HMAC-SHA-512.
    Sha512(Hmac<Sha512>),
}

impl MacKey {
    /// The hash below it.
    pub(super) fn hash(&self) -> Hash {
        match self {
            Self::Md5(_) => Hash::Md5,
            Self::Sha1(_) => Hash::Sha1,
            Self::Sha256(_) => Hash::Sha256,
            Self::Sha384(_) => Hash::Sha384,
            Self::Sha512(_) => Hash::Sha512,
        }
    }

    /// The tag over the pieces that `feed` hands out.
    ///
    /// # Errors
    /// What `feed` says.
    pub(super) fn tag<E>(
        &self,
        feed: impl FnOnce(Take<'_>) -> Result<(), E>,
    ) -> Result<TagBytes, E> {
        match self {
            Self::Md5(mac) => tag(mac.clone(), feed),
            Self::Sha1(mac) => tag(mac.clone(), feed),
            Self::Sha256(mac) => tag(mac.clone(), feed),
            Self::Sha384(mac) => tag(mac.clone(), feed),
            Self::Sha512(mac) => tag(mac.clone(), feed),
        }
    }
}

/// Takes one piece of a message.
type Take<'t> = &'t mut dyn FnMut(&[u8]);

fn tag<E>(mut mac: impl Mac, feed: impl FnOnce(Take<'_>) -> Result<(), E>) -> Result<TagBytes, E> {
    feed(&mut |piece| mac.update(piece))?;
    Ok(TagBytes::from_slice(&mac.finalize().into_bytes()))
}

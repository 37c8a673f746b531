//! RSA keys: PKCS#1 v1.5 with SHA-1, SHA-256, SHA-384 or SHA-512, by *ring*.

use std::sync::Arc;

use ed25519_dalek::pkcs8::Document;
use ed25519_dalek::pkcs8::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};
use jsonwebtoken::DecodingKey;
use ring::rand::SystemRandom;
use ring::signature::{
    KeyPair, RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaKeyPair,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};

use super::algorithm::Hash;
use super::public_key::{PRIVATE_KEY, PublicForm, base64};

/// `rsaEncryption` (RFC 8017, A.1).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// An RSA key, with its private half where that was given.
#[derive(Clone)]
pub(super) struct RsaKey {
    public: Public,
    private: Option<Arc<RsaKeyPair>>,
    hash: Hash,
}

#[derive(Clone)]
enum Public {
    /// An `RSAPublicKey` (RFC 8017, A.1.1) in DER.
    Der(Vec<u8>),
    /// Modulus and exponent, big-endian.
    Parts(RsaPublicKeyComponents<Vec<u8>>),
}

impl RsaKey {
    /// Reads a `SubjectPublicKeyInfo`, or a PKCS#8 private key in PEM; `None` when it is none.
    pub(super) fn new(form: PublicForm, text: &str, hash: Hash) -> Option<Self> {
        verification(hash)?;
        if text.starts_with(PRIVATE_KEY) {
            let (_, document) = Document::from_pem(text).ok()?;
            let private = RsaKeyPair::from_pkcs8(document.as_bytes()).ok()?;
            return Some(Self {
                public: Public::Der(private.public_key().as_ref().to_vec()),
                private: Some(Arc::new(private)),
                hash,
            });
        }
        let document = match form {
            PublicForm::Pem => Document::from_pem(text).ok()?.1.into_vec(),
            PublicForm::SpkiBase64 => base64(text)?,
            PublicForm::RawHex | PublicForm::RawBase64 => return None,
        };
        Self::of_spki(&document, hash)
    }

    /// Reads a `SubjectPublicKeyInfo` in DER.
    pub(super) fn of_spki(der: &[u8], hash: Hash) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::try_from(der).ok()?;
        if info.algorithm.oid != RSA_ENCRYPTION {
            return None;
        }
        Some(Self {
            public: Public::Der(info.subject_public_key.raw_bytes().to_vec()),
            private: None,
            hash,
        })
    }

    /// A key of its modulus and exponent, big-endian.
    pub(super) fn of_parts(modulus: &[u8], exponent: &[u8], hash: Hash) -> Self {
        let parts = RsaPublicKeyComponents {
            n: modulus.to_vec(),
            e: exponent.to_vec(),
        };
        Self {
            public: Public::Parts(parts),
            private: None,
            hash,
        }
    }

    /// The key as it verifies tokens.
    pub(super) fn of_tokens(&self) -> DecodingKey {
        match &self.public {
            Public::Der(der) => DecodingKey::from_rsa_der(der),
            Public::Parts(parts) => DecodingKey::from_rsa_raw_components(&parts.n, &parts.e),
        }
    }

    /// Whether `signature` is one of this key over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        verification(self.hash).is_some_and(|algorithm| {
            let verified = match &self.public {
                Public::Der(der) => {
                    UnparsedPublicKey::new(algorithm, der).verify(message, signature)
                }
                Public::Parts(parts) => parts.verify(algorithm, message, signature),
            };
            verified.is_ok()
        })
    }

    /// Signs, where the private half is known; never with SHA-1, which is only here to verify.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let private = self.private.as_ref()?;
        let padding = match self.hash {
            Hash::Sha256 => &RSA_PKCS1_SHA256,
            Hash::Sha384 => &RSA_PKCS1_SHA384,
            Hash::Sha512 => &RSA_PKCS1_SHA512,
            Hash::Md5 | Hash::Sha1 => return None,
        };
        let mut signature = vec![0; private.public().modulus_len()];
        let random = SystemRandom::new();
        private
            .sign(padding, &random, message, &mut signature)
            .ok()?;
        Some(signature)
    }
}

/// Keys of 1024 bits are taken, as providers have them.
fn verification(hash: Hash) -> Option<&'static RsaParameters> {
    match hash {
        Hash::Md5 => None,
        Hash::Sha1 => Some(&RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY),
        Hash::Sha256 => Some(&RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY),
        Hash::Sha384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Hash::Sha512 => Some(&RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY),
    }
}

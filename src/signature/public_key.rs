//! Keys of two halves: the public one verifies, the private one, where it is given, signs too.

use std::fmt;

use base64::Engine as _;
use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey};
use jsonwebtoken::{DecodingKey, EncodingKey};
use p256::ecdsa::signature::{Signer, Verifier};

use super::algorithm::{Algorithm, EcdsaForm, Hash};
use super::key::{BASE64, KeyError};
use super::rsa::RsaKey;

/// How the text of a secret holds a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PublicForm {
    /// The key's own bytes in hexadecimal: 32 of Ed25519, a SEC 1 point of P-256.
    RawHex,
    /// The same bytes in base64, padding optional.
    RawBase64,
    /// A `SubjectPublicKeyInfo` (RFC 5280) in base64, as PEM without its first and last line.
    SpkiBase64,
    /// A `SubjectPublicKeyInfo` in PEM.
    Pem,
}

impl PublicForm {
    /// How a person would name it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::RawHex => "hex",
            Self::RawBase64 => "base64",
            Self::SpkiBase64 => "base64 of its SubjectPublicKeyInfo",
            Self::Pem => "PEM",
        }
    }
}

/// What a PKCS#8 private key in PEM begins with. It serves as a secret too: its public half
/// verifies, and samples and tests can be signed.
pub(super) const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----";

/// A public key, with its private half where that was given.
#[derive(Clone)]
pub struct PublicKey(Pair);

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey")
    }
}

#[derive(Clone)]
enum Pair {
    Ed25519 {
        public: ed25519_dalek::VerifyingKey,
        private: Option<Box<ed25519_dalek::SigningKey>>,
    },
    P256 {
        public: Box<p256::ecdsa::VerifyingKey>,
        private: Option<Box<p256::ecdsa::SigningKey>>,
        form: EcdsaForm,
    },
    Rsa(RsaKey),
}

impl PublicKey {
    /// Reads a key of `algorithm` in `form`, or a PKCS#8 private key in PEM.
    ///
    /// # Errors
    /// [`KeyError::Public`] when the text holds no such key, or one that anybody could sign for.
    pub(super) fn new(
        algorithm: Algorithm,
        form: PublicForm,
        text: &str,
    ) -> Result<Self, KeyError> {
        let text = text.trim();
        let pair = match algorithm {
            Algorithm::Ed25519 => ed25519(form, text),
            Algorithm::EcdsaP256Sha256(signature) => p256(form, text, signature),
            Algorithm::Rsa(hash) => RsaKey::new(form, text, hash).map(Pair::Rsa),
            Algorithm::Hmac(_)
            | Algorithm::Hash(_)
            | Algorithm::Jwt
            | Algorithm::Static
            | Algorithm::Basic
            | Algorithm::Bearer => None,
        };
        pair.map(Self).ok_or(KeyError::Public {
            algorithm: algorithm.name(),
            form: form.describe(),
        })
    }

    /// An Ed25519 key of its 32 bytes.
    pub(super) fn of_ed25519(bytes: &[u8]) -> Option<Self> {
        let public = ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        let pair = Pair::Ed25519 {
            public,
            private: None,
        };
        (!public.is_weak()).then_some(Self(pair))
    }

    /// A P-256 key of its point (SEC 1).
    pub(super) fn of_p256(point: &[u8], form: EcdsaForm) -> Option<Self> {
        Some(Self(Pair::P256 {
            public: Box::new(p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok()?),
            private: None,
            form,
        }))
    }

    /// An RSA key of its modulus and exponent, big-endian.
    pub(super) fn of_rsa(modulus: &[u8], exponent: &[u8], algorithm: Algorithm) -> Option<Self> {
        let hash = match algorithm {
            Algorithm::Rsa(hash) => hash,
            Algorithm::Jwt => Hash::Sha256,
            _ => return None,
        };
        Some(Self(Pair::Rsa(RsaKey::of_parts(modulus, exponent, hash))))
    }

    /// A key of its `SubjectPublicKeyInfo` in DER.
    pub(super) fn of_spki(der: &[u8], algorithm: Algorithm) -> Option<Self> {
        let pair = match algorithm {
            Algorithm::Rsa(hash) => Pair::Rsa(RsaKey::of_spki(der, hash)?),
            Algorithm::EcdsaP256Sha256(form) => Pair::P256 {
                public: Box::new(p256::ecdsa::VerifyingKey::from_public_key_der(der).ok()?),
                private: None,
                form,
            },
            Algorithm::Ed25519 => Pair::Ed25519 {
                public: ed25519_dalek::VerifyingKey::from_public_key_der(der).ok()?,
                private: None,
            },
            _ => return None,
        };
        Some(Self(pair))
    }

    /// Reads a key of whatever kind the text holds.
    pub(super) fn of_any_kind(form: PublicForm, text: &str) -> Option<Self> {
        let text = text.trim();
        let pair = RsaKey::new(form, text, Hash::Sha256)
            .map(Pair::Rsa)
            .or_else(|| p256(form, text, EcdsaForm::Raw))
            .or_else(|| ed25519(form, text));
        pair.map(Self)
    }

    /// The key as it verifies tokens.
    pub(super) fn of_tokens(&self) -> DecodingKey {
        match &self.0 {
            Pair::Ed25519 { public, .. } => DecodingKey::from_ed_der(public.as_bytes()),
            Pair::P256 { public, .. } => {
                DecodingKey::from_ec_der(public.to_sec1_point(false).as_bytes())
            }
            Pair::Rsa(key) => key.of_tokens(),
        }
    }

    /// The key as it signs tokens, where `text`, which it was read from, is a private key.
    pub(super) fn signs_tokens(&self, text: &str) -> Option<EncodingKey> {
        let pem = text.trim().as_bytes();
        match &self.0 {
            Pair::Ed25519 { .. } => EncodingKey::from_ed_pem(pem).ok(),
            Pair::P256 { .. } => EncodingKey::from_ec_pem(pem).ok(),
            Pair::Rsa(_) => EncodingKey::from_rsa_pem(pem).ok(),
        }
    }

    /// Whether `signature` is one of this key over `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            // The strict rule is libsodium's, which Discord's own SDK asks.
            Pair::Ed25519 { public, .. } => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| public.verify_strict(message, &signature).is_ok()),
            Pair::P256 { public, form, .. } => {
                let signature = match form {
                    EcdsaForm::Der => p256::ecdsa::Signature::from_der(signature),
                    EcdsaForm::Raw => p256::ecdsa::Signature::from_slice(signature),
                };
                signature.is_ok_and(|signature| public.verify(message, &signature).is_ok())
            }
            Pair::Rsa(key) => key.verifies(message, signature),
        }
    }

    /// Signs, where the private half is known.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.0 {
            Pair::Ed25519 { private, .. } => {
                Some(private.as_ref()?.sign(message).to_bytes().to_vec())
            }
            Pair::P256 { private, form, .. } => {
                let signature: p256::ecdsa::Signature = private.as_ref()?.sign(message);
                Some(match form {
                    EcdsaForm::Der => signature.to_der().as_bytes().to_vec(),
                    EcdsaForm::Raw => signature.to_bytes().to_vec(),
                })
            }
            Pair::Rsa(key) => key.sign(message),
        }
    }
}

fn ed25519(form: PublicForm, text: &str) -> Option<Pair> {
    use ed25519_dalek::{SigningKey, VerifyingKey};

    if text.starts_with(PRIVATE_KEY) {
        let private = SigningKey::from_pkcs8_pem(text).ok()?;
        return Some(Pair::Ed25519 {
            public: private.verifying_key(),
            private: Some(Box::new(private)),
        });
    }
    let public = match form {
        PublicForm::Pem => VerifyingKey::from_public_key_pem(text).ok()?,
        PublicForm::SpkiBase64 => VerifyingKey::from_public_key_der(&base64(text)?).ok()?,
        PublicForm::RawHex | PublicForm::RawBase64 => {
            let bytes = raw(form, text)?;
            VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok()?
        }
    };
    // A key of small order has signatures that fit any message.
    (!public.is_weak()).then_some(Pair::Ed25519 {
        public,
        private: None,
    })
}

fn p256(form: PublicForm, text: &str, signature: EcdsaForm) -> Option<Pair> {
    use p256::ecdsa::{SigningKey, VerifyingKey};

    if text.starts_with(PRIVATE_KEY) {
        let private = SigningKey::from_pkcs8_pem(text).ok()?;
        return Some(Pair::P256 {
            public: Box::new(*private.verifying_key()),
            private: Some(Box::new(private)),
            form: signature,
        });
    }
    let public = match form {
        PublicForm::Pem => VerifyingKey::from_public_key_pem(text).ok()?,
        PublicForm::SpkiBase64 => VerifyingKey::from_public_key_der(&base64(text)?).ok()?,
        PublicForm::RawHex | PublicForm::RawBase64 => {
            VerifyingKey::from_sec1_bytes(&raw(form, text)?).ok()?
        }
    };
    Some(Pair::P256 {
        public: Box::new(public),
        private: None,
        form: signature,
    })
}

fn raw(form: PublicForm, text: &str) -> Option<Vec<u8>> {
    match form {
        PublicForm::RawHex => hex::decode(text).ok(),
        PublicForm::RawBase64 | PublicForm::SpkiBase64 | PublicForm::Pem => base64(text),
    }
}

/// Base64 that may have been copied with its line breaks.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text: String = text.split_ascii_whitespace().collect();
    BASE64.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: Algorithm = Algorithm::EcdsaP256Sha256(EcdsaForm::Der);
    const ED25519_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
    /// RFC 8032, 7.1, test 1: the key, and its signature over nothing.
    const ED25519_HEX: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    const ED25519_SIGNATURE: &str = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    /// RFC 6979, A.2.5: the key, and its signature over `sample` with SHA-256.
    const P256_HEX: &str = "0460fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb67903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
    const P256_RAW: &str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

    fn key(algorithm: Algorithm, form: PublicForm, text: &str) -> PublicKey {
        PublicKey::new(algorithm, form, text).unwrap()
    }

    #[test]
    fn published_signatures_verify_and_others_do_not() {
        let check = |algorithm, public: &str, message: &[u8], signature: &str| {
            let key = key(algorithm, PublicForm::RawHex, public);
            let signature = hex::decode(signature).unwrap();
            assert!(key.verifies(message, &signature));
            assert!(!key.verifies(b"another", &signature));
            assert!(!key.verifies(message, &signature[1..]));
            assert!(!key.verifies(message, &[]));
            let mut changed = signature.clone();
            changed[40] ^= 1;
            assert!(!key.verifies(message, &changed));
        };
        check(Algorithm::Ed25519, ED25519_HEX, b"", ED25519_SIGNATURE);
        let raw = Algorithm::EcdsaP256Sha256(EcdsaForm::Raw);
        check(raw, P256_HEX, b"sample", P256_RAW);
        let raw = hex::decode(P256_RAW).unwrap();
        let der = p256::ecdsa::Signature::from_slice(&raw).unwrap().to_der();
        check(P256, P256_HEX, b"sample", &hex::encode(der.as_bytes()));
    }

    #[test]
    fn a_key_is_read_in_every_form() {
        let signature = hex::decode(ED25519_SIGNATURE).unwrap();
        let raw = hex::decode(ED25519_HEX).unwrap();
        let prefix = hex::decode("302a300506032b6570032100").unwrap();
        let spki = BASE64.encode([prefix, raw.clone()].concat());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
        let check = |form, text: &str| {
            assert!(key(Algorithm::Ed25519, form, text).verifies(b"", &signature));
        };
        check(PublicForm::RawHex, ED25519_HEX);
        check(PublicForm::RawHex, &ED25519_HEX.to_ascii_uppercase());
        check(PublicForm::RawBase64, &BASE64.encode(&raw));
        check(PublicForm::SpkiBase64, &spki);
        check(PublicForm::SpkiBase64, &format!("{spki}\n"));
        check(PublicForm::Pem, &pem);
        let public = key(Algorithm::Ed25519, PublicForm::Pem, ED25519_PRIVATE);
        assert_eq!(public.sign(b""), Some(signature));
        assert_eq!(
            key(Algorithm::Ed25519, PublicForm::Pem, &pem).sign(b""),
            None
        );
    }

    #[test]
    fn a_text_that_is_no_key_is_refused_and_not_quoted() {
        let check = |algorithm, form, text: &str, message: &str| {
            let error = PublicKey::new(algorithm, form, text).err().unwrap();
            assert_eq!(error.to_string(), message);
        };
        let ed25519 = "the secret is not an Ed25519 public key (hex)";
        let form = PublicForm::RawHex;
        check(Algorithm::Ed25519, form, "", ed25519);
        check(Algorithm::Ed25519, form, "00", ed25519);
        check(Algorithm::Ed25519, form, "zz", ed25519);
        // The identity, of order 1: it would accept what anybody signs.
        let weak = format!("01{}", "00".repeat(31));
        check(Algorithm::Ed25519, form, &weak, ed25519);
        let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----";
        check(Algorithm::Ed25519, form, private, ed25519);
        check(
            P256,
            PublicForm::SpkiBase64,
            "MFkw",
            "the secret is not a P-256 public key (base64 of its SubjectPublicKeyInfo)",
        );
        let pem = "the secret is not a P-256 public key (PEM)";
        check(P256, PublicForm::Pem, P256_HEX, pem);
        check(P256, PublicForm::Pem, ED25519_PRIVATE, pem);
    }
}

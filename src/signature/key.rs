//! Keys made ready for use: decoded once, and the MAC's first block hashed once.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::public_key::{PublicForm, PublicKey};
use super::scheme::Algorithm;
use crate::secret::Secret;

/// Base64 as senders really write it: padding or none.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The URL-safe alphabet, padding or none.
pub(super) const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How the text of a secret becomes the bytes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The text's own bytes.
    Utf8,
    /// Base64, padding optional.
    Base64,
    /// Hexadecimal.
    Hex,
    /// A public key: it verifies, and cannot sign.
    Public(PublicForm),
}

/// The rule that makes keys of secrets.
#[derive(Debug, Clone)]
pub struct KeyRule {
    /// How to decode.
    pub encoding: KeyEncoding,
    /// What is cut off first where it is there (`whsec_`).
    pub strip_prefix: Option<String>,
}

/// Why a secret cannot be a key. Never quotes the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// An empty key would accept a signature that anyone can make.
    #[error("the secret is empty")]
    Empty,
    /// The text is not in the encoding that the scheme asks for.
    #[error("the secret is not valid {encoding}{hint}")]
    Encoding {
        /// `base64` or `hex`.
        encoding: &'static str,
        /// What was expected, with the prefix where there is one.
        hint: String,
    },
    /// The text is not the public key that the scheme asks for.
    #[error("the secret is not {algorithm} public key ({form})")]
    Public {
        /// The algorithm with its article.
        algorithm: &'static str,
        /// How the key should be written.
        form: &'static str,
    },
}

/// A key ready to verify and to sign.
#[derive(Clone)]
pub enum Key {
    /// A MAC with its key block hashed already.
    Mac(Box<MacKey>),
    /// A token that the sender presents as it is.
    Token(Secret),
    /// A public key.
    Public(PublicKey),
}

/// A keyed MAC of one algorithm; cloned for each request.
#[derive(Clone)]
pub enum MacKey {
    /// HMAC-SHA-1 (RFC 2104): only where a provider knows nothing better.
    Sha1(Hmac<Sha1>),
    /// HMAC-SHA-256.
    Sha256(Hmac<Sha256>),
    /// HMAC-SHA-384.
    Sha384(Hmac<Sha384>),
    /// HMAC-SHA-512.
    Sha512(Hmac<Sha512>),
}

impl Key {
    /// Makes a key of a secret.
    ///
    /// # Errors
    /// [`KeyError`] when the secret is empty or not in the encoding of the rule.
    pub fn new(algorithm: Algorithm, rule: &KeyRule, secret: &Secret) -> Result<Self, KeyError> {
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        if let KeyEncoding::Public(form) = rule.encoding {
            return PublicKey::new(algorithm, form, rule.strip(secret)).map(Self::Public);
        }
        match algorithm.mac() {
            None => Ok(Self::Token(secret.clone())),
            Some(new) => new(&rule.decode(secret)?).map(|mac| Self::Mac(Box::new(mac))),
        }
    }
}

impl KeyRule {
    fn strip<'s>(&self, secret: &'s Secret) -> &'s str {
        let text = secret.expose();
        match &self.strip_prefix {
            Some(prefix) => text.strip_prefix(prefix.as_str()).unwrap_or(text),
            None => text,
        }
    }

    fn decode(&self, secret: &Secret) -> Result<Vec<u8>, KeyError> {
        let text = self.strip(secret);
        let bytes = match self.encoding {
            KeyEncoding::Utf8 => Some(text.as_bytes().to_vec()),
            KeyEncoding::Base64 => BASE64.decode(text).ok(),
            KeyEncoding::Hex => hex::decode(text).ok(),
            KeyEncoding::Public(_) => None,
        };
        match bytes {
            Some(bytes) if bytes.is_empty() => Err(KeyError::Empty),
            Some(bytes) => Ok(bytes),
            None => Err(self.encoding_error()),
        }
    }

    fn encoding_error(&self) -> KeyError {
        let encoding = match self.encoding {
            KeyEncoding::Utf8 => "text",
            KeyEncoding::Base64 => "base64",
            KeyEncoding::Hex => "hex",
            KeyEncoding::Public(form) => form.describe(),
        };
        let hint = self
            .strip_prefix
            .as_ref()
            .map(|prefix| format!(" (after the optional prefix `{prefix}`)"))
            .unwrap_or_default();
        KeyError::Encoding { encoding, hint }
    }
}

/// Makes the MAC of one algorithm from the bytes of a key.
pub(super) type NewMac = fn(&[u8]) -> Result<MacKey, KeyError>;

macro_rules! new_mac {
    ($name:ident, $variant:ident, $hash:ty) => {
        pub(super) fn $name(key: &[u8]) -> Result<MacKey, KeyError> {
            Hmac::<$hash>::new_from_slice(key)
                .map(MacKey::$variant)
                .map_err(|_| KeyError::Empty)
        }
    };
}
new_mac!(hmac_sha1, Sha1, Sha1);
new_mac!(hmac_sha256, Sha256, Sha256);
new_mac!(hmac_sha384, Sha384, Sha384);
new_mac!(hmac_sha512, Sha512, Sha512);

impl MacKey {
    /// Takes a piece of the message.
    pub(super) fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Sha1(mac) => mac.update(piece),
            Self::Sha256(mac) => mac.update(piece),
            Self::Sha384(mac) => mac.update(piece),
            Self::Sha512(mac) => mac.update(piece),
        }
    }

    /// The tag over everything taken.
    pub(super) fn tag(self) -> Vec<u8> {
        match self {
            Self::Sha1(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha256(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha384(mac) => mac.finalize().into_bytes().to_vec(),
            Self::Sha512(mac) => mac.finalize().into_bytes().to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(encoding: KeyEncoding, prefix: Option<&str>) -> KeyRule {
        KeyRule {
            encoding,
            strip_prefix: prefix.map(str::to_owned),
        }
    }

    #[test]
    fn secrets_become_the_bytes_that_their_encoding_says() {
        let check = |rule: KeyRule, secret: &str, bytes: &[u8]| {
            assert_eq!(rule.decode(&Secret::new(secret)).unwrap(), bytes);
        };
        check(rule(KeyEncoding::Utf8, None), "whsec_abc", b"whsec_abc");
        check(
            rule(KeyEncoding::Base64, Some("whsec_")),
            "whsec_aGk=",
            b"hi",
        );
        check(rule(KeyEncoding::Base64, Some("whsec_")), "aGk", b"hi");
        check(rule(KeyEncoding::Hex, None), "6869", b"hi");
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused_and_not_quoted() {
        let check = |rule: KeyRule, secret: &str, message: &str| {
            let error = Key::new(Algorithm::HmacSha256, &rule, &Secret::new(secret))
                .err()
                .unwrap();
            assert_eq!(error.to_string(), message);
        };
        check(rule(KeyEncoding::Utf8, None), "", "the secret is empty");
        check(
            rule(KeyEncoding::Base64, Some("whsec_")),
            "whsec_",
            "the secret is empty",
        );
        check(
            rule(KeyEncoding::Base64, Some("whsec_")),
            "whsec_!!!",
            "the secret is not valid base64 (after the optional prefix `whsec_`)",
        );
        check(
            rule(KeyEncoding::Hex, None),
            "xyz",
            "the secret is not valid hex",
        );
    }
}

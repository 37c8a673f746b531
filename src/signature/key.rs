//! Keys made ready for use: decoded once, and the MAC's first block hashed once.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use unicode_normalization::UnicodeNormalization;

use super::algorithm::{Algorithm, Hash, MacKey};
use super::jwt::TokenKey;
use super::known_keys::{KeySet, KeySetError, KnownKeys, Published};
use super::place::Place;
use super::public_key::{PublicForm, PublicKey};
use super::scheme::SchemeParts;
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

/// What a public key in PEM, or its private half, begins with.
const KEY_PEM: &str = "-----BEGIN P";

/// How the text of a secret becomes the bytes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The text's own bytes.
    Utf8,
    /// Base64, padding optional.
    Base64,
    /// Hexadecimal.
    Hex,
    /// The text's own bytes once its characters are taken apart (Unicode's form NFKD).
    Utf8Nfkd,
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
    /// The key is this hash of the decoded secret.
    pub derive: Option<Hash>,
    /// Where the request names the key, for secrets that are written `id:secret`.
    pub id: Option<KeyId>,
    /// Where the provider publishes its keys. A secret is then one of them, pinned.
    pub published: Option<Published>,
}

/// Where a request names the key that it was signed with.
#[derive(Debug, Clone)]
pub enum KeyId {
    /// Somewhere in the request.
    Request(Place),
    /// Before its signature, in a list of pairs.
    List,
    /// In a token, as its issuer.
    Issuer,
}

/// Why a secret cannot be a key. Never quotes the secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// An empty key would accept a signature that anyone can make.
    #[error("the secret is empty")]
    Empty,
    /// A key without the name that requests call it by.
    #[error("the secret has no id before it: write it as `id:secret`")]
    NoId,
    /// A key of a provider that was written down, and is none.
    #[error("the secret is not a key of the provider: {0}")]
    Pinned(KeySetError),
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
pub struct Key {
    /// Its name, where the provider has names for keys.
    pub(super) id: Option<Box<str>>,
    pub(super) material: Material,
    /// The secret that it was made of.
    text: Option<Secret>,
}

/// What a key is made of.
#[derive(Clone)]
pub(super) enum Material {
    /// A MAC with its key block hashed already.
    Mac(Box<MacKey>),
    /// A secret that stands within what is hashed.
    Hash(Hash, Secret),
    /// A secret that the sender presents as it is.
    Plain(Secret),
    /// A public key.
    Public(PublicKey),
    /// A key of JSON Web Tokens.
    Token(Box<TokenKey>),
    /// Public keys that were written down.
    Pinned(KeySet),
    /// Public keys that are fetched from where the provider publishes them.
    Published(Published),
    /// The secret that a handshake of this route brings.
    Brought(Box<str>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// Makes a key of a secret.
    ///
    /// # Errors
    /// [`KeyError`] when the secret is empty or not in the form of the rule.
    pub fn new(algorithm: Algorithm, rule: &KeyRule, secret: &Secret) -> Result<Self, KeyError> {
        let (id, secret) = rule.split(secret)?;
        if secret.is_empty() {
            return Err(KeyError::Empty);
        }
        if let Some(published) = &rule.published
            && !secret.expose().trim_start().starts_with(KEY_PEM)
        {
            let text = secret.expose().as_bytes();
            let keys = KeySet::read(published, algorithm, text, Timestamp::UNIX_EPOCH);
            return Ok(Self {
                id,
                material: Material::Pinned(keys.map_err(KeyError::Pinned)?),
                text: None,
            });
        }
        let text = Some(secret.clone());
        let material = match algorithm {
            Algorithm::Hmac(hash) => {
                let mac = hash.mac(&rule.decode(&secret)?).ok_or(KeyError::Empty)?;
                Material::Mac(Box::new(mac))
            }
            Algorithm::Hash(hash) => Material::Hash(hash, secret),
            Algorithm::Ed25519 | Algorithm::EcdsaP256Sha256(_) | Algorithm::Rsa(_) => {
                let KeyEncoding::Public(form) = rule.encoding else {
                    return Err(rule.encoding_error());
                };
                Material::Public(PublicKey::new(algorithm, form, rule.strip(&secret))?)
            }
            Algorithm::Jwt => Material::Token(Box::new(match rule.encoding {
                KeyEncoding::Public(form) => TokenKey::public(form, rule.strip(&secret))?,
                _ => TokenKey::shared(&rule.decode(&secret)?),
            })),
            Algorithm::Static | Algorithm::Basic | Algorithm::Bearer => Material::Plain(secret),
        };
        Ok(Self { id, material, text })
    }

    /// The secret that it was made of, without an id; `None` where there is none.
    pub(super) fn text(&self) -> Option<&Secret> {
        self.text.as_ref()
    }

    /// The keys that the provider publishes; `None` = it publishes none.
    pub fn published(rule: &KeyRule) -> Option<Self> {
        let published = rule.published.clone()?;
        Some(Self {
            id: None,
            material: Material::Published(published),
            text: None,
        })
    }

    /// The secret that a handshake of a route brings, once it has.
    pub fn brought(route: &str) -> Self {
        Self {
            id: None,
            material: Material::Brought(route.into()),
            text: None,
        }
    }

    /// The keys of a scheme, with the secret that a handshake has brought in place of the note that one
    /// will; `None` = there is none yet.
    pub(super) fn at_hand<'k>(
        keys: &'k [Self],
        parts: &SchemeParts,
        known: Option<&KnownKeys>,
    ) -> Option<Cow<'k, [Self]>> {
        let is_brought = |key: &Self| matches!(key.material, Material::Brought(_));
        if !keys.iter().any(is_brought) {
            return Some(Cow::Borrowed(keys));
        }
        let at_hand = keys.iter().filter_map(|key| match &key.material {
            Material::Brought(route) => {
                let secret = known?.brought(route)?;
                Self::new(parts.algorithm, &parts.key, &secret).ok()
            }
            _ => Some(key.clone()),
        });
        let at_hand: Vec<_> = at_hand.collect();
        (!at_hand.is_empty()).then_some(Cow::Owned(at_hand))
    }

    /// The name that requests call it by, where they do.
    pub(super) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The secret, where it is hashed as a part of the message.
    pub(super) fn secret(&self) -> Option<&str> {
        match &self.material {
            Material::Hash(_, secret) => Some(secret.expose()),
            _ => None,
        }
    }

    /// A MAC of this hash, if it is one.
    pub(super) fn mac(&self, hash: Hash) -> Option<&MacKey> {
        match &self.material {
            Material::Mac(mac) if mac.hash() == hash => Some(mac),
            _ => None,
        }
    }
}

impl KeyRule {
    /// A secret whose text is its key.
    pub fn plain() -> Self {
        Self {
            encoding: KeyEncoding::Utf8,
            strip_prefix: None,
            derive: None,
            id: None,
            published: None,
        }
    }

    /// The name of the key, and its secret.
    fn split(&self, secret: &Secret) -> Result<(Option<Box<str>>, Secret), KeyError> {
        if self.id.is_none() {
            return Ok((None, secret.clone()));
        }
        let (id, rest) = secret.expose().split_once(':').ok_or(KeyError::NoId)?;
        Ok((Some(id.into()), Secret::new(rest)))
    }

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
            KeyEncoding::Utf8Nfkd => Some(text.nfkd().collect::<String>().into_bytes()),
            KeyEncoding::Public(_) => None,
        };
        match bytes {
            Some(bytes) if bytes.is_empty() => Err(KeyError::Empty),
            Some(bytes) => Ok(match self.derive {
                Some(hash) => hash.of(&bytes),
                None => bytes,
            }),
            None => Err(self.encoding_error()),
        }
    }

    fn encoding_error(&self) -> KeyError {
        let encoding = match self.encoding {
            KeyEncoding::Utf8 | KeyEncoding::Utf8Nfkd => "text",
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(encoding: KeyEncoding, prefix: Option<&str>) -> KeyRule {
        KeyRule {
            encoding,
            strip_prefix: prefix.map(str::to_owned),
            ..KeyRule::plain()
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
        check(rule(KeyEncoding::Utf8Nfkd, None), "\u{e9}", b"e\xcc\x81");
        let derived = KeyRule {
            derive: Some(Hash::Sha1),
            ..KeyRule::plain()
        };
        // FIPS 180-4: the hash of `abc`.
        let hash = hex::decode("a9993e364706816aba3e25717850c26c9cd0d89d").unwrap();
        check(derived, "abc", &hash);
    }

    #[test]
    fn a_key_with_a_name_is_written_behind_it() {
        let rule = KeyRule {
            id: Some(KeyId::List),
            ..KeyRule::plain()
        };
        let key = |text: &str| Key::new(Algorithm::Hmac(Hash::Sha1), &rule, &Secret::new(text));
        assert_eq!(key("pub:priv:ate").unwrap().id.as_deref(), Some("pub"));
        assert_eq!(key("private").err(), Some(KeyError::NoId));
        assert_eq!(key("pub:").err(), Some(KeyError::Empty));
    }

    #[test]
    fn a_secret_that_is_no_key_is_refused_and_not_quoted() {
        let check = |rule: KeyRule, secret: &str, message: &str| {
            let error = Key::new(Algorithm::Hmac(Hash::Sha256), &rule, &Secret::new(secret))
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

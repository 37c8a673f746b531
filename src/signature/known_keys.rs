//! Public keys that providers publish: where they stand, which are known, and when to ask again.
//!
//! Nothing here asks. A judgement that lacks a key says so ([`Reason::KeyUnknown`]); who may talk to the
//! network fetches it, adds it with [`KnownKeys::learn`], and judges once more.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::algorithm::{Algorithm, EcdsaForm};
use super::found::read_one;
use super::place::Place;
use super::public_key::PublicKey;
use super::reason::Reason;
use super::request::Request;
use crate::secret::Secret;

/// How long a key is used before it is asked for again.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How soon a key set is asked for again because none of its keys fits: one may be new.
const ROTATED: SignedDuration = SignedDuration::from_mins(5);
/// The most keys of one set that are tried.
const KEYS_MAX: usize = 16;
/// The most addresses whose keys are kept.
const URLS_MAX: usize = 256;

/// Where a provider publishes its keys.
#[derive(Debug, Clone)]
pub enum Published {
    /// A set of keys (RFC 7517) at one address.
    KeySet {
        /// The address.
        url: String,
    },
    /// A certificate (RFC 5280) at the address that the request names.
    Certificate {
        /// Where the request names it.
        place: Place,
        /// The hosts that it may be at; `*` stands for one label of a name.
        hosts: Vec<String>,
    },
}

impl Published {
    /// Where the keys for a request stand.
    fn url(&self, request: &Request<'_>) -> Result<String, Reason> {
        match self {
            Self::KeySet { url } => Ok(url.clone()),
            Self::Certificate { place, hosts } => {
                let missing = || Reason::InputMissing {
                    what: place.describe(),
                };
                let url = read_one(place, request)?.ok_or_else(missing)?;
                let url = String::from_utf8_lossy(&url).into_owned();
                is_allowed(&url, hosts)
                    .then_some(url)
                    .ok_or_else(|| Reason::KeyAddress {
                        place: place.describe(),
                    })
            }
        }
    }

    /// Whether one of the keys is as it should be.
    ///
    /// # Errors
    /// [`Reason::KeyUnknown`] when they are to be fetched first.
    pub(super) fn any(
        &self,
        request: &Request<'_>,
        algorithm: Algorithm,
        now: Timestamp,
        id: Option<&str>,
        fits: impl Fn(&PublicKey) -> bool,
    ) -> Result<bool, Reason> {
        let url = self.url(request)?;
        let known = request.known_keys();
        let known = known.and_then(|keys| keys.find(&url, algorithm, now));
        match known {
            Some(keys) if keys.keys(id, now).any(fits) => Ok(true),
            Some(keys) if !may_be_rotated(&keys, now) => Ok(false),
            _ => Err(Reason::KeyUnknown { url, algorithm }),
        }
    }
}

/// Whether it is time to ask for a set again because none of its keys fits.
fn may_be_rotated(keys: &KeySet, now: Timestamp) -> bool {
    now.duration_since(keys.checked_at) >= ROTATED
}

/// The keys at one address.
#[derive(Debug, Clone)]
pub struct KeySet {
    keys: Vec<Named>,
    /// When they were asked for, whatever came of it.
    checked_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Named {
    id: Option<String>,
    key: PublicKey,
    /// When a certificate is good.
    good: Option<(Timestamp, Timestamp)>,
}

/// Why a text holds no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no certificate.
    #[error("it is not a certificate in PEM")]
    Certificate,
    /// It is no set of keys.
    #[error("it is not a set of keys (JWKS)")]
    KeySet,
    /// None of its keys is of the kind that signs.
    #[error("none of its keys is of the scheme's kind")]
    Kind,
}

impl KeySet {
    /// Reads what stands at an address of a provider.
    ///
    /// # Errors
    /// [`KeySetError`] when it holds no key for the algorithm.
    pub fn read(
        published: &Published,
        algorithm: Algorithm,
        text: &[u8],
        at: Timestamp,
    ) -> Result<Self, KeySetError> {
        let keys = match published {
            Published::KeySet { .. } => {
                let set: JwkSet = serde_json::from_slice(text).map_err(|_| KeySetError::KeySet)?;
                let keys = set.keys.iter().filter_map(|jwk| of_jwk(jwk, algorithm));
                keys.take(KEYS_MAX).collect()
            }
            Published::Certificate { .. } => vec![of_certificate(text, algorithm)?],
        };
        match keys.is_empty() {
            true => Err(KeySetError::Kind),
            false => Ok(Self {
                keys,
                checked_at: at,
            }),
        }
    }

    /// All keys, whatever they say of when they are good: they were chosen by hand.
    pub(super) fn all(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.iter().map(|named| &named.key)
    }

    /// The keys that may have signed at a moment: those of this name, or all where a request names none.
    pub(super) fn keys(
        &self,
        id: Option<&str>,
        now: Timestamp,
    ) -> impl Iterator<Item = &PublicKey> {
        let named = self.keys.iter().filter(move |named| {
            let is_named = id.is_none() || named.id.is_none() || named.id.as_deref() == id;
            let is_good = named
                .good
                .is_none_or(|(from, to)| (from..=to).contains(&now));
            is_named && is_good
        });
        named.map(|named| &named.key)
    }
}

/// What is learnt of keys while the gateway runs. Reading takes no lock.
#[derive(Debug, Default)]
pub struct KnownKeys {
    /// The keys that were fetched, by their address and what they verify.
    fetched: ArcSwap<HashMap<(String, Algorithm), Arc<KeySet>>>,
    /// The secrets that handshakes brought, by their route.
    brought: ArcSwap<HashMap<String, Secret>>,
}

impl KnownKeys {
    /// The keys at an address, unless it is time to ask for them again.
    pub fn find(&self, url: &str, algorithm: Algorithm, now: Timestamp) -> Option<Arc<KeySet>> {
        let fetched = self.fetched.load();
        let known = fetched.get(&(url.to_owned(), algorithm)).cloned()?;
        (now.duration_since(known.checked_at) < KEPT).then_some(known)
    }

    /// Adds the keys at an address.
    pub fn learn(&self, url: &str, algorithm: Algorithm, keys: KeySet) {
        let keys = Arc::new(keys);
        let at = (url.to_owned(), algorithm);
        self.fetched.rcu(|known| {
            let mut known = HashMap::clone(known);
            if known.len() >= URLS_MAX && !known.contains_key(&at) {
                let oldest = known.iter().min_by_key(|(_, keys)| keys.checked_at);
                let oldest = oldest.map(|(at, _)| at.clone());
                oldest.map(|at| known.remove(&at));
            }
            known.insert(at.clone(), keys.clone());
            known
        });
    }

    /// Notes that an address was asked at a moment in vain, so that what is known of it is used on.
    pub fn keep(&self, url: &str, algorithm: Algorithm, at: Timestamp) {
        let fetched = self.fetched.load();
        let known = fetched.get(&(url.to_owned(), algorithm)).cloned();
        if let Some(keys) = known {
            self.learn(
                url,
                algorithm,
                KeySet {
                    checked_at: at,
                    ..KeySet::clone(&keys)
                },
            );
        }
    }

    /// The secret that a handshake of a route has brought.
    pub fn brought(&self, route: &str) -> Option<Secret> {
        self.brought.load().get(route).cloned()
    }

    /// Adds the secret that a handshake of a route has brought.
    pub fn bring(&self, route: &str, secret: &Secret) {
        self.brought.rcu(|brought| {
            let mut brought = HashMap::clone(brought);
            brought.insert(route.to_owned(), secret.clone());
            brought
        });
    }

    /// Forgets every secret that a handshake has brought but these.
    pub fn bring_all(&self, secrets: HashMap<String, Secret>) {
        self.brought.store(Arc::new(secrets));
    }
}

/// Whether keys may be fetched from an address: HTTPS without a user or another port, and one of the
/// hosts. On the loopback, for tests of one's own, plain HTTP and any port.
pub(super) fn is_allowed(url: &str, hosts: &[String]) -> bool {
    let Ok(url) = url::Url::parse(url) else {
        return false;
    };
    let Some(host) = url.host_str() else {
        return false;
    };
    let is_loopback = matches!(host, "127.0.0.1" | "[::1]");
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_secure = url.scheme() == "https" && url.port().is_none();
    is_plain
        && (is_secure || (is_loopback && url.scheme() == "http"))
        && hosts.iter().any(|pattern| is_host(host, pattern))
}

fn is_host(host: &str, pattern: &str) -> bool {
    let (labels, patterns) = (host.split('.'), pattern.split('.'));
    labels.clone().count() == patterns.clone().count()
        && labels.zip(patterns).all(|(label, pattern)| match pattern {
            "*" => !label.is_empty(),
            text => label.eq_ignore_ascii_case(text),
        })
}

fn of_jwk(jwk: &Jwk, algorithm: Algorithm) -> Option<Named> {
    use base64::Engine as _;

    use super::key::BASE64_URL;

    let decode = |text: &str| BASE64_URL.decode(text).ok();
    let of_tokens = algorithm == Algorithm::Jwt;
    let key = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair)
            if pair.curve == EllipticCurve::Ed25519
                && (of_tokens || algorithm == Algorithm::Ed25519) =>
        {
            PublicKey::of_ed25519(&decode(&pair.x)?)
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            let form = match algorithm {
                Algorithm::EcdsaP256Sha256(form) => form,
                Algorithm::Jwt => EcdsaForm::Raw,
                _ => return None,
            };
            let point = [vec![4], decode(&point.x)?, decode(&point.y)?].concat();
            PublicKey::of_p256(&point, form)
        }
        AlgorithmParameters::RSA(parts) => {
            PublicKey::of_rsa(&decode(&parts.n)?, &decode(&parts.e)?, algorithm)
        }
        _ => None,
    };
    Some(Named {
        id: jwk.common.key_id.clone(),
        key: key?,
        good: None,
    })
}

fn of_certificate(text: &[u8], algorithm: Algorithm) -> Result<Named, KeySetError> {
    let pem = Pem::iter_from_buffer(text).next();
    let pem = pem.and_then(Result::ok).ok_or(KeySetError::Certificate)?;
    let (_, certificate) =
        X509Certificate::from_der(&pem.contents).map_err(|_| KeySetError::Certificate)?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let good = at(validity.not_before).zip(at(validity.not_after));
    let key = PublicKey::of_spki(certificate.public_key().raw, algorithm);
    Ok(Named {
        id: None,
        key: key.ok_or(KeySetError::Kind)?,
        good: Some(good.ok_or(KeySetError::Certificate)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::algorithm::Hash;

    #[test]
    fn keys_are_fetched_from_listed_hosts_alone() {
        let sns = ["sns.*.amazonaws.com".to_owned(), "127.0.0.1".to_owned()];
        let check = |url: &str, expected| assert_eq!(is_allowed(url, &sns), expected, "{url}");
        check("https://sns.us-east-1.amazonaws.com/a.pem", true);
        check("https://SNS.eu-west-1.AMAZONAWS.com/a.pem?x=1", true);
        check("http://127.0.0.1:8080/a.pem", true);
        check("http://sns.us-east-1.amazonaws.com/a.pem", false);
        check("https://sns.us-east-1.amazonaws.com:444/a.pem", false);
        check("https://u:p@sns.us-east-1.amazonaws.com/a.pem", false);
        check(
            "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
            false,
        );
        check("https://sns.a.b.amazonaws.com/a.pem", false);
        check("https://sns..amazonaws.com/a.pem", false);
        check("https://evil.example/?sns.us-east-1.amazonaws.com", false);
        check("https://evil.example/sns.us-east-1.amazonaws.com", false);
        check("ftp://sns.us-east-1.amazonaws.com/", false);
        check("sns.us-east-1.amazonaws.com", false);
        check("", false);
    }

    #[test]
    fn a_set_of_keys_gives_those_of_the_right_kind() {
        // RFC 8037, A.2, and RFC 7517, A.1: an Ed25519 key, a P-256 key and an RSA key.
        let set = r#"{"keys": [
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed",
             "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
            {"kty": "EC", "crv": "P-256", "kid": "ec",
             "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
             "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"},
            {"kty": "RSA", "kid": "rsa", "e": "AQAB",
             "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}
        ]}"#;
        let published = Published::KeySet {
            url: "https://a.example/keys".to_owned(),
        };
        let at = Timestamp::UNIX_EPOCH;
        let count = |algorithm, id| {
            let keys = KeySet::read(&published, algorithm, set.as_bytes(), at).unwrap();
            keys.keys(id, at).count()
        };
        assert_eq!(count(Algorithm::Ed25519, None), 1);
        assert_eq!(count(Algorithm::Rsa(Hash::Sha256), None), 1);
        assert_eq!(
            count(Algorithm::EcdsaP256Sha256(EcdsaForm::Raw), Some("ec")),
            1
        );
        assert_eq!(count(Algorithm::Jwt, None), 3);
        assert_eq!(count(Algorithm::Jwt, Some("rsa")), 1);
        assert_eq!(count(Algorithm::Jwt, Some("another")), 0);
        let error = |text: &str| {
            KeySet::read(&published, Algorithm::Ed25519, text.as_bytes(), at)
                .err()
                .unwrap()
        };
        assert_eq!(error("{}"), KeySetError::KeySet);
        assert_eq!(error(r#"{"keys": []}"#), KeySetError::Kind);
    }

    #[test]
    fn known_keys_are_asked_for_again_in_time_and_bounded() {
        const ED25519: Algorithm = Algorithm::Ed25519;
        let key = PublicKey::of_ed25519(
            &hex::decode("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
                .unwrap(),
        );
        let set = |at| KeySet {
            keys: vec![Named {
                id: None,
                key: key.clone().unwrap(),
                good: None,
            }],
            checked_at: at,
        };
        let at = |hours: i64| Timestamp::from_second(hours * 3600).unwrap();
        let known = KnownKeys::default();
        assert!(known.find("a", ED25519, at(0)).is_none());
        known.learn("a", ED25519, set(at(0)));
        assert!(known.find("a", ED25519, at(23)).is_some());
        assert!(known.find("a", ED25519, at(24)).is_none());
        known.keep("a", ED25519, at(24));
        assert!(known.find("a", ED25519, at(25)).is_some());
        known.keep("b", ED25519, at(24));
        assert!(known.find("b", ED25519, at(24)).is_none());
        for number in 0..URLS_MAX {
            known.learn(&number.to_string(), ED25519, set(at(30)));
        }
        assert_eq!(known.fetched.load().len(), URLS_MAX);
        assert!(known.find("a", ED25519, at(30)).is_none());
    }
}

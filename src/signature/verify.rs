//! Judges a request by its schemes and keys, at a moment that is handed in.
//!
//! Comparison is in constant time. The signature is judged before the time, so that "stale" is
//! only ever said of a request that its provider really signed.

use std::borrow::Cow;

use base64::Engine as _;
use constant_time_eq::constant_time_eq;
use jiff::Timestamp;
use smallvec::{SmallVec, smallvec};

use super::algorithm::{Algorithm, TagBytes};
use super::body_hash::BodyHash;
use super::certificate::CertificateRule;
use super::found::{Found, Signature, Tag, malformed, read_one};
use super::jwt;
use super::key::{BASE64, Key, KeyId, Material};
use super::known_keys::{KeySet, KeySetError, KnownKeys};
use super::message::{Inputs, Message, PieceError};
use super::place::Place;
use super::public_key::PublicKey;
use super::reason::Reason;
use super::request::Request;
use super::scheme::{PUBLIC_SIGNATURES_MAX, Scheme, SchemeParts};
use super::terms::Terms;
use super::url;
use super::window::check_time;

/// Proof that a request is authentic: only [`Verifier::verify`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// By its signature.
    Signature {
        /// Which of the schemes accepted it.
        scheme: usize,
        /// Which of that scheme's secrets matched.
        secret: usize,
    },
    /// By the certificate that its connection has shown.
    Certificate,
}

/// The schemes of a route with their keys; any one of them may accept a request.
#[derive(Clone)]
pub struct Verifier {
    schemes: Vec<(Scheme, Vec<Key>)>,
    certificates: Vec<CertificateRule>,
    terms: Terms,
}

/// Why a [`Verifier`] cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifierError {
    /// Nothing could ever be accepted.
    #[error("there is no scheme to verify with")]
    NoScheme,
    /// A scheme that no secret was given for.
    #[error("there is no secret to verify with")]
    NoSecret,
    /// The scheme signs the URL and nobody said which one.
    #[error("the scheme signs the URL: set `public_url` to the URL that the provider calls")]
    NoPublicUrl,
    /// The scheme signs something else that nobody said.
    #[error("the scheme needs the option `{name}`")]
    NoOption {
        /// Its name.
        name: String,
    },
    /// The query of the request is not what is signed.
    #[error(
        "`public_url` must not have a query: the provider puts the hash of the body there, and the \
         query of each request is used"
    )]
    PublicUrlQuery,
}

impl Verifier {
    /// Joins schemes and the keys made for each of them.
    ///
    /// # Errors
    /// [`VerifierError`] when a check would be void.
    pub fn new(
        schemes: Vec<(Scheme, Vec<Key>)>,
        terms: impl Into<Terms>,
    ) -> Result<Self, VerifierError> {
        Self::with_certificates(schemes, Vec::new(), terms)
    }

    /// Joins schemes, the keys made for each of them, and rules of certificates.
    ///
    /// # Errors
    /// [`VerifierError`] when a check would be void.
    pub fn with_certificates(
        schemes: Vec<(Scheme, Vec<Key>)>,
        certificates: Vec<CertificateRule>,
        terms: impl Into<Terms>,
    ) -> Result<Self, VerifierError> {
        let terms = terms.into();
        if schemes.is_empty() && certificates.is_empty() {
            return Err(VerifierError::NoScheme);
        }
        if schemes.iter().any(|(_, keys)| keys.is_empty()) {
            return Err(VerifierError::NoSecret);
        }
        let signs_url = schemes.iter().any(|(scheme, _)| scheme.needs_url());
        if signs_url && terms.public_url.is_none() {
            return Err(VerifierError::NoPublicUrl);
        }
        let missing = schemes
            .iter()
            .flat_map(|(scheme, _)| scheme.options())
            .find(|name| !terms.options.contains_key(*name));
        if let Some(name) = missing {
            return Err(VerifierError::NoOption {
                name: name.to_owned(),
            });
        }
        let hash_in_query = schemes
            .iter()
            .any(|(scheme, _)| matches!(scheme.parts().body_hash, Some(Place::Query(_))));
        if hash_in_query
            && terms
                .public_url
                .as_ref()
                .is_some_and(|url| url.contains('?'))
        {
            return Err(VerifierError::PublicUrlQuery);
        }
        Ok(Self {
            schemes,
            certificates,
            terms,
        })
    }

    /// Reads what stands at an address of a provider's keys.
    ///
    /// # Errors
    /// [`KeySetError`] when it holds none for the algorithm.
    pub fn read_keys(
        &self,
        algorithm: Algorithm,
        text: &[u8],
        at: Timestamp,
    ) -> Result<KeySet, KeySetError> {
        let schemes = self.schemes.iter().map(|(scheme, _)| scheme.parts());
        let mut published = schemes
            .filter(|parts| parts.algorithm == algorithm)
            .filter_map(|parts| parts.key.published.as_ref());
        let published = published.next().ok_or(KeySetError::Kind)?;
        KeySet::read(published, algorithm, text, at)
    }

    /// Its schemes with their keys.
    pub(super) fn schemes(&self) -> impl Iterator<Item = (&Scheme, &[Key])> {
        let schemes = self.schemes.iter();
        schemes.map(|(scheme, keys)| (scheme, keys.as_slice()))
    }

    /// The same with the secrets that handshakes have brought.
    pub fn knowing(mut self, known: &KnownKeys) -> Self {
        for (scheme, keys) in &mut self.schemes {
            if let Some(Cow::Owned(at_hand)) = Key::at_hand(keys, scheme.parts(), Some(known)) {
                *keys = at_hand;
            }
        }
        self
    }

    /// The same on other terms.
    pub(super) fn on(mut self, terms: Terms) -> Self {
        self.terms = terms;
        self
    }

    /// Adds an option.
    pub fn agree(&mut self, name: &str, text: &str) {
        let options = &mut self.terms.options;
        options.insert(name.to_owned(), text.to_owned());
    }

    /// What was agreed on with the provider.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The first scheme with its first key: what signs samples and route tests.
    pub fn signer(&self) -> Option<(&Scheme, &Key)> {
        let (scheme, keys) = self.schemes.first()?;
        Some((scheme, keys.first()?))
    }

    /// Judges a request at the moment `now`.
    ///
    /// # Errors
    /// The [`Reason`] of the way that came furthest.
    pub fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<Verified, Reason> {
        let by_signature = self
            .schemes
            .iter()
            .enumerate()
            .map(|(scheme, (parts, keys))| {
                let at_hand = Key::at_hand(keys, parts.parts(), request.known_keys());
                let keys = at_hand.ok_or(Reason::SecretUnknown)?;
                let secret = judge(parts, &keys, request, now)?;
                Ok(Verified::Signature { scheme, secret })
            });
        let by_certificate = self.certificates.iter().map(|rule| {
            rule.check(request.certificate())
                .map(|()| Verified::Certificate)
        });
        let mut furthest = Furthest::default();
        for judged in by_signature.chain(by_certificate) {
            match judged {
                Ok(verified) => return Ok(verified),
                Err(reason) => furthest.hear(reason),
            }
        }
        Err(furthest.reason())
    }
}

/// Judges by one scheme; answers with the index of the secret that matched.
fn judge(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<usize, Reason> {
    let Some(path) = &scheme.parts().for_each else {
        return judge_one(scheme, keys, request, now);
    };
    let mut matched = None;
    for item in request.items(path) {
        matched = Some(judge_one(scheme, keys, &item, now)?);
    }
    matched.ok_or_else(|| Reason::SignatureMissing {
        place: format!("{} in {path}", scheme.parts().place.describe()),
    })
}

/// Judges a request, or one of the items in it.
fn judge_one(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<usize, Reason> {
    let parts = scheme.parts();
    let values = parts.place.read_all(request);
    let all = Found::all(scheme, request, &values)?;
    if let Some(place) = other_scheme(parts, request)? {
        return Err(malformed(
            place,
            "what stands there asks for another scheme",
        ));
    }
    let mut furthest = Furthest::default();
    for found in all {
        match judge_found(scheme, keys, request, &found, now) {
            Ok(secret) => return Ok(secret),
            Err(reason) => furthest.hear(reason),
        }
    }
    Err(furthest.reason())
}

/// The place that says that the request was not signed in this way.
fn other_scheme<'s>(
    parts: &'s SchemeParts,
    request: &Request<'_>,
) -> Result<Option<&'s Place>, Reason> {
    let is_there = |place: &&Place| place.read(request).is_some();
    if let Some(place) = parts.absent.as_ref().filter(is_there) {
        return Ok(Some(place));
    }
    for (place, value) in &parts.when {
        let value = render(value, request, Inputs::default())?;
        let found = place.read_all(request);
        if found.is_empty() || found.iter().any(|found| **found != *value) {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Judges signatures that were made at one time.
fn judge_found(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    found: &Found<'_>,
    now: Timestamp,
) -> Result<usize, Reason> {
    let parts = scheme.parts();
    let secret = match parts.algorithm {
        Algorithm::Static => {
            let presented: Vec<_> = found.signatures.iter().map(|one| one.text).collect();
            match_token(keys, &presented)
        }
        Algorithm::Basic => {
            let presented = after_word(found, "basic");
            let decoded = presented.iter().filter_map(|text| BASE64.decode(text).ok());
            let decoded: Vec<_> = decoded.collect();
            check_any(&decoded, found, "not `Basic` with base64")?;
            match_token(keys, &decoded)
        }
        Algorithm::Bearer => {
            let presented = after_word(found, "bearer");
            check_any(&presented, found, "not `Bearer` with a token")?;
            match_token(keys, &presented)
        }
        Algorithm::Jwt => match_jwt(scheme, keys, request, found, now)?,
        Algorithm::Hmac(_)
        | Algorithm::Hash(_)
        | Algorithm::Rsa(_)
        | Algorithm::Ed25519
        | Algorithm::EcdsaP256Sha256(_) => {
            let hash = parts.body_hash.as_ref();
            let hash = hash
                .map(|place| BodyHash::read(place, request))
                .transpose()?;
            let tags = found.decode(parts.encoding)?;
            let matched = match_signature(scheme, keys, request, found, &tags, now)?;
            if let (Some(_), Some(hash)) = (matched, hash) {
                hash.check(request)?;
            }
            matched
        }
    };
    let secret = secret.ok_or(Reason::SignatureMismatch {
        tried: found.signatures.len(),
        keys: keys.len(),
    })?;
    if let (Some(rule), Some(text)) = (&parts.timestamp, &found.timestamp) {
        check_time(rule, text, now)?;
    }
    Ok(secret)
}

/// The reason of the way that came furthest, the first of those that came as far.
#[derive(Default)]
struct Furthest(Option<Reason>);

impl Furthest {
    fn hear(&mut self, reason: Reason) {
        if self
            .0
            .as_ref()
            .is_none_or(|best| best.progress() < reason.progress())
        {
            self.0 = Some(reason);
        }
    }

    fn reason(self) -> Reason {
        self.0
            .unwrap_or(Reason::SignatureMismatch { tried: 0, keys: 0 })
    }
}

fn match_token(keys: &[Key], presented: &[impl AsRef<[u8]>]) -> Option<usize> {
    keys.iter().position(|key| match &key.material {
        Material::Plain(secret) => presented.iter().any(|text| secret.matches(text.as_ref())),
        _ => false,
    })
}

/// The rest after an authentication word such as `Basic`, in any case.
fn after_word<'v>(found: &Found<'v>, word: &str) -> Vec<&'v [u8]> {
    let rest = |signature: &Signature<'v>| {
        let (start, rest) = signature.text.split_at_checked(word.len())?;
        let rest = rest.strip_prefix(b" ")?.trim_ascii();
        (start.eq_ignore_ascii_case(word.as_bytes()) && !rest.is_empty()).then_some(rest)
    };
    found.signatures.iter().filter_map(rest).collect()
}

fn check_any<T>(values: &[T], found: &Found<'_>, problem: &'static str) -> Result<(), Reason> {
    if values.is_empty() {
        Err(malformed(found.place, problem))
    } else {
        Ok(())
    }
}

fn match_jwt(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    found: &Found<'_>,
    now: Timestamp,
) -> Result<Option<usize>, Reason> {
    let (Some(rule), Some(token)) = (&scheme.parts().jwt, found.signatures.first()) else {
        return Ok(None);
    };
    if found.signatures.len() > 1 {
        return Err(Reason::InputAmbiguous {
            what: found.place.describe(),
        });
    }
    jwt::check(scheme, rule, keys, token.text, request, now)
}

fn match_signature(
    scheme: &Scheme,
    keys: &[Key],
    request: &Request<'_>,
    found: &Found<'_>,
    tags: &[Tag<'_>],
    now: Timestamp,
) -> Result<Option<usize>, Reason> {
    let named = match &scheme.parts().key.id {
        Some(KeyId::Request(place)) => {
            let named = read_one(place, request)?;
            Some(named.ok_or_else(|| Reason::InputMissing {
                what: place.describe(),
            })?)
        }
        Some(KeyId::List | KeyId::Issuer) | None => None,
    };
    let is_named = |key: &Key| {
        named
            .as_ref()
            .is_none_or(|named| key.id().map(str::as_bytes) == Some(&**named))
    };
    let ways = Ways::new(scheme, request);
    for (index, key) in keys.iter().enumerate().filter(|(_, key)| is_named(key)) {
        let id = key.id().map(str::as_bytes);
        let is_its_own = |tag: &&Tag<'_>| tag.key_id.is_none() || tag.key_id == id;
        let tags = tags.iter().filter(is_its_own);
        for inputs in ways.inputs(found, key) {
            if fits(scheme, key, request, inputs, tags.clone(), now)? {
                return Ok(Some(index));
            }
        }
    }
    Ok(None)
}

/// The ways in which a provider may have written what it signed.
struct Ways<'s> {
    scheme: &'s Scheme,
    /// `None` stands for a message without the URL, or a request without one.
    urls: SmallVec<[Option<String>; 1]>,
    field: Option<String>,
}

impl<'s> Ways<'s> {
    fn new(scheme: &'s Scheme, request: &Request<'_>) -> Self {
        let parts = scheme.parts();
        let needs_url = parts.message.needs_url();
        let url = needs_url.then(|| request.url()).flatten();
        Self {
            scheme,
            urls: match url {
                Some(url) => url::written(&url, parts).into_iter().map(Some).collect(),
                None => smallvec![None],
            },
            field: parts.place.field(),
        }
    }

    fn inputs<'a>(
        &'a self,
        found: &'a Found<'_>,
        key: &'a Key,
    ) -> impl Iterator<Item = Inputs<'a>> {
        self.urls.iter().map(|url| Inputs {
            timestamp: found.timestamp.as_deref(),
            id: found.id.as_deref(),
            url: url.as_deref().map(str::as_bytes),
            key: Some(key),
            without: self.field.as_deref(),
            listed: self.scheme.parts().header_with_time(),
        })
    }
}

impl Scheme {
    /// The time of the first signature in a request, as it is written there.
    pub fn timestamp(&self, request: &Request<'_>) -> Option<String> {
        let values = self.parts().place.read_all(request);
        let found = Found::all(self, request, &values)
            .ok()?
            .into_iter()
            .next()?;
        String::from_utf8(found.timestamp?.into_owned()).ok()
    }

    /// Every text that a signature in this request may have been made of with a key. It holds the secret
    /// where that is hashed along.
    ///
    /// # Errors
    /// The [`Reason`] why there is none.
    pub fn signed_texts(&self, key: &Key, request: &Request<'_>) -> Result<Vec<Vec<u8>>, Reason> {
        let mut texts = Vec::new();
        let ways = Ways::new(self, request);
        let values = self.parts().place.read_all(request);
        for found in Found::all(self, request, &values)? {
            for inputs in ways.inputs(&found, key) {
                texts.push(render(&self.parts().message, request, inputs)?);
            }
        }
        Ok(texts)
    }
}

/// Whether one of the signatures is one that this key makes.
fn fits<'t>(
    scheme: &Scheme,
    key: &Key,
    request: &Request<'_>,
    inputs: Inputs<'_>,
    mut tags: impl Iterator<Item = &'t Tag<'t>> + Clone,
    now: Timestamp,
) -> Result<bool, Reason> {
    let message = &scheme.parts().message;
    let tags_max = tags.clone().take(PUBLIC_SIGNATURES_MAX);
    let one_of = |public: &PublicKey, message: &[u8]| {
        let mut tags = tags_max.clone();
        tags.any(|tag| public.verifies(message, &tag.bytes))
    };
    Ok(match &key.material {
        Material::Public(public) => one_of(public, &render(message, request, inputs)?),
        Material::Pinned(set) => {
            let text = render(message, request, inputs)?;
            set.all().any(|public| one_of(public, &text))
        }
        Material::Published(published) => {
            let text = render(message, request, inputs)?;
            let algorithm = scheme.parts().algorithm;
            published.any(request, algorithm, now, None, |public| {
                one_of(public, &text)
            })?
        }
        _ => match compute(scheme, key, request, inputs)? {
            Some(expected) => tags.any(|tag| constant_time_eq(&tag.bytes, &expected)),
            None => false,
        },
    })
}

/// A whole message.
pub(super) fn render(
    message: &Message,
    request: &Request<'_>,
    inputs: Inputs<'_>,
) -> Result<Vec<u8>, Reason> {
    let rendered = message.render(request, inputs);
    rendered.map_err(refused)
}

/// The reason behind a piece of the message that this request does not give.
pub(super) fn refused(error: PieceError) -> Reason {
    match error {
        PieceError::Missing(what) => Reason::InputMissing { what },
        PieceError::Ambiguous(what) => Reason::InputAmbiguous { what },
    }
}

/// The tag that the scheme's message has under a key; `None` = the key makes none.
pub(super) fn compute(
    scheme: &Scheme,
    key: &Key,
    request: &Request<'_>,
    inputs: Inputs<'_>,
) -> Result<Option<TagBytes>, Reason> {
    let message = &scheme.parts().message;
    Ok(match &key.material {
        Material::Mac(mac) => {
            let tag = mac.tag(|take| message.feed(request, inputs, take));
            Some(tag.map_err(refused)?)
        }
        Material::Hash(hash, _) => {
            let mut hash = hash.begin();
            message
                .feed(request, inputs, |piece| hash.update(piece))
                .map_err(refused)?;
            Some(hash.finalize().into_vec().into())
        }
        Material::Plain(_)
        | Material::Public(_)
        | Material::Token(_)
        | Material::Pinned(_)
        | Material::Published(_)
        | Material::Brought(_) => None,
    })
}

#[cfg(test)]
mod tests;

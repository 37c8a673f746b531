//! JSON Web Tokens (RFC 7519) as signatures: the token holds the hash of the body, and of the URL.

use std::cell::RefCell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use constant_time_eq::constant_time_eq;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::algorithm::Algorithm;
use super::key::{BASE64, Key, KeyError, Material};
use super::message::{Inputs, Message};
use super::public_key::{PublicForm, PublicKey};
use super::reason::Reason;
use super::request::Request;
use super::scheme::{Encoding, Scheme, TimestampPlace};
use super::verify::refused;
use super::window::check_time;

/// How long a token that Hookgate signs is good for.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// What a token must say.
#[derive(Debug, Clone)]
pub struct JwtRule {
    /// The algorithms that are taken (RFC 7518); the token's own word chooses among these alone.
    pub algorithms: Vec<jsonwebtoken::Algorithm>,
    /// Who issued it (`iss`).
    pub issuer: Option<Issuer>,
    /// Whom it is for (`aud`).
    pub audience: Option<Message>,
    /// Where the SHA-256 of the body stands in it.
    pub body_hash: Option<ClaimHash>,
    /// The claim that holds the SHA-256 of the public URL, in hexadecimal.
    pub url_hash: Option<String>,
    /// How far the clocks may differ for `exp` and `nbf`.
    pub leeway: SignedDuration,
}

/// Who issues tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Issuer {
    /// Always the same.
    Named(String),
    /// The key's own name.
    KeyId,
}

/// A claim with the hash of the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimHash {
    /// Its name.
    pub claim: String,
    /// How the hash is written.
    pub encoding: Encoding,
}

/// A key of tokens, ready to verify and, where its secret half is known, to sign.
#[derive(Clone)]
pub(super) struct TokenKey {
    verifies: DecodingKey,
    signs: Option<EncodingKey>,
}

impl TokenKey {
    /// A secret that both sides have.
    pub(super) fn shared(secret: &[u8]) -> Self {
        Self {
            verifies: DecodingKey::from_secret(secret),
            signs: Some(EncodingKey::from_secret(secret)),
        }
    }

    /// A public key, or a PKCS#8 private key in PEM.
    pub(super) fn public(form: PublicForm, text: &str) -> Result<Self, KeyError> {
        let key = PublicKey::of_any_kind(form, text).ok_or(KeyError::Public {
            algorithm: "a token's",
            form: form.describe(),
        })?;
        Ok(Self {
            verifies: key.of_tokens(),
            signs: key.signs_tokens(text),
        })
    }
}

/// Judges a token; answers with the index of the key that it was signed with.
pub(super) fn check(
    scheme: &Scheme,
    rule: &JwtRule,
    keys: &[Key],
    token: &[u8],
    request: &Request<'_>,
    now: Timestamp,
) -> Result<Option<usize>, Reason> {
    let place = &scheme.parts().place;
    let malformed = |problem| Reason::SignatureMalformed {
        place: place.describe(),
        problem,
    };
    let token = std::str::from_utf8(token).map_err(|_| malformed("not a token"))?;
    let header = jsonwebtoken::decode_header(token).map_err(|_| malformed("not a token"))?;
    if !rule.algorithms.contains(&header.alg) {
        return Err(malformed("the token's algorithm is not one that is taken"));
    }
    let mut validation = Validation::new(header.alg);
    // Time, issuer and audience are judged below, by a clock that is handed in.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let id = header.kid.as_deref();
    let mut opened = None;
    for (index, key) in keys.iter().enumerate() {
        let mut open = |verifies: &DecodingKey| {
            let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, verifies, &validation);
            let claims = decoded.ok().map(|decoded| decoded.claims);
            let is_open = claims.is_some();
            opened = opened.take().or(claims.map(|claims| (index, key, claims)));
            is_open
        };
        let is_open = match &key.material {
            Material::Token(material) => open(&material.verifies),
            Material::Pinned(set) => set.all().any(|one| open(&one.of_tokens())),
            Material::Published(published) => {
                let open = RefCell::new(open);
                published.any(request, Algorithm::Jwt, now, id, |one| {
                    open.borrow_mut()(&one.of_tokens())
                })?
            }
            _ => false,
        };
        if is_open {
            break;
        }
    }
    let Some((index, key, claims)) = opened else {
        return Ok(None);
    };
    let claims = Claims(&claims);
    if let Some(issuer) = &rule.issuer {
        let expected = match issuer {
            Issuer::Named(name) => Some(name.as_str()),
            Issuer::KeyId => key.id(),
        };
        claims.is("iss", expected)?;
    }
    if let Some(audience) = &rule.audience {
        let expected = audience
            .render(request, Inputs::default())
            .map_err(refused)?;
        claims.is("aud", std::str::from_utf8(&expected).ok())?;
    }
    if let Some(hash) = &rule.body_hash {
        claims.binds_body(hash, request)?;
    }
    if let Some(claim) = &rule.url_hash {
        claims.binds_url(claim, request)?;
    }
    claims.is_in_time(rule, now)?;
    if let Some(time) = &scheme.parts().timestamp
        && let TimestampPlace::Claim(claim) = &time.place
    {
        let text = claims.text(claim).ok_or_else(|| Reason::TimestampMissing {
            place: format!("claim {claim}"),
        })?;
        check_time(time, text.as_bytes(), now)?;
    }
    Ok(Some(index))
}

/// What a token says, once it is known to be genuine.
struct Claims<'t>(&'t Map<String, Value>);

impl Claims<'_> {
    fn text(&self, claim: &str) -> Option<String> {
        match self.0.get(claim)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn is(&self, claim: &'static str, expected: Option<&str>) -> Result<(), Reason> {
        let holds = |value: &Value| value.as_str().is_some() && value.as_str() == expected;
        let good = match self.0.get(claim) {
            Some(Value::Array(values)) => values.iter().any(holds),
            Some(value) => holds(value),
            None => false,
        };
        good.then_some(()).ok_or(Reason::TokenClaim { claim })
    }

    fn binds_body(&self, hash: &ClaimHash, request: &Request<'_>) -> Result<(), Reason> {
        let place = format!("claim {}", hash.claim);
        let Some(stated) = self.text(&hash.claim) else {
            // Of a request without a body, there is nothing to hash.
            return match request.body() {
                b"" => Ok(()),
                _ => Err(Reason::InputMissing { what: place }),
            };
        };
        let stated = match hash.encoding {
            Encoding::Hex => hex::decode(stated).ok(),
            Encoding::Base64 | Encoding::Base64Url => BASE64.decode(stated).ok(),
        };
        let is_same =
            stated.is_some_and(|stated| constant_time_eq(&stated, &Sha256::digest(request.body())));
        is_same
            .then_some(())
            .ok_or(Reason::BodyHashMismatch { place })
    }

    fn binds_url(&self, claim: &str, request: &Request<'_>) -> Result<(), Reason> {
        let place = format!("claim {claim}");
        let stated = self.text(claim).ok_or_else(|| Reason::InputMissing {
            what: place.clone(),
        })?;
        let url = request.url().unwrap_or_default();
        let is_same = hex::decode(stated)
            .is_ok_and(|stated| constant_time_eq(&stated, &Sha256::digest(url.as_bytes())));
        is_same
            .then_some(())
            .ok_or(Reason::UrlHashMismatch { place })
    }

    fn is_in_time(&self, rule: &JwtRule, now: Timestamp) -> Result<(), Reason> {
        let time = |claim: &str| {
            let seconds = self.0.get(claim)?.as_f64()?;
            SignedDuration::try_from_secs_f64(seconds).ok()
        };
        let now = now.as_duration();
        if let Some(skew) = time("exp").map(|end| now.saturating_sub(end))
            && skew > rule.leeway
        {
            return Err(Reason::TokenExpired { skew });
        }
        if let Some(skew) = time("nbf").map(|start| start.saturating_sub(now))
            && skew > rule.leeway
        {
            return Err(Reason::TimestampFuture {
                skew,
                tolerance: rule.leeway,
                looks_like: None,
            });
        }
        Ok(())
    }
}

/// Signs a token for a request; `None` = the key cannot.
pub(super) fn sign(
    rule: &JwtRule,
    key: &Key,
    request: &Request<'_>,
    id: &str,
    at: Timestamp,
) -> Result<Option<String>, Reason> {
    let (Material::Token(material), Some(&algorithm)) = (&key.material, rule.algorithms.first())
    else {
        return Ok(None);
    };
    let Some(signs) = &material.signs else {
        return Ok(None);
    };
    let mut claims = Map::new();
    match &rule.issuer {
        Some(Issuer::Named(name)) => {
            claims.insert("iss".to_owned(), name.as_str().into());
        }
        Some(Issuer::KeyId) => {
            claims.insert("iss".to_owned(), key.id().into());
        }
        None => {}
    }
    if let Some(audience) = &rule.audience {
        let audience = audience
            .render(request, Inputs::default())
            .map_err(refused)?;
        let audience = String::from_utf8_lossy(&audience).into_owned();
        claims.insert("aud".to_owned(), audience.into());
    }
    for (claim, time) in [("iat", at), ("nbf", at)] {
        claims.insert(claim.to_owned(), time.as_second().into());
    }
    let end = at.saturating_add(LIFETIME).unwrap_or(at);
    claims.insert("exp".to_owned(), end.as_second().into());
    claims.insert("jti".to_owned(), id.into());
    if let Some(hash) = &rule.body_hash {
        let digest = Sha256::digest(request.body());
        let written = match hash.encoding {
            Encoding::Hex => hex::encode(digest),
            Encoding::Base64 | Encoding::Base64Url => STANDARD.encode(digest),
        };
        claims.insert(hash.claim.clone(), written.into());
    }
    if let Some(claim) = &rule.url_hash {
        let url = request.url().unwrap_or_default();
        let digest = hex::encode(Sha256::digest(url.as_bytes()));
        claims.insert(claim.clone(), digest.into());
    }
    Ok(jsonwebtoken::encode(&Header::new(algorithm), &claims, signs).ok())
}

//! Signs a request with a shared secret, over a text that the file describes.

use ::hmac::{Hmac, KeyInit, Mac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::HeaderName;
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::{AuthError, AuthFault, Credential, PreparedRequest, header_name};
use crate::expr::scoped::{Name, Scope, ValueTemplate};

/// The most headers that a signature adds.
const HEADERS_MAX: usize = 8;

/// The digest that a signature is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    Sha1,
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-512.
    Sha512,
}

/// How the bytes of a signature are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// In hexadecimal, with small letters.
    Hex,
    /// In base64, with padding.
    Base64,
}

/// How requests are signed.
///
/// The signed text sees `method`, `url` (with all parameters), `path` and `body` of the request, and
/// what the caller's scope has, such as `now`. The headers see `signature` besides; both see the same
/// `now`, since it is the scope's.
#[derive(Debug)]
pub struct HmacAuth {
    algorithm: Algorithm,
    encoding: Encoding,
    secret: Credential,
    signed: Credential,
    headers: Vec<(HeaderName, Credential)>,
}

impl HmacAuth {
    /// Signs `signed` with `secret`, and adds `headers`.
    ///
    /// # Errors
    /// [`AuthFault`] when a header's name is none, none of them uses `signature`, or there are too
    /// many.
    pub fn new(
        algorithm: Algorithm,
        encoding: Encoding,
        secret: ValueTemplate,
        signed: ValueTemplate,
        headers: Vec<(String, ValueTemplate)>,
    ) -> Result<Self, AuthFault> {
        if headers.len() > HEADERS_MAX {
            return Err(AuthFault::TooMany {
                what: "headers",
                max: HEADERS_MAX,
            });
        }
        if !headers.iter().any(|(_, value)| value.uses(Name::Signature)) {
            return Err(AuthFault::Unsigned);
        }
        let headers = headers
            .into_iter()
            .map(|(name, value)| Ok((header_name(&name)?, Credential::new(value))));
        Ok(Self {
            algorithm,
            encoding,
            secret: Credential::new(secret),
            signed: Credential::new(signed),
            headers: headers.collect::<Result<_, AuthFault>>()?,
        })
    }

    pub(super) fn apply(
        &self,
        request: &mut PreparedRequest,
        scope: &Scope,
    ) -> Result<(), AuthError> {
        let scope = scope
            .with(Name::Method, &request.method.as_str())
            .with(Name::Url, &request.full_url())
            .with(Name::Path, &request.path()?)
            .with_bytes(Name::Body, &request.body);
        let secret = self.secret.reveal("secret", &scope)?;
        let signed = self.signed.reveal("message", &scope)?;
        let signature = self.sign(&secret, &signed)?;
        let scope = scope.with(Name::Signature, &signature);
        for (name, value) in &self.headers {
            request.set_header(name, value.reveal("headers", &scope)?)?;
        }
        Ok(())
    }

    fn sign(&self, secret: &str, signed: &str) -> Result<String, AuthError> {
        let (key, text) = (secret.as_bytes(), signed.as_bytes());
        // Whoever knows the text could sign in our name.
        if key.is_empty() {
            return Err(AuthError::Key);
        }
        let mac = match self.algorithm {
            Algorithm::Sha1 => mac::<Hmac<Sha1>>(key, text),
            Algorithm::Sha256 => mac::<Hmac<Sha256>>(key, text),
            Algorithm::Sha512 => mac::<Hmac<Sha512>>(key, text),
        };
        let mac = mac.ok_or(AuthError::Key)?;
        Ok(match self.encoding {
            Encoding::Hex => hex::encode(mac),
            Encoding::Base64 => STANDARD.encode(mac),
        })
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).ok()?;
    mac.update(text);
    Some(mac.finalize().into_bytes().to_vec())
}

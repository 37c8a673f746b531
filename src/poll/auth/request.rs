//! A request before it is sent: everything but the credentials is in it, and what signs it sees all
//! that will be sent.

use std::fmt;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{Method, Uri};

use super::AuthError;
use crate::expr::scoped::percent;

/// A request that is ready but for its credentials.
#[derive(Clone)]
pub struct PreparedRequest {
    /// The method.
    pub method: Method,
    /// The URL, which may have a query of its own.
    pub url: String,
    /// Parameters that are added to the query, not yet encoded.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl PreparedRequest {
    /// The URL as it is sent: with all parameters, percent-encoded.
    pub fn full_url(&self) -> String {
        // A fragment is never sent.
        let sent = self.url.split('#').next().unwrap_or_default();
        let mut url = sent.to_owned();
        let mut has_query = sent.contains('?');
        for (name, value) in &self.query {
            if !url.ends_with(['?', '&']) {
                url.push(if has_query { '&' } else { '?' });
            }
            has_query = true;
            url.push_str(&percent(name));
            url.push('=');
            url.push_str(&percent(value));
        }
        url
    }

    /// The path of the URL.
    ///
    /// # Errors
    /// [`AuthError::Url`] when it is none.
    pub fn path(&self) -> Result<String, AuthError> {
        let uri: Uri = self.full_url().parse().map_err(|_| AuthError::Url)?;
        Ok(uri.path().to_owned())
    }

    /// Puts a header in the place of those of its name.
    ///
    /// # Errors
    /// [`AuthError::HeaderValue`] when the value cannot stand in one: a line break would begin
    /// another header.
    pub fn set_header(&mut self, name: &HeaderName, value: String) -> Result<(), AuthError> {
        if HeaderValue::from_str(&value).is_err() {
            return Err(AuthError::HeaderValue {
                name: name.to_string(),
            });
        }
        self.headers
            .retain(|(other, _)| !other.eq_ignore_ascii_case(name.as_str()));
        self.headers.push((name.to_string(), value));
        Ok(())
    }

    /// Puts a parameter in the place of those of its name.
    pub fn set_query(&mut self, name: &str, value: String) {
        self.query.retain(|(other, _)| other != name);
        self.query.push((name.to_owned(), value));
    }
}

/// Names and sizes only: URLs, parameters, headers and bodies carry secrets.
impl fmt::Debug for PreparedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn names(lines: &[(String, String)]) -> Vec<&str> {
            lines.iter().map(|(name, _)| name.as_str()).collect()
        }
        let host = self.url.parse::<Uri>().ok();
        let host = host.as_ref().and_then(Uri::host).unwrap_or("***");
        f.debug_struct("PreparedRequest")
            .field("method", &self.method)
            .field("host", &host)
            .field("query", &names(&self.query))
            .field("headers", &names(&self.headers))
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

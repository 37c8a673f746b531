//! Requests and headers between how they are prepared and how they are sent.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::asking::{Failure, Stop};
use super::auth::PreparedRequest;
use super::fetch::Request;
use super::request::{Conditional, RequestRules};
use super::state::Validators;

/// A request for the wire.
pub(super) fn wired(
    prepared: PreparedRequest,
    rules: &RequestRules,
    validators: Option<&Validators>,
) -> Result<Request, Stop> {
    let mut headers = HeaderMap::new();
    for (name, value) in &prepared.headers {
        let bad = || Failure::lasting("expression", format!("`{name}` cannot be a header"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| bad())?;
        value.set_sensitive(!PLAIN_HEADERS.contains(&name.as_str()));
        headers.append(name, value);
    }
    if let Some(validators) = validators.filter(|_| rules.conditional == Conditional::Auto) {
        for (name, value) in [
            ("if-none-match", &validators.etag),
            ("if-modified-since", &validators.last_modified),
        ] {
            let value = value
                .as_deref()
                .and_then(|value| HeaderValue::from_str(value).ok());
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
    }
    Ok(Request {
        url: prepared.full_url(),
        method: prepared.method,
        headers,
        body: prepared.body,
    })
}

/// Headers that hold no credentials; all others stay behind when a redirection leads elsewhere.
const PLAIN_HEADERS: [&str; 4] = ["accept", "content-type", "user-agent", "accept-language"];

pub(super) fn header_map(lines: &[(String, String)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            headers.append(name, value);
        }
    }
    headers
}

pub(super) fn value_of<'a>(lines: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut named = lines
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.as_str())
}

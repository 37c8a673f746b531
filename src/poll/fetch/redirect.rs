//! Whether and how an answer leads on to another URL.
//!
//! Pure. What may be asked at the new place is decided by the caller with the rules for addresses.

use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, LOCATION,
    PROXY_AUTHORIZATION, TRANSFER_ENCODING,
};
use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::rules::{Origin, Redirects, join};
use super::{FetchError, RedirectFault, Step};

/// The step after `step`, which was answered with `status` and `headers`; `None` = the answer is
/// final.
pub(super) fn next(
    redirects: Redirects,
    step: &Step,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Step>, FetchError> {
    let leads_on = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !leads_on || redirects == Redirects::None {
        return Ok(None);
    }
    let from = Origin::try_from(&step.url)?;
    let refused = |fault| FetchError::Redirect {
        from: from.clone(),
        fault,
    };
    let location = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let url = location.and_then(|location| join(&step.url, location).ok());
    let url = url.ok_or_else(|| refused(RedirectFault::Location))?;
    let to = Origin::try_from(&url)?;
    let mut next = turned(step, status, url);
    if to == from {
        return Ok(Some(next));
    }
    if from.leaves_tls(&to) {
        return Err(refused(RedirectFault::Downgrade { to }));
    }
    if redirects == Redirects::SameOrigin {
        return Err(refused(RedirectFault::Foreign { to }));
    }
    // A body may hold a token as well as a header.
    if !next.body.is_empty() {
        return Err(refused(RedirectFault::Body { to }));
    }
    drop_credentials(&mut next.headers);
    Ok(Some(next))
}

/// The same request for another URL, or a GET where the answer means one (RFC 9110, 15.4).
fn turned(step: &Step, status: StatusCode, url: Url) -> Step {
    let mut next = Step {
        url,
        ..step.clone()
    };
    let is_turned = match status.as_u16() {
        303 => step.method != Method::HEAD,
        301 | 302 => step.method == Method::POST,
        _ => false,
    };
    if is_turned {
        next.method = Method::GET;
        next.body.clear();
        for name in [
            CONTENT_TYPE,
            CONTENT_LENGTH,
            CONTENT_ENCODING,
            TRANSFER_ENCODING,
        ] {
            next.headers.remove(name);
        }
    }
    next
}

fn drop_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE, HOST] {
        headers.remove(name);
    }
    let sensitive: Vec<_> = headers
        .iter()
        .filter(|(_, value)| value.is_sensitive())
        .map(|(name, _)| name.clone())
        .collect();
    for name in sensitive {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn step(method: Method, url: &str, body: &'static str) -> Step {
        let mut headers = HeaderMap::new();
        let mut key = HeaderValue::from_static("k");
        key.set_sensitive(true);
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        headers.insert(COOKIE, HeaderValue::from_static("c=1"));
        headers.insert(HOST, HeaderValue::from_static("a.example"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert("x-api-key", key);
        headers.insert("x-plain", HeaderValue::from_static("p"));
        Step {
            method,
            url: Url::parse(url).unwrap(),
            headers,
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn led(
        redirects: Redirects,
        step: &Step,
        status: u16,
        location: &str,
    ) -> Result<Option<Step>, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, location.parse().unwrap());
        next(redirects, step, status.try_into().unwrap(), &headers)
    }

    #[test]
    fn a_redirect_leads_where_its_rule_allows() {
        let check = |redirects, from: &str, location: &str, expected: Result<&str, &str>| {
            let found = led(redirects, &step(Method::GET, from, ""), 302, location);
            let found = found.map(|next| next.map_or_else(String::new, |next| next.url.into()));
            let expected = expected.map(str::to_owned);
            assert_eq!(found.map_err(|error| error.label()), expected, "{location}");
        };
        let a = "https://a.example/x";
        check(Redirects::None, a, "/y", Ok(""));
        check(
            Redirects::SameOrigin,
            a,
            "/y?z#f",
            Ok("https://a.example/y?z"),
        );
        check(
            Redirects::SameOrigin,
            a,
            "//a.example/y",
            Ok("https://a.example/y"),
        );
        check(
            Redirects::SameOrigin,
            a,
            "https://b.example/",
            Err("redirect_foreign"),
        );
        check(
            Redirects::SameOrigin,
            a,
            "https://a.example:444/",
            Err("redirect_foreign"),
        );
        check(
            Redirects::SameOrigin,
            a,
            "http://a.example/",
            Err("redirect_downgrade"),
        );
        check(
            Redirects::SameOrigin,
            "http://a.example/",
            a,
            Err("redirect_foreign"),
        );
        check(Redirects::Any, "http://a.example/", a, Ok(a));
        check(
            Redirects::Any,
            a,
            "http://b.example/",
            Err("redirect_downgrade"),
        );
        check(
            Redirects::Any,
            a,
            "https://b.example/",
            Ok("https://b.example/"),
        );
        for location in ["file:///etc/passwd", "https://", "https://u:p@a.example/"] {
            check(Redirects::Any, a, location, Err("redirect_location"));
        }
    }

    #[test]
    fn an_answer_without_a_place_to_go_is_refused() {
        let step = step(Method::GET, "https://a.example/", "");
        let found = next(Redirects::Any, &step, StatusCode::FOUND, &HeaderMap::new());
        assert_eq!(
            found.err().map(|error| error.label()),
            Some("redirect_location")
        );
        for status in [200, 300, 304, 305, 404] {
            assert!(
                led(Redirects::Any, &step, status, "/y").unwrap().is_none(),
                "{status}"
            );
        }
    }

    #[test]
    fn credentials_stay_with_their_origin() {
        let start = step(Method::GET, "https://a.example/", "");
        let names = |step: &Step| {
            let mut names: Vec<_> = step.headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            names.join(" ")
        };
        let same = led(Redirects::Any, &start, 302, "/y").unwrap().unwrap();
        assert_eq!(names(&same), names(&start));
        let other = led(Redirects::Any, &start, 302, "https://b.example/");
        let other = other.unwrap().unwrap();
        assert_eq!(names(&other), "content-type x-plain");
        let back = led(Redirects::Any, &other, 302, "https://a.example/");
        assert_eq!(names(&back.unwrap().unwrap()), "content-type x-plain");
    }

    #[test]
    fn a_post_becomes_a_get_where_the_status_means_it() {
        let check = |method: Method, status: u16, expected: (Method, &str)| {
            let start = step(method, "https://a.example/", "token");
            let next = led(Redirects::Any, &start, status, "/y").unwrap().unwrap();
            let body = std::str::from_utf8(&next.body).unwrap();
            assert_eq!((next.method, body), expected, "{status}");
            let has_type = next.headers.contains_key(CONTENT_TYPE);
            assert_eq!(has_type, !body.is_empty(), "{status}");
        };
        for status in [301, 302, 303] {
            check(Method::POST, status, (Method::GET, ""));
        }
        for status in [307, 308] {
            check(Method::POST, status, (Method::POST, "token"));
        }
        check(Method::PUT, 301, (Method::PUT, "token"));
        check(Method::PUT, 303, (Method::GET, ""));
        check(Method::HEAD, 303, (Method::HEAD, "token"));
    }

    #[test]
    fn a_body_stays_with_its_origin() {
        let start = step(Method::POST, "https://a.example/", "token");
        let check = |status: u16, expected: Option<&str>| {
            let found = led(Redirects::Any, &start, status, "https://b.example/");
            assert_eq!(found.err().map(|error| error.label()), expected, "{status}");
        };
        check(307, Some("redirect_body"));
        check(308, Some("redirect_body"));
        check(303, None);
    }
}

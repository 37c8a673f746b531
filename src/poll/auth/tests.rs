//! What `auth:` adds to requests, which tokens it asks for, and that none of it shows a secret.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use serde_json_path::JsonPath;

use super::*;
use crate::expr::scoped::{Engine, Kind, Name, Names};

mod tokens;

const NAMES: Names = Names::new(&[
    Name::Secret,
    Name::Env,
    Name::Session,
    Name::Now,
    Name::Method,
    Name::Path,
    Name::Url,
    Name::Body,
    Name::Signature,
]);

/// Part of every secret of these tests.
const HUSH: &str = "hush";

fn template(text: &str) -> ValueTemplate {
    let engine = Engine::new(Arc::new(|kind, name| match kind {
        Kind::Secret => Ok(format!("{HUSH}-{name}")),
        Kind::Variable => Ok(name.to_owned()),
    }));
    ValueTemplate::compile(text, NAMES, &engine).unwrap()
}

fn credential(text: &str) -> Credential {
    Credential::new(template(text))
}

fn now() -> Timestamp {
    "2026-11-26T10:00:00Z".parse().unwrap()
}

fn after(seconds: u64) -> Timestamp {
    now().checked_add(Duration::from_secs(seconds)).unwrap()
}

fn scope() -> Scope {
    Scope::default().with_time(Name::Now, now()).with(
        Name::Session,
        &json!({"token": "hush-session", "bad": "a\r\nb"}),
    )
}

fn request() -> PreparedRequest {
    PreparedRequest {
        method: Method::GET,
        url: "https://api.example.com/v1/accounts?a=1".to_owned(),
        query: vec![("created[gte]".to_owned(), "1 2".to_owned())],
        headers: vec![
            ("authorization".to_owned(), "old".to_owned()),
            ("Cookie".to_owned(), "a=1; sid=old".to_owned()),
        ],
        body: Bytes::new(),
    }
}

fn applied(auth: &Auth) -> Result<PreparedRequest, AuthError> {
    let mut request = request();
    auth.apply(&mut request, &scope(), None)?;
    Ok(request)
}

fn header(request: &PreparedRequest, name: &str) -> Option<String> {
    let found: Vec<_> = request
        .headers
        .iter()
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .collect();
    assert!(found.len() <= 1, "{name} stands once");
    found.first().map(|(_, value)| value.clone())
}

fn basic_auth(username: &str, password: &str) -> Auth {
    Auth::Basic {
        username: credential(username),
        password: credential(password),
    }
}

fn key(place: Place, value: &str) -> Auth {
    Auth::Key {
        place,
        value: credential(value),
    }
}

#[test]
fn credentials_take_their_place() {
    let check = |auth: Auth, name: &str, expected: &str| {
        let request = applied(&auth).unwrap();
        assert_eq!(
            header(&request, name).as_deref(),
            Some(expected),
            "{auth:?}"
        );
    };
    check(Auth::None, "Authorization", "old");
    let bearer = Auth::Bearer(credential("${{ secret.a }}"));
    check(bearer, "Authorization", "Bearer hush-a");
    check(
        basic_auth("Aladdin", "open sesame"),
        "Authorization",
        "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
    );
    check(
        basic_auth("${{ secret.k }}", ""),
        "Authorization",
        "Basic aHVzaC1rOg==",
    );
    let place = || Place::header("X-Auth-Token").unwrap();
    check(
        key(place(), "${{ session.token }}"),
        "x-auth-token",
        "hush-session",
    );
    let place = || Place::cookie("sid").unwrap();
    check(key(place(), "new"), "cookie", "a=1; sid=new");
    let request = applied(&key(Place::Query("key".to_owned()), "${{ secret.a }}")).unwrap();
    assert_eq!(
        request.full_url(),
        "https://api.example.com/v1/accounts?a=1&created%5Bgte%5D=1%202&key=hush-a"
    );
}

#[test]
fn a_request_without_its_credentials_is_not_made() {
    let check = |auth: Auth, expected: AuthError| {
        assert_eq!(applied(&auth).unwrap_err(), expected, "{auth:?}");
    };
    let missing = |name| AuthError::Missing { name };
    check(
        Auth::Bearer(credential("${{ session.none }}")),
        missing("token"),
    );
    check(
        key(Place::Query("k".to_owned()), "${{ session.none }}"),
        missing("value"),
    );
    let place = Place::header("X-A").unwrap();
    let name = "x-a".to_owned();
    check(
        key(place, "${{ session.bad }}"),
        AuthError::HeaderValue { name },
    );
    let place = Place::cookie("a").unwrap();
    check(key(place, "x; admin=1"), AuthError::CookieValue);
    check(basic_auth("a:b", "c"), AuthError::Colon);
    check(
        Auth::Oauth2(oauth2(Grant::ClientCredentials, ClientAuth::Basic)),
        AuthError::NoToken,
    );
    assert!(matches!(Place::header("a b"), Err(AuthFault::Header(_))));
    assert!(matches!(Place::cookie("a=b"), Err(AuthFault::Cookie(_))));
}

fn hmac(algorithm: Algorithm, encoding: Encoding, signed: &str, secret: &str) -> Auth {
    let headers = vec![
        ("X-Timestamp".to_owned(), template("${{ now | unix }}")),
        ("X-Signature".to_owned(), template("v1=${{ signature }}")),
    ];
    let hmac = HmacAuth::new(
        algorithm,
        encoding,
        template(secret),
        template(signed),
        headers,
    );
    Auth::Hmac(hmac.unwrap())
}

#[test]
fn a_signature_covers_what_the_file_says() {
    let jefe = "what do ya want for nothing?";
    let check = |algorithm, encoding, signed: &str, expected: &str| {
        let request = applied(&hmac(algorithm, encoding, signed, "Jefe")).unwrap();
        let expected = format!("v1={expected}");
        assert_eq!(header(&request, "X-Signature"), Some(expected), "{signed}");
        assert_eq!(
            header(&request, "X-Timestamp").as_deref(),
            Some("1795687200")
        );
    };
    // RFC 2202 and RFC 4231, test case 2.
    check(
        Algorithm::Sha1,
        Encoding::Hex,
        jefe,
        "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
    );
    check(
        Algorithm::Sha256,
        Encoding::Base64,
        jefe,
        "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=",
    );
    check(
        Algorithm::Sha512,
        Encoding::Hex,
        jefe,
        "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
    );
    // As the same text written out: every variable is what is sent.
    let of = |signed: &str| {
        let request = applied(&hmac(Algorithm::Sha256, Encoding::Hex, signed, "k")).unwrap();
        header(&request, "X-Signature").unwrap()
    };
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        of("${{ method }}\n${{ path }}\n${{ now | unix }}\n${{ body | sha256 }}"),
        of(&format!("GET\n/v1/accounts\n1795687200\n{empty}")),
    );
    assert_eq!(of("${{ url }}"), of(&request().full_url()));
}

#[test]
fn a_signature_that_is_not_sent_or_has_no_key_is_refused() {
    let headers = |value: &str| vec![("X-A".to_owned(), template(value))];
    let new = |headers| {
        let (secret, signed) = (template("s"), template("m"));
        HmacAuth::new(Algorithm::Sha256, Encoding::Hex, secret, signed, headers)
    };
    assert_eq!(new(headers("${{ now }}")).unwrap_err(), AuthFault::Unsigned);
    let mut many = headers("${{ signature }}");
    many.extend((0..8).map(|n| (format!("X-{n}"), template("a"))));
    assert!(matches!(new(many), Err(AuthFault::TooMany { max: 8, .. })));
    let auth = hmac(Algorithm::Sha256, Encoding::Hex, "m", "");
    assert_eq!(applied(&auth).unwrap_err(), AuthError::Key);
}

fn oauth2(grant: Grant, auth: ClientAuth) -> Oauth2 {
    let secret = Some(template("${{ secret.c }}&+"));
    let client = Client::new(template("id 1:"), secret, auth);
    let extras = Extras {
        scopes: vec!["reports.read".to_owned(), "b".to_owned()],
        params: vec![("audience".to_owned(), credential("https://a/"))],
        early_refresh: Duration::from_secs(60),
    };
    Oauth2::new(
        template("https://auth.example.com/token"),
        client,
        grant,
        extras,
    )
    .unwrap()
}

fn by_refresh(token: &str) -> Oauth2 {
    oauth2(Grant::RefreshToken(credential(token)), ClientAuth::Body)
}

fn form(asked: &TokenRequest) -> String {
    String::from_utf8(asked.request().body.to_vec()).unwrap()
}

/// Runs what never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn committed(renewed: Renewed) -> TokenState {
    ready(renewed.commit(|_| async { Ok::<(), String>(()) })).unwrap()
}

fn session(ttl: Ttl) -> Session {
    let path = |text: &str| JsonPath::parse(text).unwrap();
    let extract = [
        ("server", "$.response.server"),
        ("token", "$.response.key"),
        ("ts", "$.response.ts"),
    ];
    let extract = extract.map(|(name, text)| (name.to_owned(), path(text)));
    Session::new(extract.to_vec(), ttl).unwrap()
}

#[test]
fn a_login_gives_a_session() {
    let body = |ttl: Value| {
        json!({"response": {"server": "https://lp.vk.com/x", "key": "hush-key-of-a-session", "ts": 5},
            "expires_in": ttl})
    };
    let check = |ttl: Ttl, answered: Value, expected: Option<Timestamp>| {
        let state = session(ttl).read_answer(&body(answered), now()).unwrap();
        assert_eq!(state.expires_at(), expected);
        let live = |at| state.is_live(at);
        assert!(live(now()) && expected.is_none_or(|end| !live(end)));
        let json = serde_json::to_value(&state).unwrap();
        let again: SessionState = serde_json::from_value(json).unwrap();
        assert_eq!(again.expires_at(), expected);
    };
    let from = || Ttl::From(JsonPath::parse("$.expires_in").unwrap());
    check(Ttl::UntilRefused, Value::Null, None);
    check(
        Ttl::Fixed(Duration::from_secs(1200)),
        Value::Null,
        Some(after(1200)),
    );
    check(from(), json!(60), Some(after(60)));
    check(from(), json!("60"), Some(after(60)));
    check(from(), json!("2026-11-26T11:00:00Z"), Some(after(3600)));
    check(from(), json!(1e15), Some(Timestamp::MAX));
    let state = session(Ttl::UntilRefused)
        .read_answer(&body(json!(1)), now())
        .unwrap();
    let inside = state.enter(&scope());
    assert_eq!(
        template("${{ session.ts }}").value(&inside),
        Ok(Some(json!(5)))
    );
    let secrets: Vec<_> = state
        .secrets()
        .map(|secret| secret.expose().to_owned())
        .collect();
    assert_eq!(secrets, ["hush-key-of-a-session"]);
}

#[test]
fn a_login_that_lacks_something_gives_none() {
    let check = |ttl: Ttl, body: Value, expected: &str| {
        let error = session(ttl).read_answer(&body, now()).unwrap_err();
        let name = expected.to_owned();
        assert_eq!(error, AuthError::Login { name }, "{body}");
    };
    let from = || Ttl::From(JsonPath::parse("$.expires_in").unwrap());
    check(Ttl::UntilRefused, json!({"error": "hush"}), "server");
    check(
        Ttl::UntilRefused,
        json!({"response": {"server": "s", "key": null}}),
        "token",
    );
    let whole = json!({"server": "s", "key": "k", "ts": 1});
    check(from(), json!({"response": whole}), "ttl");
    check(from(), json!({"response": whole, "expires_in": -5}), "ttl");
    check(
        from(),
        json!({"response": whole, "expires_in": "soon"}),
        "ttl",
    );
    let long = json!({"response": {"server": "s".repeat(70_000)}});
    let error = session(Ttl::UntilRefused)
        .read_answer(&long, now())
        .unwrap_err();
    assert_eq!(
        error,
        AuthError::LongLogin {
            name: "server".to_owned()
        }
    );
    let none = Session::new(Vec::new(), Ttl::Fixed(Duration::ZERO)).unwrap_err();
    assert_eq!(none, AuthFault::NoTime);
}

#[test]
fn nothing_that_is_printed_holds_a_secret() {
    let check = |shown: String| assert!(!shown.contains(HUSH), "{shown}");
    let place = Place::header("X-A").unwrap();
    let password = Grant::Password {
        username: credential("hush-u"),
        password: credential("hush-p"),
    };
    let auths = [
        Auth::Bearer(credential("hush-literal")),
        basic_auth("hush-u", "hush-p"),
        key(place, "hush-v"),
        hmac(Algorithm::Sha256, Encoding::Hex, "hush-m", "hush-s"),
        Auth::Oauth2(oauth2(password, ClientAuth::Body)),
        Auth::Oauth2(by_refresh("hush-r")),
    ];
    for auth in &auths {
        check(format!("{auth:?} {auth:#?}"));
        if let Ok(request) = applied(auth) {
            check(format!("{request:?}"));
        }
    }
    let in_path = PreparedRequest {
        url: "https://api.example.com/bothush-t/getMe?k=hush".to_owned(),
        ..request()
    };
    check(format!("{in_path:?}"));
    let asked = by_refresh("hush-r").renewal(None, &scope()).unwrap();
    check(format!("{asked:?}"));
    let body = json!({"access_token": "hush-1", "refresh_token": "hush-2"});
    let renewed = asked.read_answer(&body, now()).unwrap();
    check(format!("{renewed:?}"));
    let failed = ready(renewed.commit(|_| async { Err("full") })).unwrap_err();
    check(format!("{failed} {failed:?}"));
    let CommitError::Store { renewed, .. } = failed else {
        panic!("it is given back");
    };
    assert_eq!(renewed.secrets().count(), 2);
    check(format!("{:?}", committed(renewed)));
    let login = json!({"response": {"server": "hush", "key": "hush", "ts": "hush"}});
    let state = session(Ttl::UntilRefused)
        .read_answer(&login, now())
        .unwrap();
    check(format!("{state:?} {:?}", state.enter(&scope())));
    let errors = [
        applied(&Auth::Bearer(credential("hush\n"))).unwrap_err(),
        applied(&key(Place::cookie("a").unwrap(), "hush;")).unwrap_err(),
        applied(&Auth::Bearer(credential("${{ session.token | unix }}"))).unwrap_err(),
    ];
    for error in errors {
        check(format!("{error} {error:?}"));
    }
}

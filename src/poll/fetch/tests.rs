//! Requests to real sockets: limits, redirects, addresses.

use std::future::pending;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use tokio::io::AsyncWriteExt;

use self::server::{Server, answer};
use super::*;

mod server;
mod tls;

/// A limit that a test waits for.
const SOON: Duration = Duration::from_millis(200);
const MB: usize = 1024 * 1024;

/// Rules of a file that names the place of a URL.
fn rules(url: &str) -> FetchRules {
    let origin: Origin = url.parse().unwrap();
    FetchRules {
        trusted_hosts: vec![origin.host().parse().unwrap()],
        origins: vec![origin],
        ..FetchRules::default()
    }
}

fn get(url: &str) -> Request {
    Request {
        method: Method::GET,
        url: url.to_owned(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    }
}

async fn fetched(rules: FetchRules, request: Request) -> Result<Response, FetchError> {
    let found = Fetcher::new(rules).unwrap().fetch(request).await;
    if let Err(error) = &found {
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    found
}

/// Why a URL with these rules has no answer.
async fn refusal(rules: FetchRules, url: &str) -> &'static str {
    let found = fetched(rules, get(url)).await;
    found.expect_err("there should be no answer").label()
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let server = Server::saying(|_| answer("418 Teapot\nX-A: 1\nx-a: 2", b"{}")).await;
    let url = server.url("/bots3cret/x?key=s3cret");
    let mut request = get(&format!("{url}#part"));
    request.method = Method::POST;
    request.body = Bytes::from_static(b"hello");
    request.headers.insert("x-b", HeaderValue::from_static("3"));
    assert_eq!(
        format!("{request:?}"),
        format!(
            "Request {{ method: POST, origin: \"http://{}\", .. }}",
            server.addr
        )
    );
    let response = fetched(rules(&url), request).await.unwrap();
    assert_eq!(response.status, 418);
    assert_eq!(&response.body[..], b"{}");
    assert_eq!(response.url, url);
    let named = response.headers.iter().filter(|(name, _)| name == "x-a");
    assert_eq!(named.count(), 2);
    assert_eq!(
        format!("{response:?}"),
        "Response { status: 418, body_bytes: 2, .. }"
    );
    let seen = server.seen().remove(0).to_lowercase();
    for part in [
        "post /bots3cret/x?key=s3cret http/1.1\r\n",
        "x-b: 3\r\n",
        "user-agent: hookgate/",
        "accept-encoding: gzip, deflate\r\n",
        "\r\n\r\nhello",
    ] {
        assert!(seen.contains(part), "{part} {seen}");
    }
}

#[tokio::test]
async fn a_body_of_200_mb_is_refused_early() {
    let written = Arc::new(AtomicUsize::new(0));
    let counted = written.clone();
    let server = Server::doing(move |mut stream, _| {
        let written = counted.clone();
        async move {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            let piece = vec![b'x'; MB];
            for _ in 0..200 {
                stream.write_all(&piece).await?;
                written.fetch_add(piece.len(), Ordering::Relaxed);
            }
            Ok(())
        }
    })
    .await;
    let url = server.url("/s3cret");
    assert_eq!(refusal(rules(&url), &url).await, "too_large");
    let written = written.load(Ordering::Relaxed);
    assert!(written < 60 * MB, "{written}");
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_long_is_not_read() {
    let server = Server::doing(|mut stream, _| async move {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 209715200\r\n\r\n";
        stream.write_all(head).await?;
        pending().await
    })
    .await;
    let url = server.url("/s3cret");
    assert_eq!(refusal(rules(&url), &url).await, "too_large");
    let mut head = get(&url);
    head.method = Method::HEAD;
    let response = fetched(rules(&url), head).await.unwrap();
    assert_eq!((response.status, response.body.len()), (200, 0));
}

#[tokio::test]
async fn packed_bodies_are_unpacked_within_their_limit() {
    let zeros = vec![0; 10 * MB];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&zeros).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&zeros).unwrap();
    let zlib = zlib.finish().unwrap();
    let server = Server::saying(move |request| {
        let packed = |coding: &str, body: &[u8]| {
            answer(&format!("200 OK\ncontent-encoding: {coding}"), body)
        };
        match request.split_whitespace().nth(1) {
            Some("/gzip") => packed("gzip", &gzip),
            Some("/deflate") => packed("deflate", &zlib),
            Some("/cut") => packed("gzip", &gzip[..gzip.len() / 2]),
            Some("/br") => packed("br", b"x"),
            Some("/empty") => answer("304 Not Modified\ncontent-encoding: gzip", b""),
            _ => packed("gzip", b"plain"),
        }
    })
    .await;
    let check = async |path: &str, unpacked_bytes_max: usize, expected: Result<usize, &str>| {
        let url = server.url(path);
        let rules = FetchRules {
            unpacked_bytes_max,
            ..rules(&url)
        };
        let found = fetched(rules, get(&url)).await;
        let found = found.map(|response| response.body.len());
        assert_eq!(found.map_err(|error| error.label()), expected, "{path}");
    };
    check("/gzip", 10 * MB, Ok(10 * MB)).await;
    check("/gzip", MB, Err("too_large")).await;
    check("/deflate", 10 * MB, Ok(10 * MB)).await;
    check("/deflate", MB, Err("too_large")).await;
    check("/cut", 10 * MB, Err("garbled")).await;
    check("/plain", MB, Err("garbled")).await;
    check("/br", MB, Err("encoding")).await;
    check("/empty", MB, Ok(0)).await;
}

/// A server that redirects as the path says: `/STATUS/to/…`.
async fn redirecting() -> Server {
    Server::saying(|request| {
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        match path.split_once("/to/") {
            Some((status, to)) => {
                let status = status.trim_start_matches('/');
                answer(&format!("{status} Found\nlocation: {to}"), b"moved")
            }
            None => answer("200 OK", b"here"),
        }
    })
    .await
}

#[tokio::test]
async fn redirects_are_followed_as_the_rule_says() {
    let server = redirecting().await;
    let other = redirecting().await;
    let away = server.url(&format!("/302/to/{}", other.url("/s3cret")));
    let near = server.url("/302/to//307/to//s3cret");
    let looping = server.url(&format!("/302/to/{}", "/302/to/".repeat(9)));
    let check = async |redirects: Redirects, url: &str, expected: Result<(u16, &str), &str>| {
        let rules = FetchRules {
            redirects,
            ..rules(url)
        };
        let found = fetched(rules, get(url)).await;
        let found = found.as_ref().map(|response| {
            let body = std::str::from_utf8(&response.body).unwrap();
            (response.status, body)
        });
        assert_eq!(
            found.map_err(FetchError::label),
            expected,
            "{redirects:?} {url}"
        );
    };
    check(Redirects::SameOrigin, &near, Ok((200, "here"))).await;
    check(Redirects::None, &near, Ok((302, "moved"))).await;
    check(Redirects::SameOrigin, &looping, Err("redirect_too_many")).await;
    check(Redirects::SameOrigin, &away, Err("redirect_foreign")).await;
    check(Redirects::Any, &away, Err("private_address")).await;
    assert!(other.seen().is_empty(), "nobody was sent there");
}

#[tokio::test]
async fn credentials_are_not_sent_to_another_origin() {
    let server = redirecting().await;
    let other = redirecting().await;
    let url = server.url(&format!("/307/to/{}", other.url("/there")));
    let rules = || FetchRules {
        redirects: Redirects::Any,
        allow_hosts: vec!["127.0.0.1".parse().unwrap()],
        ..rules(&url)
    };
    let mut request = get(&url);
    let mut key = HeaderValue::from_static("k3y");
    key.set_sensitive(true);
    request
        .headers
        .insert("authorization", HeaderValue::from_static("Bearer t0ken"));
    request
        .headers
        .insert("cookie", HeaderValue::from_static("c00kie"));
    request.headers.insert("x-api-key", key);
    request
        .headers
        .insert("x-plain", HeaderValue::from_static("plain"));
    let response = fetched(rules(), request.clone()).await.unwrap();
    assert_eq!(response.url, other.url("/there"));
    let (sent, led) = (server.seen().remove(0), other.seen().remove(0));
    for secret in ["t0ken", "c00kie", "k3y"] {
        assert!(sent.contains(secret), "{sent}");
        assert!(!led.contains(secret), "{led}");
    }
    assert!(
        led.contains("plain") && led.starts_with("GET /there "),
        "{led}"
    );
    request.method = Method::POST;
    request.body = Bytes::from_static(b"token");
    let found = fetched(rules(), request).await;
    assert_eq!(found.unwrap_err().label(), "redirect_body");
    assert_eq!(other.seen().len(), 1);
}

#[tokio::test]
async fn only_hosts_that_the_file_names_are_asked() {
    let server = Server::saying(|_| answer("200 OK", b"")).await;
    let port = server.addr.port();
    let at = |host: &str| format!("http://{host}:{port}/s3cret?s3cret");
    let check = async |named: &[&str], trusted: &[&str], url: &str, expected: &str| {
        let rules = FetchRules {
            origins: named.iter().map(|url| url.parse().unwrap()).collect(),
            trusted_hosts: trusted.iter().map(|host| host.parse().unwrap()).collect(),
            ..FetchRules::default()
        };
        let found = match fetched(rules, get(url)).await {
            Ok(_) => "ok",
            Err(error) => error.label(),
        };
        assert_eq!(found, expected, "{named:?} {trusted:?} {url}");
    };
    let (local, address) = (at("localhost"), at("127.0.0.1"));
    check(&[&local], &["localhost"], &local, "ok").await;
    check(&[&local], &[], &local, "private_address").await;
    check(&[&local], &["127.0.0.1"], &local, "private_address").await;
    check(&[&address], &["127.0.0.1"], &address, "ok").await;
    check(&[&address], &[], &address, "private_address").await;
    check(
        &[&local],
        &["localhost", "127.0.0.1"],
        &address,
        "foreign_host",
    )
    .await;
    check(
        &[&local],
        &["localhost"],
        "https://evil.example/s3cret",
        "foreign_host",
    )
    .await;
    check(&[&local], &[], "gopher://s3cret", "bad_url").await;
    let mapped = at("[::ffff:127.0.0.1]");
    check(&[&mapped], &[], &mapped, "private_address").await;
    let metadata = "http://169.254.169.254/s3cret";
    check(&[metadata], &[], metadata, "private_address").await;
    assert_eq!(server.seen().len(), 2);
}

/// Knows no name.
struct Nowhere;

#[async_trait]
impl Lookup for Nowhere {
    async fn lookup(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Knows every name, at an address that may only be reached by a host of the file.
struct Everywhere(SocketAddr);

#[async_trait]
impl Lookup for Everywhere {
    async fn lookup(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![self.0])
    }
}

#[tokio::test]
async fn what_a_name_leads_to_decides() {
    let server = Server::saying(|_| answer("200 OK", b"")).await;
    let url = format!("http://erp.example:{}/s3cret", server.addr.port());
    let check = async |rules: FetchRules, lookup: Arc<dyn Lookup>, expected: Option<&str>| {
        let found = Fetcher::with_lookup(rules, lookup).unwrap();
        let found = found.fetch(get(&url)).await;
        assert_eq!(found.err().map(|error| error.label()), expected);
    };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let untrusted = FetchRules {
        trusted_hosts: Vec::new(),
        ..rules(&url)
    };
    check(rules(&url), Arc::new(Nowhere), Some("dns")).await;
    check(rules(&url), Arc::new(Everywhere(address)), None).await;
    check(
        untrusted,
        Arc::new(Everywhere(address)),
        Some("private_address"),
    )
    .await;
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_given_up() {
    let check = async |said: &'static [u8]| {
        let server = Server::doing(move |mut stream, _| async move {
            stream.write_all(said).await?;
            pending().await
        })
        .await;
        let url = server.url("/s3cret");
        let rules = FetchRules {
            timeout: SOON,
            ..rules(&url)
        };
        assert_eq!(refusal(rules, &url).await, "timeout");
    };
    check(b"").await;
    check(b"HTTP/1.1 200 OK\r\n").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello").await;
    check(b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n").await;
}

#[tokio::test]
async fn a_server_that_breaks_off_gave_no_answer() {
    let check = async |said: &'static [u8], expected: &str| {
        let server = Server::saying(|_| said.to_vec()).await;
        let url = server.url("/s3cret");
        let shown = String::from_utf8_lossy(said);
        assert_eq!(refusal(rules(&url), &url).await, expected, "{shown}");
    };
    check(b"", "broken_off").await;
    check(b"HTTP/1.1 200 OK\r\nx:", "broken_off").await;
    check(b"SSH-2.0-OpenSSH\r\n", "broken_off").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", "body").await;
    check(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "body",
    )
    .await;
    check(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "body",
    )
    .await;
}

#[tokio::test]
async fn a_place_where_nobody_listens_cannot_be_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/s3cret", listener.local_addr().unwrap());
    drop(listener);
    let error = fetched(rules(&url), get(&url)).await.unwrap_err();
    let place = url.trim_end_matches("/s3cret");
    assert_eq!(
        error.to_string(),
        format!("{place} cannot be reached: connection refused")
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_url_is_written_as_http_wants_it() {
    let server = Server::saying(|_| answer("200 OK", b"")).await;
    let url = server.url("/a b\u{e9}?q=\u{e9} c");
    fetched(rules(&url), get(&url)).await.unwrap();
    let seen = server.seen().remove(0);
    assert!(
        seen.starts_with("GET /a%20b%C3%A9?q=%C3%A9%20c HTTP/1.1"),
        "{seen}"
    );
}

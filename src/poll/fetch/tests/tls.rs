//! Who is known by which certificate.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use super::super::tls::Configs;
use super::super::{FetchRules, Fetcher, Identity, TlsError, TlsRules};
use super::server::{Authority, Server, answer, read_request};
use super::{get, rules};

/// Whether a server asks for client certificates.
enum Clients {
    Anybody,
    Known,
}

/// A server with a certificate for `name`.
async fn server(authority: &Authority, name: &str, clients: Clients) -> SocketAddr {
    let acceptor = acceptor(authority, name, clients, b"http/1.1");
    Server::accepting(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            read_request(&mut stream).await?;
            stream.write_all(&answer("200 OK", b"ok")).await?;
            stream.shutdown().await
        }
    })
    .await
}

fn acceptor(authority: &Authority, name: &str, clients: Clients, protocol: &[u8]) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        Clients::Anybody => builder.with_no_client_auth(),
        Clients::Known => builder.with_client_cert_verifier(verifier.unwrap()),
    };
    let (certificate, key) = authority.issue(name);
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

fn trusting(authority: &Authority) -> TlsRules {
    TlsRules {
        ca: Some(authority.pem()),
        ..TlsRules::default()
    }
}

/// The body that comes, or the word for why none does.
async fn asked(addr: SocketAddr, tls: TlsRules) -> String {
    let url = format!("https://{addr}/s3cret");
    let rules = FetchRules { tls, ..rules(&url) };
    match Fetcher::new(rules).unwrap().fetch(get(&url)).await {
        Ok(response) => String::from_utf8_lossy(&response.body).into_owned(),
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3cret"), "{shown}");
            error.label().to_owned()
        }
    }
}

#[tokio::test]
async fn only_a_server_with_a_trusted_certificate_for_its_name_is_asked() {
    let authority = Authority::new();
    let right = server(&authority, "127.0.0.1", Clients::Anybody).await;
    assert_eq!(asked(right, trusting(&authority)).await, "ok");
    assert_eq!(asked(right, TlsRules::default()).await, "tls");
    assert_eq!(asked(right, trusting(&Authority::new())).await, "tls");
    let other = server(&authority, "erp.example", Clients::Anybody).await;
    assert_eq!(asked(other, trusting(&authority)).await, "tls");
    let renamed = |name: &str| TlsRules {
        server_name: Some(name.to_owned()),
        ..trusting(&authority)
    };
    assert_eq!(asked(other, renamed("erp.example")).await, "ok");
    assert_eq!(asked(other, renamed("crm.example")).await, "tls");
    assert_eq!(asked(right, renamed("erp.example")).await, "tls");
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let authority = Authority::new();
    let addr = server(&authority, "127.0.0.1", Clients::Known).await;
    let known = TlsRules {
        identity: Some(authority.identity("gateway.example")),
        ..trusting(&authority)
    };
    assert_eq!(asked(addr, known).await, "ok");
    assert_ne!(asked(addr, trusting(&authority)).await, "ok");
}

#[tokio::test]
async fn a_server_without_tls_is_no_server() {
    let plain = Server::accepting(|mut stream| async move {
        stream.write_all(&answer("200 OK", b"plain")).await?;
        pending().await
    })
    .await;
    assert_eq!(asked(plain, TlsRules::default()).await, "tls");
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let addr = Server::accepting(|stream| async move {
        let _open = stream;
        pending().await
    })
    .await;
    let url = format!("https://{addr}/");
    let rules = FetchRules {
        connect_timeout: super::SOON,
        ..rules(&url)
    };
    let found = Fetcher::new(rules).unwrap().fetch(get(&url)).await;
    assert_eq!(found.unwrap_err().label(), "connect_timeout");
}

#[tokio::test]
async fn a_server_that_speaks_http_2_is_asked_in_it() {
    let authority = Authority::new();
    let acceptor = acceptor(&authority, "127.0.0.1", Clients::Anybody, b"h2");
    let addr = Server::accepting(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let stream = acceptor.accept(stream).await?;
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut body = respond
                    .send_response(http::Response::new(()), false)
                    .unwrap();
                body.send_data("two".into(), true).unwrap();
            }
            Ok(())
        }
    })
    .await;
    assert_eq!(asked(addr, trusting(&authority)).await, "two");
}

#[test]
fn what_cannot_be_used_is_refused_when_the_file_is_loaded() {
    let authority = Authority::new();
    let own = authority.identity("a.example");
    let other = authority.identity("b.example");
    let check = |rules: TlsRules, expected: Result<(), TlsError>| {
        let found = Configs::new(&rules, &[]).map(|_| ());
        assert_eq!(found, expected, "{rules:?}");
    };
    let with_ca = |pem: &[u8]| TlsRules {
        ca: Some(pem.to_vec()),
        ..TlsRules::default()
    };
    let with_identity = |certificates: &[u8], key: &[u8]| TlsRules {
        identity: Some(Identity {
            certificates: certificates.to_vec(),
            key: key.to_vec(),
        }),
        ..TlsRules::default()
    };
    check(TlsRules::default(), Ok(()));
    check(with_ca(&authority.pem()), Ok(()));
    check(with_ca(b"nothing"), Err(TlsError::Authority));
    check(with_ca(&own.key), Err(TlsError::Authority));
    check(with_identity(&own.certificates, &own.key), Ok(()));
    check(
        with_identity(&own.certificates, &other.key),
        Err(TlsError::Mismatch),
    );
    check(with_identity(&own.certificates, b"x"), Err(TlsError::Key));
    check(with_identity(b"", &own.key), Err(TlsError::Certificate));
    let named = TlsRules {
        server_name: Some("a b".to_owned()),
        ..trusting(&authority)
    };
    check(named, Err(TlsError::ServerName));
    assert_eq!(format!("{own:?}"), "***");
}

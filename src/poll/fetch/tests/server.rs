//! A server of a few lines, so that a test decides every byte of an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::Identity;

/// A server on a port of its own.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers every request with the bytes that `answer` makes of it, and closes the connection.
    pub(super) async fn saying(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::doing(move |mut stream, request| {
            let answer = answer.clone();
            async move { stream.write_all(&answer(&request)).await }
        })
        .await
    }

    /// Lets `act` have every connection once its request was read.
    pub(super) async fn doing<F, A>(act: F) -> Self
    where
        F: Fn(TcpStream, String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<()>> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let act = Arc::new(act);
        let noted = seen.clone();
        let addr = Self::accepting(move |mut stream| {
            let (act, noted) = (act.clone(), noted.clone());
            async move {
                let request = read_request(&mut stream).await?;
                noted.lock().unwrap().push(request.clone());
                act(stream, request).await
            }
        })
        .await;
        Self { addr, seen }
    }

    /// Lets `act` have every connection as it comes.
    pub(super) async fn accepting<F, A>(act: F) -> SocketAddr
    where
        F: Fn(TcpStream) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(act(stream));
            }
        });
        addr
    }

    /// The requests so far.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// The URL of a path here, which may hold a secret.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }
}

/// Head and body of a request.
pub(super) async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut read = Vec::new();
    loop {
        let byte = stream.read_u8().await?;
        read.push(byte);
        if read.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&read).to_lowercase();
    let length = head.split_once("content-length: ");
    let length = length.and_then(|(_, after)| after.lines().next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    read.extend(body);
    Ok(String::from_utf8_lossy(&read).into_owned())
}

/// A whole answer: `head` is the status line and the headers but for the length.
pub(super) fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = head.replace('\n', "\r\n");
    let length = body.len();
    let head = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// An authority that nobody trusts by itself.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn pem(&self) -> Vec<u8> {
        pem("CERTIFICATE", self.0.der())
    }

    /// A certificate for a name or an address, with its key.
    pub(super) fn issue(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    /// The same as a client's.
    pub(super) fn identity(&self, name: &str) -> Identity {
        let (certificate, key) = self.issue(name);
        Identity {
            certificates: pem("CERTIFICATE", &certificate),
            key: pem("PRIVATE KEY", key.secret_der()),
        }
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
}

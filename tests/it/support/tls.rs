//! TLS in front of a plain backend, with a certificate of a throw-away authority.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName,
};
use tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::client::WAIT_MAX;
use super::within;

/// An authority that nobody trusts by itself.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    /// A directory with its certificate as `ca.pem`.
    pub fn dir(&self) -> TempDir {
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("ca.pem"), self.pem()).expect("a file can be written");
        dir
    }

    /// A certificate for these names or addresses, with its key.
    pub fn issue(&self, names: &[&str]) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names for a certificate");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Identity {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// A server with a certificate for these names or addresses.
    fn server(&self, names: &[&str]) -> TlsAcceptor {
        let Identity { certificate, key } = self.issue(names);
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a key for its certificate");
        TlsAcceptor::from(Arc::new(config))
    }

    /// Makes a handshake as a client that trusts this authority and offers one protocol (`h2`,
    /// `http/1.1`).
    pub async fn connect(
        &self,
        addr: SocketAddr,
        protocol: &str,
        identity: Option<&Identity>,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.connect_by(ALL_VERSIONS, addr, protocol, identity)
            .await
    }

    /// The same with these versions of TLS.
    pub async fn connect_by(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        addr: SocketAddr,
        protocol: &str,
        identity: Option<&Identity>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        let builder =
            ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key }) => builder
                .with_client_auth_cert(vec![certificate.clone()], key.clone_key())
                .expect("a key for its certificate"),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(addr).await?;
        let name = ServerName::from(addr.ip());
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        within(WAIT_MAX, "a TLS handshake", handshake).await
    }
}

/// A certificate with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Writes both into a directory, as `NAME.pem` and `NAME.key`.
    pub fn write(&self, dir: &Path, name: &str) {
        let files = [
            ("pem", pem("CERTIFICATE", &self.certificate)),
            ("key", pem("PRIVATE KEY", self.key.secret_der())),
        ];
        for (ending, text) in files {
            let path = dir.join(format!("{name}.{ending}"));
            std::fs::write(path, text).expect("a file can be written");
        }
    }

    /// The SHA-256 of the certificate, as hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.certificate))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
}

/// Takes TLS connections and passes what is in them on. Dropping it closes them.
pub struct TlsFront {
    addr: SocketAddr,
    handshakes: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl TlsFront {
    /// Starts before the plain server at `inside`, as a server with these names.
    pub async fn start(authority: &Authority, names: &[&str], inside: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let handshakes = Arc::new(AtomicUsize::new(0));
        Self {
            addr: listener
                .local_addr()
                .expect("a bound socket has an address"),
            accepting: tokio::spawn(accept(
                listener,
                authority.server(names),
                inside,
                Arc::clone(&handshakes),
            )),
            handshakes,
        }
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// How many handshakes were finished.
    pub fn handshakes(&self) -> usize {
        self.handshakes.load(Ordering::SeqCst)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    inside: SocketAddr,
    handshakes: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a listener accepts");
        let (acceptor, handshakes) = (acceptor.clone(), Arc::clone(&handshakes));
        connections.spawn(async move {
            // A peer that refuses the certificate, or leaves, is what some tests are about.
            let Ok(mut outside) = acceptor.accept(stream).await else {
                return;
            };
            handshakes.fetch_add(1, Ordering::SeqCst);
            if let Ok(mut inside) = TcpStream::connect(inside).await {
                let _ = copy_bidirectional(&mut outside, &mut inside).await;
            }
        });
    }
}

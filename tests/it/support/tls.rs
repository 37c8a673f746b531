//! TLS in front of a plain backend, with a certificate of a throw-away authority.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

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
        let base64 = STANDARD.encode(self.0.der());
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    }

    /// A directory with its certificate as `ca.pem`.
    pub fn dir(&self) -> TempDir {
        let dir = TempDir::new().expect("a temporary directory");
        std::fs::write(dir.path().join("ca.pem"), self.pem()).expect("a file can be written");
        dir
    }

    /// A server with a certificate for these names or addresses.
    fn server(&self, names: &[&str]) -> TlsAcceptor {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names for a certificate");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .expect("a key for its certificate");
        TlsAcceptor::from(Arc::new(config))
    }
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

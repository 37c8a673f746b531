//! What a listener shows in a TLS handshake, and what it asks for.
//!
//! Pingora's own settings panic on a certificate that they cannot use. Here it is a reason, found
//! when the file is compiled. What a listener shows can be renewed while it runs; connections that
//! are open keep what was agreed on.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::tls::TlsStream;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

/// What both sides may choose, the better first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whether clients are asked for a certificate, with the authorities in PEM that may have issued it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates<'a> {
    /// Nobody is asked.
    Unasked,
    /// Who shows none is let in; one of another authority ends the handshake.
    Requested(&'a [u8]),
    /// Who shows none of these authorities is not let in.
    Required(&'a [u8]),
}

/// Why there can be no handshakes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TlsError {
    /// The file of the certificate holds none.
    #[error("there is no certificate in it")]
    NoCertificate,
    /// A certificate that is none.
    #[error("its certificate cannot be read")]
    UnreadableCertificate,
    /// The file of the key holds none.
    #[error("there is no private key in it")]
    NoKey,
    /// A key of a kind, or of a length, that nobody uses here.
    #[error("its private key cannot be used")]
    UnusableKey,
    /// The key of another certificate.
    #[error("its private key does not belong to the certificate")]
    KeyMismatch,
    /// The file of the authorities holds none.
    #[error("there is no certificate in it")]
    NoAuthority,
    /// An authority whose certificate is none.
    #[error("its certificate cannot be read")]
    UnreadableAuthority,
    /// The library refuses what it is made of.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The handshakes of one listener. Clones renew together.
///
/// Two of them are always equal: they can be renewed while a listener runs.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<Acceptor>>);

impl Tls {
    /// Makes handshakes with a chain of certificates, its own first, and its key, both in PEM.
    ///
    /// # Errors
    /// [`TlsError`] says what cannot be used.
    pub fn new(
        certificates: &[u8],
        key: &[u8],
        clients: ClientCertificates<'_>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let identity = identity(certificates, key, &provider)?;
        let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
        let mut config = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_client_cert_verifier(verifier(clients, provider)?)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        let acceptor = Acceptor::from_server_config(Arc::new(config));
        Ok(Self(Arc::new(ArcSwap::from_pointee(acceptor))))
    }

    /// Makes the handshakes from here on as `new` would.
    pub fn renew(&self, new: &Self) {
        self.0.store(new.0.load_full());
    }

    /// Makes a handshake; `None` when it failed, which is the other side's business.
    pub(super) async fn handshake(&self, stream: L4Stream) -> Option<TlsStream<L4Stream>> {
        let acceptor = self.0.load_full();
        let shaken = acceptor.tls_handshake(stream).await;
        shaken
            .inspect_err(|error| tracing::debug!(%error, "TLS handshake"))
            .ok()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl PartialEq for Tls {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Tls {}

fn identity(
    certificates: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::UnreadableCertificate)?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::NoKey)?;
    let key = provider.key_provider.load_private_key(key);
    let identity = CertifiedKey::new(chain, key.map_err(|_| TlsError::UnusableKey)?);
    match identity.keys_match() {
        // A key that does not tell its public half cannot be compared.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::KeyMismatch),
        Err(_) => Err(TlsError::UnreadableCertificate),
    }
}

fn verifier(
    clients: ClientCertificates<'_>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let authorities = match clients {
        ClientCertificates::Unasked => return Ok(WebPkiClientVerifier::no_client_auth()),
        ClientCertificates::Requested(pem) | ClientCertificates::Required(pem) => pem,
    };
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities) {
        let added = authority.ok().map(|authority| roots.add(authority));
        if !matches!(added, Some(Ok(()))) {
            return Err(TlsError::UnreadableAuthority);
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoAuthority);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients {
        ClientCertificates::Requested(_) => builder.allow_unauthenticated(),
        ClientCertificates::Unasked | ClientCertificates::Required(_) => builder,
    };
    let built = builder.build();
    built.map_err(|error| TlsError::Setup(error.to_string()))
}

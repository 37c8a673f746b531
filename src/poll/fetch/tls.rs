//! How servers are known, and how the gateway is known to them.
//!
//! TLS 1.2 and 1.3 with ring. The authorities are those of the machine, read once, and one's own.
//! A client certificate is shown to the hosts of the file only.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::rules::Origin;

/// The protocols that are offered, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How servers are known, and how the gateway is known to them.
#[derive(Debug, Clone, Default)]
pub struct TlsRules {
    /// Further authorities, in PEM.
    pub ca: Option<Vec<u8>>,
    /// What the gateway shows.
    pub identity: Option<Identity>,
    /// The name that the certificates of the file's origins are for, where it is not their host.
    /// What is asked for in the handshake (SNI) stays the host.
    pub server_name: Option<String>,
}

/// A client certificate and its key.
#[derive(Clone)]
pub struct Identity {
    /// The chain, its own certificate first, in PEM.
    pub certificates: Vec<u8>,
    /// The key, in PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The authorities are no certificates.
    #[error("the CA file holds no usable certificate in PEM")]
    Authority,
    /// The client certificate is none.
    #[error("the client certificate is not one in PEM")]
    Certificate,
    /// Its key is none.
    #[error("the key of the client certificate is not one in PEM")]
    Key,
    /// They do not belong together.
    #[error("the client certificate and its key do not belong together")]
    Mismatch,
    /// The name is none.
    #[error("`server_name` is not a host name")]
    ServerName,
    /// The library refuses what it is made of.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The two ways to be known.
pub(super) struct Configs {
    /// For the hosts of the file.
    pub(super) own: ClientConfig,
    /// For where a redirect leads: without client certificate and `server_name`.
    pub(super) foreign: ClientConfig,
}

impl Configs {
    pub(super) fn new(rules: &TlsRules, origins: &[Origin]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let roots = Arc::new(roots(rules.ca.as_deref())?);
        let mut own = config(&provider, &roots, rules.identity.as_ref())?;
        if let Some(name) = &rules.server_name {
            let verifier = Renamed::new(name, origins, &roots, &provider)?;
            own.dangerous().set_certificate_verifier(Arc::new(verifier));
        }
        let foreign = config(&provider, &roots, None)?;
        Ok(Self { own, foreign })
    }
}

/// The authorities of the machine. A machine without any can still poll over plain HTTP, or with
/// one's own.
static NATIVE: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
});

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, TlsError> {
    let mut roots = NATIVE.clone();
    let Some(pem) = ca else {
        return Ok(roots);
    };
    let authorities = certificates(pem).ok_or(TlsError::Authority)?;
    for authority in authorities {
        roots.add(authority).map_err(|_| TlsError::Authority)?;
    }
    Ok(roots)
}

/// All certificates of a file; `None` when there is none, or something else.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty())
}

fn config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .with_root_certificates(roots.clone());
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(&identity.certificates).ok_or(TlsError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(|_| TlsError::Key)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
                    rustls::Error::InvalidCertificate(_) => TlsError::Certificate,
                    _ => TlsError::Key,
                })?
        }
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}

/// Checks certificates of some hosts as if these had another name.
#[derive(Debug)]
struct Renamed {
    inner: Arc<WebPkiServerVerifier>,
    name: ServerName<'static>,
    hosts: Vec<ServerName<'static>>,
}

impl Renamed {
    fn new(
        name: &str,
        origins: &[Origin],
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, TlsError> {
        let read = |name: &str| {
            let bare = name.trim_start_matches('[').trim_end_matches(']');
            ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName)
        };
        let hosts = origins.iter().map(|origin| read(origin.host()));
        let verifier =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        Ok(Self {
            inner: verifier.map_err(|error| TlsError::Setup(error.to_string()))?,
            name: read(name)?,
            hosts: hosts.collect::<Result<_, _>>()?,
        })
    }
}

impl ServerCertVerifier for Renamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = if self.hosts.contains(&server_name.to_owned()) {
            &self.name
        } else {
            server_name
        };
        self.inner
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

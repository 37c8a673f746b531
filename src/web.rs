//! A client for small documents at addresses that the file or a provider names.
//!
//! TLS 1.2 and 1.3 with ring, the authorities of the machine, no redirects, no proxy, no cookies.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

pub use reqwest::Client;

const USER_AGENT: &str = concat!("hookgate/", env!("CARGO_PKG_VERSION"));

/// Makes a client whose every request ends within `wait_max`.
///
/// # Errors
/// A sentence, when TLS cannot be set up.
pub fn client(wait_max: Duration) -> Result<Client, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .user_agent(USER_AGENT)
        .timeout(wait_max)
        .build()
        .map_err(|error| error.to_string())
}

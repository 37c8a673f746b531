//! Compiles `tls` of a listener.

use super::Compiler;
use crate::config::decode::Field;
use crate::config::raw::server as raw;
use crate::ingress::service::tls::{ClientCertificates, Tls, TlsError};

const PEM_BEGINNING: &str = "-----BEGIN";
pub(super) const PEM_SHAPE: &str = "write the path of a PEM file, relative to this file";
const CERTIFICATE_SHAPE: &str = "a certificate begins with `-----BEGIN CERTIFICATE-----`; a chain \
                                 stands in one file, the listener's own first";
const KEY_SHAPE: &str = "a key begins with `-----BEGIN PRIVATE KEY-----`; take its passphrase away \
                         (`openssl pkey -in FILE -out FILE`)";

impl Compiler<'_> {
    pub(super) fn listener_tls(&mut self, field: &Field<raw::ListenTls>) -> Option<Tls> {
        let tls = field.get()?;
        // Every file is read before any is missed: a fault must not hide another.
        let (cert, key) = (self.pem(&tls.cert), self.pem(&tls.key));
        let authority = tls.client_ca.as_ref().map(|field| self.pem(field));
        if let (Some(field), None) = (&tls.client_cert, &tls.client_ca) {
            let message = "there is no authority to check certificates of clients by";
            self.fault_with_help(field.span, message, "write `client_ca: FILE` beside it");
        }
        let (cert, key) = (cert?, key?);
        let mode = tls.client_cert.as_ref().and_then(|field| field.get());
        let authority = match authority {
            Some(read) => Some(read?),
            None => None,
        };
        let clients = match (&authority, mode) {
            (None, _) => ClientCertificates::Unasked,
            (Some(pem), Some(raw::ClientCertMode::Request)) => ClientCertificates::Requested(pem),
            (Some(pem), Some(raw::ClientCertMode::Require) | None) => {
                ClientCertificates::Required(pem)
            }
        };
        let made = Tls::new(&cert, &key, clients);
        made.map_err(|error| self.tls_fault(tls, field, &error))
            .ok()
    }

    pub(super) fn pem(&mut self, field: &Field<String>) -> Option<Vec<u8>> {
        let text = field.get()?;
        if text.contains(PEM_BEGINNING) {
            // What stands here may be a private key.
            self.hidden.push(field.span);
            self.fault_with_help(field.span, "a path belongs here, not PEM itself", PEM_SHAPE);
            return None;
        }
        let path = self.base.join(text);
        match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                self.fault_with_help(field.span, message, PEM_SHAPE);
                None
            }
        }
    }

    fn tls_fault(&mut self, tls: &raw::ListenTls, whole: &Field<raw::ListenTls>, error: &TlsError) {
        let (file, help) = match error {
            TlsError::NoCertificate | TlsError::UnreadableCertificate => {
                (Some(&tls.cert), CERTIFICATE_SHAPE)
            }
            TlsError::NoKey => (Some(&tls.key), KEY_SHAPE),
            TlsError::UnusableKey => (
                Some(&tls.key),
                "use a key of RSA with 2048 bits or more, P-256, P-384 or Ed25519",
            ),
            TlsError::KeyMismatch => (
                Some(&tls.key),
                "the first certificate in `cert` must be the one that this key was made for",
            ),
            TlsError::NoAuthority | TlsError::UnreadableAuthority => {
                (tls.client_ca.as_ref(), CERTIFICATE_SHAPE)
            }
            TlsError::Setup(_) => (None, PEM_SHAPE),
        };
        let (span, message) = match file.and_then(|file| Some((file.span, file.get()?))) {
            Some((span, path)) => {
                let path = self.base.join(path);
                (span, format!("{}: {error}", path.display()))
            }
            None => (whole.span, error.to_string()),
        };
        self.fault_with_help(span, message, help);
    }
}

//! Compiles the algorithm of a scheme and the rule that makes its keys.

use super::{Compiler, value};
use crate::config::raw::verify as raw;
use crate::signature::algorithm::{Algorithm, EcdsaForm, Hash};
use crate::signature::key::{KeyEncoding, KeyId, KeyRule};
use crate::signature::known_keys::Published;
use crate::signature::public_key::PublicForm;

impl Compiler<'_> {
    pub(super) fn algorithm(&mut self, scheme: &raw::Scheme) -> Option<Algorithm> {
        let form = value(&scheme.signature).and_then(|signature| signature.ecdsa.as_ref());
        let algorithm = match scheme.algorithm.get()? {
            raw::Algorithm::HmacMd5 => Algorithm::Hmac(Hash::Md5),
            raw::Algorithm::HmacSha1 => Algorithm::Hmac(Hash::Sha1),
            raw::Algorithm::HmacSha256 => Algorithm::Hmac(Hash::Sha256),
            raw::Algorithm::HmacSha384 => Algorithm::Hmac(Hash::Sha384),
            raw::Algorithm::HmacSha512 => Algorithm::Hmac(Hash::Sha512),
            raw::Algorithm::HashMd5 => Algorithm::Hash(Hash::Md5),
            raw::Algorithm::HashSha1 => Algorithm::Hash(Hash::Sha1),
            raw::Algorithm::HashSha256 => Algorithm::Hash(Hash::Sha256),
            raw::Algorithm::HashSha512 => Algorithm::Hash(Hash::Sha512),
            raw::Algorithm::RsaSha1 => Algorithm::Rsa(Hash::Sha1),
            raw::Algorithm::RsaSha256 => Algorithm::Rsa(Hash::Sha256),
            raw::Algorithm::RsaSha512 => Algorithm::Rsa(Hash::Sha512),
            raw::Algorithm::Jwt => Algorithm::Jwt,
            raw::Algorithm::Ed25519 => Algorithm::Ed25519,
            raw::Algorithm::EcdsaP256Sha256 => {
                Algorithm::EcdsaP256Sha256(match form.and_then(|field| field.get()) {
                    None | Some(raw::EcdsaForm::Der) => EcdsaForm::Der,
                    Some(raw::EcdsaForm::Raw) => EcdsaForm::Raw,
                })
            }
            raw::Algorithm::Static => Algorithm::Static,
            raw::Algorithm::Basic => Algorithm::Basic,
            raw::Algorithm::Bearer => Algorithm::Bearer,
        };
        if let Some(field) = form
            && !matches!(algorithm, Algorithm::EcdsaP256Sha256(_))
        {
            let message = "`ecdsa` says how the numbers of ecdsa-p256-sha256 are written";
            self.fault_with_help(field.span, message, "take `ecdsa` away");
        }
        Some(algorithm)
    }

    pub(super) fn key_rule(&mut self, raw: Option<&raw::KeyRule>) -> Option<KeyRule> {
        let public = raw.and_then(|raw| raw.public.as_ref());
        let encoding = raw.and_then(|raw| raw.encoding.as_ref());
        if let (Some(_), Some(field)) = (encoding, public) {
            let message = "a key has both `encoding` and `public`";
            let help = "`public` is for ed25519, ecdsa-p256-sha256 and rsa-pkcs1, `encoding` for the others";
            self.fault_with_help(field.span, message, help);
        }
        let published = match public {
            Some(field) => self.published(field.get()?)?,
            None => None,
        };
        let encoding = match public {
            Some(field) => KeyEncoding::Public(match field.get()? {
                raw::PublicForm::Jwks(_) | raw::PublicForm::Certificate(_) => PublicForm::Pem,
                raw::PublicForm::RawHex => PublicForm::RawHex,
                raw::PublicForm::RawB64 => PublicForm::RawBase64,
                raw::PublicForm::SpkiB64 => PublicForm::SpkiBase64,
                raw::PublicForm::Pem => PublicForm::Pem,
            }),
            None => match encoding.and_then(|field| field.get()) {
                None | Some(raw::KeyEncoding::Utf8) => KeyEncoding::Utf8,
                Some(raw::KeyEncoding::Base64) => KeyEncoding::Base64,
                Some(raw::KeyEncoding::Hex) => KeyEncoding::Hex,
                Some(raw::KeyEncoding::Utf8Nfkd) => KeyEncoding::Utf8Nfkd,
            },
        };
        let derive = raw.and_then(|raw| value(&raw.derive));
        let derive = derive.map(|derive| match derive {
            raw::Derive::Sha1 => Hash::Sha1,
            raw::Derive::Sha256 => Hash::Sha256,
        });
        let id = match raw.and_then(|raw| raw.id.as_ref()) {
            None => None,
            Some(field) => Some(match field.get()? {
                raw::KeyId::Header(name) => KeyId::Request(self.header_place(field.span, name)?),
                raw::KeyId::List => KeyId::List,
                raw::KeyId::Issuer => KeyId::Issuer,
            }),
        };
        Some(KeyRule {
            encoding,
            strip_prefix: raw.and_then(|raw| value(&raw.strip_prefix)).cloned(),
            derive,
            id,
            published,
        })
    }

    /// `None` when what is written is faulty; `Some(None)` when the keys are written down.
    fn published(&mut self, form: &raw::PublicForm) -> Option<Option<Published>> {
        Some(match form {
            raw::PublicForm::Jwks(url) => Some(Published::KeySet { url: url.clone() }),
            raw::PublicForm::Certificate(at) => {
                let hosts = at.hosts.get()?.iter();
                let hosts: Vec<_> = hosts.filter_map(|field| field.get().cloned()).collect();
                if hosts.is_empty() {
                    let message = "no host may hold the certificate";
                    let help = "write `hosts: [keys.example.com]`, as the provider documents them";
                    self.fault_with_help(at.hosts.span, message, help);
                }
                Some(Published::Certificate {
                    place: self.place(&at.from)?,
                    hosts,
                })
            }
            _ => None,
        })
    }
}

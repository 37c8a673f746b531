//! Compiles `webhook.verify`, and schemes written out.

use super::{Compiler, near, value};
use crate::config::decode::{Entries, Field, OneOrMany};
use crate::config::raw::verify as raw;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::event::Fingerprint;
use crate::ingress::gate::{CheckMode, SignatureCheck};
use crate::secret::Secret;
use crate::signature::certificate::CertificateRule;
use crate::signature::handshake::Handshake;
use crate::signature::key::{Key, KeyError};
use crate::signature::preset::Proof;
use crate::signature::reply::Reply;
use crate::signature::request::Options;
use crate::signature::verify::VerifierError;
use crate::signature::{Preset, Scheme, Terms, Verifier};

const REFUSED_STATUS: u16 = 401;
const SECRETS_SHAPE: &str = "write `secrets: [\"${{ secret.NAME }}\"]`";
const BROUGHT_SHAPE: &str = "write `store: {path: DIRECTORY}`, where the secret is kept that the \
                             provider's handshake brings, or `secrets` where you have it";
pub(super) const ZERO_TOLERANCE: &str = "a tolerance of zero would refuse every signature";
pub(super) const FINGERPRINT_SHAPE: &str =
    "write the 64 digits that `openssl x509 -in FILE -noout -fingerprint -sha256` prints";
const WAY: &str = "write `provider: NAME` (`hookgate providers` lists them) or `scheme: {…}`";

/// A compiled `verify`, with the presets it named.
pub(super) struct Check<'p> {
    /// `None` = nothing in a request proves it, and the file says so.
    pub(super) check: Option<SignatureCheck>,
    pub(super) presets: Vec<&'p Preset>,
}

/// A scheme with the keys that secrets made for it.
type Keyed = (Scheme, Vec<Key>);

/// One way to authenticate, compiled.
enum Compiled<'p> {
    Signature(Vec<Keyed>, Option<&'p Preset>),
    Certificate(CertificateRule),
}

/// One way to authenticate, as it stands in the file.
struct Way<'r> {
    span: Span,
    provider: &'r Option<Field<String>>,
    scheme: &'r Option<Field<raw::Scheme>>,
    client_cert: &'r Option<Field<raw::ClientCert>>,
    secrets: &'r Option<Field<OneOrMany<Secret>>>,
    tolerance: &'r Option<Field<Period>>,
}

impl<'a> Compiler<'a> {
    pub(super) fn verify(&mut self, route: &str, field: &Field<raw::Verify>) -> Option<Check<'a>> {
        let verify = field.get()?;
        if let Some(named) = &verify.provider
            && let Some(preset) = self.presets.find(named.get()?)
            && preset.proof != Proof::Scheme
        {
            return self.without_signature(preset, verify, named.span);
        }
        // Every part is compiled before any is missed: a fault must not hide another.
        let ways = self.ways(verify, field.span);
        let public_url = self.public_url(verify);
        let options = value(&verify.options).map(options).unwrap_or_default();
        let refused_status = self.refused_status(verify);
        let mut compiled = Vec::new();
        for way in ways.iter().flatten() {
            compiled.push(self.way(route, way));
        }
        let span = ways?.first().map_or(field.span, |way| way.span);
        let compiled: Vec<_> = compiled.into_iter().collect::<Option<_>>()?;
        let (mut schemes, mut presets, mut rules) = (Vec::new(), Vec::new(), Vec::new());
        for way in compiled {
            match way {
                Compiled::Signature(keyed, preset) => {
                    schemes.extend(keyed);
                    presets.extend(preset);
                }
                Compiled::Certificate(rule) => rules.push(rule),
            }
        }
        let terms = Terms {
            public_url,
            options,
        };
        if let Some(list) = &verify.options {
            self.known_options(list, &schemes);
        }
        let verifier = Verifier::with_certificates(schemes, rules, terms);
        let verifier = match verifier {
            Err(VerifierError::NoOption { name }) => {
                let what = presets.iter().find_map(|preset| preset.options.get(&name));
                let what = what.map(|what| format!(": {what}")).unwrap_or_default();
                let message =
                    format!("the signature covers `{name}`, and nobody says what that is");
                let help = format!("write `options: {{{name}: …}}`{what}");
                self.fault_with_help(span, message, help);
                return None;
            }
            other => self.try_at(span, other)?,
        };
        let mode = match value(&verify.enforce) {
            Some(false) => CheckMode::Observe,
            Some(true) | None => CheckMode::Enforce,
        };
        let insisted = presets.iter().find_map(|preset| preset.refused.clone());
        let refused = match (refused_status, insisted) {
            (Some(status), _) => Reply::empty(status),
            (None, Some(reply)) => reply,
            (None, None) => Reply::empty(REFUSED_STATUS),
        };
        let check = SignatureCheck {
            verifier,
            mode,
            refused,
        };
        Some(Check {
            check: Some(check),
            presets,
        })
    }

    /// An option that nothing asks for may be one that is mistyped.
    fn known_options(&mut self, list: &Field<Entries<String>>, schemes: &[Keyed]) {
        let options = schemes.iter().flat_map(|(scheme, _)| scheme.options());
        let known: Vec<_> = options.collect();
        for (key, _) in list.get().into_iter().flat_map(|entries| entries.iter()) {
            if !known.contains(&key.name.as_str()) {
                let message = format!("no scheme asks for the option `{}`", key.name);
                self.fault_with_help(key.span, message, near(&key.name, &known));
            }
        }
    }

    /// A provider whose requests prove nothing by themselves.
    fn without_signature(
        &mut self,
        preset: &'a Preset,
        verify: &raw::Verify,
        span: Span,
    ) -> Option<Check<'a>> {
        let title = &preset.title;
        if let Proof::Unsupported(reason) = &preset.proof {
            let message = format!("{title} cannot be verified here: {}", reason.trim());
            let help = format!("`hookgate providers {}` says more", preset.name);
            self.fault_with_help(span, message, help);
            return None;
        }
        let secrets = verify.secrets.as_ref().map(|field| field.span);
        let tolerance = verify.tolerance.as_ref().map(|field| field.span);
        for (name, span) in [("secrets", secrets), ("tolerance", tolerance)] {
            if let Some(span) = span {
                let message = format!("{title} signs nothing, so that `{name}` says nothing");
                self.fault_with_help(span, message, format!("take `{name}` away"));
            }
        }
        if preset.proof == Proof::Nothing && value(&verify.enforce) != Some(&false) {
            let message = format!("{title} proves nothing: anybody can send what it sends");
            let help = "write `enforce: false` to say that you know, and let the backend ask the \
                            provider for what an event names";
            self.fault_with_help(span, message, help);
        }
        Some(Check {
            check: None,
            presets: vec![preset],
        })
    }

    fn ways<'r>(&mut self, verify: &'r raw::Verify, span: Span) -> Option<Vec<Way<'r>>> {
        let named = [
            ("provider", verify.provider.as_ref().map(|field| field.span)),
            ("scheme", verify.scheme.as_ref().map(|field| field.span)),
            (
                "client_cert",
                verify.client_cert.as_ref().map(|field| field.span),
            ),
            ("any_of", verify.any_of.as_ref().map(|field| field.span)),
        ];
        let span = self.only_one("`verify`", &named, span)?;
        let Some(any_of) = &verify.any_of else {
            return Some(vec![Way {
                span,
                provider: &verify.provider,
                scheme: &verify.scheme,
                client_cert: &verify.client_cert,
                secrets: &verify.secrets,
                tolerance: &verify.tolerance,
            }]);
        };
        for (name, field) in [
            ("secrets", verify.secrets.as_ref().map(|field| field.span)),
            (
                "tolerance",
                verify.tolerance.as_ref().map(|field| field.span),
            ),
        ] {
            if let Some(span) = field {
                let message = format!("with `any_of`, `{name}` stands under each alternative");
                let help = "move it there, beside `provider` or `scheme`";
                self.fault_with_help(span, message, help);
            }
        }
        let alternatives = any_of.get()?;
        if alternatives.is_empty() {
            let message = "`any_of` is empty: nothing could ever be accepted";
            self.fault_with_help(any_of.span, message, WAY);
        }
        let mut ways = Some(Vec::new());
        for field in alternatives {
            let alternative = field.get()?;
            let named = [
                (
                    "provider",
                    alternative.provider.as_ref().map(|field| field.span),
                ),
                (
                    "scheme",
                    alternative.scheme.as_ref().map(|field| field.span),
                ),
                (
                    "client_cert",
                    alternative.client_cert.as_ref().map(|field| field.span),
                ),
            ];
            let Some(span) = self.only_one("an alternative", &named, field.span) else {
                ways = None;
                continue;
            };
            let Some(ways) = &mut ways else { continue };
            ways.push(Way {
                span,
                provider: &alternative.provider,
                scheme: &alternative.scheme,
                client_cert: &alternative.client_cert,
                secrets: &alternative.secrets,
                tolerance: &alternative.tolerance,
            });
        }
        ways.filter(|ways| !ways.is_empty())
    }

    /// The place of the one way that is named.
    pub(super) fn only_one(
        &mut self,
        what: &str,
        named: &[(&str, Option<Span>)],
        whole: Span,
    ) -> Option<Span> {
        let present: Vec<_> = named
            .iter()
            .filter_map(|(name, span)| Some((*name, (*span)?)))
            .collect();
        match present.as_slice() {
            [(_, span)] => return Some(*span),
            [] => {
                let message = format!("{what} names no way to authenticate");
                self.fault_with_help(whole, message, WAY);
            }
            [(first, _), (second, span), ..] => {
                let message = format!("{what} has both `{first}` and `{second}`");
                let help = "keep one of them; several ways stand under `any_of`, as a list";
                self.fault_with_help(*span, message, help);
            }
        }
        None
    }

    fn way(&mut self, route: &str, way: &Way<'_>) -> Option<Compiled<'a>> {
        if let Some(field) = way.client_cert {
            return self.client_cert(way, field).map(Compiled::Certificate);
        }
        let (schemes, preset) = match (way.provider, way.scheme) {
            (Some(field), _) => {
                let preset = self.preset(field)?;
                if preset.proof != Proof::Scheme {
                    let message = format!(
                        "{} signs nothing: beside it, no other way would mean anything",
                        preset.title
                    );
                    let help = "give it a route of its own, without `any_of`";
                    self.fault_with_help(field.span, message, help);
                    return None;
                }
                (preset.schemes.clone(), Some(preset))
            }
            (None, Some(field)) => (vec![self.scheme(field)?], None),
            (None, None) => return None,
        };
        let publishes = |scheme: &Scheme| scheme.parts().key.published.is_some();
        if way.secrets.is_none() && !schemes.is_empty() && schemes.iter().all(publishes) {
            let schemes = self.with_tolerance(way, schemes);
            let keyed = schemes.into_iter().map(|scheme| {
                let key = Key::published(&scheme.parts().key);
                (scheme, key.into_iter().collect())
            });
            return Some(Compiled::Signature(keyed.collect(), preset));
        }
        let is_brought = preset.is_some_and(|preset| {
            let mut handshakes = preset.handshakes.iter();
            handshakes.any(Handshake::brings_secret)
        });
        // Beside secrets that are written down, nobody brings another one.
        if way.secrets.is_none() && is_brought && self.has_store {
            let schemes = self.with_tolerance(way, schemes);
            let keyed = schemes.into_iter();
            let keyed = keyed.map(|scheme| (scheme, vec![Key::brought(route)]));
            return Some(Compiled::Signature(keyed.collect(), preset));
        }
        self.some_secrets(way, is_brought);
        let schemes = self.with_tolerance(way, schemes);
        let keyed = self.with_keys(way, schemes)?;
        Some(Compiled::Signature(keyed, preset))
    }

    fn client_cert(
        &mut self,
        way: &Way<'_>,
        field: &Field<raw::ClientCert>,
    ) -> Option<CertificateRule> {
        let secrets = way.secrets.as_ref().map(|field| field.span);
        let tolerance = way.tolerance.as_ref().map(|field| field.span);
        for (name, span) in [("secrets", secrets), ("tolerance", tolerance)] {
            if let Some(span) = span {
                let message = format!("`{name}` says nothing about a certificate");
                self.fault_with_help(span, message, format!("take `{name}` away"));
            }
        }
        if !self.certificates_asked {
            let message = "no listener asks for certificates: nothing could ever be accepted";
            let help = "write `tls: {cert: FILE, key: FILE, client_ca: FILE}` for a listener";
            self.fault_with_help(field.span, message, help);
        }
        let Some(list) = &field.get()?.fingerprints else {
            return Some(CertificateRule::any());
        };
        let mut fingerprints = Vec::new();
        let mut good = true;
        for field in list.get()? {
            let parsed = field.get().map(|text| text.parse::<Fingerprint>());
            match parsed {
                Some(Ok(fingerprint)) => fingerprints.push(fingerprint),
                Some(Err(error)) => {
                    self.fault_with_help(field.span, error.to_string(), FINGERPRINT_SHAPE);
                    good = false;
                }
                None => good = false,
            }
        }
        if !good {
            return None;
        }
        let rule = CertificateRule::one_of(fingerprints);
        rule.map_err(|error| {
            let help = "leave `fingerprints` out to take every certificate of `client_ca`";
            self.fault_with_help(list.span, error.to_string(), help);
        })
        .ok()
    }

    pub(super) fn preset(&mut self, field: &Field<String>) -> Option<&'a Preset> {
        let name = field.get()?;
        let presets = self.presets;
        let found = presets.find(name);
        if found.is_none() {
            self.no_provider(field.span, name);
        }
        found
    }

    fn with_tolerance(&mut self, way: &Way<'_>, schemes: Vec<Scheme>) -> Vec<Scheme> {
        let Some(field) = way.tolerance else {
            return schemes;
        };
        let Some(tolerance) = field.get() else {
            return schemes;
        };
        if schemes
            .iter()
            .all(|scheme| scheme.parts().timestamp.is_none())
        {
            let message = "nothing that is signed carries a time, so there is no age to limit";
            self.fault_with_help(field.span, message, "take `tolerance` away");
        }
        let tolerance = tolerance.as_duration();
        if tolerance.is_zero() {
            let help = "leave `tolerance` out for the provider's own";
            self.fault_with_help(field.span, ZERO_TOLERANCE, help);
        }
        schemes
            .into_iter()
            .map(|scheme| scheme.with_tolerance(tolerance))
            .collect()
    }

    /// Reports a way that has no secrets, whatever else is wrong with it.
    fn some_secrets(&mut self, way: &Way<'_>, is_brought: bool) {
        match way.secrets {
            None => {
                let message = "there are no secrets to verify with";
                let help = match is_brought {
                    true => BROUGHT_SHAPE,
                    false => SECRETS_SHAPE,
                };
                self.fault_with_help(way.span, message, help);
            }
            Some(list) if list.get().is_some_and(|secrets| secrets.is_empty()) => {
                let message = "`secrets` is empty: nothing could ever be accepted";
                self.fault_with_help(list.span, message, SECRETS_SHAPE);
            }
            Some(_) => {}
        }
    }

    /// Gives each scheme the keys that the secrets make for it. A secret must fit one scheme at
    /// least; a scheme that no secret fits is not one that this route uses.
    fn with_keys(&mut self, way: &Way<'_>, schemes: Vec<Scheme>) -> Option<Vec<Keyed>> {
        let secrets = value(way.secrets).filter(|list| !list.is_empty())?;
        let mut keyed: Vec<Keyed> = schemes
            .into_iter()
            .map(|scheme| (scheme, Vec::new()))
            .collect();
        let mut good = true;
        for field in secrets {
            let Some(secret) = field.get() else {
                good = false;
                continue;
            };
            self.secrets.push(secret.clone());
            let mut refused = None;
            let mut fits = false;
            for (scheme, keys) in &mut keyed {
                match Key::new(scheme.parts().algorithm, &scheme.parts().key, secret) {
                    Ok(key) => {
                        keys.push(key);
                        fits = true;
                    }
                    Err(error) => refused = Some(error),
                }
            }
            if let (false, Some(error)) = (fits, refused) {
                let help = match error {
                    KeyError::Empty => SECRETS_SHAPE,
                    KeyError::NoId => "write the id, a colon and the secret",
                    KeyError::Pinned(_) => "leave `secrets` out, and the provider's key is fetched",
                    KeyError::Encoding { .. } | KeyError::Public { .. } => {
                        "copy the secret once more from the provider; perhaps a part is missing"
                    }
                };
                self.fault_with_help(field.span, error.to_string(), help);
                good = false;
            }
        }
        if !good {
            return None;
        }
        keyed.retain(|(_, keys)| !keys.is_empty());
        Some(keyed)
    }

    fn public_url(&mut self, verify: &raw::Verify) -> Option<String> {
        self.whole_url(verify.public_url.as_ref()?)
    }

    /// A URL with its scheme and host.
    pub(super) fn whole_url(&mut self, field: &Field<String>) -> Option<String> {
        let text = field.get()?;
        let is_url = text.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
        });
        if !is_url {
            let help = "write the whole URL as the provider has it (https://hooks.example.com/in)";
            self.fault_with_help(field.span, format!("`{text}` is not a URL"), help);
        }
        Some(text.clone())
    }

    fn refused_status(&mut self, verify: &raw::Verify) -> Option<u16> {
        let field = verify.refused_status.as_ref()?;
        let status = field.get().copied()?;
        if !(400..=499).contains(&status) {
            let message = format!("the status {status} does not refuse");
            let help = "choose from 400 to 499, or leave it out for the default, 401";
            self.fault_with_help(field.span, message, help);
        }
        Some(status)
    }
}

/// Options as they are written.
pub(super) fn options(entries: &Entries<String>) -> Options {
    let entries = entries.iter();
    let options = entries.filter_map(|(key, field)| Some((key.name.clone(), field.get()?.clone())));
    options.collect()
}

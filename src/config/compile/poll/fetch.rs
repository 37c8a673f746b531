//! Compiles what asks a provider: which hosts may be asked, how much of an answer is taken, TLS.

use std::str::FromStr;

use super::request::Written;
use super::schedule::Times;
use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::compile::tls::PEM_SHAPE;
use crate::config::decode::{Field, OneOrMany};
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::auth::Auth;
use crate::config::raw::poll::cursor::Confirm;
use crate::config::raw::poll::request as raw;
use crate::config::yaml::Span;
use crate::expr::OPEN;
use crate::expr::scoped::{Name, Names, Scope, ValueTemplate};
use crate::poll::expressions::{IN_AUTH, IN_LOGINS, IN_REQUESTS};
use crate::poll::fetch::{
    FetchError, FetchRules, Fetcher, HostPattern, Identity, Origin, Redirects, TlsError, TlsRules,
    UrlFault,
};
use crate::poll::source::Partition;

const URL_SHAPE: &str = "write https://HOST/PATH, or http:// for a host that you trust";

/// A URL of the file, and what its expressions may name.
#[derive(Clone, Copy)]
struct Place<'r> {
    span: Span,
    url: &'r str,
    names: Names,
}

/// Whom a URL asks.
enum Whom {
    /// These.
    Known(Vec<Origin>),
    /// Whoever the session says.
    Session(Span),
}

impl SourceCompiler<'_, '_> {
    pub(super) fn fetcher(
        &mut self,
        poll: &Poll,
        times: Times,
        partitions: Option<&[Partition]>,
    ) -> Option<Fetcher> {
        let request = Written::of(&poll.request).and_then(|written| written.full);
        let (allow_hosts, exact) = match request.and_then(|request| request.allow_hosts.as_ref()) {
            Some(field) => self.allow_hosts(field)?,
            None => Default::default(),
        };
        let origins = self.origins(poll, &allow_hosts, partitions.unwrap_or_default());
        let is_whole = origins.is_some();
        let origins = origins.unwrap_or_default();
        let tls = self.request_tls(request, &origins);
        let hosts = origins.iter();
        let hosts = hosts.filter_map(|origin| HostPattern::from_str(origin.host()).ok());
        let trusted_hosts = hosts.chain(exact).collect();
        let body_bytes_max = self.max_body(request);
        let rules = FetchRules {
            origins,
            allow_hosts,
            trusted_hosts,
            redirects: match request.and_then(|request| value(&request.redirects)) {
                None | Some(raw::Redirects::SameOrigin) => Redirects::SameOrigin,
                Some(raw::Redirects::None) => Redirects::None,
                Some(raw::Redirects::Any) => Redirects::Any,
            },
            body_bytes_max,
            unpacked_bytes_max: body_bytes_max,
            timeout: times.request,
            tls: tls?,
            ..FetchRules::default()
        };
        if !is_whole {
            return None;
        }
        let made = Fetcher::new(rules);
        made.map_err(|error| self.unmade(poll, request, &error))
            .ok()
    }

    /// Whom the URLs of the file ask; `None` where one of them has a fault.
    fn origins(
        &mut self,
        poll: &Poll,
        allow_hosts: &[HostPattern],
        partitions: &[Partition],
    ) -> Option<Vec<Origin>> {
        let mut origins = Some(Vec::new());
        for place in places(poll) {
            match (self.whom(place, partitions), &mut origins) {
                (Some(Whom::Known(found)), Some(origins)) => origins.extend(found),
                (Some(Whom::Session(span)), _) if allow_hosts.is_empty() => {
                    let message = "this URL leads wherever the session says";
                    let help = "add `allow_hosts`: the hosts that `poll.request` may ask, like \
                                `*.example.com`";
                    self.fault_with_help(span, message, help);
                }
                (None, _) => origins = None,
                (Some(_), _) => {}
            }
        }
        origins
    }

    /// Whom a URL asks: what stands before its path says so, and is known when the file is read.
    fn whom(&mut self, place: Place<'_>, partitions: &[Partition]) -> Option<Whom> {
        let Place { span, url, names } = place;
        // What is wrong with the URL as a whole is told where it is compiled.
        ValueTemplate::compile(url, names, self.engine).ok()?;
        let compiled = ValueTemplate::compile(authority(url), names, self.engine);
        let changes = [Name::Cursor, Name::State, Name::Now, Name::PollStarted];
        let Some(authority) = compiled
            .ok()
            .filter(|authority| !changes.into_iter().any(|name| authority.uses(name)))
        else {
            let help = "write it out, or take it from `env`, `secret`, `session` or `partition`";
            self.fault_with_help(
                span,
                "the host of this URL would change from request to request",
                help,
            );
            return None;
        };
        if authority.uses(Name::Session) {
            return Some(Whom::Session(span));
        }
        let scopes: Vec<Scope> = if authority.uses(Name::Partition) {
            let values = partitions.iter().filter_map(|one| one.value.as_ref());
            let scope = |value| Scope::default().with(Name::Partition, value);
            values.map(scope).collect()
        } else {
            vec![Scope::default()]
        };
        let origins: Vec<_> = scopes
            .iter()
            .map(|scope| {
                let text = authority.text(scope).ok().flatten();
                self.asked(place, text.as_deref())
            })
            .collect();
        origins.into_iter().collect::<Option<_>>().map(Whom::Known)
    }

    fn asked(&mut self, place: Place<'_>, text: Option<&str>) -> Option<Origin> {
        let Some(text) = text else {
            let message = "the host of this URL is nothing: something that it needs is missing";
            self.fault_with_help(place.span, message, URL_SHAPE);
            return None;
        };
        let fault = match Origin::from_str(text) {
            Ok(origin) => return Some(origin),
            Err(fault) => fault,
        };
        let help = match fault {
            UrlFault::Userinfo => {
                self.hidden.push(place.span);
                "write them as `auth: {type: basic, username: …, password: …}`"
            }
            UrlFault::Shape | UrlFault::Scheme | UrlFault::TooLong => URL_SHAPE,
        };
        let which = match place.url.contains(Name::Partition.as_str()) {
            true => "with one of the partitions this URL cannot be asked",
            false => "this URL cannot be asked",
        };
        self.fault_with_help(place.span, format!("{which}: {fault}"), help);
        None
    }

    /// All of `allow_hosts`, and those of them that are no patterns.
    fn allow_hosts(
        &mut self,
        field: &Field<OneOrMany<String>>,
    ) -> Option<(Vec<HostPattern>, Vec<HostPattern>)> {
        let (mut all, mut exact) = (Vec::new(), Vec::new());
        let mut is_whole = true;
        for field in field.get()? {
            let Some(text) = field.get() else { continue };
            match HostPattern::from_str(text) {
                Ok(pattern) => {
                    if !text.starts_with("*.") {
                        exact.push(pattern.clone());
                    }
                    all.push(pattern);
                }
                Err(error) => {
                    let help = "write it like `api.example.com` or `*.example.com`";
                    self.fault_with_help(field.span, error.to_string(), help);
                    is_whole = false;
                }
            }
        }
        is_whole.then_some((all, exact))
    }

    fn max_body(&mut self, request: Option<&raw::Request>) -> usize {
        let default = FetchRules::default().body_bytes_max;
        let Some(field) = request.and_then(|request| request.max_body.as_ref()) else {
            return default;
        };
        let bytes = field.get().map_or(default, |size| size.as_usize());
        if bytes == 0 {
            let help = "leave `max_body` out for the default, 16MiB";
            self.fault_with_help(field.span, "no answer would be short enough", help);
        }
        bytes
    }

    fn request_tls(
        &mut self,
        request: Option<&raw::Request>,
        origins: &[Origin],
    ) -> Option<TlsRules> {
        let Some(field) = request.and_then(|request| request.tls.as_ref()) else {
            return Some(TlsRules::default());
        };
        let raw = field.get()?;
        let is_plain = |origin: &Origin| origin.to_string().starts_with("http:");
        if !origins.is_empty() && origins.iter().all(is_plain) {
            let help = "write https:// in `url`, or take `tls` away";
            self.fault_with_help(field.span, "`tls` is only for https URLs", help);
        }
        let ca = raw.ca.as_ref().map(|field| self.pem(field));
        let cert = raw.cert.as_ref().map(|field| self.pem(field));
        let key = raw.key.as_ref().map(|field| self.pem(field));
        let identity = match (cert, key) {
            (None, None) => None,
            (Some(cert), Some(key)) => cert.zip(key),
            (Some(_), None) | (None, Some(_)) => {
                let (there, missing) = match raw.cert {
                    Some(_) => ("cert", "key"),
                    None => ("key", "cert"),
                };
                let span = place(&raw.cert).or(place(&raw.key)).unwrap_or(field.span);
                let message = format!("`{there}` needs a `{missing}`");
                self.fault_with_help(span, message, format!("write `{missing}: FILE` beside it"));
                return None;
            }
        };
        Some(TlsRules {
            ca: match ca {
                Some(read) => Some(read?),
                None => None,
            },
            identity: identity.map(|(certificates, key)| Identity { certificates, key }),
            server_name: value(&raw.server_name).cloned(),
        })
    }

    /// Why nothing can be asked: certificates or keys that cannot be used.
    fn unmade(&mut self, poll: &Poll, request: Option<&raw::Request>, error: &FetchError) {
        let tls = request.and_then(|request| value(&request.tls));
        let at = |pick: fn(&raw::RequestTls) -> &Option<Field<String>>| {
            tls.and_then(|tls| place(pick(tls)))
        };
        let (span, help) = match error {
            FetchError::Setup(TlsError::Authority | TlsError::Certificate) => (
                at(|tls| &tls.ca).filter(|_| *error == FetchError::Setup(TlsError::Authority)),
                "a certificate begins with `-----BEGIN CERTIFICATE-----`",
            ),
            FetchError::Setup(TlsError::Key) => (
                at(|tls| &tls.key),
                "a key begins with `-----BEGIN PRIVATE KEY-----`, and has no passphrase",
            ),
            FetchError::Setup(TlsError::Mismatch) => (
                at(|tls| &tls.key),
                "the first certificate in `cert` must be the one that this key was made for",
            ),
            FetchError::Setup(TlsError::ServerName) => (
                at(|tls| &tls.server_name),
                "write the name that stands in the provider's certificate",
            ),
            _ => (None, PEM_SHAPE),
        };
        let span = span.or(at(|tls| &tls.cert)).unwrap_or(poll.request.span);
        self.fault_with_help(span, error.to_string(), help);
    }
}

/// Every URL that a source asks.
fn places(poll: &Poll) -> Vec<Place<'_>> {
    let session = value(&poll.session).map(|session| (&session.request, IN_LOGINS));
    let confirm = value(&poll.cursor).and_then(|cursor| match value(&cursor.confirm)? {
        Confirm::Request(field) => Some((&**field, IN_REQUESTS)),
        Confirm::None | Confirm::NextRequest => None,
    });
    let pending = value(&poll.pending).map(|pending| (&pending.request, IN_REQUESTS));
    let requests = [
        Some((&poll.request, IN_REQUESTS)),
        session,
        confirm,
        pending,
    ];
    let mut places: Vec<_> = requests
        .into_iter()
        .flatten()
        .filter_map(|(field, names)| {
            let (span, url) = Written::of(field)?.url?;
            Some(Place { span, url, names })
        })
        .collect();
    if let Some(Auth::Oauth2(oauth2)) = value(&poll.auth)
        && let Some(text) = oauth2.token_url.get()
    {
        places.push(Place {
            span: oauth2.token_url.span,
            url: &text.0,
            names: IN_AUTH,
        });
    }
    places
}

/// The part of a URL that says whom it asks: what stands before its path. Expressions in it are whole.
fn authority(url: &str) -> &str {
    const SLASHES: &str = "://";
    let mut end = 0;
    let mut has_scheme = false;
    while let Some(rest) = url.get(end..) {
        if let Some(inside) = rest.strip_prefix(OPEN) {
            let Some((expression, _)) = inside.split_once("}}") else {
                return url;
            };
            end += OPEN.len() + expression.len() + 2;
        } else if !has_scheme && rest.starts_with(SLASHES) {
            has_scheme = true;
            end += SLASHES.len();
        } else {
            match rest.chars().next() {
                None | Some('/' | '?' | '#' | '\\') => break,
                Some(letter) => end += letter.len_utf8(),
            }
        }
    }
    url.get(..end).unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_stands_before_its_path() {
        let check = |url: &str, expected: &str| assert_eq!(authority(url), expected, "{url}");
        check("https://a.example/b://c", "https://a.example");
        check("https://a.example?b", "https://a.example");
        check("https://a.example\\@b.example/", "https://a.example");
        check(
            "https://${{ env.HOST }}:8443/x",
            "https://${{ env.HOST }}:8443",
        );
        check("${{ session.server }}", "${{ session.server }}");
        check("${{ env.BASE ~ '/a' }}/orders", "${{ env.BASE ~ '/a' }}");
        check(
            "https://a.example${{ cursor }}/x",
            "https://a.example${{ cursor }}",
        );
        check("https://a.example/${{ cursor }}", "https://a.example");
        check("https://ü.example/", "https://ü.example");
        check("/orders", "");
        check("", "");
    }
}

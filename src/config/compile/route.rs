//! Compiles `routes.NAME`.

use std::sync::Arc;

use super::verify::Check;
use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::route as raw;
use crate::delivery::request::{Deliver, Rewrite};
use crate::ingress::Route;
use crate::ingress::router::{HostPattern, PathPattern, Router};
use crate::ingress::source_addr::AddressRule;

const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// What `deliver.headers` cannot change: the gateway frames the request, and names the host.
const FIXED_HEADERS: [&str; 4] = ["content-length", "transfer-encoding", "connection", "host"];

impl Compiler<'_> {
    pub(super) fn route(
        &mut self,
        name: &str,
        field: &Field<raw::Route>,
        router: &mut Router<Arc<Route>>,
    ) -> Option<Arc<Route>> {
        let raw = field.get()?;
        let deliver = raw.deliver.get();
        let webhook = raw.webhook.get();
        // Every part is compiled before any is missed: a fault must not hide another.
        let path = webhook.and_then(|webhook| self.path(webhook));
        let check = match webhook.and_then(|webhook| webhook.verify.as_ref()) {
            None => Some(None),
            Some(field) => self.verify(field).map(Some),
        };
        let hosts = webhook.map(|webhook| self.hosts(webhook));
        let given = webhook.map(|webhook| self.methods(webhook));
        let presets: Vec<_> = check
            .iter()
            .flatten()
            .flat_map(|check| check.presets.clone())
            .collect();
        let limits = webhook.map(|webhook| self.rate_limits(name, webhook, path.as_ref()));
        let dedup = match &raw.dedup {
            None => Some(None),
            Some(field) => self.dedup(name, field, &presets).map(Some),
        };
        let addresses = webhook.map(|webhook| self.addresses(webhook, &presets));
        let deliver = deliver.and_then(|deliver| self.deliver(deliver, path.as_ref()));
        let (webhook, path, check, deliver) = (webhook?, path?, check?, deliver?);
        let handshakes: Vec<_> = presets
            .iter()
            .flat_map(|preset| preset.handshakes.iter().cloned())
            .collect();
        let verify_token = self.verify_token(webhook, check.as_ref());
        let answered = |handshake: &&crate::signature::handshake::Handshake| {
            handshake.needs_signature() || verify_token.is_some()
        };
        let methods = given?.unwrap_or_else(|| {
            let mut methods = vec!["POST".to_owned()];
            for handshake in handshakes.iter().filter(answered) {
                if !methods.contains(&handshake.method) {
                    methods.push(handshake.method.clone());
                }
            }
            methods
        });
        let route = Arc::new(Route {
            name: name.to_owned(),
            addresses: addresses?,
            limits: limits?,
            dedup: dedup?,
            body_bytes_max: value(&webhook.body_max).map_or(BODY_BYTES_MAX, |size| size.as_usize()),
            event_id: presets
                .iter()
                .flat_map(|preset| preset.event_id.iter().cloned())
                .collect(),
            event_type: presets
                .iter()
                .flat_map(|preset| preset.event_type.iter().cloned())
                .collect(),
            check: check.map(|check| check.check),
            handshakes,
            verify_token,
            deliver,
        });
        for host in hosts? {
            if let Err(other) = router.add(host, &path, &methods, route.clone()) {
                let message = format!(
                    "route `{name}` can never be reached: route `{}` takes {} {} first",
                    other.name,
                    methods.join(" and "),
                    path.as_str(),
                );
                let help = "give one of them another path, host or method";
                self.fault_with_help(webhook.path.span, message, help);
                break;
            }
        }
        Some(route)
    }

    fn path(&mut self, webhook: &raw::Webhook) -> Option<PathPattern> {
        let pattern = PathPattern::parse(webhook.path.get()?);
        self.try_at(webhook.path.span, pattern)
    }

    fn hosts(&mut self, webhook: &raw::Webhook) -> Vec<HostPattern> {
        let Some(fields) = value(&webhook.host) else {
            return vec![HostPattern::Any];
        };
        let mut hosts = Vec::new();
        for field in fields {
            let Some(text) = field.get() else { continue };
            match HostPattern::parse(text) {
                Some(host) => hosts.push(host),
                None => {
                    let help = "write a name without port (hooks.example.com), or `*.example.com`";
                    self.fault_with_help(field.span, format!("`{text}` is not a host"), help);
                }
            }
        }
        hosts
    }

    fn methods(&mut self, webhook: &raw::Webhook) -> Option<Vec<String>> {
        let field = webhook.methods.as_ref()?;
        let mut methods: Vec<String> = Vec::new();
        for field in field.get()? {
            let Some(text) = field.get() else { continue };
            let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
            if !good || text == "CONNECT" {
                let help = "methods are written in capitals (POST, GET, PUT)";
                self.fault_with_help(field.span, format!("`{text}` is not a method"), help);
            }
            if !methods.contains(text) {
                methods.push(text.clone());
            }
        }
        if methods.is_empty() {
            self.fault(
                field.span,
                "`methods` is empty: nothing could ever be accepted",
            );
        }
        Some(methods)
    }

    fn addresses(
        &mut self,
        webhook: &raw::Webhook,
        presets: &[&crate::signature::Preset],
    ) -> AddressRule {
        let mut rule = AddressRule::default();
        let is_word = |field: &&Field<String>| field.get().is_some_and(|text| text == "provider");
        if let Some(list) = &webhook.allow {
            let fields = list.get().into_iter().flatten();
            let (words, ranges): (Vec<_>, Vec<_>) = fields.partition(is_word);
            rule.allow = self.ranges(ranges);
            for word in words {
                let published: Vec<_> = presets
                    .iter()
                    .flat_map(|preset| preset.addresses.iter().copied())
                    .collect();
                if published.is_empty() {
                    let help =
                        "write the ranges here; `hookgate providers NAME` shows what is known";
                    let message = "no address ranges of this route's provider are known";
                    self.fault_with_help(word.span, message, help);
                }
                rule.allow.extend(published);
            }
            if list.get().is_some_and(|fields| fields.is_empty()) {
                self.fault(
                    list.span,
                    "`allow` is empty: nothing could ever be accepted",
                );
            }
        }
        if let Some(fields) = value(&webhook.deny) {
            rule.deny = self.ranges(fields);
        }
        rule
    }

    fn verify_token(
        &mut self,
        webhook: &raw::Webhook,
        check: Option<&Check<'_>>,
    ) -> Option<crate::secret::Secret> {
        let handshake = webhook.handshake.as_ref()?;
        let field = handshake.get()?.verify_token.as_ref()?;
        let token = field.get()?;
        if token.is_empty() {
            self.fault(field.span, "the verify token is empty");
        }
        let wanted = check
            .into_iter()
            .flat_map(|check| check.presets.iter())
            .flat_map(|preset| preset.handshakes.iter())
            .any(|handshake| !handshake.needs_signature());
        if !wanted {
            self.fault(
                field.span,
                "this route's provider has no handshake with a verify token",
            );
        }
        let is_key = webhook
            .verify
            .iter()
            .filter_map(|field| value(&field.get()?.secrets))
            .flatten()
            .filter_map(|field| field.get())
            .any(|secret| secret.expose() == token.expose());
        if is_key {
            let help =
                "the verify token is shown to whoever asks the right question; a key never is";
            self.fault_with_help(
                field.span,
                "the verify token must not be one of the secrets",
                help,
            );
        }
        Some(token.clone())
    }

    fn deliver(&mut self, raw: &raw::Deliver, path: Option<&PathPattern>) -> Option<Deliver> {
        let name = raw.to.get();
        let backend = match name.map(|name| self.backends.get(name)) {
            Some(Some(backend)) => backend.clone(),
            Some(None) => {
                let name = name.cloned().unwrap_or_default();
                let mut known: Vec<String> = self.backends.keys().cloned().collect();
                known.sort();
                self.unknown(
                    raw.to.span,
                    "backend",
                    &name,
                    known.iter().map(String::as_str),
                );
                None
            }
            None => None,
        };
        let rewrite = match (&raw.path, path) {
            (Some(field), Some(path)) => field.get().and_then(|text| {
                let rewrite = Rewrite::parse(text, |name| path.captures(name));
                self.try_at(field.span, rewrite)
            }),
            (Some(_), None) | (None, _) => None,
        };
        let headers = self.deliver_headers(raw);
        Some(Deliver {
            backend: backend?,
            path: rewrite,
            headers,
        })
    }

    fn deliver_headers(&mut self, raw: &raw::Deliver) -> Vec<(String, Option<String>)> {
        let mut headers = Vec::new();
        for (key, field) in value(&raw.headers).into_iter().flatten() {
            let name = &key.name;
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                self.fault(key.span, format!("`{name}` is not the name of a header"));
            }
            if FIXED_HEADERS
                .iter()
                .any(|fixed| fixed.eq_ignore_ascii_case(name))
            {
                let help = "`backends.NAME.host_header` sets the host; framing is the gateway's";
                self.fault_with_help(key.span, format!("`{name}` cannot be set here"), help);
            }
            let Some(text) = field.get() else { continue };
            let is_value = |text: &String| http::HeaderValue::from_str(text).is_ok();
            if !text.as_ref().is_none_or(is_value) {
                self.fault(
                    field.span,
                    format!("the value of `{name}` cannot stand in a header"),
                );
            }
            headers.push((name.clone(), text.clone()));
        }
        headers
    }
}

//! Compiles `routes.NAME.deliver`.

use std::time::Duration;

use super::{Compiler, HEADER_SHAPE, value};
use crate::config::decode::{OneOrMany, TextOr};
use crate::config::raw::deliver as raw;
use crate::config::yaml::Span;
use crate::delivery::deliver::{Batch, Deliver, Mode, Order, OrderPolicy, Signing, Transform};
use crate::delivery::request::{Rewrite, RewriteError};
use crate::delivery::retry::Statuses;
use crate::expr::event::{EventTemplate, ExprError, Predicate};
use crate::ingress::router::PathPattern;
use crate::signature::key::Key;

/// The most backends that one event goes to.
const DELIVERIES_MAX: usize = 64;
/// The most events of one request.
const BATCH_MAX: u32 = 1000;
const BATCH_WAIT: Duration = Duration::from_secs(1);
const ORDER_KEY: &str =
    "write a JSONPath ($.account), header:NAME, {header: NAME} or {query: NAME}";
/// What `deliver.headers` cannot change: the gateway frames the request, and names the host.
const FIXED_HEADERS: [&str; 10] = [
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
];
/// What only the gateway says about a request.
const OWN_HEADERS: &str = "hookgate-";

impl Compiler<'_> {
    /// Every entry of a route's `deliver`.
    pub(super) fn deliveries(
        &mut self,
        span: Span,
        list: &OneOrMany<raw::Deliver>,
        path: Option<&PathPattern>,
    ) -> Option<Vec<Deliver>> {
        if list.is_empty() || list.len() > DELIVERIES_MAX {
            let help = format!("write from 1 to {DELIVERIES_MAX} entries with `to: NAME`");
            let message = format!("`deliver` has {} entries", list.len());
            self.fault_with_help(span, message, help);
            return None;
        }
        let mut live = None;
        let mut deliveries = Vec::new();
        for (slot, field) in list.iter().enumerate() {
            let raw = field.get();
            let slot = u16::try_from(slot).unwrap_or(u16::MAX);
            let delivery = raw.and_then(|raw| self.delivery(slot, raw, path));
            let is_live = delivery.as_ref().is_some_and(|one| one.mode != Mode::Queue);
            if is_live && live.replace(field.span).is_some() {
                let message = "two entries answer the sender, and there can only be one answer";
                let help = "write `mode: queue` in all but one of them";
                self.fault_with_help(field.span, message, help);
            }
            deliveries.push(delivery);
        }
        deliveries.into_iter().collect()
    }

    fn delivery(
        &mut self,
        slot: u16,
        raw: &raw::Deliver,
        path: Option<&PathPattern>,
    ) -> Option<Deliver> {
        let name = raw.to.get();
        let backend = match name.map(|name| self.backends.get(name)) {
            Some(Some(backend)) => backend.clone(),
            Some(None) => {
                if self.backends_known {
                    let name = name.cloned().unwrap_or_default();
                    let mut known: Vec<String> = self.backends.keys().cloned().collect();
                    known.sort();
                    let known = known.iter().map(String::as_str);
                    self.unknown(raw.to.span, "backend", &name, known);
                }
                None
            }
            None => None,
        };
        let rewrite = match (&raw.path, path) {
            (Some(field), Some(path)) => field
                .get()
                .and_then(|text| self.rewrite(field.span, text, path)),
            (Some(_), None) | (None, _) => None,
        };
        let headers = self.deliver_headers(raw);
        let mode = match value(&raw.mode) {
            None | Some(raw::Mode::Proxy) => Mode::Proxy,
            Some(raw::Mode::Queue) => Mode::Queue,
            Some(raw::Mode::Spill) => Mode::Spill,
        };
        self.queued_only(raw, mode);
        let when = self.predicate(raw);
        let order = self.order(raw);
        let transform = self.transform(raw);
        let sign = self.signing(raw);
        let batch = self.batch(raw);
        let retry_on = self.retry_on(raw);
        let expire = raw
            .expire
            .as_ref()
            .map(|_| self.period(&raw.expire, Duration::ZERO));
        Some(Deliver {
            slot,
            backend: backend?,
            mode,
            path: rewrite,
            headers,
            when,
            order,
            transform,
            sign,
            batch,
            expire,
            retry_on,
        })
    }

    /// What only makes sense where nobody waits for the answer.
    fn queued_only(&mut self, raw: &raw::Deliver, mode: Mode) {
        let spans = [
            ("order_key", raw.order_key.as_ref().map(|field| field.span)),
            ("batch", raw.batch.as_ref().map(|field| field.span)),
            ("when", raw.when.as_ref().map(|field| field.span)),
        ];
        let only_proxied = [
            ("expire", raw.expire.as_ref().map(|field| field.span)),
            ("retry_on", raw.retry_on.as_ref().map(|field| field.span)),
        ];
        let spans = spans.into_iter().filter(|_| mode != Mode::Queue);
        let only_proxied = only_proxied.into_iter().filter(|_| mode == Mode::Proxy);
        for (key, span) in spans.chain(only_proxied) {
            let Some(span) = span else { continue };
            let message = format!("`{key}` is for events that are queued");
            self.fault_with_help(span, message, "write `mode: queue`, or take the key away");
        }
        if let (Some(field), None) = (&raw.order, &raw.order_key) {
            let help = "add `order_key`, which says which events belong together";
            self.fault_with_help(field.span, "`order` needs an `order_key`", help);
        }
    }

    fn predicate(&mut self, raw: &raw::Deliver) -> Option<Predicate> {
        let field = raw.when.as_ref()?;
        let compiled = Predicate::compile(&field.get()?.0);
        self.expression(field.span, compiled)
    }

    fn expression<T>(&mut self, span: Span, compiled: Result<T, ExprError>) -> Option<T> {
        match compiled {
            Ok(compiled) => Some(compiled),
            Err(error) => {
                let help = "`body`, `raw`, `headers`, `query` and `event` are known of an event, \
                            as in body.type == 'paid'";
                self.fault_with_help(span, error.to_string(), help);
                None
            }
        }
    }

    fn order(&mut self, raw: &raw::Deliver) -> Option<Order> {
        let field = raw.order_key.as_ref()?;
        let key = match field.get()? {
            TextOr::Text(text) => self.text_place(field.span, text, ORDER_KEY)?,
            TextOr::Full(from) => self.from(field.span, from)?,
        };
        let policy = match value(&raw.order) {
            None | Some(raw::Order::Block) => OrderPolicy::Block,
            Some(raw::Order::Park) => OrderPolicy::Park,
            Some(raw::Order::Skip) => OrderPolicy::Skip,
        };
        Some(Order { key, policy })
    }

    fn transform(&mut self, raw: &raw::Deliver) -> Option<Transform> {
        let raw = value(&raw.transform)?;
        let field = &raw.body;
        let compiled = EventTemplate::compile(&field.get()?.0);
        let body = self.expression(field.span, compiled)?;
        Some(Transform {
            body,
            content_type: value(&raw.content_type).cloned(),
        })
    }

    fn signing(&mut self, raw: &raw::Deliver) -> Option<Signing> {
        let raw = value(&raw.sign)?;
        let name = raw.provider.get()?;
        let Some(preset) = self.presets.find(name) else {
            let known: Vec<String> = self.presets.names().map(str::to_owned).collect();
            let known = known.iter().map(String::as_str);
            self.unknown(raw.provider.span, "provider", name, known);
            return None;
        };
        let Some(scheme) = preset.schemes.first() else {
            let help = "choose a provider that signs its webhooks";
            self.fault_with_help(raw.provider.span, format!("`{name}` signs nothing"), help);
            return None;
        };
        let secret = raw.secret.get()?;
        let key = Key::new(scheme.parts().algorithm, &scheme.parts().key, secret);
        let key = self.try_at(raw.secret.span, key)?;
        Some(Signing {
            scheme: scheme.clone(),
            key,
            public_url: value(&raw.public_url).cloned(),
        })
    }

    fn batch(&mut self, raw: &raw::Deliver) -> Option<Batch> {
        let raw = value(&raw.batch)?;
        let max = *raw.max.get()?;
        if max.get() > BATCH_MAX {
            let help = format!("write at most {BATCH_MAX}");
            self.fault_with_help(raw.max.span, "that is too much for one request", help);
        }
        Some(Batch {
            max,
            wait: self.period(&raw.wait, BATCH_WAIT),
        })
    }

    fn retry_on(&mut self, raw: &raw::Deliver) -> Vec<Statuses> {
        let mut statuses = Vec::new();
        for field in value(&raw.retry_on).into_iter().flatten() {
            let Some(text) = field.get() else { continue };
            statuses.extend(self.try_at(field.span, text.parse::<Statuses>()));
        }
        statuses
    }

    fn rewrite(&mut self, span: Span, text: &str, path: &PathPattern) -> Option<Rewrite> {
        match Rewrite::parse(text, |name| path.captures(name)) {
            Ok(rewrite) => Some(rewrite),
            Err(error) => {
                let help = match error {
                    RewriteError::NoSlash => format!("write `/{text}`"),
                    RewriteError::Brace => "write it like `/in/{tenant}`".to_owned(),
                    RewriteError::Unknown(_) => captured(path),
                    RewriteError::Character('?') => {
                        "take the query away: the sender's is passed on".to_owned()
                    }
                    RewriteError::Character(_) => {
                        "write it percent-encoded (%20 for a space)".to_owned()
                    }
                };
                self.fault_with_help(span, error.to_string(), help);
                None
            }
        }
    }

    fn deliver_headers(&mut self, raw: &raw::Deliver) -> Vec<(String, Option<String>)> {
        let mut headers = Vec::new();
        for (key, field) in value(&raw.headers).into_iter().flatten() {
            let name = &key.name;
            if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
                let message = format!("`{name}` is not the name of a header");
                self.fault_with_help(key.span, message, HEADER_SHAPE);
            }
            if FIXED_HEADERS
                .iter()
                .any(|fixed| fixed.eq_ignore_ascii_case(name))
            {
                let help = "`backends.NAME.host_header` sets the host; framing is the gateway's";
                self.fault_with_help(key.span, format!("`{name}` cannot be set here"), help);
            }
            let Some(text) = field.get() else { continue };
            if text.is_some() && name.to_ascii_lowercase().starts_with(OWN_HEADERS) {
                let help = "what begins with `Hookgate-` is the gateway's own word; choose \
                            another name";
                self.fault_with_help(key.span, format!("`{name}` cannot be set here"), help);
            }
            let is_value = |text: &String| http::HeaderValue::from_str(text).is_ok();
            if !text.as_ref().is_none_or(is_value) {
                // It may be a secret that was pasted with its line break.
                self.hidden.push(field.span);
                let message = format!("the value of `{name}` cannot stand in a header");
                let help = "take line breaks and other control characters out of it";
                self.fault_with_help(field.span, message, help);
            }
            headers.push((name.clone(), text.clone()));
        }
        headers
    }
}

/// What a rewrite may ask for.
fn captured(path: &PathPattern) -> String {
    let names: Vec<_> = path
        .capture_names()
        .map(|name| format!("`{{{name}}}`"))
        .collect();
    if names.is_empty() {
        "write `{name}` segments or `/*` in `webhook.path` to capture something".to_owned()
    } else {
        format!("`{}` captures {}", path.as_str(), names.join(" and "))
    }
}

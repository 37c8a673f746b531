//! Compiles `routes.NAME.deliver`.

use std::sync::Arc;
use std::time::Duration;

use super::verify::options;
use super::{Compiler, HEADER_SHAPE, value};
use crate::config::decode::{OneOrMany, TextOr};
use crate::config::raw::deliver as raw;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::delivery::deliver::{
    Batch, Deliver, Expiry, Mode, Order, OrderPolicy, Signing, SigningError, Transform,
};
use crate::delivery::profile::Profile;
use crate::delivery::request::{Rewrite, RewriteError};
use crate::delivery::retry::{self, StatusError};
use crate::delivery::status::Statuses;
use crate::expr::OPEN;
use crate::expr::event::{EventFormula, EventTemplate, ExpressionError, Predicate};
use crate::ingress::router::PathPattern;
use crate::secret::Secret;
use crate::signature::key::{Key, KeyError};
use crate::signature::sign::SignError;
use crate::signature::{Preset, Terms};

/// The most backends that one event goes to.
const DELIVERIES_MAX: usize = 64;
/// The most events of one request.
const BATCH_MAX: u32 = 1000;
const BATCH_WAIT: Duration = Duration::from_secs(1);
const PRIVATE_KEY: &str =
    "signing needs the private key: PKCS#8 in PEM (-----BEGIN PRIVATE KEY-----)";
const ORDER_KEY: &str =
    "write a JSONPath ($.account), header:NAME, {header: NAME} or {query: NAME}";
/// What `deliver.headers` cannot change: the gateway frames the request, and names the host.
pub(super) const FIXED_HEADERS: [&str; 10] = [
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

/// How events come to a route.
#[derive(Debug, Clone, Copy)]
pub(super) enum WayIn<'p> {
    /// As webhooks, to this path; `None` where it has faults. A poll may find what they miss.
    Webhook(Option<&'p PathPattern>),
    /// From polls alone.
    Poll,
}

impl Compiler<'_> {
    /// Every entry of a route's `deliver`.
    pub(super) fn deliveries(
        &mut self,
        span: Span,
        list: &OneOrMany<raw::Deliver>,
        way_in: WayIn<'_>,
    ) -> Option<Vec<Deliver>> {
        if list.is_empty() {
            let message = "`deliver` is empty: events would go nowhere";
            self.fault_with_help(
                span,
                message,
                "write `{to: NAME}`, or a list of such entries",
            );
            return None;
        }
        if list.len() > DELIVERIES_MAX {
            let message = format!("an event goes to {DELIVERIES_MAX} backends at most");
            let help = format!("take {} entries away", list.len() - DELIVERIES_MAX);
            self.fault_with_help(span, message, help);
        }
        let mut live = None;
        let mut deliveries = Vec::new();
        for (slot, field) in list.iter().enumerate() {
            let raw = field.get();
            let slot = u16::try_from(slot).unwrap_or(u16::MAX);
            let delivery = raw.and_then(|raw| self.delivery(slot, raw, way_in));
            let is_live = raw.is_some_and(|raw| mode(raw, way_in) != Mode::Queue);
            if is_live && live.replace(field.span).is_some() {
                let message = "two entries answer the sender, and there can only be one answer";
                let help = "write `mode: queue` in all but one of them";
                self.fault_with_help(field.span, message, help);
            }
            deliveries.push(delivery);
        }
        deliveries.into_iter().collect()
    }

    fn delivery(&mut self, slot: u16, raw: &raw::Deliver, way_in: WayIn<'_>) -> Option<Deliver> {
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
        if let (WayIn::Poll, Some(field)) = (way_in, &raw.mode)
            && field.get().is_some_and(|mode| *mode != raw::Mode::Queue)
        {
            let message = "nobody waits for the answer to an event that a poll has found";
            self.fault_with_help(field.span, message, "take `mode` away");
        }
        let polled;
        let path = match way_in {
            WayIn::Webhook(path) => path,
            WayIn::Poll => {
                polled = PathPattern::parse("/").ok();
                polled.as_ref()
            }
        };
        let rewrite = match (&raw.path, path) {
            (Some(field), Some(path)) => field
                .get()
                .and_then(|text| self.rewrite(field.span, text, path, way_in)),
            (Some(_), None) | (None, _) => None,
        };
        let headers = self.deliver_headers(raw);
        let mode = mode(raw, way_in);
        self.queued_only(raw, mode);
        let when = self.predicate(raw);
        let order = self.order(raw);
        let transform = self.transform(raw);
        let profile = self.profile(raw);
        let sign = self.signing(raw, &profile);
        let replies = self.replies_to(raw, &profile);
        let batch = self.batch(raw);
        let mut retry_on = self.retry_on(raw);
        if profile.tries_whatever_is_disliked() {
            retry_on.push(Statuses::DISLIKES);
        }
        let expire = self.expire(raw);
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
            profile,
            replies,
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

    fn expression<T>(&mut self, span: Span, compiled: Result<T, ExpressionError>) -> Option<T> {
        let help = match &compiled {
            Ok(_) => return compiled.ok(),
            Err(ExpressionError::Unknown(_)) => {
                "known of an event are `body`, `raw`, `headers`, `query` and `event`"
            }
            Err(ExpressionError::Empty) => "leave `when` out to get every event",
            Err(ExpressionError::NotOne) => {
                "write one expression, like ${{ body.type == 'paid' and body.amount > 0 }}"
            }
            Err(ExpressionError::NoEnd) => "an expression stands in ${{ and }}",
            Err(ExpressionError::Syntax { .. } | ExpressionError::Engine(_)) => {
                "write it like body.type == 'paid', or ${{ body.id }} within a text"
            }
        };
        let error = compiled.err()?;
        self.fault_with_help(span, error.to_string(), help);
        None
    }

    fn expire(&mut self, raw: &raw::Deliver) -> Option<Expiry> {
        let field = raw.expire.as_ref()?;
        let text = &field.get()?.0;
        if text.contains(OPEN) {
            let compiled = EventFormula::compile(text);
            return self.expression(field.span, compiled).map(Expiry::OfEvent);
        }
        let expire = match text.parse::<Period>() {
            Ok(period) => period.as_duration(),
            Err(error) => {
                let help = "write a length of time like `24h`, or one expression that makes one";
                self.fault_with_help(field.span, error.to_string(), help);
                return None;
            }
        };
        if expire.is_zero() {
            let message = "every event would be too old before its first attempt";
            self.fault_with_help(field.span, message, "leave `expire` out for never");
        }
        Some(Expiry::After(expire))
    }

    fn profile(&mut self, raw: &raw::Deliver) -> Profile {
        match value(&raw.profile) {
            None | Some(raw::Profile::Raw) => Profile::Raw,
            Some(raw::Profile::StandardWebhooks) => Profile::StandardWebhooks,
            Some(raw::Profile::Telegram) => Profile::Telegram,
            Some(raw::Profile::VkCallback) => {
                let secrets = value(&raw.sign).and_then(|sign| sign.secret.get());
                let secret = secrets.and_then(|list| list.iter().next()?.get());
                self.secrets.extend(secret.cloned());
                Profile::VkCallback {
                    secret: secret.cloned(),
                }
            }
            Some(raw::Profile::Stripe) => Profile::Stripe,
            Some(raw::Profile::Github) => Profile::GitHub,
        }
    }

    /// The backend that methods in answers are sent to.
    fn replies_to(&mut self, raw: &raw::Deliver, profile: &Profile) -> Option<Arc<str>> {
        let field = raw.replies.as_ref()?;
        if !matches!(profile, Profile::Telegram) {
            let message = "only answers to Telegram's updates hold methods to call";
            let help = "write `profile: telegram`, or take `replies` away";
            self.fault_with_help(field.span, message, help);
        }
        if let Some(batch) = &raw.batch {
            let message = "an answer to several updates does not say which of them it is for";
            self.fault_with_help(batch.span, message, "take `batch` or `replies` away");
        }
        let name = field.get()?;
        if self.backends_known && !self.backends.contains_key(name) {
            let mut known: Vec<String> = self.backends.keys().cloned().collect();
            known.sort();
            let known = known.iter().map(String::as_str);
            self.unknown(field.span, "backend", name, known);
        }
        Some(name.as_str().into())
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
        if let Some(field) = &raw.content_type {
            let is_value = |text: &String| http::HeaderValue::from_str(text).is_ok();
            if !field.get().is_none_or(is_value) {
                let help = "write one like `application/json`";
                self.fault_with_help(field.span, "this is no Content-Type", help);
            }
        }
        let field = &raw.body;
        let compiled = EventTemplate::compile(&field.get()?.0);
        let body = self.expression(field.span, compiled)?;
        Some(Transform {
            body,
            content_type: value(&raw.content_type).cloned(),
        })
    }

    fn signing(&mut self, raw: &raw::Deliver, profile: &Profile) -> Option<Signing> {
        let field = raw.sign.as_ref()?;
        let raw = field.get()?;
        let (span, name) = match (&raw.provider, profile.provider()) {
            (Some(provider), _) => (provider.span, provider.get()?.as_str()),
            (None, Some(name)) => (field.span, name),
            // Its secret stands in the body.
            (None, None) if matches!(profile, Profile::VkCallback { .. }) => return None,
            (None, None) => {
                let message = "nobody says whose signature this is";
                let help = "add `provider: NAME` (`hookgate providers`), or a `profile`";
                self.fault_with_help(field.span, message, help);
                return None;
            }
        };
        let Some(preset) = self.presets.find(name) else {
            self.no_provider(span, name);
            return None;
        };
        let public_url = match &raw.public_url {
            Some(field) => Some(self.whole_url(field)?),
            None => None,
        };
        let mut secrets = Vec::new();
        for field in raw.secret.get()? {
            secrets.push(field.get()?.clone());
        }
        self.secrets.extend(secrets.iter().cloned());
        let options = value(&raw.options).map(options).unwrap_or_default();
        let terms = Terms {
            public_url,
            options,
        };
        match sign_as(preset, &secrets, terms) {
            Ok(signing) => Some(signing),
            Err(Unsigned::Key(error)) => {
                let help = match error {
                    KeyError::Public { .. } => PRIVATE_KEY,
                    KeyError::Pinned(_) => PRIVATE_KEY,
                    KeyError::Empty | KeyError::NoId | KeyError::Encoding { .. } => {
                        "write the secret that the backend verifies with"
                    }
                };
                self.fault_with_help(raw.secret.span, error.to_string(), help);
                None
            }
            Err(Unsigned::Signing(error)) => {
                let (span, help) = match error {
                    SigningError::NoUrl => (
                        span,
                        "add `public_url`, the URL by which the backend knows itself",
                    ),
                    SigningError::Sign(SignError::PublicKey) => (raw.secret.span, PRIVATE_KEY),
                    SigningError::Sign(SignError::OneKey | SignError::Brought) => {
                        (raw.secret.span, "write the one that the backend knows")
                    }
                    SigningError::Sign(SignError::Place { .. } | SignError::Input(_)) => {
                        (span, "choose a provider that signs in a header")
                    }
                };
                self.fault_with_help(span, error.to_string(), help);
                None
            }
            Err(Unsigned::Nothing) => {
                let help = "choose a provider that signs its webhooks";
                self.fault_with_help(span, format!("`{name}` signs nothing"), help);
                None
            }
        }
    }

    fn batch(&mut self, raw: &raw::Deliver) -> Option<Batch> {
        let raw = value(&raw.batch)?;
        let max = *raw.max.get()?;
        if max.get() > BATCH_MAX {
            let help = format!("write at most {BATCH_MAX}");
            let message = format!("{max} events are too many for one request");
            self.fault_with_help(raw.max.span, message, help);
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
            match retry::tried_again(text) {
                Ok(some) => statuses.push(some),
                Err(error) => {
                    let help = match error {
                        StatusError::Shape(_) => {
                            "write a number from 300 to 599, or a class like `4xx`; without an \
                             answer it is always tried again"
                        }
                        StatusError::Arrived(_) | StatusError::Gone => "take it away",
                    };
                    self.fault_with_help(field.span, error.to_string(), help);
                }
            }
        }
        statuses
    }

    fn rewrite(
        &mut self,
        span: Span,
        text: &str,
        path: &PathPattern,
        way_in: WayIn<'_>,
    ) -> Option<Rewrite> {
        match Rewrite::parse(text, |name| path.captures(name)) {
            Ok(rewrite) => Some(rewrite),
            Err(error) => {
                let help = match error {
                    RewriteError::NoSlash => format!("write `/{text}`"),
                    RewriteError::Brace => "write it like `/in/{tenant}`".to_owned(),
                    RewriteError::Unknown(_) => captured(path, way_in),
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

fn mode(raw: &raw::Deliver, way_in: WayIn<'_>) -> Mode {
    match (value(&raw.mode), way_in) {
        (_, WayIn::Poll) | (Some(raw::Mode::Queue), _) => Mode::Queue,
        (None | Some(raw::Mode::Proxy), _) => Mode::Proxy,
        (Some(raw::Mode::Spill), _) => Mode::Spill,
    }
}

/// Why nothing can be signed as a provider does.
enum Unsigned {
    Nothing,
    Key(KeyError),
    Signing(SigningError),
}

/// The first way of a provider that these secrets can sign; the reason against the first, if none.
fn sign_as(preset: &Preset, secrets: &[Secret], terms: Terms) -> Result<Signing, Unsigned> {
    let mut first = None;
    for scheme in &preset.schemes {
        let parts = scheme.parts();
        let keys = secrets
            .iter()
            .map(|secret| Key::new(parts.algorithm, &parts.key, secret))
            .collect::<Result<Vec<_>, _>>();
        let made = keys.map_err(Unsigned::Key).and_then(|keys| {
            Signing::new(scheme.clone(), keys, terms.clone()).map_err(Unsigned::Signing)
        });
        match made {
            Ok(signing) => return Ok(signing),
            Err(reason) => first = first.or(Some(reason)),
        }
    }
    Err(first.unwrap_or(Unsigned::Nothing))
}

/// What a rewrite may ask for.
fn captured(path: &PathPattern, way_in: WayIn<'_>) -> String {
    let names: Vec<_> = path
        .capture_names()
        .map(|name| format!("`{{{name}}}`"))
        .collect();
    if matches!(way_in, WayIn::Poll) {
        "only the path of a webhook is captured from: write the path out".to_owned()
    } else if names.is_empty() {
        "write `{name}` segments or `/*` in `webhook.path` to capture something".to_owned()
    } else {
        format!("`{}` captures {}", path.as_str(), names.join(" and "))
    }
}

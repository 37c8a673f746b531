//! Compiles `routes.NAME`.

use std::sync::Arc;

use super::deliver::WayIn;
use super::feed::is_feed;
use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::route as raw;
use crate::ingress::Route;
use crate::ingress::router::{HostPattern, PathPattern, PatternError, Router};
use crate::ingress::source_addr::AddressRule;
use crate::secret::Secret;
use crate::signature::Preset;
use crate::signature::handshake::Handshake;
use crate::signature::message::Message;
use crate::signature::preset::Proof;
use crate::signature::reply::Reply;

/// The option that holds what a provider wants to hear of an address.
const CONFIRMATION: &str = "confirmation";
const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;

impl Compiler<'_> {
    pub(super) fn route(
        &mut self,
        name: &str,
        field: &Field<raw::Route>,
        router: &mut Router<Arc<Route>>,
    ) -> Option<Arc<Route>> {
        let raw = field.get()?;
        let inbox = raw.inbox.as_ref().map(|field| self.inbox(name, field));
        if raw.deliver.is_none() && raw.inbox.is_none() {
            let message = "the events of this route go nowhere";
            let help = "add `deliver: {to: BACKEND}`, or `inbox: {tokens: […]}`";
            self.fault_with_help(field.span, message, help);
        }
        if raw.inbox.is_some() {
            self.inbox_is_queued(raw);
        }
        let webhook = value(&raw.webhook);
        if raw.webhook.is_none() && raw.poll.is_none() {
            let message = "no event can come to this route";
            let help = "add `webhook: {path: …}`, or `poll: {request: …}`";
            self.fault_with_help(field.span, message, help);
        }
        // Every part is compiled before any is missed: a fault must not hide another.
        let path = webhook.and_then(|webhook| self.path(webhook));
        let check = match webhook.and_then(|webhook| webhook.verify.as_ref()) {
            None => Some(None),
            Some(field) => self.verify(name, field).map(Some),
        };
        let hosts = webhook.map(|webhook| self.hosts(webhook));
        let given = webhook.map(|webhook| self.methods(webhook));
        let presets: Vec<_> = check
            .iter()
            .flatten()
            .flat_map(|check| check.presets.clone())
            .collect();
        let known = check.is_some().then_some(presets.as_slice());
        let limits = webhook.map(|webhook| self.rate_limits(name, webhook, path.as_ref()));
        let dedup = match &raw.dedup {
            Some(field) if raw.webhook.is_some() => self.dedup(name, field, &presets).map(Some),
            Some(_) | None => Some(None),
        };
        let addresses = webhook.map(|webhook| self.addresses(webhook, known));
        let verify_token = webhook.and_then(|webhook| self.verify_token(webhook, known));
        let way_in = match &raw.webhook {
            Some(_) => WayIn::Webhook(path.as_ref()),
            None => WayIn::Poll,
        };
        let deliver = match &raw.deliver {
            Some(field) => field
                .get()
                .and_then(|list| self.deliveries(field.span, list, way_in)),
            None => Some(Vec::new()),
        };
        let deliver: Option<Vec<_>> = deliver.map(|list| list.into_iter().map(Arc::new).collect());
        self.source(name, raw, deliver.as_deref());
        let replies = self.replies(webhook, &presets);
        let (check, deliver) = (check?, deliver?);
        if raw.webhook.is_some() {
            webhook?;
            path.as_ref()?;
        }
        let confirmation = webhook.and_then(|webhook| self.confirmation(webhook, known));
        let mut check = check.and_then(|check| check.check);
        if let (Some(check), Some(text)) = (&mut check, &confirmation) {
            check.verifier.agree(CONFIRMATION, text);
        }
        // What was not agreed on, the backend may know.
        let is_agreed = |handshake: &&Handshake| {
            let mut needed = handshake.body.options();
            needed.all(|name| name != CONFIRMATION || confirmation.is_some())
        };
        let handshakes: Vec<_> = presets
            .iter()
            .flat_map(|preset| preset.handshakes.iter().filter(is_agreed).cloned())
            .collect();
        let answered = |handshake: &&Handshake| !handshake.needs_token() || verify_token.is_some();
        let methods = given.flatten().unwrap_or_else(|| {
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
            addresses: addresses.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
            dedup: dedup?,
            body_bytes_max: webhook
                .and_then(|webhook| value(&webhook.body_max))
                .map_or(BODY_BYTES_MAX, |size| size.as_usize()),
            event_id: presets
                .iter()
                .flat_map(|preset| preset.event_id.iter().cloned())
                .collect(),
            event_type: presets
                .iter()
                .flat_map(|preset| preset.event_type.iter().cloned())
                .collect(),
            check,
            handshakes,
            verify_token,
            deliver,
            inbox: match inbox {
                Some(inbox) => Some(inbox?),
                None => None,
            },
            depth_max: value(&raw.depth_max).map(|max| max.get()),
            refused_body_max: webhook
                .and_then(|webhook| value(&webhook.refused_body))
                .map_or(0, |size| size.as_usize()),
            accepted: replies.0,
            duplicate: replies.1,
        });
        let Some((webhook, path)) = webhook.zip(path) else {
            return Some(route);
        };
        for host in hosts.unwrap_or_default() {
            if let Err(other) = router.add(host, &path, &methods, route.clone()) {
                let taken = self.methods.get(&other.name);
                let is_taken = |method: &&String| taken.is_some_and(|list| list.contains(method));
                let both: Vec<_> = methods.iter().filter(is_taken).cloned().collect();
                let message = format!(
                    "routes `{}` and `{name}` both take {} requests to this path",
                    other.name,
                    both.join(" and "),
                );
                let help = "give one of them another path, host or method";
                self.fault_with_help(webhook.path.span, message, help);
                break;
            }
        }
        self.methods.insert(name.to_owned(), methods);
        Some(route)
    }

    /// What new events and duplicates are answered once they are on disk.
    fn replies(&mut self, webhook: Option<&raw::Webhook>, presets: &[&Preset]) -> (Reply, Reply) {
        let insisted = presets.iter().find_map(|preset| preset.accepted.clone());
        let respond = webhook.and_then(|webhook| value(&webhook.respond));
        let mut reply =
            |field: Option<&Field<raw::Reply>>, status| match field.and_then(|field| field.get()) {
                None => insisted.clone().unwrap_or_else(|| Reply::empty(status)),
                Some(raw) => self.reply(raw, status),
            };
        (
            reply(respond.and_then(|respond| respond.accepted.as_ref()), 202),
            reply(respond.and_then(|respond| respond.duplicate.as_ref()), 200),
        )
    }

    fn reply(&mut self, raw: &raw::Reply, default: u16) -> Reply {
        let status = value(&raw.status).copied().unwrap_or(default);
        if let Some(field) = raw
            .status
            .as_ref()
            .filter(|_| !(200..=299).contains(&status))
        {
            let help = "write a status from 200 to 299: others make a provider send it again";
            let message = format!("{status} does not say that an event was accepted");
            self.fault_with_help(field.span, message, help);
        }
        let body = value(&raw.body).cloned().unwrap_or_default();
        let content_type = value(&raw.content_type).cloned();
        let is_value = |text: &String| http::HeaderValue::from_str(text).is_ok();
        if let Some(field) = raw
            .content_type
            .as_ref()
            .filter(|_| !content_type.as_ref().is_none_or(is_value))
        {
            let help = "write one like `application/json`";
            self.fault_with_help(field.span, "this is no Content-Type", help);
        }
        if let (204 | 205, Some(field)) = (status, &raw.body)
            && !body.is_empty()
        {
            let help = "write another status, or take `body` away";
            self.fault_with_help(field.span, format!("a {status} has no body"), help);
        }
        let plain = || "text/plain; charset=utf-8".to_owned();
        Reply {
            status,
            content_type: (!body.is_empty()).then(|| content_type.unwrap_or_else(plain)),
            body: Message::literal(&body),
        }
    }

    fn path(&mut self, webhook: &raw::Webhook) -> Option<PathPattern> {
        let text = webhook.path.get()?;
        match PathPattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let help = match error {
                    PatternError::NoSlash => format!("write `/{text}`"),
                    PatternError::Star => "end it with `/*` to take everything below".to_owned(),
                    PatternError::Brace => "write it like `/hooks/{tenant}/orders`".to_owned(),
                    PatternError::Twice(_) => "give one of them another name".to_owned(),
                    PatternError::Character('?') => {
                        "take the query away: a route takes every query".to_owned()
                    }
                    PatternError::Character(_) => {
                        "write it percent-encoded (%20 for a space)".to_owned()
                    }
                    PatternError::Dots => "write the path that is meant".to_owned(),
                };
                self.fault_with_help(webhook.path.span, error.to_string(), help);
                None
            }
        }
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
                    let help = "write a name without port (hooks.example.com) or `*.example.com`; \
                                leave `host` out for any";
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
            let message = "`methods` is empty: nothing could ever be accepted";
            let help = "leave `methods` out for the default, POST";
            self.fault_with_help(field.span, message, help);
        }
        Some(methods)
    }

    /// `presets` is `None` where `verify` has faults, so that nothing is known about its provider.
    fn addresses(&mut self, webhook: &raw::Webhook, presets: Option<&[&Preset]>) -> AddressRule {
        let mut rule = AddressRule::default();
        let proven = presets.into_iter().flatten();
        let proven = proven.filter(|preset| preset.proof == Proof::Address);
        if webhook.allow.is_none() {
            rule.allow = proven.flat_map(|preset| preset.addresses.clone()).collect();
        }
        let is_word = |field: &&Field<String>| field.get().is_some_and(|text| text == "provider");
        if let Some(list) = &webhook.allow {
            let fields = list.get().into_iter().flatten();
            let (feeds, others): (Vec<_>, Vec<_>) = fields.partition(|field| is_feed(field));
            let (words, ranges): (Vec<_>, Vec<_>) = others.into_iter().partition(is_word);
            rule.allow = self.ranges(ranges);
            rule.feeds = feeds
                .into_iter()
                .filter_map(|field| self.feed_named(field))
                .collect();
            for word in words {
                let published: Vec<_> = presets
                    .into_iter()
                    .flatten()
                    .flat_map(|preset| preset.addresses.iter().copied())
                    .collect();
                let of_presets = presets.into_iter().flatten();
                let fetched: Vec<_> = of_presets
                    .filter_map(|preset| self.feed_of(preset))
                    .collect();
                if published.is_empty() && fetched.is_empty() && presets.is_some() {
                    let help = "write the ranges themselves; `hookgate providers NAME` says where \
                                the provider tells them";
                    let message = "no address ranges of this route's provider are known";
                    self.fault_with_help(word.span, message, help);
                }
                rule.allow.extend(published);
                rule.feeds.extend(fetched);
            }
            if list.get().is_some_and(|fields| fields.is_empty()) {
                let message = "`allow` is empty: nothing could ever be accepted";
                let help = "leave `allow` out to let every address send";
                self.fault_with_help(list.span, message, help);
            }
        }
        if let Some(fields) = value(&webhook.deny) {
            let (feeds, ranges): (Vec<_>, Vec<_>) = fields.iter().partition(|field| is_feed(field));
            rule.deny = self.ranges(ranges);
            for field in feeds {
                let help = "write the ranges themselves, or name the feed in `allow`";
                let message = "a feed says who may send, not who may not";
                self.fault_with_help(field.span, message, help);
            }
        }
        rule
    }

    /// What the provider wants to hear of an address that it is told of.
    fn confirmation(
        &mut self,
        webhook: &raw::Webhook,
        presets: Option<&[&Preset]>,
    ) -> Option<String> {
        let field = value(&webhook.handshake)?.confirmation.as_ref()?;
        let wanted = presets.is_none_or(|presets| {
            let handshakes = presets.iter().flat_map(|preset| &preset.handshakes);
            handshakes
                .flat_map(|handshake| handshake.body.options())
                .any(|name| name == CONFIRMATION)
        });
        if !wanted {
            let message = "this route's provider asks for no confirmation";
            self.fault_with_help(field.span, message, "take `confirmation` away");
        }
        field.get().cloned()
    }

    fn verify_token(
        &mut self,
        webhook: &raw::Webhook,
        presets: Option<&[&Preset]>,
    ) -> Option<Secret> {
        let handshake = webhook.handshake.as_ref()?;
        let field = handshake.get()?.verify_token.as_ref()?;
        let token = field.get()?;
        if token.is_empty() {
            let help = "write the token that was agreed on with the provider";
            self.fault_with_help(field.span, "the verify token is empty", help);
        }
        let wanted = presets.is_none_or(|presets| {
            presets
                .iter()
                .flat_map(|preset| preset.handshakes.iter())
                .any(Handshake::needs_token)
        });
        if !wanted {
            let message = "this route's provider has no handshake with a verify token";
            self.fault_with_help(field.span, message, "take `verify_token` away");
        }
        let is_key = secrets(webhook).any(|secret| secret.expose() == token.expose());
        if is_key {
            let help = "choose another text: a verify token stands in URLs, which are logged on \
                        their way, and a key must never be";
            self.fault_with_help(
                field.span,
                "the verify token must not be one of the secrets",
                help,
            );
        }
        Some(token.clone())
    }
}

/// Every secret of a route, whichever way it belongs to.
fn secrets(webhook: &raw::Webhook) -> impl Iterator<Item = &Secret> {
    let verify = webhook.verify.iter().filter_map(|field| field.get());
    let lists = verify.flat_map(|verify| {
        let ways = value(&verify.any_of).into_iter().flatten();
        let ways = ways.filter_map(|field| field.get());
        ways.map(|way| &way.secrets).chain([&verify.secrets])
    });
    lists
        .filter_map(value)
        .flatten()
        .filter_map(|field| field.get())
}

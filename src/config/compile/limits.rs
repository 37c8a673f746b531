//! Compiles `webhook.rate_limit` and `dedup`.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::{Field, TextOr};
use crate::config::raw::limits as raw;
use crate::config::raw::verify::From;
use crate::config::yaml::Span;
use crate::ingress::dedup::{DedupRule, KeySource};
use crate::ingress::rate_limit::{LimitBy, LimitQuota, LimitRule, LimitStage};
use crate::ingress::router::PathPattern;
use crate::signature::Preset;
use crate::signature::place::Place;

const WINDOW: Duration = Duration::from_secs(3 * 24 * 60 * 60);
const WAIT: Duration = Duration::from_secs(30);
const BY: &str =
    "write client_ip, route, a JSONPath ($.account), {header: NAME}, {query: NAME} or {path: NAME}";
const KEY: &str =
    "write a JSONPath ($.id), header:NAME, {query: NAME}, a list of them, or body_hash";

impl Compiler<'_> {
    /// The rules of a route, those that single somebody out first.
    pub(super) fn rate_limits(
        &mut self,
        route: &str,
        webhook: &crate::config::raw::route::Webhook,
        path: Option<&PathPattern>,
    ) -> Vec<LimitRule> {
        let fields = value(&webhook.rate_limit).into_iter().flatten();
        let mut rules: Vec<_> = fields
            .filter_map(|field| self.rate_limit(route, field, path))
            .collect();
        rules.sort_by_key(|rule| rule.by.is_common());
        rules
    }

    fn rate_limit(
        &mut self,
        route: &str,
        field: &Field<raw::RateLimit>,
        path: Option<&PathPattern>,
    ) -> Option<LimitRule> {
        let raw = field.get()?;
        let by = match &raw.by {
            None => LimitBy::ClientIp,
            Some(field) => self.limit_by(field.span, field.get()?, path)?,
        };
        let stage = match &raw.stage {
            None if by.needs_body() => LimitStage::After,
            None => LimitStage::Before,
            Some(field) => match field.get()? {
                raw::Stage::Before if by.needs_body() => {
                    let message = "a JSONPath is only known when the body is: write `stage: after`";
                    self.fault(field.span, message);
                    return None;
                }
                raw::Stage::Before => LimitStage::Before,
                raw::Stage::After => LimitStage::After,
            },
        };
        let rate = raw.rate.get()?;
        let burst: NonZeroU32 = value(&raw.burst).copied().unwrap_or(rate.count());
        let quota = LimitQuota {
            count: rate.count(),
            per: rate.per(),
            burst,
        };
        match self.limiters.limiter(route, &by, stage, quota) {
            Some(limiter) => Some(LimitRule {
                by,
                stage,
                quota,
                limiter,
            }),
            None => {
                self.fault(raw.rate.span, "this rate is faster than any clock can tell");
                None
            }
        }
    }

    fn limit_by(
        &mut self,
        span: Span,
        by: &TextOr<raw::By>,
        path: Option<&PathPattern>,
    ) -> Option<LimitBy> {
        let place = match by {
            TextOr::Text(text) if text == "client_ip" => return Some(LimitBy::ClientIp),
            TextOr::Text(text) if text == "route" => return Some(LimitBy::Route),
            TextOr::Text(text) => self.text_place(span, text, BY),
            TextOr::Full(raw::By::Header(name)) => self.header_place(span, name),
            TextOr::Full(raw::By::Query(name)) => Some(Place::Query(name.clone())),
            TextOr::Full(raw::By::Json(path)) => self.json_place(span, path),
            TextOr::Full(raw::By::Path(name)) => {
                if path.is_some_and(|path| !path.captures(name)) {
                    self.fault(
                        span,
                        format!("the route's path does not capture `{{{name}}}`"),
                    );
                }
                return Some(LimitBy::Path(name.clone()));
            }
        };
        place.map(LimitBy::Place)
    }

    /// A place in its short form: `$.path` or `header:NAME`.
    pub(super) fn text_place(&mut self, span: Span, text: &str, help: &str) -> Option<Place> {
        if text.starts_with('$') {
            return self.json_place(span, text);
        }
        if let Some(name) = text.strip_prefix("header:") {
            return self.header_place(span, name);
        }
        self.fault_with_help(span, format!("`{text}` is not a place in a request"), help);
        None
    }

    pub(super) fn dedup(
        &mut self,
        route: &str,
        field: &Field<raw::Dedup>,
        presets: &[&Preset],
    ) -> Option<DedupRule> {
        let raw = field.get()?;
        let key = match &raw.key {
            Some(field) => self.dedup_key(field.span, field.get()?)?,
            None => {
                let known: Vec<_> = presets
                    .iter()
                    .flat_map(|preset| preset.event_id.iter().cloned())
                    .collect();
                if known.is_empty() {
                    let message = "nothing is known that an event of this route could be told by";
                    self.fault_with_help(field.span, message, format!("add `key`: {KEY}"));
                    return None;
                }
                KeySource::First(known)
            }
        };
        let let_through = match &raw.let_through {
            None => None,
            Some(field) => {
                let rule = field.get()?;
                let name = rule.header.get()?;
                self.header_place(rule.header.span, name)?;
                Some((name.clone(), value(&rule.value).cloned()))
            }
        };
        Some(DedupRule {
            namespace: value(&raw.namespace)
                .cloned()
                .unwrap_or_else(|| route.to_owned()),
            key,
            window: self.period(&raw.window, WINDOW),
            wait: self.period(&raw.wait, WAIT),
            let_through,
        })
    }

    fn dedup_key(
        &mut self,
        span: Span,
        fields: &crate::config::decode::OneOrMany<TextOr<From>>,
    ) -> Option<KeySource> {
        let mut places = Vec::new();
        for field in fields {
            match field.get()? {
                TextOr::Text(text) if text == "body_hash" && fields.len() == 1 => {
                    return Some(KeySource::BodyHash);
                }
                TextOr::Text(text) => places.push(self.text_place(field.span, text, KEY)?),
                TextOr::Full(from) => places.push(self.from(field.span, from)?),
            }
        }
        if places.is_empty() {
            self.fault_with_help(span, "`key` is empty: every event would be the same", KEY);
            return None;
        }
        Some(KeySource::All(places))
    }
}

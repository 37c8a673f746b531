//! Compiles `routes.NAME.inbox`.

use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::deliver::Mode;
use crate::config::raw::inbox as raw;
use crate::config::raw::route::Route;
use crate::inbox::telegram::Facade;
use crate::inbox::{Inbox, Start};
use crate::secret::Secret;

const LEASE: Duration = Duration::from_secs(60);

impl Compiler<'_> {
    /// The inbox of a route.
    pub(super) fn inbox(&mut self, route: &str, field: &Field<raw::Inbox>) -> Option<Arc<Inbox>> {
        let raw = field.get()?;
        let mut tokens: Vec<Secret> = Vec::new();
        for field in value(&raw.tokens).into_iter().flatten() {
            let Some(token) = field.get() else { continue };
            if token.is_empty() {
                let help = "write a long text that nobody guesses, or ${{ secret.NAME }}";
                self.fault_with_help(field.span, "an empty token lets everybody read", help);
            }
            tokens.push(token.clone());
        }
        if tokens.is_empty() && raw.telegram.is_none() {
            let message = "nobody may read this inbox";
            self.fault_with_help(
                field.span,
                message,
                "add `tokens: [\"${{ secret.NAME }}\"]`",
            );
        }
        let start = self.inbox_start(raw);
        let telegram = match &raw.telegram {
            Some(field) => Some(self.facade(field)?),
            None => None,
        };
        self.secrets.extend(tokens.iter().cloned());
        Some(Arc::new(Inbox {
            route: route.into(),
            tokens,
            start: start?,
            lease: self.period(&raw.lease, LEASE),
            is_shared: value(&raw.shared).copied().unwrap_or(false),
            telegram,
        }))
    }

    /// What is read later must be on disk before its sender is answered.
    pub(super) fn inbox_is_queued(&mut self, raw: &Route) {
        for field in value(&raw.deliver).into_iter().flatten() {
            let Some(entry) = field.get() else { continue };
            let is_polled = raw.webhook.is_none();
            if matches!(value(&entry.mode), None | Some(Mode::Proxy)) && !is_polled {
                let span = entry.mode.as_ref().map_or(field.span, |mode| mode.span);
                let message = "what is read from an inbox is on disk before its sender is answered";
                self.fault_with_help(span, message, "write `mode: queue`");
            }
        }
    }

    fn inbox_start(&mut self, raw: &raw::Inbox) -> Option<Start> {
        let Some(field) = &raw.start else {
            return Some(Start::Earliest);
        };
        let text = field.get()?;
        let start = Start::parse(text);
        if start.is_none() {
            let help = "write `earliest`, `latest`, or a time like 2026-01-31T12:00:00Z";
            self.fault_with_help(field.span, format!("`{text}` is no start"), help);
        }
        start
    }

    fn facade(&mut self, field: &Field<raw::Telegram>) -> Option<Facade> {
        let raw = field.get()?;
        let token = raw.token.get()?;
        if token.is_empty() {
            let help = "write the token that the bot has";
            self.fault_with_help(raw.token.span, "a bot has a token", help);
        }
        self.secrets.push(token.clone());
        let name = raw.to.get()?;
        if self.backends_known && !self.backends.contains_key(name) {
            let mut known: Vec<String> = self.backends.keys().cloned().collect();
            known.sort();
            let known = known.iter().map(String::as_str);
            self.unknown(raw.to.span, "backend", name, known);
        }
        Some(Facade {
            token: token.clone(),
            backend: name.clone(),
            newest: 0.into(),
        })
    }
}

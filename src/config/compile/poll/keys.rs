//! Compiles what items are told apart by: `dedup` of a route that polls.

use std::time::Duration;

use super::super::Compiler;
use super::texts::place;
use super::{SourceCompiler, cursor, items, value};
use crate::config::decode::{Field, TemplateOr};
use crate::config::raw::poll::Poll;
use crate::config::raw::route::Route;
use crate::config::units::Period;
use crate::event::keys::{digest, scope_of};
use crate::poll::source::Keys;

const WINDOW: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const INTERVAL: Duration = Duration::from_secs(60);
/// How many letters of a hash stand for what must not change unseen.
const FINGERPRINT_LETTERS: usize = 16;

impl Compiler<'_> {
    /// Finds keys of `dedup` that are for webhooks or for polls, where the route has none of these.
    pub(super) fn keys_of_the_other_side(&mut self, raw: &Route) {
        let Some(dedup) = value(&raw.dedup) else {
            return;
        };
        let of_webhooks = [
            ("key", place(&dedup.key)),
            ("wait", place(&dedup.wait)),
            ("let_through", place(&dedup.let_through)),
        ];
        let of_polls = [("version", place(&dedup.version))];
        let keys = of_webhooks.into_iter().filter(|_| raw.webhook.is_none());
        let keys =
            keys.map(|(key, span)| (key, span, "webhook", "the id of items is `poll.items.id`"));
        let others = of_polls.into_iter().filter(|_| raw.poll.is_none());
        let others = others.map(|(key, span)| (key, span, "poll", "take it away"));
        for (key, span, side, help) in keys.chain(others) {
            let Some(span) = span else { continue };
            let message = format!("`{key}` is for events of a `{side}`, which this route has not");
            self.fault_with_help(span, message, help);
        }
    }
}

impl SourceCompiler<'_, '_> {
    pub(super) fn keys(&mut self, name: &str, route: &Route, poll: &Poll) -> Keys {
        let dedup = value(&route.dedup);
        let namespace = dedup.and_then(|dedup| value(&dedup.namespace));
        let namespace = namespace.map_or(name, String::as_str).to_owned();
        let field = dedup.and_then(|dedup| dedup.window.as_ref());
        let window = match (field, &route.webhook) {
            // Of a route with webhooks it was told already.
            (Some(field), None) => self.period(&Some(field.clone()), WINDOW),
            (field, _) => field
                .and_then(|field| field.get())
                .map_or(WINDOW, |window| window.as_duration()),
        };
        self.window_is_long_enough(field, window, poll);
        Keys {
            scope: scope_of(&namespace),
            namespace,
            window,
        }
    }

    /// What is read again must be known until it was read for the last time.
    fn window_is_long_enough(
        &mut self,
        field: Option<&Field<Period>>,
        window: Duration,
        poll: &Poll,
    ) {
        let schedule = value(&poll.schedule);
        let interval = match schedule {
            Some(schedule) if schedule.cron.is_some() || schedule.long_poll.is_some() => {
                Duration::ZERO
            }
            Some(schedule) => {
                value(&schedule.interval).map_or(INTERVAL, |interval| interval.as_duration())
            }
            None => INTERVAL,
        };
        let overlap = value(&poll.cursor).and_then(|cursor| value(&cursor.overlap));
        let overlap = overlap.map_or(Duration::ZERO, |overlap| overlap.as_duration());
        let least = overlap.saturating_mul(2).saturating_add(interval);
        if window < least && !window.is_zero() {
            let span = field.map(|field| field.span);
            let span = span.or(place(&poll.cursor)).or(place(&poll.schedule));
            let message = format!(
                "an item that is read again after {} would be a new event: it is remembered for {}",
                Period::new(least),
                Period::new(window)
            );
            let help = format!(
                "write `dedup.window: {}` or more (twice `cursor.overlap` and an interval)",
                Period::new(least)
            );
            self.fault_with_help(span.unwrap_or_default(), message, help);
        }
    }
}

/// Stands for what must not change unseen: what is asked, the cursor, the ids.
pub(super) fn fingerprint(poll: &Poll) -> String {
    let url = match poll.request.get() {
        Some(TemplateOr::Text(text)) => Some(&text.0),
        Some(TemplateOr::Full(full)) => full.url.get().map(|text| &text.0),
        None => None,
    };
    let raw = value(&poll.cursor);
    let kind = cursor::cursor_type(poll).map(cursor::word);
    let field = raw.and_then(|raw| value(&raw.field));
    let pieces = [url.map(String::as_str), kind, field.map(String::as_str)];
    let pieces = pieces.map(|piece| piece.unwrap_or_default().to_owned());
    let pieces = pieces.into_iter().chain(items::id_as_written(poll));
    let hash = hex::encode(digest(pieces));
    hash.chars().take(FINGERPRINT_LETTERS).collect()
}

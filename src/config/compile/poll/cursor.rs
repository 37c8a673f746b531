//! Compiles `poll.cursor`.

use std::time::Duration;

use serde_json::Value;

use super::texts::{is_known, place};
use super::{SourceCompiler, items, value};
use crate::config::decode::{Field, TextOr};
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::cursor::{self as raw, CursorType};
use crate::config::raw::poll::items::Items;
use crate::config::units::Period;
use crate::config::yaml::Span;
use crate::expr::OPEN;
use crate::expr::scoped::{Condition, ValueTemplate};
use crate::poll::cursor::{
    Compare, Confirm, CursorError, CursorKind, CursorRule, HasMore, IdCursor, LowerBound, Start,
    TimeCursor,
};
use crate::poll::expressions::{IN_REQUESTS, OF_MORE, OF_NEXT};
use crate::poll::request::RequestRules;
use crate::poll::selector::Selector;
use crate::poll::source::{CursorTemplates, OnLost};
use crate::poll::times::{Start as StartAt, StartError, TimeFormat};

const ID: &str = "$.id";
const WRITTEN: &str = "rfc3339";
const START: &str = "write `now`, `earliest`, a time, an age like `-7d`, or {value: …}";
const RETENTION_MIN: Duration = Duration::from_secs(10 * 60);
const LOST: &str = "write `pause`, or {do: restart}";

/// What is remembered from one poll to the next.
pub(super) struct Cursor {
    pub(super) rule: CursorRule,
    pub(super) templates: CursorTemplates,
    pub(super) on_lost: OnLost,
    pub(super) retention: Option<Duration>,
}

impl SourceCompiler<'_, '_> {
    pub(super) fn cursor(&mut self, poll: &Poll) -> Option<Cursor> {
        let whole = place(&poll.cursor).unwrap_or_default();
        let none = raw::Cursor::default();
        let raw = match &poll.cursor {
            Some(field) => field.get()?,
            None => &none,
        };
        let kind = cursor_type(poll)?;
        self.keys_of_cursors(raw, kind);
        let format = self.written(raw, poll);
        let next = match (&raw.next, kind) {
            (Some(field), CursorType::NextId) => self.formula(field, OF_NEXT).map(Some),
            (None, CursorType::NextId) => {
                let message = "a next_id cursor needs to know what is asked for next";
                self.fault_with_help(whole, message, "add `next: ${{ last + 1 }}`");
                None
            }
            _ => Some(None),
        };
        let made = match &format {
            Some(format) => self.kind(whole, raw, kind, poll, format),
            None => None,
        };
        let (more, has_more) = self.has_more(raw)?;
        let (start, first) = self.start(raw)?;
        let (confirm, call) = self.confirm(raw)?;
        let on_lost = self.on_lost(raw, kind, poll);
        let retention = self.retention(raw);
        let rule = self.rule(raw, (made?, more, start, confirm), whole)?;
        Some(Cursor {
            rule,
            templates: CursorTemplates {
                format: format?,
                next: next?,
                has_more,
                start: first,
                confirm: call,
                forgets: confirm != Confirm::Never,
            },
            on_lost: on_lost?,
            retention,
        })
    }

    /// Finds keys that belong to a cursor of another type.
    fn keys_of_cursors(&mut self, raw: &raw::Cursor, kind: CursorType) {
        use CursorType as C;
        let ids = [C::NextId, C::LastId, C::Token];
        let positions = [C::Timestamp, C::NextId, C::LastId, C::Token];
        let all = [C::Seen, C::Timestamp, C::NextId, C::LastId, C::Token];
        let keys: [(&str, Option<Span>, &[C]); 12] = [
            ("field", place(&raw.field), &positions),
            ("next", place(&raw.next), &[C::NextId]),
            ("compare", place(&raw.compare), &ids),
            ("format", place(&raw.format), &[C::Timestamp]),
            ("inclusive", place(&raw.inclusive), &[C::Timestamp]),
            ("overlap", place(&raw.overlap), &[C::Timestamp]),
            ("settle", place(&raw.settle), &[C::Timestamp]),
            ("has_more", place(&raw.has_more), &all),
            ("start", place(&raw.start), &all),
            ("on_lost", place(&raw.on_lost), &all),
            ("retention", place(&raw.retention), &all),
            ("confirm", place(&raw.confirm), &all),
        ];
        for (key, span, kinds) in keys {
            let Some(span) = span.filter(|_| !kinds.contains(&kind)) else {
                continue;
            };
            let message = format!("`{key}` does nothing for a cursor of type `{}`", word(kind));
            let known: Vec<_> = kinds.iter().map(|kind| word(*kind)).collect();
            let help = format!(
                "take it away, or write another `type`: {}",
                known.join(", ")
            );
            self.fault_with_help(span, message, help);
        }
    }

    /// How a time is written in requests.
    fn written(&mut self, raw: &raw::Cursor, poll: &Poll) -> Option<TimeFormat> {
        let none = Items::default();
        let items = items::full(poll).unwrap_or(&none);
        let given = match &raw.format {
            Some(field) => Some((field.span, field.get()?.as_str())),
            None => None,
        };
        if let Some((span, text)) = given.filter(|(_, text)| *text != "auto") {
            return self.time_format(span, text, items);
        }
        let of_items = value(&items.time_format).map(String::as_str);
        let text = match of_items {
            Some(text @ ("unix" | "unix_ms")) => text,
            Some(_) | None => WRITTEN,
        };
        self.time_format(place(&raw.format).unwrap_or_default(), text, items)
    }

    fn kind(
        &mut self,
        whole: Span,
        raw: &raw::Cursor,
        kind: CursorType,
        poll: &Poll,
        format: &TimeFormat,
    ) -> Option<CursorKind> {
        let compare = match &raw.compare {
            None => Compare::Auto,
            Some(field) => match field.get()? {
                raw::Comparison::Auto => Compare::Auto,
                raw::Comparison::Integer => Compare::Integer,
                raw::Comparison::Time => Compare::Time,
                raw::Comparison::None => Compare::None,
            },
        };
        Some(match kind {
            CursorType::Seen => CursorKind::Seen,
            CursorType::None => CursorKind::None,
            CursorType::Timestamp => {
                self.one_time(whole, raw, poll)?;
                CursorKind::Timestamp(time_cursor(raw, format))
            }
            CursorType::NextId => CursorKind::NextId(self.id_cursor(whole, raw, compare)?),
            CursorType::LastId => CursorKind::LastId(self.id_cursor(whole, raw, compare)?),
            CursorType::Token => {
                let Some(field) = &raw.field else {
                    let message = "a token cursor needs to know where the answer says it";
                    let help = "add `field: $.next` or `field: header:NAME`";
                    self.fault_with_help(whole, message, help);
                    return None;
                };
                let from = self.origin(field)?;
                CursorKind::Token { from, compare }
            }
        })
    }

    fn id_cursor(&mut self, whole: Span, raw: &raw::Cursor, compare: Compare) -> Option<IdCursor> {
        let field = match &raw.field {
            Some(field) => self.selector(field)?,
            None => self.selected(whole, ID, Selector::new(ID))?,
        };
        Some(IdCursor { field, compare })
    }

    /// A timestamp cursor and its items have one time.
    fn one_time(&mut self, whole: Span, raw: &raw::Cursor, poll: &Poll) -> Option<()> {
        let time = items::full(poll).and_then(|items| items.time.as_ref());
        match (&raw.field, time) {
            (None, None) if is_known(&poll.items) => {
                let message = "a timestamp cursor needs the time of items";
                let help = "add `items.time`, like `time: $.updated_at`";
                self.fault_with_help(whole, message, help);
                None
            }
            (Some(field), Some(time))
                if field.get().is_some() && time.get().is_some() && field.get() != time.get() =>
            {
                let message = "this is another time than `items.time`, which orders the items";
                self.fault_with_help(field.span, message, "take `field` away");
                None
            }
            _ => Some(()),
        }
    }

    /// Whether there is more: a JSONPath or an expression.
    fn has_more(&mut self, raw: &raw::Cursor) -> Option<(HasMore, Option<Condition>)> {
        let Some(field) = &raw.has_more else {
            return Some((HasMore::Unsaid, None));
        };
        let text = &field.get()?.0;
        if text.starts_with('$') && !text.starts_with(OPEN) {
            let selector = self.selected(field.span, text, Selector::new(text))?;
            return Some((HasMore::Selected(selector), None));
        }
        let condition = self.condition(field, OF_MORE)?;
        Some((HasMore::Expression, Some(condition)))
    }

    /// Where the first poll begins, and what makes its cursor.
    fn start(&mut self, raw: &raw::Cursor) -> Option<(Start, Option<ValueTemplate>)> {
        let Some(field) = &raw.start else {
            return Some((Start::Now, None));
        };
        let text = match field.get()? {
            TextOr::Full(first) => {
                let template = self.template_of(&first.value, IN_REQUESTS)?;
                return Some((Start::Value(Value::Null), Some(template)));
            }
            TextOr::Text(text) => text,
        };
        let start = match StartAt::parse(text) {
            Ok(StartAt::Now) => Start::Now,
            Ok(StartAt::Earliest) => Start::Earliest,
            Ok(StartAt::At(time)) => Start::At(time),
            Ok(StartAt::Ago(ago)) => Start::Ago(ago),
            Err(error) => {
                self.no_start(field.span, text, &error);
                return None;
            }
        };
        Some((start, None))
    }

    fn no_start(&mut self, span: Span, text: &str, error: &StartError) {
        let is_age = humantime::parse_duration(text).is_ok();
        let (message, help) = match error {
            StartError::Shape(_) if is_age => (
                format!("`{text}` is no start"),
                format!("write `-{text}` for so long before the first poll"),
            ),
            StartError::Shape(_) => (format!("`{text}` is no start"), START.to_owned()),
            StartError::TooLongAgo(_) => (error.to_string(), START.to_owned()),
        };
        self.fault_with_help(span, message, help);
    }

    fn confirm(&mut self, raw: &raw::Cursor) -> Option<(Confirm, Option<RequestRules>)> {
        let Some(field) = &raw.confirm else {
            return Some((Confirm::Never, None));
        };
        Some(match field.get()? {
            raw::Confirm::None => (Confirm::Never, None),
            raw::Confirm::NextRequest => (Confirm::NextRequest, None),
            raw::Confirm::Request(request) => {
                let request = self.further_request(request, IN_REQUESTS)?;
                (Confirm::Call, Some(request))
            }
        })
    }

    /// How long the provider keeps what it has.
    fn retention(&mut self, raw: &raw::Cursor) -> Option<Duration> {
        let field = raw.retention.as_ref()?;
        let retention = field.get()?.as_duration();
        if retention < RETENTION_MIN {
            let message = "a source that finds nothing is noted every five minutes: what is kept for \
                           less cannot be told from what is lost";
            self.fault_with_help(field.span, message, "write 10m or more, or take it away");
        }
        Some(retention)
    }

    fn on_lost(&mut self, raw: &raw::Cursor, kind: CursorType, poll: &Poll) -> Option<OnLost> {
        let Some(field) = &raw.on_lost else {
            return Some(OnLost::Pause);
        };
        let full = match field.get()? {
            TextOr::Text(text) if text == "pause" => return Some(OnLost::Pause),
            TextOr::Text(text) => {
                let message = format!("`{text}` does not say what happens");
                self.fault_with_help(field.span, message, LOST);
                return None;
            }
            TextOr::Full(full) => full,
        };
        match full.action.get()? {
            raw::LostAction::Pause => {
                let keys = [("from", place(&full.from)), ("gap", place(&full.gap))];
                self.needless(&keys, "does nothing beside `do: pause`");
                Some(OnLost::Pause)
            }
            raw::LostAction::Restart => Some(OnLost::Restart {
                ago: self.restart(full, kind, poll)?,
                gap: value(&full.gap).copied().unwrap_or(true),
            }),
        }
    }

    /// How long ago reading goes on; `None` = from the earliest.
    fn restart(
        &mut self,
        raw: &raw::OnLost,
        kind: CursorType,
        poll: &Poll,
    ) -> Option<Option<Duration>> {
        let Some(field) = &raw.from else {
            return Some(None);
        };
        let text = field.get()?;
        let ago = match StartAt::parse(text) {
            Ok(StartAt::Earliest) => return Some(None),
            Ok(StartAt::Now) => Duration::ZERO,
            Ok(StartAt::Ago(ago)) => ago,
            Ok(StartAt::At(_)) | Err(_) => {
                let message = format!("`{text}` is no place to go on at");
                let help = "write `earliest`, `now` or an age like `-1h`";
                self.fault_with_help(field.span, message, help);
                return None;
            }
        };
        let has_time = items::full(poll).is_some_and(|items| items.time.is_some());
        if kind != CursorType::Timestamp && !has_time {
            let message = "items without a time do not say which are older than this";
            let help = "add `items.time`, or write `from: earliest`: what was found before is not found \
                        again";
            self.fault_with_help(field.span, message, help);
        }
        Some(Some(ago))
    }

    fn rule(
        &mut self,
        raw: &raw::Cursor,
        (kind, has_more, start, confirm): (CursorKind, HasMore, Start, Confirm),
        whole: Span,
    ) -> Option<CursorRule> {
        // The value is made by the first poll, which then has a cursor already.
        let begins = match &start {
            Start::Value(_) => Start::Earliest,
            start => start.clone(),
        };
        let checked = CursorRule::new(kind.clone(), has_more.clone(), start, confirm);
        let made = checked.and_then(|_| CursorRule::new(kind, has_more, begins, confirm));
        let error = match made {
            Ok(rule) => return Some(rule),
            Err(error) => error,
        };
        let (span, help) = match error {
            CursorError::NowErases => (
                place(&raw.start).or(place(&raw.confirm)),
                "everything that waits there becomes events then",
            ),
            CursorError::StartIsTime | CursorError::StartIsValue(_) => {
                (place(&raw.start), "leave `start` out for `now`")
            }
            CursorError::SpanTooLong(key) => {
                let span = match key {
                    "overlap" => place(&raw.overlap),
                    "settle" => place(&raw.settle),
                    _ => place(&raw.start),
                };
                (span, "write a shorter time")
            }
            CursorError::NoUnit => (place(&raw.inclusive), "take `inclusive` away"),
        };
        self.fault_with_help(span.unwrap_or(whole), error.to_string(), help);
        None
    }

    /// Finds a cursor that nothing is asked with, and requests that ask with none.
    pub(super) fn cursor_is_asked_for(&mut self, poll: &Poll) {
        let Some(kind) = cursor_type(poll) else {
            return;
        };
        let has_position = !matches!(kind, CursorType::Seen | CursorType::None);
        let used = self.uses.cursor.first().copied();
        match (used, has_position) {
            (None, true) => {
                let span = place(&poll.cursor).unwrap_or_default();
                let message = "no request asks with this cursor: each would ask the same";
                let help = "write `${{ cursor }}` into `request.query`, or take `cursor` away";
                self.fault_with_help(span, message, help);
            }
            (Some(span), false) => {
                let message = format!(
                    "`cursor` never has a value here: the cursor is of type `{}`",
                    word(kind)
                );
                let help = "add `cursor: {type: timestamp}`, or another type that is asked with";
                self.fault_with_help(span, message, help);
            }
            (None, false) | (Some(_), true) => {}
        }
    }
}

fn time_cursor(raw: &raw::Cursor, format: &TimeFormat) -> TimeCursor {
    let span = |field: &Option<Field<Period>>| {
        value(field).map_or(Duration::ZERO, |period| period.as_duration())
    };
    TimeCursor {
        overlap: span(&raw.overlap),
        settle: span(&raw.settle),
        lower: match value(&raw.inclusive) {
            Some(false) => LowerBound::Exclusive {
                unit: format.unit(),
            },
            Some(true) | None => LowerBound::Inclusive,
        },
    }
}

/// The type; `None` where it has a fault.
pub(super) fn cursor_type(poll: &Poll) -> Option<CursorType> {
    if !is_known(&poll.cursor) {
        return None;
    }
    match value(&poll.cursor).and_then(|raw| raw.cursor_type.as_ref()) {
        None => Some(CursorType::Seen),
        Some(field) => field.get().copied(),
    }
}

/// Where a timestamp cursor has its time, if it says so itself.
pub(super) fn time_field(poll: &Poll) -> Option<&Field<String>> {
    let raw = value(&poll.cursor)?;
    let is_time = value(&raw.cursor_type) == Some(&CursorType::Timestamp);
    raw.field.as_ref().filter(|_| is_time)
}

/// A type as it is written.
pub(super) fn word(kind: CursorType) -> &'static str {
    match kind {
        CursorType::Seen => "seen",
        CursorType::Timestamp => "timestamp",
        CursorType::NextId => "next_id",
        CursorType::LastId => "last_id",
        CursorType::Token => "token",
        CursorType::None => "none",
    }
}

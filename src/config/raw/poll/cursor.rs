//! `poll.cursor`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::request::Request;
use crate::config::decode::{Field, Template, TemplateOr, TextOr};
use crate::config::units::Period;

/// What is remembered from one poll to the next; requests have it as `${{ cursor }}`.
#[derive(Deserialize, JsonSchema, Default)]
#[schemars(deny_unknown_fields)]
pub struct Cursor {
    /// What it is. Default: seen.
    #[serde(rename = "type")]
    pub cursor_type: Option<Field<CursorType>>,
    /// A JSONPath within an item; for `token` within the answer, or `header:NAME`. Default:
    /// `items.time` for timestamp, `$.id` for next_id and last_id.
    pub field: Option<Field<String>>,
    /// The cursor behind the last item, for `next_id`: an expression over `last`, the value of
    /// `field` (`last + 1`).
    pub next: Option<Field<Template>>,
    /// How cursors are compared: one that got smaller pauses the source. Default: auto.
    pub compare: Option<Field<Comparison>>,
    /// How a time is written in requests: `auto` (RFC 3339, or seconds or milliseconds where
    /// `items.time_format` is `unix` or `unix_ms`), `rfc3339`, `unix`, `unix_ms` or a pattern like
    /// `%Y-%m-%d`. Default: auto.
    pub format: Option<Field<String>>,
    /// Whether the provider returns items that are equal to the cursor. Default: true.
    pub inclusive: Option<Field<bool>>,
    /// How much before the cursor is read again each time, for what appears late. Default: 0s.
    pub overlap: Option<Field<Period>>,
    /// The cursor stays so much behind the beginning of the poll, for what appears late.
    /// Default: 0s.
    pub settle: Option<Field<Period>>,
    /// Whether the provider has more, and is asked again at once: a JSONPath within the answer, or an
    /// expression over `body` and `headers`.
    pub has_more: Option<Field<Template>>,
    /// Where the first poll begins: `now`, `earliest` (the parameter is left out), a time, an age
    /// (`-7d`), or `{value: …}` for anything else. Default: now.
    pub start: Option<Field<TextOr<StartValue>>>,
    /// What happens when the provider no longer knows the cursor: `pause`, or a mapping.
    /// Default: pause.
    pub on_lost: Option<Field<TextOr<OnLost>>>,
    /// How long the provider keeps what it has: a source that was not read for longer has lost events,
    /// and does what `on_lost` says. Default: nobody knows.
    pub retention: Option<Field<Period>>,
    /// What tells the provider that items have arrived. Default: none.
    pub confirm: Option<Field<Confirm>>,
}

/// What a cursor is.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CursorType {
    /// The items that were seen: new is what was not.
    Seen,
    /// The latest time of an item.
    Timestamp,
    /// What is asked for next.
    NextId,
    /// The newest item.
    LastId,
    /// What the last answer said.
    Token,
    /// Nothing: every poll asks the same.
    None,
}

/// How cursors are compared.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// By what they are.
    Auto,
    /// As whole numbers.
    Integer,
    /// As times.
    Time,
    /// Not at all: the last answer is followed, even to a smaller one.
    None,
}

/// Where the first poll begins, in the provider's own way.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct StartValue {
    /// The first cursor (`${{ session.ts }}`).
    pub value: Field<Template>,
}

/// What happens when the provider no longer knows the cursor.
#[derive(Deserialize, JsonSchema, Debug)]
#[schemars(deny_unknown_fields)]
pub struct OnLost {
    /// Whether polling goes on.
    #[serde(rename = "do")]
    pub action: Field<LostAction>,
    /// Where it goes on: `earliest`, or for items with a time `now` or an age (`-1h`).
    /// Default: earliest.
    pub from: Option<Field<String>>,
    /// Whether it is told that events may be missing. Default: true.
    pub gap: Option<Field<bool>>,
}

/// Whether polling goes on.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LostAction {
    /// It begins anew.
    Restart,
    /// It waits for somebody.
    Pause,
}

/// What tells a provider that items have arrived.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confirm {
    /// Nothing.
    None,
    /// The cursor of the next request.
    NextRequest,
    /// A request of its own, sent when the items are on disk.
    Request(Box<Field<TemplateOr<Request>>>),
}

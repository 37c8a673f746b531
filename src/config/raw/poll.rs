//! `routes.NAME.poll`: how a provider is asked for what is new.

pub mod auth;
pub mod cursor;
pub mod errors;
pub mod items;
pub mod limits;
pub mod pages;
pub mod request;
pub mod schedule;

use std::num::NonZeroU32;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::json;

use crate::config::decode::{Entries, Field, OneOrMany, TemplateOr, TextOr, Tree};
use crate::config::units::Period;
use auth::{Auth, Session};
use cursor::Cursor;
use errors::{ErrorRule, OnError};
use items::{Changes, Items};
use limits::{Retry, SourceLimit};
use pages::Pagination;
use request::Request;
use schedule::Schedule;

/// How a provider is asked for what is new.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields, transform = has_request_or_preset)]
pub struct Poll {
    /// A preset: a whole `poll`, with what goes with it in `dedup` and `deliver`, of which everything
    /// that is written here takes the place (`hookgate poll presets`).
    pub preset: Option<Field<String>>,
    /// What the preset asks for, by name.
    pub with: Option<Field<Entries<Tree>>>,
    /// `false` = nothing is asked, and what is known of the source is kept. Default: true.
    pub enabled: Option<Field<bool>>,
    /// The name that this route had before: what is known of that source is taken over, once.
    pub alias: Option<Field<String>>,
    /// When the provider is asked. Default: a minute after the end of the poll before.
    pub schedule: Option<Field<Schedule>>,
    /// What it is asked: a URL to GET, or the whole request.
    pub request: Field<TemplateOr<Request>>,
    /// How requests are authenticated. Default: not at all.
    pub auth: Option<Field<Auth>>,
    /// A request that comes before the others, like a login.
    pub session: Option<Field<Session>>,
    /// How answers are written. Default: json.
    pub decode: Option<Field<Decode>>,
    /// What in an answer is an item: a JSONPath (`$.data[*]`), or all that is known of items.
    /// Default: `$`.
    pub items: Option<Field<TextOr<Items>>>,
    /// How the pages behind the first one are asked for. Default: there are none.
    pub pagination: Option<Field<Pagination>>,
    /// What is remembered from one poll to the next. Default: which items were seen.
    pub cursor: Option<Field<Cursor>>,
    /// Makes events of what has changed in a list that is always asked for as a whole.
    pub changes: Option<Field<Changes>>,
    /// Asks once for each of several values, each with a cursor of its own.
    pub partitions: Option<Field<Partitions>>,
    /// How many requests the provider may get.
    pub rate_limit: Option<Field<SourceLimit>>,
    /// How requests are tried again within one poll.
    pub retry: Option<Field<Retry>>,
    /// What answers mean that are no success, or only look like one. The first rule that fits
    /// counts, and before what the gateway knows by itself.
    pub errors: Option<Field<OneOrMany<ErrorRule>>>,
    /// Who is told when events were lost at the provider: `log` = operators, by the log and a metric;
    /// `deliver` = the backends as well, by an event of type `gateway.gap`. Default: log.
    pub on_gap: Option<Field<OnGap>>,
    /// What the provider says is waiting there, to be seen before it drops something.
    pub pending: Option<Field<Pending>>,
    /// How often something new is expected: a source that is silent for longer is reported.
    /// Default: nobody knows.
    pub expected_every: Option<Field<Period>>,
    /// What happens after a poll that failed.
    pub on_error: Option<Field<OnError>>,
}

/// What is asked stands in the preset where it does not stand here.
fn has_request_or_preset(schema: &mut Schema) {
    schema.remove("required");
    let either = json!([{"required": ["request"]}, {"required": ["preset"]}]);
    schema.insert("anyOf".to_owned(), either);
}

/// How answers are written.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// One JSON document.
    Json,
    /// A JSON document in each line: a list of them.
    Ndjson,
    /// RSS, Atom or JSON Feed: a mapping of `feed` and the list `entries`.
    Feed,
    /// Values between commas, with names in the first line: a list of mappings of texts.
    Csv,
    /// A text.
    Text,
}

/// What a provider says is waiting there.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pending {
    /// What it is asked: a URL to GET, or the whole request.
    pub request: Field<TemplateOr<Request>>,
    /// A JSONPath to the number in its answer.
    pub value: Field<String>,
    /// How often it is asked, after a poll. Default: 1m.
    pub every: Option<Field<Period>>,
}

/// Who is told when events were lost at the provider.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum OnGap {
    /// Operators.
    Log,
    /// Operators and backends.
    Deliver,
}

/// The values that a source is asked for, one after the other or side by side.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Partitions {
    /// The values: texts for `${{ partition }}`, or mappings for `${{ partition.NAME }}`. What is known
    /// of a value is kept under its text, or under the `id` of a mapping.
    pub list: Option<Field<OneOrMany<TextOr<Entries<Tree>>>>>,
    /// Instead of `list`, a file, relative to this one: with `.csv` at its end, columns by the names in
    /// its first line (`${{ partition.NAME }}`); otherwise a value in each line. It is read with the
    /// configuration.
    pub file: Option<Field<String>>,
    /// How many are asked for at once. Default: 4.
    pub concurrency: Option<Field<NonZeroU32>>,
}

//! `poll.pagination`.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::decode::Field;

/// How the pages behind the first one are asked for.
#[derive(Deserialize, JsonSchema)]
#[serde(rename = "Pagination by type", rename_all = "snake_case")]
#[schemars(rename = "Pagination", tag = "type", deny_unknown_fields)]
pub enum Pagination {
    /// There are none.
    None,
    /// By their numbers.
    Page(PageNumbers),
    /// By how many items stand before them.
    Offset(Offsets),
    /// By what the answer before says.
    Token(Tokens),
    /// By a URL in the answer before.
    NextUrl(NextUrls),
    /// By the header Link of the answer before.
    LinkHeader(Links),
}

/// Pages by their numbers.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct PageNumbers {
    /// The query parameter with the number. Default: page.
    pub param: Option<Field<String>>,
    /// The number of the first page. Default: 1.
    pub start: Option<Field<u64>>,
    /// The query parameter with the number of items on a page. Default: none.
    pub size_param: Option<Field<String>>,
    /// The number of items on a page. Default: what the provider chooses.
    pub size: Option<Field<NonZeroU32>>,
    /// Which page is the last one; an empty one always is. Default: empty.
    pub stop: Option<Field<Stop>>,
    /// The most pages of one poll; the next poll goes on from there. Default: 100.
    pub max_pages: Option<Field<NonZeroU32>>,
    /// How rows are kept from being missed that move to another page meanwhile. Default: reanchor
    /// with a timestamp cursor and `items.order: asc`, otherwise ignore.
    pub drift: Option<Field<Drift>>,
    /// Where reading ends before the last page. Default: none.
    pub stop_when: Option<Field<StopWhen>>,
}

/// Pages by how many items stand before them.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Offsets {
    /// The query parameter with that number. Default: offset.
    pub param: Option<Field<String>>,
    /// The query parameter with the number of items on a page. Default: limit.
    pub limit_param: Option<Field<String>>,
    /// The number of items on a page. Default: 100.
    pub limit: Option<Field<NonZeroU32>>,
    /// Which page is the last one; an empty one always is. Default: empty.
    pub stop: Option<Field<Stop>>,
    /// The most pages of one poll; the next poll goes on from there. Default: 100.
    pub max_pages: Option<Field<NonZeroU32>>,
    /// How rows are kept from being missed that move to another page meanwhile. Default: reanchor
    /// with a timestamp cursor and `items.order: asc`, otherwise ignore.
    pub drift: Option<Field<Drift>>,
    /// Where reading ends before the last page. Default: none.
    pub stop_when: Option<Field<StopWhen>>,
}

/// Pages by what the answer before says.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tokens {
    /// Where the answer says it: a JSONPath (`$.next`) or `header:NAME`. The page without it is the
    /// last one.
    pub token: Field<String>,
    /// The query parameter that it is asked with. Default: cursor, unless there is `body`.
    pub param: Option<Field<String>>,
    /// Instead of `param`, its place in the JSON body of the request (`$.cursor`).
    pub body: Option<Field<String>>,
    /// A JSONPath: a page that says no there is the last one, even if it has a token. Default: none.
    pub has_more: Option<Field<String>>,
    /// The most pages of one poll; the next poll goes on from there. Default: 100.
    pub max_pages: Option<Field<NonZeroU32>>,
    /// Where reading ends before the last page. Default: none.
    pub stop_when: Option<Field<StopWhen>>,
}

/// Pages by a URL in the answer before.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct NextUrls {
    /// Where the answer has it: a JSONPath (`$.links.next`) or `header:NAME`. The page without it is
    /// the last one.
    pub url: Field<String>,
    /// The most pages of one poll; the next poll goes on from there. Default: 100.
    pub max_pages: Option<Field<NonZeroU32>>,
    /// Where reading ends before the last page. Default: none.
    pub stop_when: Option<Field<StopWhen>>,
}

/// Pages by the header Link of the answer before.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Links {
    /// The relation of the link to follow. Default: next.
    pub rel: Option<Field<String>>,
    /// The most pages of one poll; the next poll goes on from there. Default: 100.
    pub max_pages: Option<Field<NonZeroU32>>,
    /// Where reading ends before the last page. Default: none.
    pub stop_when: Option<Field<StopWhen>>,
}

/// Which page is the last one.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The one without items.
    Empty,
    /// The one with fewer items than were asked for.
    Short,
    /// The one whose number, or whose items and those before them, reach what stands at a JSONPath.
    Total(String),
    /// The one that says no at a JSONPath.
    HasMore(String),
}

/// How rows are kept from being missed that move to another page while pages are read.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// The next page is the first one from the last time seen on.
    Reanchor,
    /// They are not.
    Ignore,
    /// Each page begins so many rows before the end of the one before it; for `offset`.
    OverlapRows(NonZeroU32),
}

/// Where reading ends before the last page.
#[derive(Deserialize, JsonSchema, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StopWhen {
    /// After a page on which nothing is new; not for lists with the oldest first.
    Known,
    /// Nowhere.
    None,
}

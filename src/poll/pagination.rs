//! How a source hands out a list in pages: where the next page is, and when there is none.
//!
//! Looks at one page at a time. What the pages mean for the cursor, and whether a list leads in
//! circles, is decided by the walk.

use std::num::{NonZeroU32, NonZeroUsize};

use serde_json::Value;

use super::cursor::value::fits;
use super::page::{Page, digest};
use super::position::Place;
use super::selector::{BodyPath, Origin, Selector};

pub use end::{End, Stuck};
pub use stop::Stop;

mod end;
pub mod link;
mod stop;

/// The most pages of one poll.
pub const PAGES_MAX: u32 = 10_000;
/// The longest name of a parameter or a link relation, in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// How pages are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Paginator {
    /// There is one page.
    None,
    /// By number.
    Page {
        /// The query parameter for the number.
        param: String,
        /// The number of the first page.
        start: u64,
        /// The query parameter for the size; `None` = it is not sent.
        size_param: Option<String>,
        /// How many items a full page has, if that is known.
        size: Option<NonZeroU32>,
        /// How the last page is told.
        stop: Stop,
    },
    /// By the number of items before it.
    Offset {
        /// The query parameter for the number.
        param: String,
        /// The query parameter for the size; `None` = it is not sent.
        limit_param: Option<String>,
        /// How many items a full page has.
        limit: NonZeroU32,
        /// How the last page is told.
        stop: Stop,
    },
    /// By what the page before it says. A page without token is the last.
    Token {
        /// Where the token stands.
        from: Origin,
        /// Where it is put.
        into: TokenPlace,
        /// A page that says no here is the last even if it has a token.
        has_more: Option<Selector>,
    },
    /// By the URL that the page before it gives.
    NextUrl {
        /// Where the URL stands; a relative one is resolved.
        from: Origin,
    },
    /// By the `Link` header of the page before it (RFC 8288).
    LinkHeader {
        /// The relation of the next page.
        rel: String,
    },
}

/// Where a page token is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenPlace {
    /// A query parameter.
    Query(String),
    /// A place in the body.
    Body(BodyPath),
}

/// What is done about a numbered list whose items move while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drift {
    /// Instead of the next page, the first one from the last time on is asked for.
    Reanchor,
    /// Pages overlap by so many items; if none comes back, the walk steps back.
    OverlapRows(NonZeroU32),
    /// Nothing.
    Ignore,
}

/// When a list is left before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopWhen {
    /// After a page on which nothing is new and something is known.
    Known,
    /// Never.
    Exhausted,
}

/// Checked rules for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pagination {
    paginator: Paginator,
    pages_max: NonZeroU32,
    drift: Option<Drift>,
    stop_when: StopWhen,
}

/// Why rules contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaginationError {
    /// No page could be short.
    #[error("`stop: short` needs `size`: how many items a full page has")]
    ShortWithoutSize,
    /// A parameter without value.
    #[error("`size_param` needs `size`")]
    SizeParamWithoutSize,
    /// Something for numbered pages, with pages that have no number.
    #[error("`drift` is about page numbers and offsets: leave it out")]
    DriftWithoutNumbers,
    /// Pages that have no offset cannot overlap.
    #[error("`drift: overlap_rows` needs `type: offset`")]
    OverlapWithoutOffset,
    /// A page has nothing but what the one before had.
    #[error("`overlap_rows` must be less than `limit`: a page would have nothing of its own")]
    OverlapTooLong,
    /// A parameter or relation without name, or with one that is too long.
    #[error("the name of a parameter or relation has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    /// Too many pages.
    #[error("`max_pages` is more than {PAGES_MAX}")]
    TooManyPages,
}

/// What is added to a request to ask for a page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PageRequest {
    /// What `${{ cursor }}` is: an overlap is off already, a time is RFC 3339. `None` = undefined.
    pub cursor: Option<Value>,
    /// Query parameters, instead of those of the same name. Not encoded yet.
    pub query: Vec<(String, String)>,
    /// Values for the body.
    pub body: Vec<(BodyPath, Value)>,
    /// The URL, instead of the source's own and its query. Not checked for its origin.
    pub url: Option<String>,
    /// Whether the walk begins here: only this page's validators may be sent and kept.
    pub is_first: bool,
}

/// Where the list goes on after a page.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Onward {
    Next(Place),
    End(End),
}

impl Pagination {
    /// Checks the keys of `pagination:` against each other; without `drift`, the order of the items
    /// decides.
    ///
    /// # Errors
    /// [`PaginationError`] says which contradict each other.
    pub fn new(
        paginator: Paginator,
        pages_max: NonZeroU32,
        drift: Option<Drift>,
        stop_when: StopWhen,
    ) -> Result<Self, PaginationError> {
        if pages_max.get() > PAGES_MAX {
            return Err(PaginationError::TooManyPages);
        }
        paginator.check()?;
        match (drift, &paginator) {
            (None, _) | (Some(_), Paginator::Page { .. } | Paginator::Offset { .. }) => Ok(()),
            (Some(_), _) => Err(PaginationError::DriftWithoutNumbers),
        }?;
        match (drift, &paginator) {
            (Some(Drift::OverlapRows(rows)), Paginator::Offset { limit, .. }) => {
                if rows < *limit {
                    Ok(())
                } else {
                    Err(PaginationError::OverlapTooLong)
                }
            }
            (Some(Drift::OverlapRows(_)), _) => Err(PaginationError::OverlapWithoutOffset),
            _ => Ok(()),
        }?;
        Ok(Self {
            paginator,
            pages_max,
            drift,
            stop_when,
        })
    }

    /// How pages are asked for.
    pub fn paginator(&self) -> &Paginator {
        &self.paginator
    }

    pub(super) fn drift(&self) -> Option<Drift> {
        self.drift
    }

    pub(super) fn stop_when(&self) -> StopWhen {
        self.stop_when
    }

    pub(super) fn pages_max(&self) -> u32 {
        self.pages_max.get()
    }

    /// Whether there may be several pages.
    pub(super) fn is_paged(&self) -> bool {
        self.paginator != Paginator::None
    }

    /// Whether pages have numbers, so that items can move from one to another.
    pub(super) fn is_numbered(&self) -> bool {
        let paginator = &self.paginator;
        matches!(paginator, Paginator::Page { .. } | Paginator::Offset { .. })
    }

    /// Whether a place is one of this kind of list, and not of one that was configured before.
    pub(super) fn knows(&self, place: &Place) -> bool {
        match place {
            Place::First => true,
            Place::Number(_) => self.is_numbered(),
            Place::Token(_) => matches!(self.paginator, Paginator::Token { .. }),
            Place::Url(_) => matches!(
                self.paginator,
                Paginator::NextUrl { .. } | Paginator::LinkHeader { .. }
            ),
        }
    }

    /// Adds to a request what asks for a page.
    pub(super) fn ask(&self, place: &Place, request: &mut PageRequest) {
        let mut query = |name: &str, value: String| request.query.push((name.to_owned(), value));
        match (&self.paginator, place) {
            (
                Paginator::Page {
                    param,
                    size_param,
                    size,
                    ..
                },
                place,
            ) => {
                query(param, self.number(place).to_string());
                if let (Some(param), Some(size)) = (size_param, size) {
                    query(param, size.to_string());
                }
            }
            (
                Paginator::Offset {
                    param,
                    limit_param,
                    limit,
                    ..
                },
                place,
            ) => {
                query(param, self.number(place).to_string());
                if let Some(param) = limit_param {
                    query(param, limit.to_string());
                }
            }
            (Paginator::Token { into, .. }, Place::Token(token)) => match into {
                TokenPlace::Query(param) => query(param, text_of(token)),
                TokenPlace::Body(path) => request.body.push((path.clone(), token.clone())),
            },
            (_, Place::Url(url)) => request.url = Some(url.clone()),
            _ => {}
        }
    }

    /// The number of a page, or the offset of its first item.
    fn number(&self, place: &Place) -> u64 {
        match (place, &self.paginator) {
            (Place::Number(number), _) => *number,
            (_, Paginator::Page { start, .. }) => *start,
            _ => 0,
        }
    }

    /// Where the list goes on after a page.
    pub(super) fn onward(&self, page: &Page<'_>, place: &Place) -> Result<Onward, Stuck> {
        match &self.paginator {
            Paginator::None => Ok(Onward::End(End::Single)),
            Paginator::Page {
                start, size, stop, ..
            } => {
                let number = self.number(place);
                let read = number.saturating_sub(*start).saturating_add(1);
                let next = number.saturating_add(1);
                Ok(numbered(stop.end(page, *size, read), next))
            }
            Paginator::Offset { limit, stop, .. } => {
                let read = self.number(place).saturating_add(stop::count(page));
                Ok(numbered(stop.end(page, Some(*limit), read), read))
            }
            Paginator::Token {
                has_more: Some(more),
                ..
            } if !more.says_yes(page.body) => Ok(Onward::End(End::LastPage)),
            Paginator::Token { from, into, .. } => match page.value_at(from) {
                None => Ok(Onward::End(End::NoToken)),
                Some(token) if into.takes(&token) => Ok(Onward::Next(Place::Token(token))),
                Some(_) => Err(Stuck::BadToken),
            },
            Paginator::NextUrl { from } => match page.value_at(from) {
                None => Ok(Onward::End(End::NoToken)),
                Some(Value::String(url)) => follow(page, &url),
                Some(_) => Err(Stuck::BadToken),
            },
            Paginator::LinkHeader { rel } => match link::linked(page.header("link"), rel) {
                None => Ok(Onward::End(End::NoToken)),
                Some(url) => follow(page, url),
            },
        }
    }

    /// How many items pages share, and where the walk takes a list up again that lost them.
    pub(super) fn seam(&self, place: &Place) -> Option<Seam> {
        match (self.drift, &self.paginator) {
            (Some(Drift::OverlapRows(rows)), Paginator::Offset { limit, .. }) => {
                let offset = self.number(place);
                Some(Seam {
                    rows: NonZeroUsize::try_from(rows).ok()?,
                    back: Place::Number(offset.saturating_sub(u64::from(limit.get()))),
                })
            }
            _ => None,
        }
    }
}

/// What two pages share.
pub(super) struct Seam {
    /// How many items.
    pub(super) rows: NonZeroUsize,
    /// One page earlier.
    pub(super) back: Place,
}

impl Seam {
    /// The next page, moved so that it begins with items of this one; `None` = it cannot be.
    pub(super) fn overlapped(&self, page: &Page<'_>, next: &Place) -> Option<Place> {
        match next {
            Place::Number(offset) if page.raw_count > self.rows.get() => {
                let rows = u64::try_from(self.rows.get()).ok()?;
                Some(Place::Number(offset.saturating_sub(rows)))
            }
            _ => None,
        }
    }
}

impl Paginator {
    fn check(&self) -> Result<(), PaginationError> {
        if let Self::Page {
            size: None,
            size_param,
            stop,
            ..
        } = self
        {
            if *stop == Stop::Short {
                return Err(PaginationError::ShortWithoutSize);
            }
            if size_param.is_some() {
                return Err(PaginationError::SizeParamWithoutSize);
            }
        }
        let is_name = |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len());
        if self.names().into_iter().flatten().all(is_name) {
            Ok(())
        } else {
            Err(PaginationError::Name)
        }
    }

    /// Its parameters, or its relation.
    fn names(&self) -> [Option<&String>; 2] {
        match self {
            Self::None | Self::NextUrl { .. } => [None, None],
            Self::Page {
                param, size_param, ..
            } => [Some(param), size_param.as_ref()],
            Self::Offset {
                param, limit_param, ..
            } => [Some(param), limit_param.as_ref()],
            Self::Token { into, .. } => match into {
                TokenPlace::Query(param) => [Some(param), None],
                TokenPlace::Body(_) => [None, None],
            },
            Self::LinkHeader { rel } => [Some(rel), None],
        }
    }
}

impl TokenPlace {
    fn takes(&self, token: &Value) -> bool {
        let is_single = !matches!(token, Value::Array(_) | Value::Object(_));
        fits(token) && (is_single || matches!(self, Self::Body(_)))
    }
}

impl Place {
    /// Stands for what the page before it named; `None` = it is one of a row.
    pub(super) fn named(&self) -> Option<u64> {
        match self {
            Self::First | Self::Number(_) => None,
            Self::Token(token) => Some(digest(token.to_string().as_bytes())),
            Self::Url(url) => Some(digest(url.as_bytes())),
        }
    }
}

fn numbered(end: Option<End>, next: u64) -> Onward {
    match end {
        Some(end) => Onward::End(end),
        None => Onward::Next(Place::Number(next)),
    }
}

fn follow(page: &Page<'_>, url: &str) -> Result<Onward, Stuck> {
    let url = link::resolved(page.url, url).ok_or(Stuck::BadToken)?;
    Ok(Onward::Next(Place::Url(url)))
}

fn text_of(token: &Value) -> String {
    match token {
        Value::String(text) => text.clone(),
        token => token.to_string(),
    }
}

#[cfg(test)]
mod tests;

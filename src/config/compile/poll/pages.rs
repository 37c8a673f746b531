//! Compiles `poll.pagination`.

use std::num::NonZeroU32;

use super::request::Written;
use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::decode::Field;
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::pages as raw;
use crate::config::raw::poll::request::Body;
use crate::config::yaml::Span;
use crate::poll::pagination::{
    Drift, Pagination, PaginationError, Paginator, Stop, StopWhen, TokenPlace,
};
use crate::poll::selector::{BodyPath, Selector};

const PAGES_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
const LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);

/// The keys that most types have.
struct Common<'r> {
    max_pages: &'r Option<Field<NonZeroU32>>,
    stop_when: &'r Option<Field<raw::StopWhen>>,
    drift: &'r Option<Field<raw::Drift>>,
}

impl SourceCompiler<'_, '_> {
    pub(super) fn pagination(&mut self, poll: &Poll) -> Option<Pagination> {
        let whole = place(&poll.pagination).unwrap_or_default();
        let raw = match &poll.pagination {
            Some(field) => field.get()?,
            None => &raw::Pagination::None,
        };
        let paginator = match raw {
            raw::Pagination::None => Some(Paginator::None),
            raw::Pagination::Page(raw) => self.page_numbers(raw),
            raw::Pagination::Offset(raw) => self.offsets(raw),
            raw::Pagination::Token(raw) => self.tokens(raw, poll),
            raw::Pagination::NextUrl(raw) => self
                .origin(&raw.url)
                .map(|from| Paginator::NextUrl { from }),
            raw::Pagination::LinkHeader(raw) => {
                let rel = text_or(&raw.rel, "next");
                Some(Paginator::LinkHeader { rel })
            }
        };
        let common = common(raw);
        let max_pages = value(common.max_pages).copied().unwrap_or(PAGES_MAX);
        let drift = match common.drift {
            None => None,
            Some(field) => Some(match field.get()? {
                raw::Drift::Reanchor => Drift::Reanchor,
                raw::Drift::Ignore => Drift::Ignore,
                raw::Drift::OverlapRows(rows) => Drift::OverlapRows(*rows),
            }),
        };
        let stop_when = match value(common.stop_when) {
            Some(raw::StopWhen::Known) => StopWhen::Known,
            Some(raw::StopWhen::None) | None => StopWhen::Exhausted,
        };
        let paginator = paginator?;
        self.written_twice(&paginator, poll);
        match Pagination::new(paginator, max_pages, drift, stop_when) {
            Ok(pagination) => Some(pagination),
            Err(error) => {
                self.no_pages(whole, &common, error);
                None
            }
        }
    }

    fn no_pages(&mut self, whole: Span, common: &Common<'_>, error: PaginationError) {
        let (span, help) = match error {
            PaginationError::ShortWithoutSize | PaginationError::SizeParamWithoutSize => {
                (None, "add `size`, like `size: 100`")
            }
            PaginationError::DriftWithoutNumbers => (place(common.drift), "take it away"),
            PaginationError::OverlapWithoutOffset => (
                place(common.drift),
                "write `drift: reanchor` or `drift: ignore`",
            ),
            PaginationError::OverlapTooLong => (place(common.drift), "write fewer rows"),
            PaginationError::Name => (None, "write the name that the provider knows"),
            PaginationError::TooManyPages => (
                place(common.max_pages),
                "the next poll goes on where one has ended",
            ),
        };
        self.fault_with_help(span.unwrap_or(whole), error.to_string(), help);
    }

    fn page_numbers(&mut self, raw: &raw::PageNumbers) -> Option<Paginator> {
        Some(Paginator::Page {
            param: text_or(&raw.param, "page"),
            start: value(&raw.start).copied().unwrap_or(1),
            size_param: value(&raw.size_param).cloned(),
            size: value(&raw.size).copied(),
            stop: self.stop(&raw.stop)?,
        })
    }

    fn offsets(&mut self, raw: &raw::Offsets) -> Option<Paginator> {
        Some(Paginator::Offset {
            param: text_or(&raw.param, "offset"),
            limit_param: Some(text_or(&raw.limit_param, "limit")),
            limit: value(&raw.limit).copied().unwrap_or(LIMIT),
            stop: self.stop(&raw.stop)?,
        })
    }

    fn stop(&mut self, field: &Option<Field<raw::Stop>>) -> Option<Stop> {
        let Some(field) = field else {
            return Some(Stop::Empty);
        };
        Some(match field.get()? {
            raw::Stop::Empty => Stop::Empty,
            raw::Stop::Short => Stop::Short,
            raw::Stop::Total(text) => {
                Stop::Total(self.selected(field.span, text, Selector::new(text))?)
            }
            raw::Stop::HasMore(text) => {
                Stop::HasMore(self.selected(field.span, text, Selector::new(text))?)
            }
        })
    }

    fn tokens(&mut self, raw: &raw::Tokens, poll: &Poll) -> Option<Paginator> {
        let from = self.origin(&raw.token);
        let has_more = match &raw.has_more {
            Some(field) => self.selector(field).map(Some),
            None => Some(None),
        };
        if let (Some(_), Some(field)) = (&raw.param, &raw.body) {
            let message = "`param` and `body` both say where the token is put";
            self.fault_with_help(field.span, message, "take one of them away");
        }
        let into = match &raw.body {
            None => Some(TokenPlace::Query(text_or(&raw.param, "cursor"))),
            Some(field) => {
                self.json_is_sent(field.span, poll);
                let text = field.get()?;
                let path = self.selected(field.span, text, BodyPath::new(text));
                path.map(TokenPlace::Body)
            }
        };
        Some(Paginator::Token {
            from: from?,
            into: into?,
            has_more: has_more?,
        })
    }

    /// A token can only be put into a body of JSON.
    fn json_is_sent(&mut self, span: Span, poll: &Poll) {
        let Some(written) = Written::of(&poll.request) else {
            return;
        };
        let body = written.full.and_then(|full| full.body.as_ref());
        let is_json = body.is_some_and(|field| matches!(field.get(), None | Some(Body::Json(_))));
        if !is_json {
            let message = "the request has no body of JSON that the token could be put into";
            let help =
                "add `request.method: POST` and `request.body: {json: {}}`, or write `param`";
            self.fault_with_help(span, message, help);
        }
    }

    /// Finds parameters that the request has already.
    fn written_twice(&mut self, paginator: &Paginator, poll: &Poll) {
        let names = match paginator {
            Paginator::Page {
                param, size_param, ..
            } => [Some(param), size_param.as_ref()],
            Paginator::Offset {
                param, limit_param, ..
            } => [Some(param), limit_param.as_ref()],
            Paginator::Token {
                into: TokenPlace::Query(param),
                ..
            } => [Some(param), None],
            _ => return,
        };
        let full = Written::of(&poll.request).and_then(|written| written.full);
        let query = full.and_then(|full| value(&full.query));
        for (key, _) in query.into_iter().flatten() {
            if names.into_iter().flatten().any(|name| *name == key.name) {
                let message = format!("`{}` is written by `pagination`", key.name);
                self.fault_with_help(key.span, message, "take it away here");
            }
        }
    }
}

fn common(raw: &raw::Pagination) -> Common<'_> {
    let (max_pages, stop_when, drift) = match raw {
        raw::Pagination::None => (&None, &None, &None),
        raw::Pagination::Page(raw) => (&raw.max_pages, &raw.stop_when, &raw.drift),
        raw::Pagination::Offset(raw) => (&raw.max_pages, &raw.stop_when, &raw.drift),
        raw::Pagination::Token(raw) => (&raw.max_pages, &raw.stop_when, &None),
        raw::Pagination::NextUrl(raw) => (&raw.max_pages, &raw.stop_when, &None),
        raw::Pagination::LinkHeader(raw) => (&raw.max_pages, &raw.stop_when, &None),
    };
    Common {
        max_pages,
        stop_when,
        drift,
    }
}

/// Where it stands that pages end with what is known.
pub(super) fn stops_when_known(poll: &Poll) -> Option<Span> {
    let field = common(value(&poll.pagination)?).stop_when.as_ref()?;
    (field.get() == Some(&raw::StopWhen::Known)).then_some(field.span)
}

fn text_or(field: &Option<Field<String>>, default: &str) -> String {
    value(field).cloned().unwrap_or_else(|| default.to_owned())
}

//! Every operation of the API in one table: what routes a request is what documents it.

use crate::access::Level;

/// Where the API is.
pub const BASE: &str = "/api/v1";

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    ListEvents,
    ShowEvent,
    EventBody,
    EventAttempts,
    ExplainEvent,
    ReplayEvent,
    RetryDelivery,
    CancelDelivery,
    ListDead,
    BeginReplay,
    ListReplays,
    ShowReplay,
    PauseReplay,
    ResumeReplay,
    CancelReplay,
    ListRoutes,
    PauseRoute,
    ResumeRoute,
    ListBackends,
    PauseBackend,
    ResumeBackend,
    ListSources,
    SourceState,
    PutSourceState,
    RunSource,
    PauseSource,
    ResumeSource,
    AcceptSource,
    ReplaySource,
    ResetSource,
    ListActs,
    ShowConfig,
    Tail,
    Document,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub operation: Operation,
    pub method: &'static str,
    /// Below [`BASE`]; `{…}` is one segment.
    pub path: &'static str,
    pub level: Level,
    pub summary: &'static str,
    pub query: Keys,
}

/// What a query may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// Nothing.
    None,
    /// The filter of events, `limit` and `page`.
    Events,
    /// `limit` and `page`.
    Pages,
    /// `route` and `verdict`.
    Tail,
}

use Level::{Full, Read};
use Operation as O;

const fn row(
    operation: Operation,
    method: &'static str,
    path: &'static str,
    level: Level,
    query: Keys,
    summary: &'static str,
) -> Row {
    Row {
        operation,
        method,
        path,
        level,
        summary,
        query,
    }
}

#[rustfmt::skip]
pub(super) const ROWS: [Row; 34] = [
    row(O::ListEvents, "GET", "/events", Read, Keys::Events, "List events and refused requests, newest first"),
    row(O::ShowEvent, "GET", "/events/{id}", Read, Keys::None, "Show one event with its request, deliveries and attempts"),
    row(O::EventBody, "GET", "/events/{id}/body", Read, Keys::None, "The body of an event, without what is not shown"),
    row(O::EventAttempts, "GET", "/events/{id}/attempts", Read, Keys::None, "The attempts that were made for an event, by delivery"),
    row(O::ExplainEvent, "GET", "/events/{id}/explain", Read, Keys::None, "Why a signature is right or wrong"),
    row(O::ReplayEvent, "POST", "/events/{id}/replay", Full, Keys::None, "Deliver one event once more, or judge a refused request again"),
    row(O::RetryDelivery, "POST", "/events/{id}/deliveries/{slot}/retry", Full, Keys::None, "Make one delivery once more, with a fresh count of attempts"),
    row(O::CancelDelivery, "POST", "/events/{id}/deliveries/{slot}/cancel", Full, Keys::None, "Give up a delivery that waits, or let the lane go on that a dead one holds"),
    row(O::ListDead, "GET", "/dead", Read, Keys::Events, "List events of which a delivery was given up"),
    row(O::BeginReplay, "POST", "/replays", Full, Keys::None, "Deliver once more what a filter means, or count it"),
    row(O::ListReplays, "GET", "/replays", Read, Keys::None, "List replays, latest first"),
    row(O::ShowReplay, "GET", "/replays/{id}", Read, Keys::None, "Show how far a replay is"),
    row(O::PauseReplay, "POST", "/replays/{id}/pause", Full, Keys::None, "Pause a replay"),
    row(O::ResumeReplay, "POST", "/replays/{id}/resume", Full, Keys::None, "Go on with a replay"),
    row(O::CancelReplay, "POST", "/replays/{id}/cancel", Full, Keys::None, "End a replay; what it has made stays"),
    row(O::ListRoutes, "GET", "/routes", Read, Keys::None, "List routes with what waits of them"),
    row(O::PauseRoute, "POST", "/routes/{name}/pause", Full, Keys::None, "Answer 503 on a route; what is queued goes on"),
    row(O::ResumeRoute, "POST", "/routes/{name}/resume", Full, Keys::None, "Take requests on a route again"),
    row(O::ListBackends, "GET", "/backends", Read, Keys::None, "List backends with their state"),
    row(O::PauseBackend, "POST", "/backends/{name}/pause", Full, Keys::None, "Hold the queued deliveries to a backend"),
    row(O::ResumeBackend, "POST", "/backends/{name}/resume", Full, Keys::None, "Deliver to a backend again"),
    row(O::ListSources, "GET", "/sources", Read, Keys::None, "List what is polled, with how it went"),
    row(O::SourceState, "GET", "/sources/{name}/state", Read, Keys::None, "Show what is stored of a source, without its tokens"),
    row(O::PutSourceState, "PUT", "/sources/{name}/state", Full, Keys::None, "Let a source go on from a cursor, or from the state of another store"),
    row(O::RunSource, "POST", "/sources/{name}/run", Full, Keys::None, "Poll a source now"),
    row(O::PauseSource, "POST", "/sources/{name}/pause", Full, Keys::None, "Poll a source no more"),
    row(O::ResumeSource, "POST", "/sources/{name}/resume", Full, Keys::None, "Poll a source again"),
    row(O::AcceptSource, "POST", "/sources/{name}/accept", Full, Keys::None, "Go on from where a source was, although the file asks for something else now, or tell that much is gone at once"),
    row(O::ReplaySource, "POST", "/sources/{name}/replay", Full, Keys::None, "Read a range of a source once more, beside its cursor"),
    row(O::ResetSource, "POST", "/sources/{name}/reset", Full, Keys::None, "Forget how far a source was read, and begin anew"),
    row(O::ListActs, "GET", "/acts", Read, Keys::Pages, "List who did what through this API, latest first"),
    row(O::ShowConfig, "GET", "/config", Read, Keys::None, "Tell which configuration is in use"),
    row(O::Tail, "GET", "/tail", Read, Keys::Tail, "Follow requests as they are answered, as server-sent events"),
    row(O::Document, "GET", "/openapi.json", Read, Keys::None, "This document"),
];

/// What a path leads to.
pub(super) enum Found<'p> {
    /// An operation, and the values of `{…}` in order.
    Row(&'static Row, Vec<&'p str>),
    /// Operations of other methods.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Finds the operation of a method and a path below [`BASE`].
pub(super) fn find<'p>(method: &str, path: &'p str) -> Found<'p> {
    let mut others = Vec::new();
    for row in &ROWS {
        let Some(values) = matched(row.path, path) else {
            continue;
        };
        if row.method == method || (method == "HEAD" && row.method == "GET") {
            return Found::Row(row, values);
        }
        others.push(row.method);
    }
    match others.is_empty() {
        true => Found::Nothing,
        false => Found::OtherMethods(others),
    }
}

fn matched<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut values = Vec::new();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            values.push(segment);
        } else if expected != segment {
            return None;
        }
    }
    segments.next().is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_one_operation() {
        let check = |method: &str, path: &str, expected: Option<(Operation, &[&str])>| {
            let found = match find(method, path) {
                Found::Row(row, values) => Some((row.operation, values)),
                Found::OtherMethods(_) | Found::Nothing => None,
            };
            let expected = expected.map(|(operation, values)| (operation, values.to_vec()));
            assert_eq!(found, expected, "{method} {path}");
        };
        check("GET", "/events", Some((O::ListEvents, &[])));
        check("HEAD", "/events/a", Some((O::ShowEvent, &["a"])));
        let retry = Some((O::RetryDelivery, &["a", "3"][..]));
        check("POST", "/events/a/deliveries/3/retry", retry);
        check("POST", "/events/a", None);
        check("GET", "/events/", Some((O::ShowEvent, &[""])));
        check("GET", "/event", None);
        check("GET", "", None);
    }
}

//! A store and its poller, without I/O: commits, stages and crashes as a gateway does.

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::page::Seen;
use super::*;

/// An answer of a made-up source.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) body: Value,
    pub(super) headers: Vec<(String, String)>,
    pub(super) url: String,
    /// `None` = as many as there are rows.
    pub(super) raw_count: Option<usize>,
    pub(super) rows: Vec<Row>,
}

/// An id, and the seconds since 1970.
pub(super) type Row = (u64, Option<i64>);

impl Answer {
    pub(super) fn of(rows: impl IntoIterator<Item = Row>) -> Self {
        Self {
            body: json!({}),
            headers: vec![],
            url: "https://h/list".to_owned(),
            raw_count: None,
            rows: rows.into_iter().collect(),
        }
    }

    pub(super) fn with(self, body: Value) -> Self {
        Self { body, ..self }
    }

    /// Shows the page to a walk.
    pub(super) fn show(
        &self,
        walk: &mut Walk<'_>,
        now: Timestamp,
        standing: impl Fn(&str) -> Standing,
    ) -> Step {
        let ids: Vec<String> = self.rows.iter().map(name).collect();
        let items: Vec<Value> = self.rows.iter().map(|(id, _)| json!({"id": id})).collect();
        let rows = self.rows.iter().zip(&ids).zip(&items);
        let seen: Vec<Seen<'_>> = rows
            .map(|(((_, time), id), item)| Seen {
                id,
                item,
                time: time.map(at),
                standing: standing(id),
            })
            .collect();
        let page = Page {
            body: &self.body,
            headers: &self.headers,
            url: &self.url,
            raw_count: self.raw_count.unwrap_or(self.rows.len()),
            items: &seen,
            has_more: Some(self.body["more"] == json!(true)),
            next_id: &|last| match last.as_u64() {
                Some(last) => Ok(json!(last + 1)),
                None => Err("no number".to_owned()),
            },
        };
        walk.see(&page, now)
    }
}

/// What a row is told by: its id and its version.
pub(super) fn name((id, time): &Row) -> String {
    format!("{id}@{}", time.unwrap_or_default())
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The second that a request's cursor stands for.
pub(super) fn second(request: &PageRequest) -> Option<i64> {
    let text = request.cursor.as_ref()?.as_str().unwrap();
    let time: Timestamp = text.parse().unwrap();
    assert_eq!(time.subsec_nanosecond(), 0);
    Some(time.as_second())
}

/// A query parameter as a number.
pub(super) fn number(request: &PageRequest, name: &str) -> usize {
    let mut query = request.query.iter();
    let (_, value) = query.find(|(known, _)| known == name).unwrap();
    value.parse().unwrap()
}

/// Where staged items are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Staging {
    InMemory,
    Durable,
}

/// Reads a source and keeps what it found.
pub(super) struct Reader {
    committed: Option<String>,
    staging: Staging,
    staged: Vec<String>,
    staged_position: Option<String>,
    known: HashSet<String>,
    /// Whether the source has forgotten the page token, so that the poll begins at the cursor.
    pub(super) forgets: Box<dyn FnMut() -> bool>,
    /// Whether the next thing is the process dying.
    pub(super) dies: Box<dyn FnMut() -> bool>,
    pub(super) delivered: Vec<String>,
    pub(super) requests: Vec<PageRequest>,
    pub(super) remarks: Vec<Remark>,
}

impl Reader {
    pub(super) fn new(staging: Staging) -> Self {
        Self {
            committed: None,
            staging,
            staged: vec![],
            staged_position: None,
            known: HashSet::new(),
            forgets: Box::new(|| false),
            dies: Box::new(|| false),
            delivered: vec![],
            requests: vec![],
            remarks: vec![],
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        let text = self.staged_position.as_ref().or(self.committed.as_ref())?;
        Some(serde_json::from_str(text).unwrap())
    }

    pub(super) fn cursor(&self) -> Option<Value> {
        self.position()?.cursor
    }

    pub(super) fn is_known(&self, row: &Row) -> bool {
        self.known.contains(&name(row))
    }

    pub(super) fn set(&mut self, position: &Position) {
        self.committed = Some(serde_json::to_string(position).unwrap());
    }

    /// One poll; `None` = the process died.
    pub(super) fn poll(
        &mut self,
        rules: &Rules,
        started: i64,
        source: &mut dyn FnMut(&PageRequest) -> Answer,
    ) -> Option<Next> {
        if let (true, Some(position)) = ((self.forgets)(), self.position()) {
            self.drop_staged();
            self.set(&position.restarted());
        }
        let next = self.walk(rules, started, source);
        if self.staging == Staging::InMemory {
            self.drop_staged();
        }
        next
    }

    fn drop_staged(&mut self) {
        self.staged.clear();
        self.staged_position = None;
    }

    fn walk(
        &mut self,
        rules: &Rules,
        started: i64,
        source: &mut dyn FnMut(&PageRequest) -> Answer,
    ) -> Option<Next> {
        let begin = |position| Walk::new(rules, position, at(started), Timestamp::MAX).unwrap();
        let mut walk = begin(self.position());
        loop {
            let request = walk.request();
            let answer = source(&request);
            self.requests.push(request);
            let step = answer.show(&mut walk, at(started), |id| match () {
                () if self.known.contains(id) => Standing::Known,
                () if self.staged.iter().any(|staged| staged == id) => Standing::Met,
                () => Standing::New,
            });
            if (self.dies)() {
                return None;
            }
            self.store(&step, &answer.rows);
            if (self.dies)() {
                return None;
            }
            if step.next != Next::More {
                return Some(step.next);
            }
            // Nothing is needed but what was stored.
            assert_eq!(begin(self.position()).request(), walk.request());
        }
    }

    fn store(&mut self, step: &Step, rows: &[Row]) {
        self.remarks.extend(&step.remarks);
        let is_wanted = |row: &&Row| match step.take {
            Take::All | Take::Learn => true,
            Take::Since(since) => row.1.is_none_or(|time| at(time) >= since),
        };
        let mut page: Vec<String> = rows.iter().filter(is_wanted).map(name).collect();
        page.retain(|id| !self.known.contains(id) && !self.staged.contains(id));
        match &step.commit {
            Commit::Now(position) => {
                let mut items = std::mem::take(&mut self.staged);
                items.extend(page);
                self.known.extend(items.iter().cloned());
                if step.take != Take::Learn {
                    self.delivered.extend(items);
                }
                self.staged_position = None;
                self.set(position);
            }
            Commit::Later(position) => {
                self.staged.extend(page);
                self.staged_position = Some(serde_json::to_string(position).unwrap());
            }
            Commit::Drop(position) => {
                self.drop_staged();
                self.set(position);
            }
        }
    }
}

//! Which events of the log a filter means, newest first, by page.
//!
//! Each kind of filter has an index that is walked from its end, so that a page costs the same
//! however long the log is. Only a search for text reads what it does not show; it stops after so
//! many events, and the next page goes on from there.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::codec::{day, micros};
use super::reader::{self, Found};
use super::schema;
use crate::store::{DeliveryState, Filter, LogVerdict, Page, StoreError};

/// The most events that are looked through for a text, for one page.
const SEARCHED_MAX: usize = 20_000;
/// How many of them are read at a time.
const SEARCHED_AT_ONCE: usize = 500;
/// How far the order of acceptance may be from that of time: events are accepted a little after they
/// were received, and clocks are set. What is further off is not found by time.
const CLOCK_SLACK_MICROS: i64 = 15_000_000;

/// A place in the log. Partitions follow the time of events, places in them the order of acceptance:
/// around midnight the one is not the other, so both are needed to go on.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: u32,
    seq: i64,
}

impl Place {
    const NEWEST: Self = Self {
        part: u32::MAX,
        seq: i64::MAX,
    };

    fn parse(text: &str) -> Option<Self> {
        let (part, seq) = text.split_once('-')?;
        Some(Self {
            part: part.parse().ok()?,
            seq: seq.parse().ok()?,
        })
    }

    fn token(self) -> String {
        format!("{}-{}", self.part, self.seq)
    }

    /// Events of this partition come before this place in the order of acceptance.
    fn before(self, part: u32) -> i64 {
        match part == self.part {
            true => self.seq,
            false => i64::MAX,
        }
    }
}

/// A page of the log.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    page: Option<&str>,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> Result<rusqlite::Result<Page>, StoreError> {
    let start = match page {
        None => Place::NEWEST,
        Some(page) => Place::parse(page).ok_or(StoreError::Page)?,
    };
    Ok(list_from(connection, filter, start, limit, is_leased))
}

fn list_from(
    connection: &Connection,
    filter: &Filter,
    start: Place,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Page> {
    let needle = filter.text.as_deref().map(Needle::new);
    let mut page = Page {
        events: Vec::new(),
        next: None,
    };
    let mut last = start;
    let mut searched = 0;
    for part in schema::partitions(connection)?.into_iter().rev() {
        if part > start.part || !may_hold(part, filter) {
            continue;
        }
        let streams = Streams::new(connection, filter, part)?;
        let mut before = start.before(part);
        loop {
            // One more than there is room for tells that there is another page.
            let room = limit.saturating_sub(page.events.len()).saturating_add(1);
            let wanted = match needle {
                None => room,
                Some(_) => SEARCHED_AT_ONCE,
            };
            let found = streams.before(connection, before, wanted)?;
            for &found in &found {
                if page.events.len() >= limit || searched >= SEARCHED_MAX {
                    page.next = Some(last.token());
                    return Ok(page);
                }
                let place = Place {
                    part,
                    seq: found.seq(),
                };
                if let Some(needle) = &needle {
                    searched += 1;
                    if !needle.is_in(&reader::texts(connection, part, found)?) {
                        (last, before) = (place, place.seq);
                        continue;
                    }
                }
                if let Some(shown) = reader::found(connection, part, found, is_leased)? {
                    page.events.push(shown);
                }
                (last, before) = (place, place.seq);
            }
            if found.len() < wanted {
                break;
            }
        }
    }
    Ok(page)
}

/// How many events a filter means, whatever its text.
pub(super) fn count(connection: &Connection, filter: &Filter) -> rusqlite::Result<u64> {
    let mut all = 0;
    for part in schema::partitions(connection)? {
        if may_hold(part, filter) {
            all += Streams::new(connection, filter, part)?.count(connection)?;
        }
    }
    Ok(all)
}

/// Whether a partition may hold what is asked for. An event is received a little before or after
/// its id is made, so the days beside count too.
fn may_hold(part: u32, filter: &Filter) -> bool {
    let since = filter.since.map_or(0, |at| day(micros(at)));
    let until = filter.until.map_or(u32::MAX, |at| day(micros(at)));
    part >= since.saturating_sub(1) && part <= until.saturating_add(1)
}

/// The tables of a partition in which a filter finds something, each with its condition.
struct Streams {
    events: Vec<Stream>,
    refused: Option<Stream>,
}

/// A query without its end: places in the order of acceptance.
struct Stream {
    select: String,
    seq: &'static str,
    values: Vec<Value>,
}

impl Streams {
    fn new(connection: &Connection, filter: &Filter, part: u32) -> rusqlite::Result<Self> {
        let is_of_deliveries = filter.state.is_some() || filter.backend.is_some();
        let wants_events = filter.verdict != Some(LogVerdict::Refused) && filter.reason.is_none();
        let wants_refused = filter.verdict != Some(LogVerdict::Accepted) && !is_of_deliveries;
        let mut streams = Self {
            events: Vec::new(),
            refused: None,
        };
        if wants_events {
            let conditions = Conditions::new(connection, filter, &format!("event_{part}"))?;
            match filter.state {
                None if filter.backend.is_none() => {
                    let from = format!("event_{part} e");
                    streams.events.push(conditions.stream(&from, "e.seq", ""));
                }
                None => {
                    streams.events.push(live(part, filter, &conditions));
                    streams.events.push(done(part, filter, &conditions, ""));
                }
                Some(DeliveryState::Pending | DeliveryState::Leased) => {
                    streams.events.push(live(part, filter, &conditions));
                }
                Some(DeliveryState::Delivered) => {
                    let is = " AND d.state = 'delivered'";
                    streams.events.push(done(part, filter, &conditions, is));
                }
                Some(DeliveryState::Dead) => {
                    let is = " AND d.state = 'dead'";
                    streams.events.push(done(part, filter, &conditions, is));
                }
            }
        }
        if wants_refused {
            let mut conditions = Conditions::new(connection, filter, &format!("refused_{part}"))?;
            if let Some(reason) = &filter.reason {
                conditions.add("e.reason = ?", reason.clone());
            }
            let from = format!("refused_{part} e");
            streams.refused = Some(conditions.stream(&from, "e.seq", ""));
        }
        Ok(streams)
    }

    /// The latest that come before a place, at most `limit`.
    fn before(
        &self,
        connection: &Connection,
        seq: i64,
        limit: usize,
    ) -> rusqlite::Result<Vec<Found>> {
        let mut found = Vec::new();
        for stream in &self.events {
            let of_stream = stream.before(connection, seq, limit)?;
            found.extend(of_stream.into_iter().map(Found::Event));
        }
        if let Some(stream) = &self.refused {
            let of_stream = stream.before(connection, seq, limit)?;
            found.extend(of_stream.into_iter().map(Found::Refused));
        }
        // No two have the same place, but an event may be found by two of its deliveries.
        found.sort_by_key(|found| std::cmp::Reverse(found.seq()));
        found.dedup();
        found.truncate(limit);
        Ok(found)
    }

    fn count(&self, connection: &Connection) -> rusqlite::Result<u64> {
        let one = |sql: &str, values: &[Value]| {
            let mut statement = connection.prepare(sql)?;
            statement.query_row(params_from_iter(values), |row| row.get::<_, u64>(0))
        };
        let mut all = 0;
        if !self.events.is_empty() {
            let selects = self.events.iter().map(|stream| stream.select.as_str());
            let union = selects.collect::<Vec<_>>().join(" UNION ");
            let values = self.events.iter().flat_map(|stream| stream.values.clone());
            let values: Vec<Value> = values.collect();
            all += one(&format!("SELECT count(*) FROM ({union})"), &values)?;
        }
        if let Some(Stream { select, values, .. }) = &self.refused {
            all += one(&format!("SELECT count(*) FROM ({select})"), values)?;
        }
        Ok(all)
    }
}

impl Stream {
    fn before(
        &self,
        connection: &Connection,
        seq: i64,
        limit: usize,
    ) -> rusqlite::Result<Vec<i64>> {
        let Self {
            select, seq: by, ..
        } = self;
        let sql = format!("{select} AND {by} < ? ORDER BY {by} DESC LIMIT ?");
        let mut values = self.values.clone();
        values.push(seq.into());
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
        rows.collect()
    }
}

/// By what waits. The queue is in the order of acceptance.
fn live(part: u32, filter: &Filter, conditions: &Conditions) -> Stream {
    let from = format!("queue q CROSS JOIN event_{part} e ON e.seq = q.seq");
    let mut stream = conditions.stream(&from, "q.seq", &format!(" AND q.part = {part}"));
    if let Some(backend) = &filter.backend {
        stream.select.push_str(" AND q.backend = ?");
        stream.values.push(backend.clone().into());
    }
    stream
}

/// By what has ended.
fn done(part: u32, filter: &Filter, conditions: &Conditions, state: &str) -> Stream {
    let from = format!("done_{part} d CROSS JOIN event_{part} e ON e.seq = d.seq");
    let mut stream = conditions.stream(&from, "d.seq", state);
    if let Some(backend) = &filter.backend {
        stream.select.push_str(" AND d.backend = ?");
        stream.values.push(backend.clone().into());
    }
    stream
}

/// What is asked of an event itself. Only what is asked stands in the query, or no index would be
/// used for it.
#[derive(Default)]
struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    fn new(connection: &Connection, filter: &Filter, table: &str) -> rusqlite::Result<Self> {
        let mut conditions = Self::default();
        for (condition, value) in [
            ("e.route = ?", &filter.route),
            ("e.provider_id = ?", &filter.provider_event_id),
            ("e.type = ?", &filter.event_type),
            ("e.client = ?", &filter.client),
        ] {
            if let Some(value) = value {
                conditions.add(condition, value.clone());
            }
        }
        if let Some(since) = filter.since.map(micros) {
            conditions.add("e.at >= ?", since);
            let first = first_from(connection, table, since.saturating_sub(CLOCK_SLACK_MICROS))?;
            conditions.add("e.seq >= ?", first);
        }
        if let Some(until) = filter.until.map(micros) {
            conditions.add("e.at < ?", until);
            let end = first_from(connection, table, until.saturating_add(CLOCK_SLACK_MICROS))?;
            conditions.add("e.seq < ?", end);
        }
        Ok(conditions)
    }

    fn add(&mut self, condition: &str, value: impl Into<Value>) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self.values.push(value.into());
    }

    fn stream(&self, from: &str, seq: &'static str, more: &str) -> Stream {
        Stream {
            select: format!(
                "SELECT DISTINCT {seq} FROM {from} WHERE TRUE{}{more}",
                self.sql
            ),
            seq,
            values: self.values.clone(),
        }
    }
}

/// The first place whose event was received at or after a moment. Found by halves, since places and
/// times grow together; `i64::MAX` when there is none.
fn first_from(connection: &Connection, table: &str, at: i64) -> rusqlite::Result<i64> {
    let sql = format!("SELECT seq, at FROM {table} WHERE seq >= ? ORDER BY seq LIMIT 1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut next = |seq: i64| -> rusqlite::Result<Option<(i64, i64)>> {
        let mut rows = statement.query([seq])?;
        rows.next()?
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .transpose()
    };
    let sql = format!("SELECT coalesce(max(seq), 0) FROM {table}");
    let last: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
    let (mut low, mut high) = (0, last.saturating_add(1));
    let mut first = i64::MAX;
    while low < high {
        let middle = low + (high - low) / 2;
        match next(middle)? {
            Some((seq, received)) if received < at => low = seq.saturating_add(1),
            Some((seq, _)) => (first, high) = (seq, middle),
            None => high = middle,
        }
    }
    Ok(first)
}

/// A text that is looked for.
struct Needle(Vec<u8>);

impl Needle {
    fn new(text: &str) -> Self {
        Self(text.to_ascii_lowercase().into_bytes())
    }

    fn is_in(&self, texts: &[Vec<u8>]) -> bool {
        texts.iter().any(|text| {
            let text = text.to_ascii_lowercase();
            memchr::memmem::find(&text, &self.0).is_some()
        })
    }
}

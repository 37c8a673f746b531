//! What is read: the events of claimed deliveries, and pages of the log. Never waits for the writer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};

use super::codec::{self, day, micros, timestamp};
use super::queue::Live;
use super::schema::{self, Partition};
use super::{Options, load};
use crate::store::{
    DedupClaim, DeliveryState, Event, EventId, Filter, Page, Remembered, Shown, ShownDelivery,
    StoreError,
};

/// How many idle connections are kept.
const IDLE_MAX: usize = 4;

/// Connections that read, for one task at a time each.
pub(super) struct Readers {
    options: Arc<Options>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(options: Arc<Options>) -> Self {
        Self {
            options,
            idle: Mutex::default(),
        }
    }

    /// Reads with a connection of its own. Blocks.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => load::open_reader(&self.options)?,
        };
        // A connection that failed is not kept.
        let read = read(&connection)?;
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
        Ok(read)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of live deliveries, in their order; `None` where there is none.
pub(super) fn events(
    connection: &Connection,
    wanted: &[Live],
) -> rusqlite::Result<Vec<Option<Arc<Event>>>> {
    let mut sql: HashMap<u32, Partition> = HashMap::new();
    let mut events = Vec::with_capacity(wanted.len());
    for live in wanted {
        let partition = sql
            .entry(live.part)
            .or_insert_with(|| Partition::new(live.part));
        let event = connection
            .prepare_cached(&partition.select_claimed)?
            .query_row([live.seq], |row| codec::event(row, 0))
            .optional()?;
        events.push(event.map(Arc::new));
    }
    Ok(events)
}

/// What is shown of one event; `is_leased` knows about live deliveries.
pub(super) fn event(
    connection: &Connection,
    id: &EventId,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Option<Shown>> {
    let part = day(codec::id_micros(id));
    if !schema::partitions(connection)?.contains(&part) {
        return Ok(None);
    }
    let found = connection
        .prepare_cached(&format!(
            "SELECT e.seq, e.id, e.at, e.route, e.facts, p.head, p.body \
             FROM event_{part} e JOIN payload_{part} p ON p.seq = e.seq WHERE e.id = ?1"
        ))?
        .query_row([id.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, codec::event(row, 1)?))
        })
        .optional()?;
    let Some((seq, event)) = found else {
        return Ok(None);
    };
    shown(connection, part, seq, event, is_leased).map(Some)
}

fn shown(
    connection: &Connection,
    part: u32,
    seq: i64,
    event: Event,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Shown> {
    let mut deliveries = Vec::new();
    let mut live = connection
        .prepare_cached("SELECT slot, backend, due FROM queue WHERE seq = ?1 ORDER BY slot")?;
    let mut rows = live.query([seq])?;
    while let Some(row) = rows.next()? {
        let slot = row.get(0)?;
        let state = match is_leased((seq, slot)) {
            true => DeliveryState::Leased,
            false => DeliveryState::Pending,
        };
        deliveries.push(ShownDelivery {
            slot,
            backend: row.get(1)?,
            state,
            reason: None,
            at: timestamp(row.get(2)?),
            attempts: Vec::new(),
        });
    }
    let mut done = connection.prepare_cached(&format!(
        "SELECT slot, backend, state, at, reason FROM done_{part} WHERE seq = ?1 ORDER BY slot"
    ))?;
    let mut rows = done.query([seq])?;
    while let Some(row) = rows.next()? {
        let state = match row.get_ref(2)?.as_str()? {
            "delivered" => DeliveryState::Delivered,
            _ => DeliveryState::Dead,
        };
        deliveries.push(ShownDelivery {
            slot: row.get(0)?,
            backend: row.get(1)?,
            state,
            reason: row.get(4)?,
            at: timestamp(row.get(3)?),
            attempts: Vec::new(),
        });
    }
    deliveries.sort_by_key(|delivery| delivery.slot);
    let mut attempts = connection.prepare_cached(&format!(
        "SELECT slot, at, number, took, status, outcome, answer FROM attempt_{part} \
         WHERE seq = ?1 ORDER BY slot, at, number"
    ))?;
    let mut rows = attempts.query([seq])?;
    while let Some(row) = rows.next()? {
        let slot: u16 = row.get(0)?;
        let attempt = codec::attempt(row, 1)?;
        let delivery = deliveries.iter_mut().find(|delivery| delivery.slot == slot);
        if let Some(delivery) = delivery {
            delivery.attempts.push(attempt);
        }
    }
    Ok(Shown {
        event: Arc::new(event),
        deliveries,
    })
}

/// A page of the log, newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    page: Option<&str>,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> Result<rusqlite::Result<Page>, StoreError> {
    let before = match page {
        None => i64::MAX,
        Some(page) => page.parse().map_err(|_| StoreError::Page)?,
    };
    Ok(list_before(connection, filter, before, limit, is_leased))
}

fn list_before(
    connection: &Connection,
    filter: &Filter,
    before: i64,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Page> {
    let mut page = Page {
        events: Vec::new(),
        next: None,
    };
    let state = filter.state.map(|state| match state {
        DeliveryState::Pending | DeliveryState::Leased => "live",
        DeliveryState::Delivered => "delivered",
        DeliveryState::Dead => "dead",
    });
    let mut last = None;
    for part in schema::partitions(connection)?.into_iter().rev() {
        let left = limit.saturating_sub(page.events.len());
        if left == 0 {
            break;
        }
        let mut statement = connection.prepare_cached(&format!(
            "SELECT e.seq, e.id, e.at, e.route, e.facts, p.head, p.body \
             FROM event_{part} e JOIN payload_{part} p ON p.seq = e.seq \
             WHERE e.seq < ?1 AND (?2 IS NULL OR e.route = ?2) \
             AND (?3 IS NULL OR e.at >= ?3) AND (?4 IS NULL OR e.at < ?4) \
             AND (?5 IS NULL OR e.provider_id = ?5) \
             AND (?6 IS NULL OR EXISTS(SELECT 1 FROM done_{part} d WHERE d.seq = e.seq \
                  AND (d.backend = ?6)) OR EXISTS(SELECT 1 FROM queue q WHERE q.seq = e.seq \
                  AND q.backend = ?6)) \
             AND (?7 IS NULL OR (?7 = 'live' AND EXISTS(SELECT 1 FROM queue q \
                  WHERE q.seq = e.seq)) OR EXISTS(SELECT 1 FROM done_{part} d \
                  WHERE d.seq = e.seq AND d.state = ?7)) \
             ORDER BY e.seq DESC LIMIT ?8"
        ))?;
        let mut rows = statement.query(params![
            before,
            filter.route,
            filter.since.map(micros),
            filter.until.map(micros),
            filter.provider_event_id,
            filter.backend,
            state,
            left
        ])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            let event = codec::event(row, 1)?;
            page.events
                .push(shown(connection, part, seq, event, is_leased)?);
            last = Some(seq);
        }
    }
    if page.events.len() >= limit {
        page.next = last.map(|seq| seq.to_string());
    }
    Ok(page)
}

/// Keys that are remembered, the latest to end first.
pub(super) fn remembered(
    connection: &Connection,
    scopes: &[u64],
    now: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Remembered>> {
    let mut remembered = Vec::new();
    for day in schema::buckets(connection)?.into_iter().rev() {
        for scope in scopes {
            let left = limit.saturating_sub(remembered.len());
            let mut statement = connection.prepare_cached(&format!(
                "SELECT scope, key, until, answer FROM dedup_{day} \
                 WHERE scope = ?1 AND until > ?2 LIMIT ?3"
            ))?;
            let mut rows = statement.query(params![scope.cast_signed(), now, left])?;
            while let Some(row) = rows.next()? {
                let answer: Option<Vec<u8>> = row.get(3)?;
                remembered.push(Remembered {
                    claim: DedupClaim {
                        scope: row.get::<_, i64>(0)?.cast_unsigned(),
                        key: row.get(1)?,
                        until: timestamp(row.get(2)?),
                    },
                    answer: answer.and_then(|text| codec::decode_answer(&text.into())),
                });
            }
        }
    }
    Ok(remembered)
}

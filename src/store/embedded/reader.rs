//! What is read: the events of claimed deliveries, and pages of the log. Never waits for the writer.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, Row, params};

use super::codec::{self, day, timestamp};
use super::queue::Live;
use super::schema::{self, Partition};
use super::{Options, load};
use crate::store::cipher::SEALED;
use crate::store::{
    Act, Acts, DedupClaim, DeliveryState, Event, EventId, Refused, Remembered, Shelf, Shown,
    ShownDelivery,
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

    /// Reads with a connection of its own, all of it as of one moment. Blocks.
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
        let snapshot = connection.unchecked_transaction()?;
        let read = read(&snapshot)?;
        snapshot.finish()?;
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

/// The events of live deliveries, in their order; `None` where there is none that can be read: one
/// bad row must not hold up the others.
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
            .query_row([live.seq], |row| codec::event(row, 0));
        events.push(readable(event)?);
    }
    Ok(events)
}

/// An event; `None` when there is none that can be read.
fn readable(event: rusqlite::Result<Event>) -> rusqlite::Result<Option<Arc<Event>>> {
    match event {
        Ok(event) => Ok(Some(Arc::new(event))),
        Err(Error::QueryReturnedNoRows | Error::FromSqlConversionFailure(..)) => Ok(None),
        Err(Error::SqliteFailure(_, Some(why))) if why.starts_with(SEALED) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The place of an event in the order of acceptance.
pub(super) fn seq(connection: &Connection, id: &EventId) -> rusqlite::Result<Option<i64>> {
    let part = day(codec::id_micros(id));
    if !schema::partitions(connection)?.contains(&part) {
        return Ok(None);
    }
    connection
        .prepare_cached(&format!("SELECT seq FROM event_{part} WHERE id = ?1"))?
        .query_row([id.as_bytes()], |row| row.get(0))
        .optional()
}

/// The events of a route behind an offset, in order. Days overlap: an event is kept under the day of its
/// id, and takes its place when it is accepted.
pub(super) fn behind(
    connection: &Connection,
    route: &str,
    offset: i64,
    limit: usize,
) -> rusqlite::Result<Vec<(i64, Arc<Event>)>> {
    let limit_of_day = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut places = Vec::new();
    for part in schema::partitions(connection)? {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT seq FROM event_{part} WHERE route = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
        ))?;
        let found = statement.query_map(params![route, offset, limit_of_day], |row| row.get(0))?;
        for seq in found {
            places.push((seq?, part));
        }
    }
    places.sort_unstable();
    places.truncate(limit);
    let mut events = Vec::with_capacity(places.len());
    for (seq, part) in places {
        let sql = Partition::new(part).select_claimed;
        let event = connection
            .prepare_cached(&sql)?
            .query_row([seq], |row| codec::event(row, 0));
        events.extend(readable(event)?.map(|event| (seq, event)));
    }
    Ok(events)
}

/// The offset before the first event of a route from a time on, or that of its last one.
pub(super) fn offset(
    connection: &Connection,
    route: &str,
    from: Option<i64>,
) -> rusqlite::Result<i64> {
    let mut last = 0;
    let mut first = None;
    for part in schema::partitions(connection)? {
        let newest: Option<i64> = connection
            .prepare_cached(&format!(
                "SELECT max(seq) FROM event_{part} WHERE route = ?1"
            ))?
            .query_row([route], |row| row.get(0))?;
        last = last.max(newest.unwrap_or_default());
        if let Some(from) = from {
            let found: Option<i64> = connection
                .prepare_cached(&format!(
                    "SELECT min(seq) FROM event_{part} WHERE route = ?1 AND at >= ?2"
                ))?
                .query_row(params![route, from], |row| row.get(0))?;
            first = match (first, found) {
                (Some(one), Some(other)) => Some(std::cmp::min::<i64>(one, other)),
                (one, other) => one.or(other),
            };
        }
    }
    Ok(first.map_or(last, |first| first - 1))
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
            "SELECT e.seq, e.id, e.at, e.route, e.facts, opened(p.head, e.id), opened(p.body, e.id) \
             FROM event_{part} e JOIN payload_{part} p ON p.seq = e.seq WHERE e.id = ?1"
        ))?
        .query_row([id.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, codec::event(row, 1)?))
        })
        .optional()?;
    if let Some((seq, event)) = found {
        return shown(connection, part, seq, event, is_leased).map(Some);
    }
    connection
        .prepare_cached(&format!("{} WHERE id = ?1", select_refused(part)))?
        .query_row([id.as_bytes()], refused)
        .optional()
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
        "SELECT slot, at, number, took, status, outcome, opened(answer, x'') FROM attempt_{part} \
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
        refused: None,
        deliveries,
    })
}

/// A place that a search has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Event(i64),
    Refused(i64),
}

impl Found {
    pub(super) fn seq(self) -> i64 {
        match self {
            Self::Event(seq) | Self::Refused(seq) => seq,
        }
    }
}

/// What is shown of a place; `None` when nothing is there any more.
pub(super) fn found(
    connection: &Connection,
    part: u32,
    found: Found,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Option<Shown>> {
    match found {
        Found::Event(seq) => {
            let event = connection
                .prepare_cached(&Partition::new(part).select_claimed)?
                .query_row([seq], |row| codec::event(row, 0))
                .optional()?;
            event
                .map(|event| shown(connection, part, seq, event, is_leased))
                .transpose()
        }
        Found::Refused(seq) => connection
            .prepare_cached(&format!("{} WHERE seq = ?1", select_refused(part)))?
            .query_row([seq], refused)
            .optional(),
    }
}

/// Head and body of a place.
pub(super) fn texts(
    connection: &Connection,
    part: u32,
    found: Found,
) -> rusqlite::Result<[Vec<u8>; 2]> {
    let from = match found {
        Found::Event(_) => format!("payload_{part} p JOIN event_{part} e ON e.seq = p.seq"),
        Found::Refused(_) => format!("refused_{part} p JOIN refused_{part} e ON e.seq = p.seq"),
    };
    connection
        .prepare_cached(&format!(
            "SELECT opened(p.head, e.id), opened(p.body, e.id) FROM {from} WHERE p.seq = ?1"
        ))?
        .query_row([found.seq()], |row| Ok([row.get(0)?, row.get(1)?]))
}

fn select_refused(part: u32) -> String {
    format!(
        "SELECT id, at, route, facts, opened(head, id), opened(body, id), reason, detail, status, \
         is_whole \
         FROM refused_{part}"
    )
}

fn refused(row: &Row<'_>) -> rusqlite::Result<Shown> {
    Ok(Shown {
        event: Arc::new(codec::event(row, 0)?),
        refused: Some(Refused {
            reason: row.get(6)?,
            detail: row.get(7)?,
            status: row.get(8)?,
            body_is_whole: row.get(9)?,
        }),
        deliveries: Vec::new(),
    })
}

/// What was done to the gateway, latest first, before a place in the list.
pub(super) fn acts(connection: &Connection, before: i64, limit: usize) -> rusqlite::Result<Acts> {
    let mut statement = connection.prepare_cached(
        "SELECT id, at, who, what, detail FROM act WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let mut rows = statement.query(params![before, limit.saturating_add(1)])?;
    let mut acts = Acts {
        acts: Vec::new(),
        next: None,
    };
    let mut last = before;
    while let Some(row) = rows.next()? {
        if acts.acts.len() >= limit {
            acts.next = Some(last.to_string());
            break;
        }
        last = row.get(0)?;
        acts.acts.push(Act {
            at: timestamp(row.get(1)?),
            who: row.get(2)?,
            what: row.get(3)?,
            detail: row.get(4)?,
        });
    }
    Ok(acts)
}

/// The documents of a shelf.
pub(super) fn shelf(
    connection: &Connection,
    shelf: Shelf,
) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection
        .prepare_cached("SELECT key, text FROM document WHERE shelf = ?1 ORDER BY key")?;
    let rows = statement.query_map([shelf.name()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Which keys are remembered after a moment.
pub(super) fn known(
    connection: &Connection,
    keys: &[DedupClaim],
    at: i64,
) -> rusqlite::Result<Vec<bool>> {
    let days = schema::buckets(connection)?;
    let mut known = vec![false; keys.len()];
    for day in days.into_iter().filter(|&day| day >= codec::day(at)) {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT 1 FROM dedup_{day} WHERE scope = ?1 AND key = ?2 AND until > ?3"
        ))?;
        for (key, is_known) in keys.iter().zip(&mut known) {
            if !*is_known {
                *is_known = statement.exists(params![key.scope.cast_signed(), key.key, at])?;
            }
        }
    }
    Ok(known)
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
        let left = limit.saturating_sub(remembered.len());
        if left == 0 {
            break;
        }
        let mut of_day = Vec::new();
        for scope in scopes {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT scope, key, until, opened_or_null(answer, id) FROM dedup_{day} \
                 WHERE scope = ?1 AND until > ?2 ORDER BY until DESC LIMIT ?3"
            ))?;
            let mut rows = statement.query(params![scope.cast_signed(), now, left])?;
            while let Some(row) = rows.next()? {
                let answer: Option<Vec<u8>> = row.get(3)?;
                of_day.push(Remembered {
                    claim: DedupClaim {
                        scope: row.get::<_, i64>(0)?.cast_unsigned(),
                        key: row.get(1)?,
                        until: timestamp(row.get(2)?),
                    },
                    answer: answer.and_then(|text| codec::decode_answer(&text.into())),
                });
            }
        }
        // A day ends before the next begins, so it is enough to sort each by itself.
        of_day.sort_by_key(|known| Reverse(known.claim.until));
        of_day.truncate(left);
        remembered.append(&mut of_day);
    }
    Ok(remembered)
}

//! What is read: the events of claimed deliveries, and pages of the log. Never waits for the writer.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, Error, OptionalExtension, params};

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
        events.push(match event {
            Ok(event) => Some(Arc::new(event)),
            Err(Error::QueryReturnedNoRows | Error::FromSqlConversionFailure(..)) => None,
            Err(error) => return Err(error),
        });
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

/// A place in the log. Partitions follow the time of events, places in them the order of acceptance:
/// around midnight the one is not the other, so both are needed to go on.
#[derive(Debug, Clone, Copy)]
struct PageStart {
    part: u32,
    seq: i64,
}

impl PageStart {
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

    /// Events of this partition come before this place in the order of acceptance.
    fn before(self, part: u32) -> i64 {
        match part == self.part {
            true => self.seq,
            false => i64::MAX,
        }
    }
}

/// A page of the log, newest first.
pub(super) fn list(
    connection: &Connection,
    filter: &Filter,
    page: Option<&str>,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> Result<rusqlite::Result<Page>, StoreError> {
    let start = match page {
        None => PageStart::NEWEST,
        Some(page) => PageStart::parse(page).ok_or(StoreError::Page)?,
    };
    Ok(list_from(connection, filter, start, limit, is_leased))
}

fn list_from(
    connection: &Connection,
    filter: &Filter,
    start: PageStart,
    limit: usize,
    is_leased: &dyn Fn((i64, u16)) -> bool,
) -> rusqlite::Result<Page> {
    let mut page = Page {
        events: Vec::new(),
        next: None,
    };
    let mut last = None;
    for part in schema::partitions(connection)?.into_iter().rev() {
        if part > start.part || !may_hold(part, filter) {
            continue;
        }
        // One more than there is room for tells that there is another page.
        let left = limit.saturating_sub(page.events.len()).saturating_add(1);
        let deliveries = of_deliveries(part, filter.state);
        let mut statement = connection.prepare_cached(&format!(
            "SELECT e.seq, e.id, e.at, e.route, e.facts, p.head, p.body \
             FROM event_{part} e JOIN payload_{part} p ON p.seq = e.seq \
             WHERE e.seq < ?1 AND (?2 IS NULL OR e.route = ?2) \
             AND (?3 IS NULL OR e.at >= ?3) AND (?4 IS NULL OR e.at < ?4) \
             AND (?5 IS NULL OR e.provider_id = ?5) AND ({deliveries}) \
             ORDER BY e.seq DESC LIMIT ?7"
        ))?;
        let mut rows = statement.query(params![
            start.before(part),
            filter.route,
            filter.since.map(micros),
            filter.until.map(micros),
            filter.provider_event_id,
            filter.backend,
            left
        ])?;
        while let Some(row) = rows.next()? {
            if page.events.len() >= limit {
                page.next = last.map(|PageStart { part, seq }| format!("{part}-{seq}"));
                return Ok(page);
            }
            let seq: i64 = row.get(0)?;
            let event = codec::event(row, 1)?;
            page.events
                .push(shown(connection, part, seq, event, is_leased)?);
            last = Some(PageStart { part, seq });
        }
    }
    Ok(page)
}

/// Whether a partition may hold what is asked for. An event is received a little before or after
/// its id is made, so the days beside count too.
fn may_hold(part: u32, filter: &Filter) -> bool {
    let since = filter.since.map_or(0, |at| day(micros(at)));
    let until = filter.until.map_or(u32::MAX, |at| day(micros(at)));
    part >= since.saturating_sub(1) && part <= until.saturating_add(1)
}

/// The condition on an event's deliveries; `?6` is the backend. State and backend are those of the
/// same delivery.
fn of_deliveries(part: u32, state: Option<DeliveryState>) -> String {
    let live = "EXISTS(SELECT 1 FROM queue q WHERE q.seq = e.seq \
                AND (?6 IS NULL OR q.backend = ?6))";
    let done = |state: &str| {
        format!(
            "EXISTS(SELECT 1 FROM done_{part} d WHERE d.seq = e.seq \
             AND (?6 IS NULL OR d.backend = ?6){state})"
        )
    };
    match state {
        None => format!("?6 IS NULL OR {live} OR {}", done("")),
        Some(DeliveryState::Pending | DeliveryState::Leased) => live.to_owned(),
        Some(DeliveryState::Delivered) => done(" AND d.state = 'delivered'"),
        // The dead are few, and have an index of their own.
        Some(DeliveryState::Dead) => format!(
            "e.seq IN (SELECT d.seq FROM done_{part} d WHERE d.state = 'dead' \
             AND (?6 IS NULL OR d.backend = ?6))"
        ),
    }
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
                "SELECT scope, key, until, answer FROM dedup_{day} \
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

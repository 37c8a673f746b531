//! How far sources have been read, as steps of a transaction.
//!
//! Who leads a source is known in memory, since one process owns the file. Only the epoch is on disk,
//! so that it grows over restarts.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::codec::{micros, timestamp};
use super::steps::{Steps, bytes_of};
use crate::store::{
    Accept, Accepted, Advance, Advanced, EventId, Lead, Room, SourceKey, SourceRow,
};

/// How long a source that is not read any more may keep keys from being forgotten.
const HELD_MAX_DAYS: i64 = 90;
const MICROSECONDS_PER_DAY: i64 = 86_400_000_000;

const COLUMNS: &str = "name, partition, version, held_at, \
     CAST(opened(document, CAST(name AS BLOB)) AS TEXT), \
     CAST(opened(snapshot, CAST(name AS BLOB)) AS TEXT)";

/// Who leads which source, and until when.
#[derive(Default)]
pub(super) struct Leads(HashMap<SourceKey, (u64, Timestamp)>);

/// What a wish to lead a source comes to.
pub(super) enum Wish {
    /// Who asks leads it already.
    Kept,
    /// It was nobody's, or its time was over.
    Taken,
    /// Somebody else leads it.
    Refused,
}

impl Leads {
    pub(super) fn wish(
        &mut self,
        key: &SourceKey,
        who: u64,
        now: Timestamp,
        until: Timestamp,
    ) -> Wish {
        let wish = match self.0.get(key) {
            Some((leader, _)) if *leader == who => Wish::Kept,
            Some((_, end)) if *end > now => return Wish::Refused,
            Some(_) | None => Wish::Taken,
        };
        self.0.insert(key.clone(), (who, until));
        wish
    }

    /// Gives a lead back that did not come about.
    pub(super) fn give_back(&mut self, key: &SourceKey, who: u64) {
        if self.0.get(key).is_some_and(|(leader, _)| *leader == who) {
            self.0.remove(key);
        }
    }
}

impl Steps<'_> {
    /// Begins a new epoch of a source.
    pub(super) fn lead(&self, key: &SourceKey) -> rusqlite::Result<Lead> {
        let (name, partition) = (&key.source, &key.partition);
        self.transaction
            .prepare_cached(
                "INSERT INTO source(name, partition, version, epoch, held_at) \
                 VALUES(?1, ?2, 0, 1, 0) \
                 ON CONFLICT(name, partition) DO UPDATE SET epoch = epoch + 1",
            )?
            .execute(params![name, partition])?;
        led(self.transaction, key)
    }

    /// Accepts what a poll found and notes how far it has come.
    pub(super) fn advance(&mut self, step: &Advance) -> rusqlite::Result<Advanced> {
        let (name, partition) = (&step.key.source, &step.key.partition);
        let found = self
            .transaction
            .prepare_cached("SELECT version, epoch FROM source WHERE name = ?1 AND partition = ?2")?
            .query_row(params![name, partition], |row| {
                Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))
            })
            .optional()?;
        if found != Some((step.version, step.epoch)) {
            return Ok(Advanced::Fenced);
        }
        let known = self.known(step)?;
        if let Some(room) = self.too_much(&step.found, &known) {
            return Ok(Advanced::Full(room));
        }
        let mut accepted = Vec::with_capacity(step.found.len());
        for (item, known) in step.found.iter().zip(known) {
            accepted.push(match known {
                Some(known) => known,
                None => self.take(item)?,
            });
        }
        for claim in &step.learned {
            self.remember(claim, &EventId::from_bytes([0; 16]), None)?;
        }
        let version = step.version + 1;
        self.note_source(step, version)?;
        Ok(Advanced::Done { version, accepted })
    }

    /// What of a poll was known before. A key that is met again is remembered anew, so that it is
    /// known for as long as its item can be met.
    fn known(&mut self, step: &Advance) -> rusqlite::Result<Vec<Option<Accepted>>> {
        let at = micros(step.known_at);
        let mut all = Vec::with_capacity(step.found.len());
        for item in &step.found {
            let Some(claim) = &item.dedup else {
                all.push(None);
                continue;
            };
            let now = micros(item.event.received_at);
            let known = self.find(claim, at.min(now))?;
            if let Some(known) = &known {
                let window = micros(claim.until).saturating_sub(now);
                if known.until < now.saturating_add(window / 2) {
                    let (first, answer) = (known.first, known.answer.clone());
                    self.remember(claim, &first, answer.as_deref())?;
                }
            }
            all.push(known.map(|known| known.seen_by(&item.event.id)));
        }
        Ok(all)
    }

    /// The limit that what is new would not be within, all of it together.
    fn too_much(&self, found: &[Accept], known: &[Option<Accepted>]) -> Option<Room> {
        let new = || {
            let both = found.iter().zip(known);
            both.filter(|(_, known)| known.is_none())
                .map(|(item, _)| item)
        };
        let first = new().next()?;
        let bytes = new().map(|item| bytes_of(&item.event)).sum();
        let count = new().map(|item| item.deliveries.len() as u64).sum();
        let route = self.shared.queue().names.number(&first.event.route);
        self.limit_met(bytes, first.route_depth_max, route, count)
    }

    /// Takes an item that nobody knew before the poll; the poll itself may have it twice.
    fn take(&mut self, item: &Accept) -> rusqlite::Result<Accepted> {
        if let Some(claim) = &item.dedup
            && let Some(known) = self.find(claim, micros(item.event.received_at))?
        {
            return Ok(known.seen_by(&item.event.id));
        }
        let route = self.shared.queue().names.number(&item.event.route);
        self.write_event(item, route, item.deliveries.len() as u64)?;
        Ok(Accepted::New)
    }

    fn note_source(&self, step: &Advance, version: u64) -> rusqlite::Result<()> {
        let (name, partition) = (&step.key.source, &step.key.partition);
        let Some(document) = &step.document else {
            // Its epoch stays: who leads it leads it still.
            self.transaction
                .prepare_cached(
                    "UPDATE source SET version = ?3, held_at = 0, document = NULL, \
                     snapshot = NULL WHERE name = ?1 AND partition = ?2",
                )?
                .execute(params![name, partition, version])?;
            return Ok(());
        };
        let cipher = &self.shared.options.cipher;
        let seal = |text: &str| cipher.seal(text.as_bytes(), name.as_bytes()).into_owned();
        self.transaction
            .prepare_cached(
                "UPDATE source SET version = ?3, held_at = ?4, document = ?5, \
                 snapshot = coalesce(?6, snapshot) WHERE name = ?1 AND partition = ?2",
            )?
            .execute(params![
                name,
                partition,
                version,
                micros(step.held_at),
                seal(document),
                step.snapshot.as_deref().map(seal)
            ])?;
        Ok(())
    }
}

/// The lead of a source that somebody has.
pub(super) fn led(connection: &Connection, key: &SourceKey) -> rusqlite::Result<Lead> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}, epoch FROM source WHERE name = ?1 AND partition = ?2"
    ))?;
    statement.query_row(params![key.source, key.partition], |row| {
        Ok(Lead {
            epoch: row.get(6)?,
            row: source_row(row)?,
        })
    })
}

/// All partitions of a source.
pub(super) fn of_source(connection: &Connection, source: &str) -> rusqlite::Result<Vec<SourceRow>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM source WHERE name = ?1 ORDER BY partition"
    ))?;
    let rows = statement.query_map([source], source_row)?;
    rows.collect()
}

/// Until when keys are to be known, which some source may meet again.
pub(super) fn held_at(connection: &Connection, now: i64) -> rusqlite::Result<i64> {
    let earliest = now.saturating_sub(HELD_MAX_DAYS * MICROSECONDS_PER_DAY);
    let held: Option<i64> = connection
        .prepare_cached("SELECT min(held_at) FROM source WHERE held_at > ?1")?
        .query_row([earliest], |row| row.get(0))?;
    Ok(held.map_or(now, |held| held.min(now)))
}

fn source_row(row: &Row<'_>) -> rusqlite::Result<SourceRow> {
    Ok(SourceRow {
        key: SourceKey {
            source: row.get::<_, String>(0)?.into(),
            partition: row.get::<_, String>(1)?.into(),
        },
        version: row.get(2)?,
        held_at: timestamp(row.get(3)?),
        document: row.get(4)?,
        snapshot: row.get(5)?,
    })
}

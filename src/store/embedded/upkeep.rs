//! What operators and retention do, as steps of a transaction: deliveries made again, lanes let go,
//! days forgotten.

use rusqlite::{OptionalExtension, params};

use super::codec::{self, day, micros};
use super::inbox::{Chore, Done};
use super::queue::Live;
use super::schema;
use super::steps::Steps;
use super::weight::Class;
use crate::store::{Act, Place, Redelivery, Shelf};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
/// How many events are dropped in one transaction: what is to be accepted waits for it.
const DROPPED_MAX: usize = 100;

/// What was taken away of a class of a day in one step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrimStep {
    pub rows: u64,
    pub bytes: u64,
    /// Where the next step begins; `None` = the day was looked through.
    pub until: Option<i64>,
}

impl Steps<'_> {
    /// Does what an operator or a poll asked for.
    pub(super) fn chore(&mut self, chore: &Chore) -> rusqlite::Result<Done> {
        match chore {
            Chore::Redeliver { items, due, .. } => self.redeliver(items, *due).map(Done::Count),
            Chore::Discard { seq, slot, .. } => self.discard(*seq, *slot).map(Done::Flag),
            Chore::Lead { key, .. } => self.lead(key).map(|lead| Done::Led(Box::new(lead))),
            Chore::Advance { step, .. } => self.advance(step).map(Done::Advanced),
            Chore::Act { act, .. } => self.act(act).map(|()| Done::Noted),
            Chore::Put {
                shelf,
                key,
                document,
                ..
            } => self
                .put(*shelf, key, document.as_deref())
                .map(|()| Done::Noted),
        }
    }

    /// Makes deliveries of events that are in the log.
    fn redeliver(&mut self, items: &[Redelivery], due: i64) -> rusqlite::Result<u64> {
        let mut count = 0;
        for item in items {
            let part = day(codec::id_micros(&item.id));
            if !self.tables.partitions.contains_key(&part) {
                continue;
            }
            let found = self
                .transaction
                .prepare_cached(&format!(
                    "SELECT seq, route FROM event_{part} WHERE id = ?1"
                ))?
                .query_row([item.id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((seq, route)): Option<(i64, String)> = found else {
                continue;
            };
            for place in &item.to {
                let is_live = self
                    .transaction
                    .prepare_cached("SELECT 1 FROM queue WHERE seq = ?1 AND slot = ?2")?
                    .exists(params![seq, place.slot])?;
                if !is_live {
                    self.deliver_again(part, seq, &route, place, due)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    fn deliver_again(
        &mut self,
        part: u32,
        seq: i64,
        route: &str,
        place: &Place,
        due: i64,
    ) -> rusqlite::Result<()> {
        let Place { slot, backend } = place;
        let lane = self
            .transaction
            .prepare_cached("DELETE FROM parked WHERE seq = ?1 AND slot = ?2 RETURNING lane")?
            .query_row(params![seq, slot], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or_default();
        let tables = self.tables.partition(self.transaction, part)?;
        self.transaction
            .prepare_cached(&tables.delete_done)?
            .execute(params![seq, slot])?;
        let since = u32::try_from(due / MICROSECONDS_PER_SECOND).unwrap_or(u32::MAX);
        self.transaction
            .prepare_cached(
                "INSERT INTO queue(seq, slot, part, due, route, backend, lane, attempts, since) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)",
            )?
            .execute(params![seq, slot, part, due, route, backend, lane, since])?;
        let mut queue = self.shared.queue();
        let live = Live {
            due,
            seq,
            slot: *slot,
            lane: lane.cast_unsigned(),
            part,
            backend: queue.names.number(backend),
            route: queue.names.number(route),
            attempts: 0,
            since,
        };
        drop(queue);
        match lane {
            0 => self.effects.added.push(live),
            _ => self.effects.heads.push(live),
        }
        Ok(())
    }

    /// Lets a lane go on that waits for a dead delivery; tells whether one did.
    fn discard(&mut self, seq: i64, slot: u16) -> rusqlite::Result<bool> {
        let parked = self
            .transaction
            .prepare_cached(
                "DELETE FROM parked WHERE seq = ?1 AND slot = ?2 RETURNING backend, lane",
            )?
            .query_row(params![seq, slot], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((backend, lane)): Option<(String, i64)> = parked else {
            return Ok(false);
        };
        let backend = self.shared.queue().names.number(&backend);
        self.effects.unparked.push((backend, lane.cast_unsigned()));
        Ok(true)
    }

    /// Notes what somebody did.
    fn act(&mut self, act: &Act) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("INSERT INTO act(at, who, what, detail) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![micros(act.at), act.who, act.what, act.detail])?;
        Ok(())
    }

    /// Puts a document on a shelf or takes it away.
    fn put(&mut self, shelf: Shelf, key: &str, document: Option<&str>) -> rusqlite::Result<()> {
        match document {
            Some(text) => self
                .transaction
                .prepare_cached(
                    "INSERT OR REPLACE INTO document(shelf, key, text) VALUES(?1, ?2, ?3)",
                )?
                .execute(params![shelf.name(), key, text])?,
            None => self
                .transaction
                .prepare_cached("DELETE FROM document WHERE shelf = ?1 AND key = ?2")?
                .execute(params![shelf.name(), key])?,
        };
        Ok(())
    }

    /// Drops the oldest events of a partition, [`DROPPED_MAX`]; 0 when there are no more than these.
    pub(super) fn drop_some(&mut self, part: u32) -> rusqlite::Result<usize> {
        let end = self
            .transaction
            .prepare_cached(&format!(
                "SELECT seq FROM event_{part} ORDER BY seq LIMIT 1 OFFSET ?1"
            ))?
            .query_row([DROPPED_MAX], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(end) = end else {
            return Ok(0);
        };
        self.unpark_before(part, end)?;
        for table in ["event", "payload", "done", "attempt"] {
            self.transaction
                .prepare_cached(&format!("DELETE FROM {table}_{part} WHERE seq < ?1"))?
                .execute([end])?;
        }
        Ok(DROPPED_MAX)
    }

    /// Drops a partition.
    pub(super) fn drop_partition(&mut self, part: u32) -> rusqlite::Result<()> {
        self.unpark_before(part, i64::MAX)?;
        schema::drop_partition(self.transaction, part)
    }

    /// Lets lanes go on that wait for dead of a partition: nobody can revive these any more.
    fn unpark_before(&mut self, part: u32, end: i64) -> rusqlite::Result<()> {
        self.unpark(
            &format!("seq IN (SELECT seq FROM event_{part} WHERE seq < ?1)"),
            end,
        )
    }

    fn unpark(&mut self, which: &str, value: i64) -> rusqlite::Result<()> {
        let mut statement = self.transaction.prepare_cached(&format!(
            "DELETE FROM parked WHERE {which} RETURNING backend, lane"
        ))?;
        let mut rows = statement.query([value])?;
        while let Some(row) = rows.next()? {
            let backend: String = row.get(0)?;
            let backend = self.shared.queue().names.number(&backend);
            let lane = row.get::<_, i64>(1)?.cast_unsigned();
            self.effects.unparked.push((backend, lane));
        }
        Ok(())
    }

    /// Drops the attempts, or the refused requests, of a partition.
    pub(super) fn empty(&mut self, table: &str, part: u32) -> rusqlite::Result<()> {
        // Without a condition, whole pages are dropped.
        let sql = format!("DELETE FROM {table}_{part}");
        self.transaction.execute(&sql, []).map(drop)
    }

    /// Drops events of a partition of which no delivery is dead, at most [`DROPPED_MAX`].
    pub(super) fn shed(&mut self, part: u32) -> rusqlite::Result<usize> {
        let mut statement = self.transaction.prepare(&format!(
            "SELECT seq FROM event_{part} e WHERE NOT EXISTS(SELECT 1 FROM done_{part} d \
             WHERE d.seq = e.seq AND d.state = 'dead') LIMIT ?1"
        ))?;
        let rows = statement.query_map([DROPPED_MAX], |row| row.get(0))?;
        let seqs: Vec<i64> = rows.collect::<Result<_, _>>()?;
        for &seq in &seqs {
            self.drop_event(part, seq)?;
        }
        Ok(seqs.len())
    }

    /// Drops the oldest of a class of a partition behind a place in the order of acceptance, until
    /// so many bytes are gone or [`DROPPED_MAX`] events were looked at.
    pub(super) fn trim(
        &mut self,
        class: Class,
        part: u32,
        after: i64,
        surplus: u64,
    ) -> rusqlite::Result<TrimStep> {
        let window = match class {
            Class::Delivered => format!("event_{part} WHERE"),
            Class::Dead => format!("done_{part} WHERE state = 'dead' AND"),
            Class::Refused => format!("refused_{part} WHERE"),
            Class::Attempts => format!("attempt_{part} WHERE"),
        };
        let seqs: Vec<i64> = self
            .transaction
            .prepare_cached(&format!(
                "SELECT DISTINCT seq FROM {window} seq > ?1 ORDER BY seq LIMIT ?2"
            ))?
            .query_map(params![after, DROPPED_MAX], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut step = TrimStep {
            until: seqs.last().copied().filter(|_| seqs.len() == DROPPED_MAX),
            ..TrimStep::default()
        };
        for seq in seqs {
            if step.bytes >= surplus {
                break;
            }
            if let Some(bytes) = self.trim_one(class, part, seq)? {
                step.rows += 1;
                step.bytes = step.bytes.saturating_add(bytes);
            }
        }
        Ok(step)
    }

    /// Drops what has ended of an event; tells how many bytes.
    fn trim_one(&mut self, class: Class, part: u32, seq: i64) -> rusqlite::Result<Option<u64>> {
        if class == Class::Refused {
            return self.weighed_and_dropped(
                &format!("SELECT length(head) + length(body) FROM refused_{part} WHERE seq = ?1"),
                &format!("DELETE FROM refused_{part} WHERE seq = ?1"),
                seq,
            );
        }
        let is_there = |sql: &str| self.transaction.prepare_cached(sql)?.exists([seq]);
        if is_there("SELECT 1 FROM queue WHERE seq = ?1")? {
            return Ok(None);
        }
        let of_dead = format!("SELECT 1 FROM done_{part} WHERE seq = ?1 AND state = 'dead'");
        if class == Class::Delivered && is_there(&of_dead)? {
            return Ok(None);
        }
        if class == Class::Attempts {
            return self.weighed_and_dropped(
                &format!(
                    "SELECT sum(length(answer) + length(outcome)) FROM attempt_{part} \
                     WHERE seq = ?1"
                ),
                &format!("DELETE FROM attempt_{part} WHERE seq = ?1"),
                seq,
            );
        }
        self.unpark("seq = ?1", seq)?;
        let bytes = self.weighed_and_dropped(
            &format!("SELECT length(head) + length(body) FROM payload_{part} WHERE seq = ?1"),
            &format!("DELETE FROM payload_{part} WHERE seq = ?1"),
            seq,
        )?;
        self.drop_event(part, seq)?;
        Ok(bytes)
    }

    fn weighed_and_dropped(
        &self,
        weigh: &str,
        delete: &str,
        seq: i64,
    ) -> rusqlite::Result<Option<u64>> {
        let bytes = self
            .transaction
            .prepare_cached(weigh)?
            .query_row([seq], |row| row.get(0))
            .optional()?;
        self.transaction.prepare_cached(delete)?.execute([seq])?;
        Ok(bytes)
    }

    fn drop_event(&self, part: u32, seq: i64) -> rusqlite::Result<()> {
        for table in ["event", "payload", "done", "attempt"] {
            self.transaction
                .prepare_cached(&format!("DELETE FROM {table}_{part} WHERE seq = ?1"))?
                .execute([seq])?;
        }
        Ok(())
    }
}

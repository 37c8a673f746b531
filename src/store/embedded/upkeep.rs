//! What operators and retention do, as steps of a transaction: deliveries made again, lanes let go,
//! days forgotten.

use rusqlite::{OptionalExtension, params};

use super::codec::{self, day, micros};
use super::queue::Live;
use super::schema;
use super::steps::Steps;
use crate::store::{Act, Place, Redelivery, Shelf};

const MICROSECONDS_PER_SECOND: i64 = 1_000_000;
/// How many events of a day that goes are dropped in one transaction.
const DROPPED_MAX: usize = 1000;
/// How many events are dropped one by one in one transaction.
pub(super) const SHED_MAX: usize = 1000;

impl Steps<'_> {
    /// Makes deliveries of events that are in the log.
    pub(super) fn redeliver(&mut self, items: &[Redelivery], due: i64) -> rusqlite::Result<u64> {
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
    pub(super) fn discard(&mut self, seq: i64, slot: u16) -> rusqlite::Result<bool> {
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
    pub(super) fn act(&mut self, act: &Act) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("INSERT INTO act(at, who, what, detail) VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![micros(act.at), act.who, act.what, act.detail])?;
        Ok(())
    }

    /// Puts a document on a shelf or takes it away.
    pub(super) fn put(
        &mut self,
        shelf: Shelf,
        key: &str,
        document: Option<&str>,
    ) -> rusqlite::Result<()> {
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
        let mut statement = self.transaction.prepare(&format!(
            "DELETE FROM parked WHERE seq IN (SELECT seq FROM event_{part} WHERE seq < ?1) \
             RETURNING backend, lane"
        ))?;
        let mut rows = statement.query([end])?;
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

    /// Drops events of a partition of which no delivery is dead, at most [`SHED_MAX`].
    pub(super) fn shed(&mut self, part: u32) -> rusqlite::Result<usize> {
        let mut statement = self.transaction.prepare(&format!(
            "SELECT seq FROM event_{part} e WHERE NOT EXISTS(SELECT 1 FROM done_{part} d \
             WHERE d.seq = e.seq AND d.state = 'dead') LIMIT ?1"
        ))?;
        let rows = statement.query_map([SHED_MAX], |row| row.get(0))?;
        let seqs: Vec<i64> = rows.collect::<Result<_, _>>()?;
        for seq in &seqs {
            for table in ["event", "payload", "done", "attempt"] {
                self.transaction
                    .prepare_cached(&format!("DELETE FROM {table}_{part} WHERE seq = ?1"))?
                    .execute([seq])?;
            }
        }
        Ok(seqs.len())
    }
}

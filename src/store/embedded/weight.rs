//! How many bytes each class of the log takes, so that each can have a limit of its own.
//!
//! Events and refused requests are only ever appended, so of each day only what is new is looked at.
//! Attempts come later too, and are weighed anew on days that may have got some. What is weighed is
//! heads, bodies and answers; what the file takes beside them belongs to no class.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};

use super::{Reading, schema};
use crate::store::{ClassBytes, Retained, StoreError};

/// For how long the weight of the classes is taken to be what it was, but for what was dropped.
const WEIGHED_FOR: SignedDuration = SignedDuration::from_secs(30);

/// What a class of a day takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weight {
    /// The last row that was looked at.
    last_seq: i64,
    rows: u64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Day {
    events: Weight,
    refused: Weight,
    attempts: Weight,
    dead: Weight,
}

/// What the classes of all days took when they were looked at.
#[derive(Debug, Clone, Default)]
struct Scale {
    days: BTreeMap<u32, Day>,
}

/// A class of the log that may have a limit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Class {
    Delivered,
    Dead,
    Refused,
    Attempts,
}

/// What is above the limit of each class, in bytes.
pub(super) type Surplus = Vec<(Class, u64)>;

/// What was taken away of a class of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trimmed {
    pub class: Class,
    pub part: u32,
    pub rows: u64,
    pub bytes: u64,
}

/// What the classes took, and when that was looked at.
#[derive(Default)]
pub(super) struct Weighed {
    scale: Scale,
    at: Option<Timestamp>,
}

impl Weighed {
    /// What is above the limits of the classes. While the rest of a surplus is dropped, nothing is
    /// weighed anew.
    pub(super) async fn surplus(
        &mut self,
        reading: &Reading,
        max: ClassBytes,
        waiting: Waiting,
        now: Timestamp,
    ) -> Result<Surplus, StoreError> {
        if max == ClassBytes::default() {
            return Ok(Surplus::new());
        }
        let since = self.at.map(|at| now.duration_since(at));
        let is_fresh = since.is_some_and(|since| since.abs() < WEIGHED_FOR);
        if !is_fresh || self.scale.days.is_empty() {
            let mut scale = self.scale.clone();
            let of_days = waiting.clone();
            self.scale = reading
                .read(move |connection| {
                    scale.weigh(connection, &max, &of_days)?;
                    Ok(scale)
                })
                .await?;
            self.at = Some(now);
        }
        Ok(self.scale.surplus(&max, &waiting))
    }

    /// What was dropped, with what was trimmed of the classes.
    pub(super) fn after(&mut self, mut retained: Retained, trimmed: &[Trimmed]) -> Retained {
        if retained.partitions_dropped > 0 || retained.rows_dropped > 0 {
            // Whole parts of it were forgotten.
            self.scale.days.clear();
        }
        self.scale.take_off(trimmed);
        for one in trimmed {
            retained.rows_dropped += usize::try_from(one.rows).unwrap_or(usize::MAX);
        }
        retained
    }
}

/// How many events of a day wait.
pub(super) type Waiting = BTreeMap<u32, u64>;

impl Scale {
    /// Looks at what is new.
    fn weigh(
        &mut self,
        connection: &Connection,
        max: &ClassBytes,
        waiting: &Waiting,
    ) -> rusqlite::Result<()> {
        let parts = schema::partitions(connection)?;
        self.days.retain(|part, _| parts.contains(part));
        let latest = parts.last().copied();
        for part in parts {
            let day = self.days.entry(part).or_default();
            let may_have_more = waiting.contains_key(&part) || latest == Some(part);
            if max.delivered.is_some() {
                add_new(connection, "payload", part, &mut day.events)?;
            }
            if max.refused.is_some() {
                add_new(connection, "refused", part, &mut day.refused)?;
            }
            if max.delivered.is_some() || max.dead.is_some() {
                day.dead = dead(connection, part)?;
            }
            if max.attempts.is_some() && (may_have_more || day.attempts == Weight::default()) {
                day.attempts = attempts(connection, part)?;
            }
        }
        Ok(())
    }

    /// What is above the limits. Events that wait belong to no class: they count as the average of
    /// their day.
    fn surplus(&self, max: &ClassBytes, waiting: &Waiting) -> Surplus {
        let taken = |class: Class| -> u64 {
            let of_day = |(part, day): (&u32, &Day)| match class {
                Class::Delivered => {
                    let live = waiting.get(part).copied().unwrap_or_default();
                    let average = day.events.bytes.checked_div(day.events.rows);
                    let live_bytes = average.unwrap_or_default().saturating_mul(live);
                    let ended = day.events.bytes.saturating_sub(live_bytes);
                    ended.saturating_sub(day.dead.bytes)
                }
                Class::Dead => day.dead.bytes,
                Class::Refused => day.refused.bytes,
                Class::Attempts => day.attempts.bytes,
            };
            self.days.iter().map(of_day).sum()
        };
        let limits = [
            (Class::Delivered, max.delivered),
            (Class::Dead, max.dead),
            (Class::Refused, max.refused),
            (Class::Attempts, max.attempts),
        ];
        let above = |(class, max): (Class, Option<u64>)| {
            let surplus = taken(class).checked_sub(max?).filter(|&bytes| bytes > 0);
            surplus.map(|bytes| (class, bytes))
        };
        limits.into_iter().filter_map(above).collect()
    }

    /// Takes off what was taken away.
    fn take_off(&mut self, trimmed: &[Trimmed]) {
        for one in trimmed {
            let Some(day) = self.days.get_mut(&one.part) else {
                continue;
            };
            let take = |weight: &mut Weight| {
                weight.rows = weight.rows.saturating_sub(one.rows);
                weight.bytes = weight.bytes.saturating_sub(one.bytes);
            };
            match one.class {
                Class::Delivered => take(&mut day.events),
                Class::Dead => {
                    take(&mut day.events);
                    take(&mut day.dead);
                }
                Class::Refused => take(&mut day.refused),
                Class::Attempts => take(&mut day.attempts),
            }
        }
    }
}

/// Adds the rows of a table that came since the last look.
fn add_new(
    connection: &Connection,
    table: &str,
    part: u32,
    weight: &mut Weight,
) -> rusqlite::Result<()> {
    let sql = format!(
        "SELECT coalesce(max(seq), ?1), count(*), coalesce(sum(length(head) + length(body)), 0) \
         FROM {table}_{part} WHERE seq > ?1"
    );
    let (last_seq, rows, bytes): (i64, u64, u64) = connection
        .prepare_cached(&sql)?
        .query_row(params![weight.last_seq], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    weight.last_seq = last_seq;
    weight.rows = weight.rows.saturating_add(rows);
    weight.bytes = weight.bytes.saturating_add(bytes);
    Ok(())
}

fn dead(connection: &Connection, part: u32) -> rusqlite::Result<Weight> {
    whole(
        connection,
        &format!(
            "SELECT count(*), coalesce(sum(length(head) + length(body)), 0) FROM payload_{part} \
             WHERE seq IN (SELECT seq FROM done_{part} WHERE state = 'dead')"
        ),
    )
}

fn attempts(connection: &Connection, part: u32) -> rusqlite::Result<Weight> {
    whole(
        connection,
        &format!(
            "SELECT count(*), coalesce(sum(length(answer) + length(outcome)), 0) \
             FROM attempt_{part}"
        ),
    )
}

fn whole(connection: &Connection, sql: &str) -> rusqlite::Result<Weight> {
    connection.prepare_cached(sql)?.query_row([], |row| {
        Ok(Weight {
            last_seq: 0,
            rows: row.get(0)?,
            bytes: row.get(1)?,
        })
    })
}

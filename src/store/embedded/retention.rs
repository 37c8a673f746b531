//! Forgets what was kept for long enough: whole days where nothing else is kept of them, a few events
//! at a time while others wait to be written.

use jiff::Timestamp;

use super::weight::{Surplus, Trimmed};
use super::writer::{Broken, Writer};
use super::{codec, schema, sources};
use crate::store::{Retained, Retention};

/// How retention goes about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    /// A whole day at once, which what is to be accepted waits for: there is no room for it.
    AtOnce,
    /// So few events at a time that nobody waits.
    InSteps,
}

impl Writer {
    /// Forgets the oldest days that nothing waits for: what is to be accepted counts more.
    pub(super) fn make_room(&mut self, bytes: u64) {
        let policy = Retention {
            bytes_max: Some(self.shared.options.bytes_max.saturating_sub(bytes)),
            ..Retention::of_all(Timestamp::MIN)
        };
        match self.retain(policy, 0, Haste::AtOnce) {
            Ok(Retained {
                partitions_dropped: 0,
                ..
            }) => {}
            Ok(retained) => {
                let dropped = retained.partitions_dropped;
                tracing::warn!(dropped, "the store is full: days of the log were forgotten");
            }
            Err(broken) => tracing::debug!(error = %broken.error(), "making room"),
        }
    }

    pub(super) fn retain(
        &mut self,
        policy: Retention,
        now: i64,
        haste: Haste,
    ) -> Result<Retained, Broken> {
        let mut retained = Retained::default();
        for part in schema::partitions(&self.connection)? {
            self.retain_partition(part, &policy, haste, &mut retained)?;
            if haste == Haste::InSteps && retained.may_have_more() {
                return Ok(retained);
            }
        }
        self.forget_keys(now)?;
        Ok(retained)
    }

    /// Drops the keys of days that are over, and that no source needs.
    fn forget_keys(&mut self, now: i64) -> Result<(), Broken> {
        let now = sources::held_at(&self.connection, now)?;
        for day in self.tables.buckets_before(now) {
            self.connection
                .execute_batch(&format!("DROP TABLE IF EXISTS dedup_{day}"))?;
            self.tables.forget_bucket(day);
            self.has_free_pages = true;
            self.weigh();
        }
        Ok(())
    }

    /// Drops a few of the oldest of each class of which there is too much.
    pub(super) fn trim(&mut self, surplus: &Surplus) -> Result<Vec<Trimmed>, Broken> {
        let mut all = Vec::new();
        for &(class, bytes) in surplus {
            for part in schema::partitions(&self.connection)? {
                let after = self.trimmed_until.get(&(class, part)).copied();
                let shared = self.shared.clone();
                let (trimmed, effects, _) = self.transaction(&shared, |steps| {
                    steps.trim(class, part, after.unwrap_or_default(), bytes)
                })?;
                self.apply(effects);
                match trimmed.until {
                    Some(until) => self.trimmed_until.insert((class, part), until),
                    None => self.trimmed_until.remove(&(class, part)),
                };
                let is_some = trimmed.rows > 0;
                self.has_free_pages |= is_some;
                all.push(Trimmed {
                    class,
                    part,
                    rows: trimmed.rows,
                    bytes: trimmed.bytes,
                });
                if is_some || trimmed.until.is_some() {
                    break;
                }
            }
        }
        Ok(all)
    }

    fn retain_partition(
        &mut self,
        part: u32,
        policy: &Retention,
        haste: Haste,
        retained: &mut Retained,
    ) -> Result<(), Broken> {
        let is_over = |cut: Timestamp| part < codec::day(codec::micros(cut));
        let is_live = self.shared.queue().holds_part(part);
        if (is_over(policy.refused_before) || self.is_too_much(policy))
            && !is_over(policy.dead_before)
        {
            self.empty("refused", part)?;
        }
        let is_old = is_over(policy.delivered_before) && is_over(policy.refused_before);
        let is_kept = !is_over(policy.dead_before) && self.has_dead(part)?;
        if self.is_too_much(policy) || is_old && !is_kept {
            if is_live {
                retained.partitions_held += 1;
                return Ok(());
            }
            let shared = self.shared.clone();
            if haste == Haste::InSteps {
                let (some, effects, _) =
                    self.transaction(&shared, |steps| steps.drop_some(part))?;
                self.apply(effects);
                if some > 0 {
                    self.has_free_pages = true;
                    retained.rows_dropped += some;
                    return Ok(());
                }
            }
            let ((), effects, _) = self.transaction(&shared, |steps| steps.drop_partition(part))?;
            self.apply(effects);
            self.tables.forget_partition(part);
            self.connection.flush_prepared_statement_cache();
            retained.partitions_dropped += 1;
            self.has_free_pages = true;
            return Ok(());
        }
        if is_live {
            return Ok(());
        }
        if is_over(policy.delivered_before) {
            let shared = self.shared.clone();
            let (shed, effects, _) = self.transaction(&shared, |steps| steps.shed(part))?;
            self.apply(effects);
            self.has_free_pages |= shed > 0;
            retained.rows_dropped += shed;
        }
        if is_over(policy.attempts_before) {
            self.empty("attempt", part)?;
        }
        Ok(())
    }

    fn is_too_much(&self, policy: &Retention) -> bool {
        policy.bytes_max.is_some_and(|max| self.used_bytes >= max)
    }

    fn has_dead(&self, part: u32) -> rusqlite::Result<bool> {
        schema::has_rows(
            &self.connection,
            &format!("done_{part} WHERE state = 'dead'"),
        )
    }

    fn empty(&mut self, table: &str, part: u32) -> Result<(), Broken> {
        if !schema::has_rows(&self.connection, &format!("{table}_{part}"))? {
            return Ok(());
        }
        let shared = self.shared.clone();
        let ((), effects, _) = self.transaction(&shared, |steps| steps.empty(table, part))?;
        self.apply(effects);
        self.has_free_pages = true;
        Ok(())
    }
}

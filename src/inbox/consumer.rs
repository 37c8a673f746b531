//! What a consumer has, and what is handed out to its readers.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most events that may be handed out and not committed.
const OUT_MAX: usize = 10_000;

/// Names a reader of events that were handed out.
pub type Lease = u64;

/// How far a consumer is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Consumer {
    kept: Kept,
    /// What is handed out: by offset, to whom and until when.
    out: BTreeMap<i64, (Lease, Timestamp)>,
}

/// What is on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Everything up to here is committed.
    offset: i64,
    /// So is this, behind it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    done: BTreeSet<i64>,
}

/// What a reader may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its lease.
    pub lease: Lease,
    /// Until when it has it.
    pub until: Timestamp,
    /// Behind which offset it reads.
    pub behind: i64,
    /// How many behind that may be taken by others.
    pub taken: usize,
}

/// Why a reader gets nothing, or nothing is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Another reader has the consumer's events.
    #[error("another reader of this consumer has events until {until}; it may commit before")]
    Busy {
        /// Until when.
        until: Timestamp,
    },
    /// It was handed so many that it must commit some first.
    #[error("{OUT_MAX} events are handed out and not committed: commit some of them first")]
    TooMany,
    /// The lease is over, or of somebody else.
    #[error("the lease is over: what it was for is handed out again; read anew")]
    Over,
    /// Nothing of this offset was handed out under the lease.
    #[error("offset {0} was not handed out under this lease")]
    NotHanded(i64),
}

impl Consumer {
    /// One that has everything up to an offset.
    pub fn at(offset: i64) -> Self {
        Self {
            kept: Kept {
                offset,
                done: BTreeSet::new(),
            },
            out: BTreeMap::new(),
        }
    }

    /// What is on disk; `None` = it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let kept = serde_json::from_str(text).ok()?;
        Some(Self {
            kept,
            out: BTreeMap::new(),
        })
    }

    /// What is put on disk.
    pub fn text(&self) -> String {
        serde_json::to_string(&self.kept).unwrap_or_default()
    }

    /// Everything up to here is committed.
    pub fn offset(&self) -> i64 {
        self.kept.offset
    }

    /// What a reader may get now.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn grant(
        &mut self,
        lease: Option<Lease>,
        is_shared: bool,
        now: Timestamp,
    ) -> Result<Grant, Denied> {
        self.out.retain(|_, (_, until)| *until > now);
        if self.out.len() >= OUT_MAX {
            return Err(Denied::TooMany);
        }
        let holder = self.out.values().next();
        match (holder, lease) {
            (Some((holder, until)), asked) if !is_shared && asked != Some(*holder) => {
                return Err(Denied::Busy { until: *until });
            }
            _ => {}
        }
        let behind = match is_shared {
            true => self.kept.offset,
            false => {
                let last = self.out.keys().next_back().copied();
                last.unwrap_or_default().max(self.kept.offset)
            }
        };
        Ok(Grant {
            lease: lease.unwrap_or_else(|| fastrand::u64(1..1 << 53)),
            until: now,
            behind,
            taken: match is_shared {
                true => self.out.len() + self.kept.done.len(),
                false => 0,
            },
        })
    }

    /// Whether nobody has an event.
    pub fn is_free(&self, offset: i64, now: Timestamp) -> bool {
        let out = self.out.get(&offset);
        offset > self.kept.offset
            && !self.kept.done.contains(&offset)
            && out.is_none_or(|(_, until)| *until <= now)
    }

    /// Hands events out; all of a lease end together.
    pub fn hand_out(
        &mut self,
        grant: &Grant,
        offsets: impl IntoIterator<Item = i64>,
    ) -> Option<Lease> {
        let before = self.out.len();
        for offset in offsets {
            self.out.insert(offset, (grant.lease, grant.until));
        }
        let is_any = self.out.len() > before;
        for (lease, until) in self.out.values_mut() {
            if is_any && *lease == grant.lease {
                *until = grant.until;
            }
        }
        is_any.then_some(grant.lease)
    }

    /// Notes that events have arrived: each of these, or without `is_shared` everything up to them.
    ///
    /// # Errors
    /// [`Denied`]: then nothing is noted.
    pub fn commit(
        &mut self,
        lease: Lease,
        offsets: &[i64],
        is_shared: bool,
        now: Timestamp,
    ) -> Result<(), Denied> {
        for offset in offsets {
            match self.out.get(offset) {
                Some((holder, until)) if *holder == lease && *until > now => {}
                Some((holder, _)) if *holder != lease => return Err(Denied::Over),
                None if self.out.values().any(|(holder, _)| *holder == lease) => {
                    return Err(Denied::NotHanded(*offset));
                }
                Some(_) | None => return Err(Denied::Over),
            }
        }
        if is_shared {
            for offset in offsets {
                self.out.remove(offset);
                self.kept.done.insert(*offset);
            }
            self.settle();
            return Ok(());
        }
        if let Some(last) = offsets.iter().max() {
            self.kept.offset = *last;
            self.out.retain(|offset, _| offset > last);
        }
        Ok(())
    }

    /// Moves the offset over what is done: nothing before the first that is handed out and not done
    /// comes any more.
    fn settle(&mut self) {
        let first_out = self.out.keys().next().copied().unwrap_or(i64::MAX);
        while let Some(first) = self.kept.done.first().copied() {
            if first > first_out {
                break;
            }
            self.kept.done.pop_first();
            self.kept.offset = self.kept.offset.max(first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Reads these at a time, for ten seconds.
    fn read(
        consumer: &mut Consumer,
        lease: Option<Lease>,
        shared: bool,
        now: i64,
        offsets: &[i64],
    ) -> Result<Lease, Denied> {
        let grant = consumer.grant(lease, shared, at(now))?;
        let free = offsets.iter().copied().filter(|one| *one > grant.behind);
        let free: Vec<i64> = free.filter(|one| consumer.is_free(*one, at(now))).collect();
        let grant = Grant {
            until: at(now + 10),
            ..grant
        };
        Ok(consumer.hand_out(&grant, free).unwrap_or_default())
    }

    #[test]
    fn one_reader_at_a_time_until_its_lease_ends() {
        let mut consumer = Consumer::at(0);
        let first = read(&mut consumer, None, false, 0, &[1, 2, 3]).unwrap();
        let busy = Denied::Busy { until: at(10) };
        assert_eq!(read(&mut consumer, None, false, 5, &[1]), Err(busy));
        // The one who has them reads on.
        assert_eq!(read(&mut consumer, Some(first), false, 5, &[4]), Ok(first));
        consumer.commit(first, &[3], false, at(6)).unwrap();
        assert_eq!(consumer.offset(), 3);
        assert_eq!(
            consumer.commit(first, &[9], false, at(6)),
            Err(Denied::NotHanded(9))
        );
        // 4 was not committed when its lease ended.
        let second = read(&mut consumer, None, false, 20, &[4, 5]).unwrap();
        assert_ne!(first, second);
        assert_eq!(
            consumer.commit(first, &[4], false, at(20)),
            Err(Denied::Over)
        );
        consumer.commit(second, &[5], false, at(21)).unwrap();
        assert_eq!(consumer.offset(), 5);
    }

    #[test]
    fn several_readers_share_events_one_by_one() {
        let mut consumer = Consumer::at(0);
        let one = read(&mut consumer, None, true, 0, &[1, 2]).unwrap();
        let other = read(&mut consumer, None, true, 1, &[1, 2, 3, 4]).unwrap();
        consumer.commit(other, &[3, 4], true, at(2)).unwrap();
        assert_eq!(consumer.offset(), 0, "1 and 2 are out");
        assert!(!consumer.is_free(3, at(2)) && !consumer.is_free(1, at(2)));
        assert_eq!(consumer.commit(other, &[2], true, at(2)), Err(Denied::Over));
        // After the end of its lease, 1 goes to somebody else.
        let third = read(&mut consumer, None, true, 11, &[1, 2, 3, 4]).unwrap();
        assert_eq!(consumer.commit(one, &[1], true, at(11)), Err(Denied::Over));
        consumer.commit(third, &[1], true, at(12)).unwrap();
        consumer.commit(third, &[2], true, at(12)).unwrap();
        assert_eq!(consumer.offset(), 4);
    }

    #[test]
    fn what_is_committed_outlasts_the_process_and_leases_do_not() {
        let mut consumer = Consumer::at(7);
        let lease = read(&mut consumer, None, true, 0, &[8, 9, 10]).unwrap();
        consumer.commit(lease, &[9], true, at(1)).unwrap();
        let again = Consumer::parse(&consumer.text()).unwrap();
        assert_eq!(again.offset(), 7);
        assert!(again.is_free(8, at(1)) && !again.is_free(9, at(1)) && again.is_free(10, at(1)));
        assert_eq!(Consumer::parse("{}"), None);
    }
}

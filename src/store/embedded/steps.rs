//! The steps of one transaction: what is written for an event, a settlement, a note.
//!
//! Nothing here touches memory: what a transaction will have done is gathered in [`Effects`] and
//! applied after its commit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Transaction, params};

use super::Shared;
use super::codec::{self, day, micros};
use super::queue::{Change, Live};
use super::schema::{self, Bucket, Partition};
use crate::store::{
    Accept, Accepted, Attempt, DedupClaim, End, Event, EventId, LaneRule, Logged, NewDelivery,
    Next, Note, Refused, Room, Settled, Settlement, Token,
};

/// The tables that are known to exist.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) partitions: HashMap<u32, Partition>,
    buckets: BTreeMap<u32, Bucket>,
}

impl Tables {
    pub(super) fn new(partitions: Vec<u32>, buckets: Vec<u32>) -> Self {
        let partition = |part| (part, Partition::new(part));
        let bucket = |day| (day, Bucket::new(day));
        Self {
            partitions: partitions.into_iter().map(partition).collect(),
            buckets: buckets.into_iter().map(bucket).collect(),
        }
    }

    pub(super) fn partition(
        &mut self,
        transaction: &Transaction<'_>,
        part: u32,
    ) -> rusqlite::Result<&Partition> {
        if !self.partitions.contains_key(&part) {
            schema::create_partition(transaction, part)?;
        }
        Ok(self
            .partitions
            .entry(part)
            .or_insert_with(|| Partition::new(part)))
    }

    fn bucket(&mut self, transaction: &Transaction<'_>, day: u32) -> rusqlite::Result<&Bucket> {
        if !self.buckets.contains_key(&day) {
            schema::create_bucket(transaction, day)?;
        }
        Ok(self.buckets.entry(day).or_insert_with(|| Bucket::new(day)))
    }

    pub(super) fn forget_partition(&mut self, part: u32) {
        self.partitions.remove(&part);
    }

    /// The days that have keys and are over.
    pub(super) fn buckets_before(&self, now: i64) -> Vec<u32> {
        self.buckets
            .range(..day(now))
            .map(|(&day, _)| day)
            .collect()
    }

    pub(super) fn forget_bucket(&mut self, day: u32) {
        self.buckets.remove(&day);
    }
}

/// What a transaction does to memory once it is committed.
#[derive(Default)]
pub(super) struct Effects {
    pub added: Vec<Live>,
    pub heads: Vec<Live>,
    pub changes: Vec<(Token, Change, u16)>,
    /// Leases that are kept from ending until the transaction is over, however it ends.
    pub settling: Vec<Token>,
    /// Lanes whose parked head is forgotten.
    pub unparked: Vec<(u16, u64)>,
    /// Events that were accepted: their routes and places.
    pub arrived: Vec<(Arc<str>, i64)>,
    depth: u64,
    /// Bytes that are added, without what the engine needs around them.
    bytes: u64,
    depth_by_route: HashMap<u16, u64>,
}

/// What is remembered of a key.
pub(super) struct Known {
    /// The event that had it first.
    pub first: EventId,
    /// What its sender was answered, as it is stored.
    pub answer: Option<Bytes>,
    /// Until when it is remembered, in microseconds since 1970.
    pub until: i64,
}

impl Known {
    /// What another event of this key is; the same one is what it was.
    pub(super) fn seen_by(self, id: &EventId) -> Accepted {
        if self.first == *id {
            return Accepted::New;
        }
        Accepted::Duplicate {
            first: self.first,
            answer: self.answer.and_then(|text| codec::decode_answer(&text)),
        }
    }
}

/// What the steps of a transaction share.
pub(super) struct Steps<'a> {
    pub transaction: &'a Transaction<'a>,
    pub tables: &'a mut Tables,
    pub shared: &'a Shared,
    pub next_seq: &'a mut i64,
    /// Bytes that the file had room for.
    pub room: u64,
    pub effects: Effects,
}

impl Steps<'_> {
    pub(super) fn accept(&mut self, item: &Accept) -> rusqlite::Result<Accepted> {
        let event = item.event.as_ref();
        if let Some(claim) = &item.dedup
            && let Some(known) = self.find(claim, micros(event.received_at))?
        {
            return Ok(known.seen_by(&event.id));
        }
        let route = self.shared.queue().names.number(&event.route);
        let count = u64::try_from(item.deliveries.len()).unwrap_or(u64::MAX);
        if let Some(full) = self.is_full(item, route, count) {
            // What was accepted before is among those that fill it.
            return Ok(match self.is_there(&event.id)? {
                true => Accepted::New,
                false => Accepted::Full(full),
            });
        }
        self.write_event(item, route, count)?;
        Ok(Accepted::New)
    }

    /// Writes an event that is new, unless it is there already.
    pub(super) fn write_event(
        &mut self,
        item: &Accept,
        route: u16,
        count: u64,
    ) -> rusqlite::Result<()> {
        let event = item.event.as_ref();
        let Some((seq, part)) = self.insert_event(event)? else {
            return Ok(());
        };
        if item.was_refused {
            let tables = self.tables.partition(self.transaction, part)?;
            self.transaction
                .prepare_cached(&tables.delete_refused)?
                .execute([event.id.as_bytes()])?;
        }
        for delivery in &item.deliveries {
            self.insert_live(part, seq, &event.route, delivery)?;
        }
        self.effects.depth += count;
        self.effects.bytes += bytes_of(event);
        *self.effects.depth_by_route.entry(route).or_default() += count;
        if let Some((slot, attempt)) = &item.attempt {
            self.insert_attempt(part, seq, *slot, attempt)?;
        }
        if let Some(claim) = &item.dedup {
            self.remember(claim, &event.id, None)?;
        }
        Ok(())
    }

    fn insert_live(
        &mut self,
        part: u32,
        seq: i64,
        route: &str,
        delivery: &NewDelivery,
    ) -> rusqlite::Result<()> {
        let lane = delivery.lane.map_or(0, |lane| lane.max(1));
        let due = micros(delivery.due);
        self.transaction
            .prepare_cached(
                "INSERT INTO queue(seq, slot, part, due, route, backend, lane, attempts) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                seq,
                delivery.slot,
                part,
                due,
                route,
                delivery.backend,
                lane.cast_signed(),
                delivery.attempts
            ])?;
        let mut queue = self.shared.queue();
        let live = Live {
            due,
            seq,
            slot: delivery.slot,
            lane,
            part,
            backend: queue.names.number(&delivery.backend),
            route: queue.names.number(route),
            attempts: u16::try_from(delivery.attempts).unwrap_or(u16::MAX),
            since: 0,
        };
        drop(queue);
        self.effects.added.push(live);
        Ok(())
    }

    fn is_full(&self, item: &Accept, route: u16, count: u64) -> Option<Room> {
        self.limit_met(bytes_of(&item.event), item.route_depth_max, route, count)
    }

    /// The limit that so many bytes and deliveries more would not be within.
    pub(super) fn limit_met(
        &self,
        bytes: u64,
        route_depth_max: Option<u64>,
        route: u16,
        count: u64,
    ) -> Option<Room> {
        if self.effects.bytes.saturating_add(bytes) > self.room {
            return Some(Room::Bytes);
        }
        if count == 0 {
            return None;
        }
        let added = self.effects.depth_by_route.get(&route).copied();
        let queue = self.shared.queue();
        let of_route = queue.depth_of_route(route) + added.unwrap_or_default() + count;
        if route_depth_max.is_some_and(|max| of_route > max) {
            return Some(Room::Route);
        }
        let of_all = queue.depth() + self.effects.depth + count;
        (of_all > self.shared.options.depth_max).then_some(Room::Total)
    }

    fn is_there(&self, id: &EventId) -> rusqlite::Result<bool> {
        let part = day(codec::id_micros(id));
        match self.tables.partitions.get(&part) {
            None => Ok(false),
            Some(partition) => self
                .transaction
                .prepare_cached(&partition.find_event)?
                .exists([id.as_bytes()]),
        }
    }

    /// Inserts an event; `None` when it is there already.
    fn insert_event(&mut self, event: &Event) -> rusqlite::Result<Option<(i64, u32)>> {
        let seq = *self.next_seq;
        let part = day(codec::id_micros(&event.id));
        let tables = self.tables.partition(self.transaction, part)?;
        let inserted = self
            .transaction
            .prepare_cached(&tables.insert_event)?
            .execute(params![
                seq,
                event.id.as_bytes(),
                micros(event.received_at),
                event.route,
                event.facts.provider_event_id,
                event.facts.event_type,
                event.facts.client,
                codec::encode_facts(&event.facts)
            ])?;
        if inserted == 0 {
            return Ok(None);
        }
        *self.next_seq += 1;
        self.effects.arrived.push((event.route.clone(), seq));
        let cipher = &self.shared.options.cipher;
        self.transaction
            .prepare_cached(&tables.insert_payload)?
            .execute(params![
                seq,
                cipher.seal(&codec::encode_head(&event.head), event.id.as_bytes()),
                cipher.seal(&event.body, event.id.as_bytes())
            ])?;
        Ok(Some((seq, part)))
    }

    fn insert_attempt(
        &mut self,
        part: u32,
        seq: i64,
        slot: u16,
        attempt: &Attempt,
    ) -> rusqlite::Result<()> {
        let tables = self.tables.partition(self.transaction, part)?;
        let took = i64::try_from(attempt.took.as_micros()).unwrap_or(i64::MAX);
        self.transaction
            .prepare_cached(&tables.insert_attempt)?
            .execute(params![
                seq,
                slot,
                micros(attempt.at),
                attempt.number,
                took,
                attempt.status,
                attempt.outcome,
                self.shared.options.cipher.seal(&attempt.answer, b"")
            ])?;
        Ok(())
    }

    /// The latest that is remembered of a key after a moment.
    pub(super) fn find(&self, claim: &DedupClaim, now: i64) -> rusqlite::Result<Option<Known>> {
        for bucket in self
            .tables
            .buckets
            .range(day(now)..)
            .map(|(_, bucket)| bucket)
            .rev()
        {
            let found = self
                .transaction
                .prepare_cached(&bucket.find)?
                .query_row(params![claim.scope.cast_signed(), claim.key, now], |row| {
                    let answer: Option<Vec<u8>> = row.get(1)?;
                    Ok(Known {
                        first: EventId::from_bytes(row.get(0)?),
                        answer: answer.map(Bytes::from),
                        until: row.get(2)?,
                    })
                })
                .optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    pub(super) fn remember(
        &mut self,
        claim: &DedupClaim,
        id: &EventId,
        answer: Option<&[u8]>,
    ) -> rusqlite::Result<()> {
        let until = micros(claim.until);
        let answer = answer.map(|answer| self.shared.options.cipher.seal(answer, id.as_bytes()));
        let bucket = self.tables.bucket(self.transaction, day(until))?;
        self.transaction
            .prepare_cached(&bucket.insert)?
            .execute(params![
                claim.scope.cast_signed(),
                claim.key,
                id.as_bytes(),
                until,
                answer
            ])?;
        Ok(())
    }

    pub(super) fn note(&mut self, note: &Note) -> rusqlite::Result<()> {
        match note {
            Note::Proxied(logged) => self.log(logged),
            Note::Refused { event, refused } => self.insert_refused(event, refused),
        }
    }

    fn insert_refused(&mut self, event: &Event, refused: &Refused) -> rusqlite::Result<()> {
        let cipher = &self.shared.options.cipher;
        let seq = *self.next_seq;
        let part = day(codec::id_micros(&event.id));
        let tables = self.tables.partition(self.transaction, part)?;
        let inserted = self
            .transaction
            .prepare_cached(&tables.insert_refused)?
            .execute(params![
                seq,
                event.id.as_bytes(),
                micros(event.received_at),
                event.route,
                refused.reason,
                refused.detail,
                refused.status,
                refused.body_is_whole,
                event.facts.provider_event_id,
                event.facts.event_type,
                event.facts.client,
                codec::encode_facts(&event.facts),
                cipher.seal(&codec::encode_head(&event.head), event.id.as_bytes()),
                cipher.seal(&event.body, event.id.as_bytes())
            ])?;
        if inserted > 0 {
            *self.next_seq += 1;
        }
        Ok(())
    }

    fn log(&mut self, logged: &Logged) -> rusqlite::Result<()> {
        let event = logged.event.as_ref();
        if let Some((seq, part)) = self.insert_event(event)? {
            let end = match &logged.end {
                End::Delivered => None,
                End::Dead(reason) => Some(reason.as_str()),
            };
            let place = Place {
                part,
                seq,
                slot: logged.slot,
            };
            let ended = logged.attempt.at;
            self.insert_done(
                place,
                &logged.backend,
                end,
                logged.attempt.number,
                micros(ended),
            )?;
            self.insert_attempt(part, seq, logged.slot, &logged.attempt)?;
        }
        if let Some((claim, answer)) = &logged.dedup {
            self.remember(claim, &event.id, Some(&codec::encode_answer(answer)))?;
        }
        Ok(())
    }

    fn insert_done(
        &mut self,
        place: Place,
        backend: &str,
        dead: Option<&str>,
        attempts: u32,
        at: i64,
    ) -> rusqlite::Result<()> {
        let Place { part, seq, slot } = place;
        let state = if dead.is_some() { "dead" } else { "delivered" };
        let tables = self.tables.partition(self.transaction, part)?;
        self.transaction
            .prepare_cached(&tables.insert_done)?
            .execute(params![seq, slot, backend, state, attempts, at, dead])?;
        Ok(())
    }

    pub(super) fn settle(&mut self, item: &Settlement) -> rusqlite::Result<Settled> {
        let token = item.token;
        let Some(live) = self.shared.queue().begin_settling(token) else {
            return Ok(Settled::LostLease);
        };
        self.effects.settling.push(token);
        let number = item.attempt.as_ref().map(|attempt| attempt.number);
        let attempts = number.unwrap_or_else(|| u32::from(live.attempts));
        if let Some(attempt) = &item.attempt {
            self.insert_attempt(live.part, live.seq, live.slot, attempt)?;
        }
        let place = Place {
            part: live.part,
            seq: live.seq,
            slot: live.slot,
        };
        let backend = self.shared.queue().names.name(live.backend);
        let at = item.attempt.as_ref().map_or(item.at, |attempt| attempt.at);
        let at = micros(at);
        let change = match &item.next {
            Next::Delivered => {
                if let Some(follows) = &item.follows {
                    let route = self.shared.queue().names.number(&follows.event.route);
                    let count = u64::try_from(follows.deliveries.len()).unwrap_or(u64::MAX);
                    self.write_event(follows, route, count)?;
                }
                self.delete_live(&live)?;
                self.insert_done(place, &backend, None, attempts, at)?;
                Change::End(LaneRule::Leave)
            }
            Next::Dead { reason, lane } => {
                self.delete_live(&live)?;
                self.insert_done(place, &backend, Some(reason), attempts, at)?;
                if *lane == LaneRule::Hold && live.lane != 0 {
                    self.park(&live, &backend)?;
                }
                Change::End(*lane)
            }
            Next::Retry { due, lane } => {
                let kept = match lane {
                    LaneRule::Hold => live.lane,
                    LaneRule::Leave => 0,
                };
                let due = micros(*due);
                self.transaction
                    .prepare_cached(
                        "UPDATE queue SET due = ?3, attempts = ?4, lane = ?5 \
                         WHERE seq = ?1 AND slot = ?2",
                    )?
                    .execute(params![
                        live.seq,
                        live.slot,
                        due,
                        attempts,
                        kept.cast_signed()
                    ])?;
                Change::Retry { due, lane: *lane }
            }
        };
        let attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
        self.effects.changes.push((token, change, attempts));
        Ok(Settled::Done)
    }

    fn delete_live(&self, live: &Live) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM queue WHERE seq = ?1 AND slot = ?2")?
            .execute(params![live.seq, live.slot])?;
        Ok(())
    }

    fn park(&self, live: &Live, backend: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO parked(seq, slot, backend, lane) VALUES(?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                live.seq,
                live.slot,
                backend,
                live.lane.cast_signed()
            ])?;
        Ok(())
    }
}

/// Where the rows of a delivery are.
#[derive(Debug, Clone, Copy)]
struct Place {
    part: u32,
    seq: i64,
    slot: u16,
}

/// What an event takes, without what the engine needs around it.
pub(super) fn bytes_of(event: &Event) -> u64 {
    let head = &event.head;
    let headers: usize = head
        .headers
        .iter()
        .map(|header| header.name.len() + header.value.len())
        .sum();
    let bytes = event.body.len() + headers + head.target.len();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

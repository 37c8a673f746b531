//! Makes events of what a poll has found.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

use super::changes::Change;
use super::items::Found;
use super::items::id::ItemId;
use super::keys::KeyParts;
use super::source::{Partition, Source};
use super::state::Staged;
use crate::delivery::deliver::deliveries_of;
use crate::event::{Head, Headers};
use crate::store::{Accept, DedupClaim, Event, EventId, Facts};

impl Staged {
    /// An item that was found.
    pub(super) fn of(found: Found, source: &Source, partition: &Partition) -> Self {
        let value = partition.value.as_ref().map(|_| &*partition.key);
        let parts = found.key_parts(&source.keys.namespace, value);
        let of_all = KeyParts::new(&source.keys.namespace, &found.id).in_partition(value);
        Self {
            of_all_versions: found.version.as_ref().map(|_| of_all.key()),
            key: parts.key(),
            suffix: parts.event_suffix(),
            id: found.id.text().into_owned(),
            change: found.change,
            lane: found.lane,
            item: found.item,
            previous: None,
        }
    }

    /// A change between two lists, the second of which is the one after this version of the source's
    /// state: a value may come back, and that is a new event.
    pub(super) fn of_change(
        change: Change,
        source: &Source,
        partition: &Partition,
        version: u64,
    ) -> Self {
        let value = partition.value.as_ref().map(|_| &*partition.key);
        let parts = KeyParts::new(&source.keys.namespace, &ItemId::plain(change.id.clone()))
            .in_partition(value)
            .of_version(Some(&version.to_string()));
        Self {
            key: parts.key(),
            suffix: parts.event_suffix(),
            of_all_versions: None,
            id: change.id,
            change: change.kind,
            lane: source.items.lane(&change.item),
            item: change.item,
            previous: change.previous,
        }
    }

    /// The key of all its versions, as it is claimed at a moment.
    pub(super) fn claim_of_all(&self, source: &Source, now: Timestamp) -> Option<DedupClaim> {
        let key = self.of_all_versions?;
        Some(DedupClaim {
            key,
            ..self.claim(source, now)
        })
    }

    /// Its key, as it is claimed at a moment.
    pub(super) fn claim(&self, source: &Source, now: Timestamp) -> DedupClaim {
        DedupClaim {
            scope: source.keys.scope,
            key: self.key,
            until: now
                .saturating_add(source.keys.window)
                .unwrap_or(Timestamp::MAX),
        }
    }
}

/// Whether the key of an item is claimed with its event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claiming {
    /// It is.
    Yes,
    /// It is not: values come back, and the state of the source tells what is new.
    No,
}

/// The event that an item becomes, with its deliveries.
pub(super) fn accept(
    staged: Staged,
    source: &Source,
    partition: &Partition,
    claiming: Claiming,
    now: Timestamp,
) -> Accept {
    let dedup = (claiming == Claiming::Yes).then(|| staged.claim(source, now));
    let lane = staged.lane;
    let event = Arc::new(event(staged, source, partition, now));
    let mut deliveries = deliveries_of(&source.name, &source.deliver, &event, |_| true);
    for one in &mut deliveries {
        one.lane = one.lane.or(lane);
    }
    Accept {
        event,
        dedup,
        deliveries,
        attempt: None,
        route_depth_max: source.depth_max,
        was_refused: false,
    }
}

/// Why events of a source may be missing, and where.
pub(super) struct Gap {
    pub why: &'static str,
    pub from: Option<Value>,
    pub to: Option<Value>,
    pub read_at: Option<Timestamp>,
}

/// The event that tells the backends of a gap. It is found with one version of the source's state,
/// and known by that.
pub(super) fn gap(
    gap: &Gap,
    source: &Source,
    partition: &Partition,
    version: u64,
    now: Timestamp,
) -> Accept {
    let value = partition.value.as_ref().map(|_| &*partition.key);
    let parts = KeyParts::new(&source.keys.namespace, &ItemId::plain(GAP_TYPE.to_owned()))
        .in_partition(value)
        .of_version(Some(&version.to_string()));
    let body = serde_json::json!({
        "type": GAP_TYPE,
        "source": &*source.name,
        "partition": partition.value,
        "reason": gap.why,
        "from": gap.from,
        "to": gap.to,
        "read_at": gap.read_at.map(|at| at.to_string()),
    });
    let event = Arc::new(Event {
        id: EventId::of_item(now, parts.event_suffix()),
        body: body.to_string().into(),
        facts: Facts {
            event_type: Some(GAP_TYPE.to_owned()),
            change: Some(Facts::GAP.to_owned()),
            ..facts(source, partition)
        },
        ..bare(source, now)
    });
    Accept {
        deliveries: deliveries_of(&source.name, &source.deliver, &event, |_| true),
        event,
        dedup: None,
        attempt: None,
        // A gap must not be kept from being told by what waits.
        route_depth_max: None,
        was_refused: false,
    }
}

const GAP_TYPE: &str = "gateway.gap";

/// The event that an item becomes: a POST of the item as JSON.
pub(super) fn event(
    staged: Staged,
    source: &Source,
    partition: &Partition,
    now: Timestamp,
) -> Event {
    let event_type = source
        .event_type
        .as_ref()
        .and_then(|selector| selector.first(&staged.item));
    let event_type = event_type.and_then(Value::as_str).map(str::to_owned);
    Event {
        id: EventId::of_item(now, staged.suffix),
        body: staged.item.to_string().into(),
        facts: Facts {
            provider_event_id: Some(staged.id),
            event_type,
            change: Some(staged.change.label().to_owned()),
            previous: staged.previous,
            ..facts(source, partition)
        },
        ..bare(source, now)
    }
}

/// An event without a body, of nobody.
fn bare(source: &Source, now: Timestamp) -> Event {
    let mut headers = Headers::default();
    headers.push("Content-Type", "application/json");
    Event {
        id: EventId::of_item(now, [0; 10]),
        received_at: now,
        route: source.name.clone(),
        head: Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/"),
            host: None,
            headers,
        },
        body: Bytes::new(),
        facts: Facts::default(),
    }
}

/// What all events of a source have in common.
fn facts(source: &Source, partition: &Partition) -> Facts {
    Facts {
        source: Some(source.label(partition)),
        client: "poll".to_owned(),
        scheme: "https".to_owned(),
        partition: partition.value.clone(),
        ..Facts::default()
    }
}

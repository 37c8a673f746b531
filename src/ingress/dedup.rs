//! The same event twice reaches the backend once.
//!
//! Claiming a key is one atomic step, never a look-up and then a write. Whoever claims it first
//! holds a [`Ticket`]; dropping the ticket unsettled (the backend failed, the sender left, the task
//! died) releases the claim, so that the provider's retry is let through. A duplicate of a request
//! in flight waits for its outcome, a later one gets the recorded answer.
//!
//! Runs after verification: before it, anybody could suppress an event by sending its id first.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::refusal::Refusal;
use crate::event::Head;
use crate::event::keys::{key_of_pieces, scope_of};
use crate::signature::Request;
use crate::signature::place::Place;

pub mod memory;

/// How events of a route are told apart.
#[derive(Debug, Clone)]
pub struct DedupRule {
    /// Routes of one namespace share their keys.
    pub namespace: String,
    /// What the key is made of.
    pub key: KeySource,
    /// How long a key is remembered.
    pub window: Duration,
    /// How long a duplicate waits for the first of a request in flight.
    pub wait: Duration,
    /// A header that lets a deliberate redelivery through, and the value it must have.
    pub let_through: Option<(String, Option<String>)>,
}

/// What a key is made of.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// The values in all of these places together; a request that lacks one is refused.
    All(Vec<Place>),
    /// The value in the first of these places that has one; a request without any is not a
    /// duplicate of anything.
    First(Vec<Place>),
    /// The SHA-256 of the body.
    BodyHash,
}

/// A key as it is stored: 128 bits of a SHA-256 over namespace and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DedupKey([u8; 16]);

/// The answer that duplicates get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The status.
    pub status: u16,
    /// The headers, as the first sender got them.
    pub headers: Vec<(String, Bytes)>,
    /// The body; `None` when it was too long to keep.
    pub body: Option<Bytes>,
}

/// What a claim found.
pub enum Claim {
    /// Nobody had the key: the event is new.
    First(Ticket),
    /// The first is in flight; its outcome comes here.
    InFlight(Waiter),
    /// The first was answered like this.
    Seen(Recorded),
}

/// Remembers which keys were seen. The durable store will stand behind it.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Claims a key, remembered for `window` from `now` (monotonic) on.
    async fn claim(&self, key: DedupKey, now: Duration, window: Duration) -> Claim;

    /// How many keys are remembered, and how many were forgotten before their window ended.
    fn size(&self) -> (usize, u64);
}

/// Settles or releases a claim; only a [`Ticket`] calls it.
pub trait Settle: Send + Sync {
    /// Records the answer; those who wait get it.
    fn settle(&self, key: DedupKey, answer: Recorded);
    /// Forgets the claim; one of those who wait becomes the first.
    fn release(&self, key: DedupKey);
}

/// Proof of having claimed a key first.
pub struct Ticket {
    key: DedupKey,
    ledger: Option<std::sync::Arc<dyn Settle>>,
}

impl Ticket {
    /// The key that it holds.
    pub fn key(&self) -> DedupKey {
        self.key
    }

    fn new(key: DedupKey, ledger: std::sync::Arc<dyn Settle>) -> Self {
        Self {
            key,
            ledger: Some(ledger),
        }
    }

    /// Records the answer for duplicates to come.
    pub fn settle(mut self, answer: Recorded) {
        if let Some(ledger) = self.ledger.take() {
            ledger.settle(self.key, answer);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.release(self.key);
        }
    }
}

/// Waits for the outcome of a request in flight.
pub struct Waiter(watch::Receiver<Option<Recorded>>);

impl Waiter {
    /// The recorded answer; `None` when the first failed and the key is free again.
    pub async fn outcome(mut self) -> Option<Recorded> {
        let found = self.0.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

/// What is to be done with a request whose key is known.
pub enum Standing {
    /// It is new, or nobody can tell: pass it on, then settle the ticket if there is one.
    New(Option<Ticket>),
    /// It was seen before, and this was the answer.
    Duplicate(Recorded),
}

impl DedupKey {
    /// A key that was stored.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> [u8; 16] {
        self.0
    }
}

impl DedupRule {
    /// The namespace as a number, by which its keys can be found together.
    pub fn scope(&self) -> u64 {
        scope_of(&self.namespace)
    }

    /// The key of a request, for a store to claim; `None` = it is not a duplicate of anything.
    ///
    /// # Errors
    /// [`Refusal::DedupKeyMissing`].
    pub fn key_of(&self, head: &Head, body: &[u8]) -> Result<Option<DedupKey>, Refusal> {
        if self.lets_through(head) {
            return Ok(None);
        }
        self.key(&Request::new(head, body))
    }

    /// Claims the key of a request; waits, within the rule's limit, for a first one in flight.
    ///
    /// # Errors
    /// [`Refusal::DedupKeyMissing`], or [`Refusal::StillInFlight`] when the first takes too long.
    pub async fn claim(
        &self,
        ledger: &dyn Ledger,
        head: &Head,
        body: &[u8],
        clock: &dyn crate::clock::Clock,
    ) -> Result<Standing, Refusal> {
        let Some(key) = self.key_of(head, body)? else {
            return Ok(Standing::New(None));
        };
        let settled = async {
            loop {
                match ledger.claim(key, clock.monotonic(), self.window).await {
                    Claim::First(ticket) => return Standing::New(Some(ticket)),
                    Claim::Seen(answer) => return Standing::Duplicate(answer),
                    Claim::InFlight(waiter) => {
                        if let Some(answer) = waiter.outcome().await {
                            return Standing::Duplicate(answer);
                        }
                    }
                }
            }
        };
        tokio::time::timeout(self.wait, settled)
            .await
            .map_err(|_| Refusal::StillInFlight)
    }

    fn lets_through(&self, head: &Head) -> bool {
        let Some((name, wanted)) = &self.let_through else {
            return false;
        };
        head.headers.first(name).is_some_and(|value| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.as_bytes() == &value[..])
        })
    }

    fn key(&self, request: &Request<'_>) -> Result<Option<DedupKey>, Refusal> {
        let mut pieces = vec![Cow::Borrowed(self.namespace.as_bytes())];
        match &self.key {
            KeySource::BodyHash => pieces.push(Cow::Borrowed(request.body())),
            KeySource::First(places) => {
                let Some(value) = places.iter().find_map(|place| place.read(request)) else {
                    return Ok(None);
                };
                pieces.push(value);
            }
            KeySource::All(places) => {
                for place in places {
                    let value = place.read(request).filter(|value| !value.is_empty());
                    let missing = || Refusal::DedupKeyMissing {
                        place: place.describe(),
                    };
                    pieces.push(value.ok_or_else(missing)?);
                }
            }
        }
        Ok(Some(DedupKey(key_of_pieces(pieces))))
    }
}

//! One entry under `deliver:`: where a route's events go, and what is changed on the way.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::backend::Backend;
use super::profile::Profile;
use super::request::Rewrite;
use super::status::Statuses;
use super::view::view_of;
use crate::event::{Head, Headers};
use crate::expr::event::{EventFormula, EventTemplate, Predicate};
use crate::signature::key::Key;
use crate::signature::place::Place;
use crate::signature::scheme::Scheme;
use crate::signature::sign::{SignError, Stamp};
use crate::signature::{Request, Terms};
use crate::store::{Event, NewDelivery};

/// Where a route's events go and what is changed on the way.
#[derive(Debug)]
pub struct Deliver {
    /// Its place in the route's list.
    pub slot: u16,
    /// The backend.
    pub backend: Arc<Backend>,
    /// Who waits for whom.
    pub mode: Mode,
    /// The path it gets; `None` = the sender's.
    pub path: Option<Rewrite>,
    /// Headers to set (`Some`) or to remove (`None`), in order.
    pub headers: Vec<(String, Option<String>)>,
    /// Which events it gets; `None` = all.
    pub when: Option<Predicate>,
    /// Which events must arrive one after the other; `None` = none.
    pub order: Option<Order>,
    /// What it gets instead of the original body.
    pub transform: Option<Transform>,
    /// How each attempt is signed anew.
    pub sign: Option<Signing>,
    /// How many events go in one request.
    pub batch: Option<Batch>,
    /// How long after its acceptance an event is of no use any more.
    pub expire: Option<Expiry>,
    /// What the backend takes for the provider itself.
    pub profile: Profile,
    /// Where what its answers want to be called is called; `None` = nowhere.
    pub replies: Option<Arc<str>>,
    /// Statuses that are tried again besides those that always are.
    pub retry_on: Vec<Statuses>,
}

/// Who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The sender waits for the backend's own answer.
    Proxy,
    /// The sender is answered as soon as the event is on disk.
    Queue,
    /// The sender gets the backend's answer if it is good and in time; otherwise the event is
    /// queued, and the sender answered as soon as it is on disk.
    Spill,
}

/// How long after its acceptance an event is of no use any more.
#[derive(Debug)]
pub enum Expiry {
    /// So long.
    After(Duration),
    /// As long as an expression says of the event, like `150s`.
    OfEvent(EventFormula),
}

/// Events that must arrive one after the other.
#[derive(Debug, Clone)]
pub struct Order {
    /// Events of one value here.
    pub key: Place,
    /// What the others do while one fails.
    pub policy: OrderPolicy,
}

/// What the events behind one that fails do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderPolicy {
    /// They wait until it has arrived or is given up.
    Block,
    /// They wait until it has arrived, or somebody has looked after it.
    Park,
    /// They go past it.
    Skip,
}

/// What a backend gets instead of the original body.
#[derive(Debug)]
pub struct Transform {
    /// The body.
    pub body: EventTemplate,
    /// Its `Content-Type`; `None` = the original's.
    pub content_type: Option<String>,
}

/// Several events in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    /// The most events.
    pub max: NonZeroU32,
    /// How long the first waits for others.
    pub wait: Duration,
}

/// How each attempt is signed anew.
pub struct Signing {
    scheme: Scheme,
    /// Each signs.
    keys: Vec<Key>,
    terms: Terms,
}

/// Why no request could ever be signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SigningError {
    /// The scheme or its key only verifies.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// A signed URL that nobody told.
    #[error("the provider signs the URL, and `public_url` does not say which")]
    NoUrl,
}

/// Without the key.
impl fmt::Debug for Signing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signing")
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Deliver {
    /// Passes everything on to a backend while the sender waits.
    pub fn proxy(backend: Arc<Backend>) -> Self {
        Self {
            slot: 0,
            backend,
            mode: Mode::Proxy,
            path: None,
            headers: Vec::new(),
            when: None,
            order: None,
            transform: None,
            sign: None,
            batch: None,
            expire: None,
            profile: Profile::Raw,
            replies: None,
            retry_on: Vec::new(),
        }
    }

    /// The lane of an event: a hash of its order key, `None` when it has none. What is empty is no
    /// key: strangers would wait for each other.
    pub fn lane(&self, route: &str, head: &Head, body: &[u8]) -> Option<u64> {
        let order = self.order.as_ref()?;
        let request = Request::new(head, body);
        let value = order.key.read(&request).filter(|key| !key.is_empty())?;
        let mut hash = Sha256::new();
        for piece in [route.as_bytes(), &self.slot.to_be_bytes(), &value] {
            hash.update((piece.len() as u64).to_be_bytes());
            hash.update(piece);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut lane = [0; 8];
        lane.copy_from_slice(digest.split_at(8).0);
        Some(u64::from_be_bytes(lane))
    }

    /// When an event whose time counts from `at` is of no use any more.
    pub fn expires(&self, event: &Event, at: Timestamp) -> Option<Timestamp> {
        let after = match self.expire.as_ref()? {
            Expiry::After(after) => *after,
            Expiry::OfEvent(formula) => {
                let text = formula.text(&view_of(event));
                // Nothing is lost for want of an answer.
                humantime::parse_duration(text.ok()?.trim()).ok()?
            }
        };
        at.saturating_add(after).ok()
    }
}

impl Signing {
    /// Makes ready to sign on these terms.
    ///
    /// # Errors
    /// [`SigningError`] when no request could ever be signed, whatever the event.
    pub fn new(scheme: Scheme, keys: Vec<Key>, terms: Terms) -> Result<Self, SigningError> {
        if scheme.needs_url() && terms.public_url.is_none() {
            return Err(SigningError::NoUrl);
        }
        let signing = Self {
            scheme,
            keys,
            terms,
        };
        let mut sample = Head {
            method: "POST".to_owned(),
            target: Bytes::from_static(b"/"),
            host: None,
            headers: Headers::default(),
        };
        match signing.sign(&mut sample, b"", "sample", Timestamp::UNIX_EPOCH) {
            // What this sample lacks, an event may have.
            Ok(()) | Err(SignError::Input(_)) => Ok(signing),
            Err(error) => Err(error.into()),
        }
    }

    /// Signs a request, in place of any signature that it had.
    ///
    /// # Errors
    /// [`SignError`] when the request lacks what the scheme signs.
    pub fn sign(
        &self,
        head: &mut Head,
        body: &[u8],
        id: &str,
        at: Timestamp,
    ) -> Result<(), SignError> {
        let stamp = Stamp { at, id };
        self.scheme
            .sign_with(&self.keys, head, body, &stamp, &self.terms)
    }
}

/// The first deliveries of an event that `which` chooses and whose `when` holds.
pub fn deliveries_of(
    route: &str,
    deliver: &[Arc<Deliver>],
    event: &Event,
    which: impl Fn(&Deliver) -> bool,
) -> Vec<NewDelivery> {
    let chosen = deliver.iter().filter(|one| which(one));
    let mut view = None;
    chosen
        .filter(|one| {
            let Some(when) = &one.when else { return true };
            let view = view.get_or_insert_with(|| view_of(event));
            // Nothing is lost for want of an answer.
            when.holds(view).unwrap_or_else(|error| {
                tracing::warn!(route, slot = one.slot, %error, "deliver.when");
                true
            })
        })
        .map(|one| NewDelivery {
            slot: one.slot,
            backend: one.backend.name.as_str().into(),
            due: event.received_at,
            lane: one.lane(route, &event.head, &event.body),
            attempts: 0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::backend::Origin;

    fn deliver(slot: u16) -> Deliver {
        let origin = Origin::parse("http://app:3000").unwrap();
        let key = Place::Header("X-Account".into());
        Deliver {
            slot,
            order: Some(Order {
                key,
                policy: OrderPolicy::Block,
            }),
            ..Deliver::proxy(Arc::new(Backend::at(origin, Duration::from_secs(1))))
        }
    }

    fn lane(route: &str, slot: u16, account: Option<&str>) -> Option<u64> {
        let mut headers = Headers::default();
        if let Some(account) = account {
            headers.push("x-account", account.to_owned());
        }
        let head = Head {
            method: "POST".to_owned(),
            target: Bytes::from_static(b"/"),
            host: None,
            headers,
        };
        deliver(slot).lane(route, &head, b"")
    }

    #[test]
    fn a_lane_is_the_same_for_one_key_and_for_no_other() {
        // Lanes are stored, and outlive the process: this number must never change.
        let first = lane("r", 0, Some("7"));
        assert_eq!(first, Some(0x5be9_a1a3_e9fd_a627));
        for other in [
            lane("s", 0, Some("7")),
            lane("r", 1, Some("7")),
            lane("r", 0, Some("77")),
        ] {
            assert!(other.is_some() && other != first);
        }
    }

    #[test]
    fn an_event_without_a_key_waits_for_nobody() {
        assert_eq!(lane("r", 0, None), None);
        assert_eq!(lane("r", 0, Some("")), None);
    }
}

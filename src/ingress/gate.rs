//! Decides about one request, stage by stage; touches no socket and reads no clock.
//!
//! The same gate judges live requests, recorded ones (`hookgate verify`) and the tests that stand
//! in a configuration file.

use std::sync::Arc;

use jiff::Timestamp;

use super::dedup::DedupRule;
use super::rate_limit::{LimitRule, LimitStage};
use super::refusal::Refusal;
use super::router::{Captures, Router};
use super::source_addr::{AddressRule, TrustedProxies};
use crate::delivery::deliver::{Deliver, Mode};
use crate::event::{ClientAddr, Fingerprint, Head};
use crate::inbox::Inbox;
use crate::secret::Secret;
use crate::signature::handshake::{Effect, Handshake};
use crate::signature::known_keys::KnownKeys;
use crate::signature::place::Place;
use crate::signature::reply::{Answer, Reply};
use crate::signature::{Reason, Request, Verifier};

/// One entry under `routes:`, ready to judge.
pub struct Route {
    /// Its name in the file.
    pub name: String,
    /// Which addresses may send.
    pub addresses: AddressRule,
    /// How many requests may come; those that single somebody out stand first.
    pub limits: Vec<LimitRule>,
    /// The most bytes of a body.
    pub body_bytes_max: usize,
    /// How requests are authenticated; `None` = the file says that they are not.
    pub check: Option<SignatureCheck>,
    /// How the provider asks whether the address is ours.
    pub handshakes: Vec<Handshake>,
    /// The token that handshakes without a signature carry.
    pub verify_token: Option<Secret>,
    /// How events are told apart; `None` = not at all.
    pub dedup: Option<DedupRule>,
    /// Where the id of an event stands.
    pub event_id: Vec<Place>,
    /// Where the type of an event stands.
    pub event_type: Vec<Place>,
    /// Where accepted events go; at most one of them is not queued.
    pub deliver: Vec<Arc<Deliver>>,
    /// Where events wait for who cannot be reached.
    pub inbox: Option<Arc<Inbox>>,
    /// The most deliveries of it that may wait.
    pub depth_max: Option<u64>,
    /// The most bytes of a refused request's body that the log keeps.
    pub refused_body_max: usize,
    /// What is answered to a new event that is on disk.
    pub accepted: Reply,
    /// What is answered to one that was accepted before.
    pub duplicate: Reply,
}

/// How a route authenticates requests.
pub struct SignatureCheck {
    /// The schemes and secrets.
    pub verifier: Verifier,
    /// What happens to a request that is not authentic.
    pub mode: CheckMode,
    /// What such a request is answered.
    pub refused: Reply,
}

/// What happens to a request that is not authentic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckMode {
    /// It is refused.
    Enforce,
    /// It passes, marked and counted.
    Observe,
}

/// A request whose head was let in: its route is known, its address may send.
pub struct Admitted<'g> {
    /// The route.
    pub route: &'g Arc<Route>,
    /// What the route's path captured.
    pub captures: Captures,
    /// The client behind trusted proxies.
    pub client: ClientAddr,
}

/// A refusal, with what was known by then.
pub struct Refused<'g> {
    /// The route, if one was found.
    pub route: Option<&'g Arc<Route>>,
    /// The client behind trusted proxies.
    pub client: ClientAddr,
    /// The reason.
    pub refusal: Refusal,
}

/// Leave to pass a request on. Only [`Route::judge`] gives it.
#[derive(Debug)]
pub struct Permit {
    finding: Finding,
}

#[derive(Debug)]
enum Finding {
    Verified,
    Unchecked,
    Observed(Reason),
}

impl Permit {
    /// Whether the request was proven authentic.
    pub fn verified(&self) -> bool {
        matches!(self.finding, Finding::Verified)
    }

    /// Why it would have been refused, had the check been enforced.
    pub fn observed(&self) -> Option<&Reason> {
        match &self.finding {
            Finding::Observed(reason) => Some(reason),
            Finding::Verified | Finding::Unchecked => None,
        }
    }
}

/// What was decided about a whole request.
#[derive(Debug)]
pub enum Judgement {
    /// It is an event and may be passed on.
    Event(Permit),
    /// It is a handshake, and this is the answer.
    Handshake {
        /// The answer.
        answer: Answer,
        /// What is to be done before.
        effect: Option<Effect>,
    },
}

/// All routes, behind one door.
pub struct Gate {
    router: Router<Arc<Route>>,
    proxies: TrustedProxies,
}

impl Gate {
    /// Opens the door.
    pub fn new(router: Router<Arc<Route>>, proxies: TrustedProxies) -> Self {
        Self { router, proxies }
    }

    /// Whether this peer may speak for others.
    pub fn trusts(&self, peer: ClientAddr) -> bool {
        self.proxies.trusts(peer)
    }

    /// Judges a head: path, method, address, declared length.
    ///
    /// # Errors
    /// [`Refused`] with the first reason, in the order above.
    pub fn admit(
        &self,
        head: &Head,
        peer: ClientAddr,
        declared_bytes: Option<u64>,
    ) -> Result<Admitted<'_>, Refused<'_>> {
        let client = self.proxies.client(peer, &head.headers);
        let (route, captures) = self.router.find(head).map_err(|refusal| Refused {
            route: None,
            client,
            refusal,
        })?;
        let refused = |refusal| Refused {
            route: Some(route),
            client,
            refusal,
        };
        route.addresses.check(client).map_err(refused)?;
        let max = route.body_bytes_max;
        if declared_bytes.is_some_and(|bytes| bytes > max as u64) {
            return Err(refused(Refusal::BodyTooLarge { max }));
        }
        Ok(Admitted {
            route,
            captures,
            client,
        })
    }
}

impl Admitted<'_> {
    /// The path that a backend gets in place of the sender's; `None` = the sender's.
    pub fn rewritten_path(&self, deliver: &Deliver) -> Option<String> {
        let rewrite = deliver.path.as_ref()?;
        Some(rewrite.fill(|name| self.captures.find(name)))
    }

    /// Takes from the limits of one stage. `body` is empty before it was read.
    ///
    /// # Errors
    /// [`Refusal::RateLimited`].
    pub fn limit(&self, stage: LimitStage, head: &Head, body: &[u8]) -> Result<(), Refusal> {
        let request = Request::new(head, body);
        let rules = self.route.limits.iter().filter(|rule| rule.stage == stage);
        for rule in rules {
            rule.check(&request, self.client, &self.captures)?;
        }
        Ok(())
    }
}

impl Route {
    /// Judges a whole request, with the certificate that its connection has shown and the keys that
    /// providers publish, as far as they are known, at the moment `now`, which is taken after the body was read: a slow upload must not widen the window for
    /// replays.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn judge(
        &self,
        head: &Head,
        body: &[u8],
        certificate: Option<&Fingerprint>,
        known: &KnownKeys,
        now: Timestamp,
    ) -> Result<Judgement, Refusal> {
        let request = match &self.check {
            Some(check) => check.verifier.terms().request(head, body),
            None => Request::new(head, body),
        };
        let request = request.with_certificate(certificate).with_known_keys(known);
        let handshake = self
            .handshakes
            .iter()
            .find(|handshake| handshake.is(&request));
        if let Some(handshake) = handshake {
            if handshake.needs_signature() {
                self.verify(&request, now)?;
            }
            let signer = self
                .check
                .as_ref()
                .and_then(|check| check.verifier.signer());
            let key = signer.map(|(_, key)| key);
            let answer = handshake.answer(&request, self.verify_token.as_ref(), key);
            let answer = answer.map_err(Refusal::Handshake)?;
            let effect = handshake.effect(&request).map_err(Refusal::Handshake)?;
            return Ok(Judgement::Handshake { answer, effect });
        }
        let Some(check) = &self.check else {
            return Ok(Judgement::Event(Permit {
                finding: Finding::Unchecked,
            }));
        };
        let finding = match (check.verifier.verify(&request, now), check.mode) {
            (Ok(_), _) => Finding::Verified,
            (Err(reason), CheckMode::Observe) => Finding::Observed(reason),
            (Err(reason), CheckMode::Enforce) => return Err(check.refusal(reason, &request)),
        };
        Ok(Judgement::Event(Permit { finding }))
    }

    /// A handshake that must be signed is never answered unsigned, not even while observing.
    fn verify(&self, request: &Request<'_>, now: Timestamp) -> Result<(), Refusal> {
        match &self.check {
            None => Ok(()),
            Some(check) => match check.verifier.verify(request, now) {
                Ok(_) => Ok(()),
                Err(reason) => Err(check.refusal(reason, request)),
            },
        }
    }

    /// The delivery whose answer is the sender's; `None` = all of them are queued.
    pub fn live(&self) -> Option<&Deliver> {
        let all = self.deliver.iter().map(AsRef::as_ref);
        all.into_iter().find(|one| one.mode != Mode::Queue)
    }

    /// Whether it needs a store.
    pub fn queues(&self) -> bool {
        self.inbox.is_some() || self.deliver.iter().any(|one| one.mode != Mode::Proxy)
    }

    /// The provider's id of this event, where it has one.
    pub fn event_id(&self, head: &Head, body: &[u8]) -> Option<String> {
        first_text(&self.event_id, head, body)
    }

    /// The provider's type of this event, where it has one.
    pub fn event_type(&self, head: &Head, body: &[u8]) -> Option<String> {
        first_text(&self.event_type, head, body)
    }
}

impl SignatureCheck {
    fn refusal(&self, reason: Reason, request: &Request<'_>) -> Refusal {
        Refusal::Signature {
            reason,
            answer: Box::new(self.refused.to(request)),
        }
    }
}

fn first_text(places: &[Place], head: &Head, body: &[u8]) -> Option<String> {
    let request = Request::new(head, body);
    let value = places.iter().find_map(|place| place.read(&request))?;
    Some(String::from_utf8_lossy(&value).into_owned())
}

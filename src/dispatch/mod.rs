//! Delivers what the store holds: claims what is due, makes attempts, settles them.
//!
//! One task decides ([`Dispatcher::run`]): what each backend can take is at its [`desk`], events
//! that go together wait on a [`tray`], and every [`attempt`] is a task of its own. It is woken by
//! commits, by time and by attempts that end; it never asks the store in a circle. Outcomes are
//! settled by another task, many at once.

mod attempt;
mod desk;
mod tray;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep;

use self::attempt::{Attempting, Ended};
use self::desk::Desk;
use self::tray::{Tray, TrayKey};
use crate::clock::Clock;
use crate::delivery::deliver::Deliver;
use crate::delivery::flow::Flow;
use crate::delivery::pauses::{Paused, Pauses};
use crate::delivery::retry::Death;
use crate::metrics::Metrics;
use crate::outbound::Roads;
use crate::store::{Claimed, LaneRule, Next, Settlement, Store, StoreError, Want};

/// The longest sleep: whatever wakes us may be missed once.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// How long a store that fails is left alone.
const STORE_PAUSE: Duration = Duration::from_millis(500);
/// How much longer a lease is than the longest attempt.
const LEASE_MARGIN: Duration = Duration::from_secs(30);
/// How many outcomes may wait to be settled, before no more attempts are begun.
const UNSETTLED_MAX: usize = 8192;
/// How many outcomes are settled at once.
const SETTLED_MAX: usize = 512;
/// How often the speed of the queue is noted.
const FLOW_PAUSE: Duration = Duration::from_secs(1);

/// From here on are the places of deliveries to backends that the route does not name.
pub const ASKED_SLOT_FIRST: u16 = 0x8000;

/// Where events go, as the file says now.
pub struct Plan {
    /// The deliveries of each route.
    pub routes: HashMap<String, Arc<[Arc<Deliver>]>>,
    /// The ways to the backends, for the dispatcher's own use.
    pub roads: Roads,
}

impl Plan {
    /// A plan for the deliveries of each route.
    pub fn new(
        routes: impl IntoIterator<Item = (String, Vec<Arc<Deliver>>)>,
        roads: Roads,
    ) -> Self {
        let routes = routes.into_iter();
        Self {
            routes: routes.map(|(name, all)| (name, all.into())).collect(),
            roads,
        }
    }

    /// The delivery of an event as the file says it now: the one in its place, or another to the same
    /// backend. What somebody asked for goes to any backend, as it came.
    fn deliver(&self, route: &str, slot: u16, backend: &str) -> Option<Arc<Deliver>> {
        let all = self.routes.get(route).map_or(&[][..], |all| all);
        let is_to = |one: &&Arc<Deliver>| one.backend.name == backend;
        let known = all.get(usize::from(slot)).filter(is_to);
        if let Some(known) = known.or_else(|| all.iter().find(is_to)) {
            return Some(known.clone());
        }
        let road = self.roads.named(backend)?;
        (slot >= ASKED_SLOT_FIRST).then(|| {
            let deliver = Deliver::proxy(road.shared_backend());
            Arc::new(Deliver { slot, ..deliver })
        })
    }
}

/// Delivers what the store holds.
pub struct Dispatcher {
    store: Arc<dyn Store>,
    plan: ArcSwap<Plan>,
    changed: Notify,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    flow: Arc<Flow>,
    pauses: Arc<Pauses>,
}

/// What the deciding task knows.
struct Office {
    desks: HashMap<Arc<str>, Desk>,
    trays: HashMap<TrayKey, Tray>,
    ended: mpsc::Sender<Ended>,
    outcomes: mpsc::Sender<Settlement>,
    in_flight: usize,
    left: u64,
}

impl Dispatcher {
    /// Prepares to deliver by a plan.
    pub fn new(
        store: Arc<dyn Store>,
        plan: Plan,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        flow: Arc<Flow>,
        pauses: Arc<Pauses>,
    ) -> Self {
        Self {
            store,
            plan: ArcSwap::from_pointee(plan),
            changed: Notify::new(),
            clock,
            metrics,
            flow,
            pauses,
        }
    }

    /// The ways that attempts go now.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Goes on by another plan; attempts in flight finish by the old one.
    pub fn swap(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
        self.wake();
    }

    /// Looks at what has changed besides the store.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Delivers until `stop` comes, then finishes the attempts in flight. What was claimed and not
    /// tried stays in the store.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let (ended, mut ending) = mpsc::channel(UNSETTLED_MAX);
        let (outcomes, settling) = mpsc::channel(UNSETTLED_MAX);
        let settler = tokio::spawn(settle(self.store.clone(), settling));
        let mut office = Office {
            desks: HashMap::new(),
            trays: HashMap::new(),
            ended,
            outcomes,
            in_flight: 0,
            left: 0,
        };
        let mut work = self.store.watch();
        let mut noted = self.clock.monotonic();
        tokio::pin!(stop);
        loop {
            work.mark_unchanged();
            let plan = self.plan.load_full();
            office.follow(&plan);
            let claimed = self.claim(&mut office, &plan).await;
            office.send_ripe(self, &plan);
            let pause = match claimed {
                Ok(Pace::More) => Duration::ZERO,
                Ok(Pace::Enough) => self.pause(&office),
                Err(error) => {
                    tracing::warn!(%error, "nothing can be claimed");
                    STORE_PAUSE
                }
            };
            let now = self.clock.monotonic();
            if now.saturating_sub(noted) >= FLOW_PAUSE {
                noted = now;
                self.note_flow(&mut office, now);
            }
            if pause.is_zero() {
                tokio::task::yield_now().await;
                while let Ok(ended) = ending.try_recv() {
                    office.end(ended, self).await;
                }
                continue;
            }
            tokio::select! {
                () = &mut stop => break,
                _ = work.changed() => {}
                () = self.changed.notified() => {}
                () = sleep(pause) => {}
                Some(ended) = ending.recv() => {
                    office.end(ended, self).await;
                    while let Ok(ended) = ending.try_recv() {
                        office.end(ended, self).await;
                    }
                }
            }
        }
        while office.in_flight > 0 {
            let Some(ended) = ending.recv().await else {
                break;
            };
            office.end(ended, self).await;
        }
        drop(office);
        let _ = settler.await;
    }

    async fn claim(&self, office: &mut Office, plan: &Arc<Plan>) -> Result<Pace, StoreError> {
        let paused = self.pauses.now();
        let wants = office.wants(&paused, self.clock.monotonic());
        if wants.is_empty() {
            return Ok(Pace::Enough);
        }
        let now = self.clock.now();
        let lease = office
            .desks
            .values()
            .map(Desk::longest_attempt)
            .max()
            .unwrap_or_default()
            .saturating_add(LEASE_MARGIN);
        let lease_until = now.saturating_add(lease).unwrap_or(Timestamp::MAX);
        let claimed = self.store.claim(&wants, now, lease_until).await?;
        let wanted: usize = wants.iter().map(|want| want.max).sum();
        let is_everything = claimed.len() < wanted;
        for delivery in claimed {
            self.take(office, plan, delivery, now).await;
        }
        Ok(match is_everything {
            true => Pace::Enough,
            false => Pace::More,
        })
    }

    /// Begins what a claimed delivery needs.
    async fn take(&self, office: &mut Office, plan: &Arc<Plan>, claimed: Claimed, now: Timestamp) {
        let route = &claimed.event.route;
        let slot = claimed.token.slot;
        let Some(deliver) = plan.deliver(route, slot, &claimed.backend) else {
            return office
                .give_up(self, &claimed, Death::Unrouted, LaneRule::Leave)
                .await;
        };
        let expires = deliver.expires(&claimed.event, attempt::began(&claimed));
        if expires.is_some_and(|expires| expires <= now) {
            return office
                .give_up(self, &claimed, Death::Expired, LaneRule::Leave)
                .await;
        }
        match deliver.batch {
            None => office.send(self, plan, deliver, vec![claimed]),
            Some(batch) => {
                let key = (route.clone(), deliver.slot);
                let wait = batch.wait;
                let ripe_at = self.clock.monotonic().saturating_add(wait);
                let tray = office
                    .trays
                    .entry(key)
                    .or_insert_with(|| Tray::new(deliver, ripe_at));
                tray.add(claimed);
            }
        }
    }

    /// How long nothing needs to be done.
    fn pause(&self, office: &Office) -> Duration {
        let now = self.clock.monotonic();
        let paused = self.pauses.now();
        let trays = office.trays.values().map(|tray| tray.ripe_at());
        let desks = office
            .desks
            .values()
            .filter_map(|desk| desk.reopens_at(now));
        let by_clock = trays.chain(desks).min();
        let by_clock = by_clock.map(|at| at.saturating_sub(now));
        let open: Vec<Arc<str>> = office
            .desks
            .iter()
            .filter(|(name, desk)| desk.has_room(now) && !paused.backends.contains(&***name))
            .map(|(name, _)| name.clone())
            .collect();
        let due = self.store.next_due(&open).map(|due| {
            let left = due.duration_since(self.clock.now());
            Duration::try_from(left).unwrap_or_default()
        });
        by_clock
            .into_iter()
            .chain(due)
            .min()
            .unwrap_or(SLEEP_MAX)
            // What is due already was claimed by then, or is being read by somebody else.
            .clamp(Duration::from_millis(1), SLEEP_MAX)
    }

    fn note_flow(&self, office: &mut Office, now: Duration) {
        let usage = self.store.usage();
        let depth = usage.backends.iter().map(|backend| backend.depth).sum();
        self.flow.note(office.left, depth, now);
        office.left = 0;
    }
}

/// Whether more may be due than was claimed.
enum Pace {
    More,
    Enough,
}

impl Office {
    /// Has a desk for each backend of the plan.
    fn follow(&mut self, plan: &Plan) {
        self.desks
            .retain(|name, desk| desk.is_busy() || plan.roads.named(name).is_some());
        for road in plan.roads.iter() {
            let backend = road.backend();
            match self.desks.get_mut(backend.name.as_str()) {
                Some(desk) => desk.follow(backend),
                None => {
                    let name: Arc<str> = backend.name.as_str().into();
                    self.desks.insert(name, Desk::new(backend));
                }
            }
        }
    }

    fn wants(&mut self, paused: &Paused, now: Duration) -> Vec<Want> {
        let mut wants = Vec::new();
        if self.outcomes.capacity() < UNSETTLED_MAX / 2 {
            return wants;
        }
        for (name, desk) in &mut self.desks {
            if paused.backends.contains(&**name) {
                continue;
            }
            let max = desk.room(now);
            if max > 0 {
                wants.push(Want {
                    backend: name.clone(),
                    max,
                });
            }
        }
        wants
    }

    /// Begins an attempt.
    fn send(
        &mut self,
        dispatcher: &Dispatcher,
        plan: &Arc<Plan>,
        deliver: Arc<Deliver>,
        claimed: Vec<Claimed>,
    ) {
        let now = dispatcher.clock.monotonic();
        if let Some(desk) = self.desks.get_mut(deliver.backend.name.as_str()) {
            desk.begin(now);
        }
        self.in_flight += 1;
        dispatcher.metrics.delivery.attempts_in_flight.inc();
        let attempting = Attempting {
            plan: plan.clone(),
            deliver,
            claimed,
            clock: dispatcher.clock.clone(),
            ended: self.ended.clone(),
        };
        tokio::spawn(attempting.run());
    }

    /// Begins attempts for trays that are full or have waited long enough.
    fn send_ripe(&mut self, dispatcher: &Dispatcher, plan: &Arc<Plan>) {
        let now = dispatcher.clock.monotonic();
        let ripe: Vec<TrayKey> = self
            .trays
            .iter()
            .filter(|(_, tray)| tray.is_ripe(now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in ripe {
            let Some(tray) = self.trays.remove(&key) else {
                continue;
            };
            for (deliver, claimed) in tray.into_requests() {
                self.send(dispatcher, plan, deliver, claimed);
            }
        }
    }

    /// Notes how an attempt ended.
    async fn end(&mut self, ended: Ended, dispatcher: &Dispatcher) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let metrics = &dispatcher.metrics.delivery;
        metrics.attempts_in_flight.dec();
        let backend = &ended.backend;
        let labels = [backend.as_str(), ended.outcome];
        metrics.attempts.with_label_values(&labels).inc();
        if let Some(desk) = self.desks.get_mut(backend.as_str()) {
            desk.end(ended.is_ill, dispatcher.clock.monotonic());
            metrics.set_breaker(backend, desk.breaker_label());
        }
        for (settlement, claimed) in ended.settled {
            self.count(&settlement.next, &claimed, dispatcher);
            if let Some(follows) = &settlement.follows {
                let backends = follows.deliveries.iter().map(|one| one.backend.clone());
                let backends: Vec<Arc<str>> = backends.collect();
                let route = &follows.event.route;
                dispatcher.metrics.count_queued(route, &backends);
            }
            // The receiver lives as long as the office.
            let _ = self.outcomes.send(settlement).await;
        }
    }

    fn count(&mut self, next: &Next, claimed: &Claimed, dispatcher: &Dispatcher) {
        let metrics = &dispatcher.metrics.delivery;
        let (route, backend) = (&*claimed.event.route, &*claimed.backend);
        match next {
            Next::Delivered => {
                self.left += 1;
                metrics.delivered.with_label_values(&[route, backend]).inc();
                let took = dispatcher
                    .clock
                    .now()
                    .duration_since(claimed.event.received_at);
                let seconds = took.as_secs_f64().max(0.0);
                metrics.arrival.with_label_values(&[route]).observe(seconds);
            }
            Next::Dead { reason, .. } => {
                self.left += 1;
                let labels = [route, backend, reason.as_str()];
                metrics.dead.with_label_values(&labels).inc();
                tracing::warn!(
                    route,
                    backend,
                    reason,
                    event = %claimed.event.id,
                    attempts = claimed.attempts,
                    "a delivery was given up"
                );
            }
            Next::Retry { .. } => {}
        }
    }

    /// Gives a delivery up without an attempt.
    async fn give_up(
        &mut self,
        dispatcher: &Dispatcher,
        claimed: &Claimed,
        death: Death,
        lane: LaneRule,
    ) {
        let settlement = Settlement {
            token: claimed.token,
            at: dispatcher.clock.now(),
            attempt: None,
            next: Next::Dead {
                reason: death.label().to_owned(),
                lane,
            },
            follows: None,
        };
        self.count(&settlement.next, claimed, dispatcher);
        let _ = self.outcomes.send(settlement).await;
    }
}

/// Settles outcomes, many at once; when the store fails, until it works again.
async fn settle(store: Arc<dyn Store>, mut outcomes: mpsc::Receiver<Settlement>) {
    let mut batch = Vec::new();
    while outcomes.recv_many(&mut batch, SETTLED_MAX).await > 0 {
        loop {
            match store.settle(batch.clone()).await {
                Ok(_) => break,
                Err(error) if outcomes.is_closed() && outcomes.is_empty() => {
                    // The end of the process: these are tried once more after the start.
                    tracing::error!(%error, left = batch.len(), "outcomes could not be noted");
                    return;
                }
                Err(_) => sleep(STORE_PAUSE).await,
            }
        }
        batch.clear();
    }
}

//! Events delivered once more: one, or everything that a filter means, at a rate of its own.
//!
//! A replay is a document in the store that is written after every piece of work, so that it goes on
//! after a restart. A piece that was done and not noted is done again: at least once, as always.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::filter::Filter;
use super::problem::Problem;
use super::wire;
use crate::clock::Clock;
use crate::delivery::view::view_of;
use crate::dispatch::{ASKED_SLOT_FIRST, Dispatcher};
use crate::ingress::service::Gateway;
use crate::ingress::service::again::Again;
use crate::store::{DeliveryState, EventId, Place, Redelivery, Shelf, Shown, Store, StoreError};

/// The default speed of a bulk replay, in events a second.
const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(99);
/// The highest speed that can be asked for.
const RATE_MAX: NonZeroU32 = NonZeroU32::MIN.saturating_add(99_999);
/// The most events of one piece of work, which is written beside what comes in.
const PIECE_MAX: u32 = 20;
/// How long a store that fails is left alone.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// The most replays that are remembered; beyond, the oldest that have ended are forgotten.
const REMEMBERED_MAX: usize = 1000;

/// Which deliveries are made again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Config {
    /// Those that the event has, in the state and to the backend of the filter.
    #[default]
    Stored,
    /// Those that its route would make now.
    Current,
}

/// How far a replay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReplayState {
    /// It goes on.
    Running,
    /// Somebody has paused it.
    Paused,
    /// Somebody has cancelled it.
    Cancelled,
    /// All events were handled.
    Done,
}

/// What to deliver once more.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReplay {
    /// The events. An empty filter means all of them.
    #[serde(deserialize_with = "wire::object")]
    pub filter: Filter,
    /// Another backend than the event's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which deliveries, where no other backend is named.
    #[serde(default)]
    pub config: Config,
    /// The most events in a second. Default: 100.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "rate"
    )]
    #[schemars(range(min = 1, max = 100_000))]
    pub rate: Option<NonZeroU32>,
    /// Only tell how many events there are.
    #[serde(default)]
    pub preview: bool,
}

/// A number without a fraction; `60.0` is one to JSON.
fn rate<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<NonZeroU32>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let digits = number.to_string();
    let whole = digits.strip_suffix(".0").unwrap_or(&digits);
    match whole.parse::<NonZeroU32>() {
        Ok(rate) if rate <= RATE_MAX => Ok(Some(rate)),
        Ok(_) | Err(_) => {
            let wanted = format!("`rate` is a whole number from 1 to {RATE_MAX}");
            Err(serde::de::Error::custom(wanted))
        }
    }
}

/// A replay, under way or over.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Replay {
    /// Its id; empty in a preview.
    pub id: String,
    /// Who asked for it.
    pub who: String,
    /// When.
    pub created_at: String,
    /// The events.
    pub filter: Filter,
    /// Another backend than the event's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which deliveries.
    pub config: Config,
    /// The most events in a second.
    pub rate: NonZeroU32,
    /// How far it is; absent in a preview.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ReplayState>,
    /// Events that the filter meant at the beginning, whatever its text.
    pub found: u64,
    /// Events that were handled.
    pub events: u64,
    /// Deliveries that were made of them.
    pub deliveries: u64,
    /// Events of which nothing was made: refused again, or without a delivery that fits.
    pub skipped: u64,
    /// Where in the log it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Replay {
    /// The most events of the next piece of work.
    fn piece(&self) -> u32 {
        (self.rate.get() / 10).clamp(1, PIECE_MAX)
    }
}

/// All replays.
pub struct Replays {
    store: Arc<dyn Store>,
    dispatcher: Arc<Dispatcher>,
    gateway: Arc<Gateway>,
    clock: Arc<dyn Clock>,
    all: Mutex<BTreeMap<String, Replay>>,
    changed: Notify,
}

/// What was made of one event or several.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Made {
    pub deliveries: u64,
    pub skipped: u64,
}

impl Replays {
    /// Prepares to replay from a store.
    pub fn new(
        store: Arc<dyn Store>,
        dispatcher: Arc<Dispatcher>,
        gateway: Arc<Gateway>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            store,
            dispatcher,
            gateway,
            clock,
            all: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// A panic elsewhere leaves whole documents.
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Replay>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the task is dropped; goes on with what was running when the process ended.
    pub async fn run(self: Arc<Self>) {
        while let Err(error) = self.load().await {
            tracing::warn!(%error, "replays cannot be read");
            tokio::time::sleep(STORE_PAUSE).await;
        }
        let mut busy = HashSet::new();
        let mut tasks = JoinSet::new();
        loop {
            let is_running = |replay: &&Replay| replay.state == Some(ReplayState::Running);
            let running: Vec<String> = self
                .all()
                .values()
                .filter(is_running)
                .map(|replay| replay.id.clone())
                .collect();
            for id in running {
                if busy.insert(id.clone()) {
                    tasks.spawn(self.clone().work(id));
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = tasks.join_next() => {
                    if let Ok(id) = ended {
                        busy.remove(&id);
                    }
                }
            }
        }
    }

    async fn load(&self) -> Result<(), StoreError> {
        for (id, text) in self.store.shelf(Shelf::Replays).await? {
            match serde_json::from_str::<Replay>(&text) {
                Ok(replay) => {
                    self.all().entry(id).or_insert(replay);
                }
                Err(error) => tracing::warn!(id, %error, "a replay cannot be read"),
            }
        }
        Ok(())
    }

    /// Begins a replay, or tells what it would be of.
    pub(super) async fn begin(&self, new: NewReplay, who: &str) -> Result<Replay, Problem> {
        if let Some(to) = &new.to {
            self.known_backend(to)?;
        }
        let now = self.clock.now();
        // What comes while it runs is not meant.
        let mut filter = new.filter;
        let until = filter.at(now).map_err(Problem::bad)?.until;
        filter.until = Some(until.map_or(now, |until| until.min(now)).to_string());
        let since = filter.at(now).map_err(Problem::bad)?.since;
        filter.since = since.map(|since| since.to_string());
        let meant = filter.at(now).map_err(Problem::bad)?;
        let found = self.store.count(meant).await?;
        let mut replay = Replay {
            id: String::new(),
            who: who.to_owned(),
            created_at: now.to_string(),
            filter,
            to: new.to,
            config: new.config,
            rate: new.rate.unwrap_or(RATE),
            state: None,
            found,
            events: 0,
            deliveries: 0,
            skipped: 0,
            next: None,
        };
        if new.preview {
            return Ok(replay);
        }
        replay.id = EventId::new(now).to_string();
        replay.state = Some(ReplayState::Running);
        self.keep(&replay).await?;
        self.all().insert(replay.id.clone(), replay.clone());
        self.forget_old().await?;
        self.changed.notify_one();
        Ok(replay)
    }

    pub(super) fn known_backend(&self, name: &str) -> Result<(), Problem> {
        match self.dispatcher.plan().roads.named(name) {
            Some(_) => Ok(()),
            None => Err(Problem::missing(format!(
                "`to`: there is no backend `{name}`"
            ))),
        }
    }

    async fn keep(&self, replay: &Replay) -> Result<(), StoreError> {
        let text = serde_json::to_string(replay).unwrap_or_default();
        let put = self
            .store
            .put(Shelf::Replays, replay.id.clone(), Some(text));
        put.await
    }

    async fn forget_old(&self) -> Result<(), StoreError> {
        let is_over = |replay: &Replay| {
            matches!(
                replay.state,
                Some(ReplayState::Done | ReplayState::Cancelled)
            )
        };
        let old: Vec<String> = {
            let all = self.all();
            let surplus = all.len().saturating_sub(REMEMBERED_MAX);
            let over = all.values().filter(|replay| is_over(replay));
            over.take(surplus).map(|replay| replay.id.clone()).collect()
        };
        for id in old {
            self.store.put(Shelf::Replays, id.clone(), None).await?;
            self.all().remove(&id);
        }
        Ok(())
    }

    /// All of them, latest first.
    pub(super) fn list(&self) -> Vec<Replay> {
        self.all().values().rev().cloned().collect()
    }

    pub(super) fn one(&self, id: &str) -> Result<Replay, Problem> {
        let missing = || Problem::missing(format!("there is no replay {id}"));
        self.all().get(id).cloned().ok_or_else(missing)
    }

    /// Pauses, resumes or cancels a replay.
    pub(super) async fn turn(&self, id: &str, to: ReplayState) -> Result<Replay, Problem> {
        let turned = {
            let mut all = self.all();
            let missing = || Problem::missing(format!("there is no replay {id}"));
            let replay = all.get_mut(id).ok_or_else(missing)?;
            if matches!(
                replay.state,
                Some(ReplayState::Done | ReplayState::Cancelled) | None
            ) {
                return Err(Problem::conflict("this replay is over"));
            }
            replay.state = Some(to);
            replay.clone()
        };
        self.keep(&turned).await?;
        self.changed.notify_one();
        Ok(turned)
    }

    /// Works on one replay for as long as it runs.
    async fn work(self: Arc<Self>, id: String) -> String {
        loop {
            let running = self.all().get(&id).cloned();
            let is_running = |replay: &Replay| replay.state == Some(ReplayState::Running);
            let Some(replay) = running.filter(is_running) else {
                return id;
            };
            let piece = replay.piece();
            let pace = Duration::from_secs_f64(f64::from(piece) / f64::from(replay.rate.get()));
            let (stepped, ()) = tokio::join!(self.step(&replay, piece), tokio::time::sleep(pace));
            if let Err(error) = stepped {
                tracing::warn!(id, %error, "a replay waits for the store");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }

    /// Does a piece of a replay, of so many events at most.
    async fn step(&self, replay: &Replay, piece: u32) -> Result<(), StoreError> {
        let created: Timestamp = replay.created_at.parse().unwrap_or_default();
        let filter = replay.filter.at(created).unwrap_or_default();
        let listed = self
            .store
            .list(filter, replay.next.clone(), piece as usize)
            .await?;
        let made = self.make(&listed.events, replay).await?;
        let events = u32::try_from(listed.events.len()).unwrap_or(u32::MAX);
        let noted = {
            let mut all = self.all();
            let Some(known) = all.get_mut(&replay.id) else {
                return Ok(());
            };
            known.events += u64::from(events);
            known.deliveries += made.deliveries;
            known.skipped += made.skipped;
            known.next = listed.next;
            if known.next.is_none() && known.state == Some(ReplayState::Running) {
                known.state = Some(ReplayState::Done);
            }
            known.clone()
        };
        self.keep(&noted).await
    }

    /// Makes the deliveries of events.
    pub(super) async fn make(&self, events: &[Shown], replay: &Replay) -> Result<Made, StoreError> {
        let mut made = Made::default();
        let mut items = Vec::new();
        for shown in events {
            if shown.refused.is_some() {
                match self.gateway.judge_again(shown).await {
                    Ok(Again::Accepted { deliveries }) => made.deliveries += deliveries,
                    Ok(Again::Duplicate) | Err(_) => made.skipped += 1,
                }
                continue;
            }
            let to = self.places(shown, replay);
            if to.is_empty() {
                made.skipped += 1;
                continue;
            }
            let id = shown.event.id;
            items.push(Redelivery { id, to });
        }
        if !items.is_empty() {
            made.deliveries += self.store.redeliver(items, self.clock.now()).await?;
        }
        Ok(made)
    }

    fn places(&self, shown: &Shown, replay: &Replay) -> Vec<Place> {
        if let Some(to) = &replay.to {
            return vec![place_for(shown, to)];
        }
        match replay.config {
            Config::Stored => {
                let state = replay.filter.state.map(wire::State::label);
                let is_meant = |one: &&crate::store::ShownDelivery| {
                    let backend = replay.filter.backend.as_deref();
                    backend.is_none_or(|backend| *one.backend == *backend)
                        && state.is_none_or(|state| wire::state(state) == Some(one.state))
                        && matches!(one.state, DeliveryState::Delivered | DeliveryState::Dead)
                };
                let meant = shown.deliveries.iter().filter(is_meant);
                meant
                    .map(|one| Place {
                        slot: one.slot,
                        backend: one.backend.clone(),
                    })
                    .collect()
            }
            Config::Current => {
                let plan = self.dispatcher.plan();
                let Some(route) = plan.routes.get(&*shown.event.route) else {
                    return Vec::new();
                };
                let view = view_of(&shown.event);
                let holds = |one: &&Arc<crate::delivery::Deliver>| {
                    let when = one.when.as_ref();
                    when.is_none_or(|when| when.holds(&view).unwrap_or(true))
                };
                route
                    .iter()
                    .filter(holds)
                    .map(|one| Place {
                        slot: one.slot,
                        backend: one.backend.name.as_str().into(),
                    })
                    .collect()
            }
        }
    }
}

/// Where an event goes to a backend: where it went before, or behind everything that its route has.
fn place_for(shown: &Shown, backend: &str) -> Place {
    let before = shown.deliveries.iter().find(|one| *one.backend == *backend);
    let last = shown.deliveries.iter().map(|one| one.slot).max();
    let slot = before.map_or_else(
        || {
            last.map_or(0, |last| last.saturating_add(1))
                .max(ASKED_SLOT_FIRST)
        },
        |one| one.slot,
    );
    Place {
        slot,
        backend: backend.into(),
    }
}

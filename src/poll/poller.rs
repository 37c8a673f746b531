//! Polls every source when it is due, until the end.
//!
//! One task for each partition of a source, so that its polls never overlap. A reload lets those whose
//! source has changed end between two polls, and starts others after them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinHandle;

use super::reading::{self, Ended, Memory, Tally, Tools};
use super::schedule::{Due, Plan, Polled, SLEEP_MAX};
use super::source::{Partition, Role, Source};
use super::state::State;
use crate::metrics::Metrics;
use crate::store::SourceRow;

/// How long is waited before somebody else is asked again whether he still polls.
const ELSEWHERE_PAUSE: Duration = Duration::from_secs(5);
/// How long a source that waits for somebody is left alone; a command wakes it.
const PAUSED_PAUSE: Duration = Duration::from_secs(60);
/// How long is waited for a store that cannot be written.
const STORE_PAUSE: Duration = Duration::from_secs(1);
/// Polls that follow at once, before others get a turn: a source that always has more rests.
const DRAINS_MAX: u32 = 1000;
/// How long tasks that are told to end are waited for.
const END_WAIT: Duration = Duration::from_secs(5);

/// A source or one partition of it, by name.
type Name = (Arc<str>, Arc<str>);

/// How a source is, as operators see it.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// How the last poll ended.
    pub last: Option<Ended>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it came to.
    pub tally: Tally,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// When it was last read.
    pub success_at: Option<Timestamp>,
    /// When something new last came; since when it is watched, if nothing has.
    pub new_at: Option<Timestamp>,
    /// The time of the newest item.
    pub item_at: Option<Timestamp>,
}

impl View {
    /// Whether it brought nothing new for longer than it should.
    pub fn is_silent(&self, source: &Source, now: Timestamp) -> bool {
        let (Some(every), Some(new_at)) = (source.expected_every, self.new_at) else {
            return false;
        };
        now.duration_since(new_at).unsigned_abs() > every
    }
}

/// Polls all sources.
pub struct Poller {
    pub(super) tools: Tools,
    metrics: Arc<Metrics>,
    sources: watch::Sender<Arc<[Arc<Source>]>>,
    views: Mutex<BTreeMap<Name, View>>,
    wakes: Mutex<HashMap<Name, Arc<Notify>>>,
}

/// A task, and what tells it to end.
struct Task {
    source: Arc<Source>,
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
}

impl Poller {
    /// Prepares to poll these.
    pub fn new(tools: Tools, metrics: Arc<Metrics>, sources: Vec<Arc<Source>>) -> Self {
        Self {
            tools,
            metrics,
            sources: watch::Sender::new(sources.into()),
            views: Mutex::default(),
            wakes: Mutex::default(),
        }
    }

    /// Polls others from now on. What did not change goes on as it was.
    pub fn swap(&self, sources: Vec<Arc<Source>>) {
        self.sources.send_replace(sources.into());
    }

    /// The sources.
    pub fn sources(&self) -> Arc<[Arc<Source>]> {
        self.sources.borrow().clone()
    }

    /// How the partitions of a source are.
    pub fn views(&self, source: &str) -> Vec<(Arc<str>, View)> {
        let views = self.lock_views();
        let first: Name = (source.into(), "".into());
        let of_source = views
            .range(first..)
            .take_while(|((name, _), _)| **name == *source);
        of_source
            .map(|((_, partition), view)| (partition.clone(), view.clone()))
            .collect()
    }

    /// Polls a source now, whatever its schedule says.
    pub fn wake(&self, source: &str) {
        let wakes = self.lock_wakes();
        for ((name, _), wake) in wakes.iter() {
            if **name == *source {
                wake.notify_one();
            }
        }
    }

    /// Polls until `stop`; polls that are under way then end with their page.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut sources = self.sources.subscribe();
        let mut tasks: HashMap<Name, Task> = HashMap::new();
        tokio::pin!(stop);
        loop {
            let wanted = sources.borrow_and_update().clone();
            self.renew(&mut tasks, &wanted);
            tokio::select! {
                () = &mut stop => break,
                changed = sources.changed() => if changed.is_err() { break },
            }
        }
        for task in tasks.values() {
            task.stop.send_replace(true);
        }
        let ended = async {
            for (_, task) in tasks.drain() {
                let _ = task.handle.await;
            }
        };
        // What is cut off here was not committed, and is read again.
        let _ = tokio::time::timeout(END_WAIT, ended).await;
    }

    /// Lets tasks of other sources end, and starts those that are missing.
    fn renew(self: &Arc<Self>, tasks: &mut HashMap<Name, Task>, wanted: &[Arc<Source>]) {
        let mut old = std::mem::take(tasks);
        for source in wanted.iter().filter(|source| source.is_enabled) {
            let turns = Arc::new(Semaphore::new(source.concurrency.get() as usize));
            for partition in &source.partitions {
                let name = (source.name.clone(), partition.key.clone());
                let before = old.remove(&name);
                let task = match before {
                    Some(task) if Arc::ptr_eq(&task.source, source) => task,
                    before => self.start(source, partition, &turns, before),
                };
                tasks.insert(name, task);
            }
        }
        for (name, task) in old {
            task.stop.send_replace(true);
            self.lock_views().remove(&name);
            self.lock_wakes().remove(&name);
        }
    }

    fn start(
        self: &Arc<Self>,
        source: &Arc<Source>,
        partition: &Partition,
        turns: &Arc<Semaphore>,
        before: Option<Task>,
    ) -> Task {
        let (stop, stopping) = watch::channel(false);
        let wake = Arc::<Notify>::default();
        let name = (source.name.clone(), partition.key.clone());
        self.lock_wakes().insert(name, wake.clone());
        let (poller, source, partition) = (self.clone(), source.clone(), partition.clone());
        let of_task = source.clone();
        let turns = turns.clone();
        let work = async move {
            if let Some(before) = before {
                before.stop.send_replace(true);
                let _ = before.handle.await;
            }
            let turn = Turn {
                source: &of_task,
                partition: &partition,
                turns: &turns,
                wake: &wake,
            };
            let mut stopping = stopping;
            poller.keep_polling(&turn, &mut stopping).await;
        };
        Task {
            source,
            stop,
            handle: tokio::spawn(work),
        }
    }

    async fn keep_polling(&self, turn: &Turn<'_>, stopping: &mut watch::Receiver<bool>) {
        let source = turn.source;
        let mut memory = Memory::default();
        let mut idle = 0;
        let mut drains = 0;
        let mut plan = self.first_plan(turn).await;
        let mut rests_until = None;
        while !*stopping.borrow() {
            let woken = tokio::select! {
                woken = self.wait(turn, &plan, rests_until) => woken,
                _ = stopping.changed() => return,
            };
            if let Woken::Later(later) = woken {
                plan = later;
                continue;
            }
            let Ok(_permit) = turn.turns.acquire().await else {
                return;
            };
            let started = self.tools.clock.now();
            let polled = tokio::select! {
                polled = self.poll(turn, &mut memory) => polled,
                // What is cut off here was not committed, and is read again. A token that was just
                // given is nowhere else.
                _ = stopping.changed(), if !source.auth.gets_tokens() => return,
            };
            let (ended, tally) = polled;
            let now = self.tools.clock.now();
            idle = if tally.new > 0 { 0 } else { idle + 1 };
            drains = if ended == Ended::More { drains + 1 } else { 0 };
            let rest = |pause: Duration| now.saturating_add(pause).ok();
            rests_until = match &ended {
                Ended::Elsewhere => rest(ELSEWHERE_PAUSE),
                Ended::Paused(_) => rest(PAUSED_PAUSE),
                Ended::Unavailable(_) => rest(STORE_PAUSE),
                Ended::Rests(until) | Ended::Failed { until, .. } => Some(*until),
                Ended::Done | Ended::More | Ended::Stuck(_) => None,
            };
            plan = match ended {
                Ended::More if drains < DRAINS_MAX => at_once(now),
                _ => {
                    let polled = Polled {
                        started,
                        ended: now,
                        idle,
                        at_least: tally.at_least,
                    };
                    source.schedule.after_poll(&polled, (self.tools.chance)())
                }
            };
            let next_at = rests_until.map_or(plan.poll_at, |until| until.max(plan.poll_at));
            self.tell(turn, ended, tally, now, next_at);
        }
    }

    /// The plan of a source that this process has not polled yet, by when it was last polled.
    async fn first_plan(&self, turn: &Turn<'_>) -> Plan {
        let now = self.tools.clock.now();
        let chance = (self.tools.chance)();
        let rows = self.tools.store.source(&turn.source.name).await;
        let rows = rows.unwrap_or_default();
        let of_partition = |row: &&SourceRow| row.key.partition == turn.partition.key;
        let row = rows.iter().find(of_partition);
        let state = row.and_then(|row| State::parse(row.document.as_deref()?).ok());
        let state = state.unwrap_or_default();
        let last = state.last_success_at;
        let stored = last.filter(|last| *last <= now).map(|last| {
            let polled = Polled {
                started: last,
                ended: last,
                idle: 0,
                at_least: state.at_least_s.map(Duration::from_secs),
            };
            turn.source.schedule.after_poll(&polled, chance)
        });
        let plan = turn.source.schedule.at_start(stored.as_ref(), now, chance);
        let name = (turn.source.name.clone(), turn.partition.key.clone());
        let view = View {
            next_at: Some(plan.poll_at),
            success_at: state.last_success_at,
            new_at: state.last_new_at.or(Some(now)),
            item_at: state.last_item_at,
            ..View::default()
        };
        self.lock_views().insert(name, view);
        plan
    }

    /// Waits until a poll is due, for a while, or until somebody asks for one.
    async fn wait(&self, turn: &Turn<'_>, plan: &Plan, rests_until: Option<Timestamp>) -> Woken {
        let now = self.tools.clock.now();
        let rest = rests_until.filter(|until| *until > now);
        let due = match rest {
            // A clock that was set back must not make a rest longer than it was.
            Some(until) => Due::Later {
                plan: *plan,
                sleep: Duration::try_from(until.duration_since(now))
                    .unwrap_or_default()
                    .min(SLEEP_MAX),
            },
            None if plan.poll_at <= now => Due::Now,
            None => turn.source.schedule.due(plan, now, (self.tools.chance)()),
        };
        match due {
            Due::Now => Woken::Now,
            Due::Later { plan, sleep } => tokio::select! {
                () = turn.wake.notified() => Woken::Now,
                () = tokio::time::sleep(sleep) => Woken::Later(plan),
            },
        }
    }

    async fn poll(&self, turn: &Turn<'_>, memory: &mut Memory) -> (Ended, Tally) {
        let begun = self.tools.clock.monotonic();
        let polled = reading::poll(turn.source, turn.partition, &self.tools, memory).await;
        let took = self.tools.clock.monotonic().saturating_sub(begun);
        self.count(turn.source, &polled, took);
        polled
    }

    fn count(&self, source: &Source, (ended, tally): &(Ended, Tally), took: Duration) {
        let metrics = &self.metrics.polls;
        let name: &str = &source.name;
        metrics
            .polls
            .with_label_values(&[name, ended.label()])
            .inc();
        metrics
            .requests
            .with_label_values(&[name])
            .inc_by(tally.requests);
        metrics.pages.with_label_values(&[name]).inc_by(tally.pages);
        for (outcome, count) in [
            ("new", tally.new),
            ("duplicate", tally.duplicates),
            ("filtered", tally.filtered),
        ] {
            metrics
                .items
                .with_label_values(&[name, outcome])
                .inc_by(count);
        }
        if source.role == Role::SafetyNet {
            metrics
                .recovered
                .with_label_values(&[name])
                .inc_by(tally.new);
        }
        metrics
            .duration
            .with_label_values(&[name])
            .observe(took.as_secs_f64());
        metrics
            .order_breaches
            .with_label_values(&[name])
            .inc_by(tally.order_breaches);
        metrics.gaps.with_label_values(&[name]).inc_by(tally.gaps);
        if let Some(left) = source.budget.left() {
            let left = f64::from(u32::try_from(left).unwrap_or(u32::MAX));
            metrics.budget_left.with_label_values(&[name]).set(left);
        }
        if let Some(pending) = tally.pending {
            let pending = f64::from(u32::try_from(pending).unwrap_or(u32::MAX));
            metrics.pending.with_label_values(&[name]).set(pending);
        }
        self.metrics.count_queued(name, &tally.queued);
    }

    /// Tells the metrics how the partitions of a source are together.
    fn show(&self, source: &Source, now: Timestamp) {
        let metrics = &self.metrics.polls;
        let name: &str = &source.name;
        let views = self.views(name);
        let count = |is: &dyn Fn(&View) -> bool| {
            let those = views.iter().filter(|(_, view)| is(view));
            i64::try_from(those.count()).unwrap_or(i64::MAX)
        };
        let paused = count(&|view| matches!(view.last, Some(Ended::Paused(_))));
        metrics.paused.with_label_values(&[name]).set(paused);
        let silent = count(&|view| view.is_silent(source, now));
        metrics.silent.with_label_values(&[name]).set(silent);
        let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
        if let Some(oldest) = views.iter().filter_map(|(_, view)| view.success_at).min() {
            metrics
                .last_success
                .with_label_values(&[name])
                .set(seconds(oldest));
        }
        if let Some(newest) = views.iter().filter_map(|(_, view)| view.item_at).max() {
            metrics
                .newest_item
                .with_label_values(&[name])
                .set(seconds(newest));
        }
    }

    fn tell(
        &self,
        turn: &Turn<'_>,
        ended: Ended,
        tally: Tally,
        now: Timestamp,
        next_at: Timestamp,
    ) {
        let label = turn.source.label(turn.partition);
        match &ended {
            Ended::Failed { text, until, .. } => {
                tracing::warn!(source = label, %until, "a poll failed: {text}");
            }
            Ended::Paused(why) => tracing::warn!(source = label, "the source is paused: {why}"),
            Ended::Unavailable(why) => tracing::warn!(source = label, "no poll: {why}"),
            Ended::Done | Ended::More | Ended::Stuck(_) | Ended::Rests(_) | Ended::Elsewhere => {
                tracing::debug!(source = label, new = tally.new, "polled");
            }
        }
        let name = (turn.source.name.clone(), turn.partition.key.clone());
        let mut views = self.lock_views();
        let view = views.entry(name).or_default();
        if matches!(ended, Ended::Done | Ended::More | Ended::Stuck(_)) {
            view.success_at = Some(now);
        }
        if tally.new > 0 {
            view.new_at = Some(now);
        }
        view.item_at = view.item_at.max(tally.newest_item_at);
        view.last = Some(ended);
        view.ended_at = Some(now);
        view.next_at = Some(next_at);
        view.tally = tally;
        drop(views);
        self.show(turn.source, now);
    }

    /// A panic elsewhere leaves whole entries.
    fn lock_views(&self) -> MutexGuard<'_, BTreeMap<Name, View>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_wakes(&self) -> MutexGuard<'_, HashMap<Name, Arc<Notify>>> {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a task polls.
struct Turn<'a> {
    source: &'a Source,
    partition: &'a Partition,
    /// How many partitions of the source are polled at once.
    turns: &'a Semaphore,
    wake: &'a Notify,
}

/// What ended a wait.
enum Woken {
    /// It is time for a poll.
    Now,
    /// It is not, and this is what to wait for.
    Later(Plan),
}

fn at_once(now: Timestamp) -> Plan {
    after(now, Duration::ZERO)
}

fn after(now: Timestamp, pause: Duration) -> Plan {
    Plan {
        made_at: now,
        poll_at: now.saturating_add(pause).unwrap_or(now),
        at_least: Duration::ZERO,
    }
}

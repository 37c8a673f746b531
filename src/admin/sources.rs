//! What is polled, how it went, and what operators do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Problem;
use crate::poll::again::Again;
use crate::poll::operating::{ChangeError, Stored, stands_still};
use crate::poll::poller::View;
use crate::poll::reading::Ended;
use crate::poll::state::State;
use crate::poll::times::Start;
use crate::poll::{Poller, Source};
use crate::store::SourceRow;

/// The longest reason of a pause, in bytes.
const WHY_BYTES_MAX: usize = 500;
/// How much of a cursor is noted with who set it, in characters.
const NOTED_CHARS_MAX: usize = 200;

/// Everything that is polled, in the order of the file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceList {
    /// The sources.
    pub sources: Vec<SourceView>,
}

/// A source and how it is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SourceView {
    /// Its name: that of its route.
    pub name: String,
    /// Whether it is polled at all.
    pub enabled: bool,
    /// How many requests its budget has left; absent without a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<u64>,
    /// Its partitions; one without a name for a source without any.
    pub partitions: Vec<PartitionView>,
}

/// A partition of a source and how it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
pub struct PartitionView {
    /// Its name; empty for a source without partitions.
    pub partition: String,
    /// How the last poll of this process ended: `done`, `more`, `rests`, `paused`, `elsewhere`,
    /// `unavailable`, or the word for what failed. Absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Why the last poll failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// When the next one is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// When it was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<String>,
    /// The time of the newest item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_item_at: Option<String>,
    /// Items of the last poll that became events.
    pub new: u64,
    /// Items of the last poll that were known.
    pub duplicates: u64,
    /// Items of the last poll that nobody wants.
    pub filtered: u64,
    /// How many polls in a row have failed.
    pub failures: u32,
    /// Whether it brought nothing new for longer than `expected_every`.
    pub silent: bool,
    /// Why it waits for somebody; absent if it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The range that is read once more, or was last; absent if none was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<RangeView>,
}

/// A range of a source that is read once more.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RangeView {
    /// Where it begins; absent = with the earliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where it ends; absent = with the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether items become events that were found before.
    pub force: bool,
    /// Items that became events.
    pub new: u64,
    /// Items that were known.
    pub duplicates: u64,
    /// When it was read to its end, or given up; absent as long as it is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Why it was given up; absent if it was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub given_up: Option<String>,
}

/// What is stored of a source.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StateList {
    /// Its partitions.
    pub states: Vec<StoredState>,
}

/// What is stored of a partition.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StoredState {
    /// The source.
    pub source: String,
    /// The partition; empty for a source without any.
    pub partition: String,
    /// How far it is read, and how it is. A token is shown as `***`.
    pub state: Value,
}

/// Why a source is paused. It may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPause {
    /// The reason, for whoever looks at it later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 500))]
    pub why: Option<String>,
}

/// What is accepted. It may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAcceptance {
    /// Instead of the changed file, that so many items are gone at once: their deletions are told.
    #[serde(default)]
    pub deletions: bool,
}

/// The range of a source that is read once more.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRange {
    /// Where it begins: a time, an age like `-7d`, or `earliest`.
    pub from: String,
    /// Where it ends: a time or an age. Absent: with the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether items become events that were found before, with other ids.
    #[serde(default)]
    pub force: bool,
    /// The partition. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
}

/// Where a source goes on: exactly one of `cursor` and `state`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewState {
    /// The partition; may be left out where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The cursor, of any JSON but null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// A whole state, as it was shown. Its token is left out; the one that is stored is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<Value>,
}

/// What is put in the place of a state.
pub(super) struct Put {
    partition: Option<String>,
    what: What,
}

enum What {
    Cursor(Value),
    State(Box<State>),
}

/// What is done to a source.
#[derive(Debug)]
pub(super) enum Order {
    Run,
    Pause(Option<String>),
    Resume,
    Accept,
    AcceptDeletions,
    ReadAgain(Box<Range>),
    Reset,
}

/// The range that is read once more, and of which partition.
#[derive(Debug)]
pub(super) struct Range {
    partition: Option<String>,
    again: Again,
}

/// The sources of a gateway; none without a store.
pub(super) struct Sources<'a>(pub Option<&'a Poller>);

impl NewPause {
    pub(super) fn checked(self) -> Result<Option<String>, Problem> {
        match self.why {
            Some(why) if why.len() > WHY_BYTES_MAX => Err(Problem::bad(format!(
                "`why` is longer than {WHY_BYTES_MAX} bytes"
            ))),
            why => Ok(why.filter(|why| !why.trim().is_empty())),
        }
    }
}

impl NewRange {
    pub(super) fn parsed(self, now: Timestamp) -> Result<Range, Problem> {
        let from = time_of("from", &self.from, now)?;
        let to = match &self.to {
            Some(text) => time_of("to", text, now)?,
            None => None,
        };
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(Problem::bad("`from` is later than `to`"));
        }
        Ok(Range {
            partition: self.partition,
            again: Again::new(from, to, self.force, now),
        })
    }
}

/// A time or an age; `None` = the earliest.
fn time_of(key: &str, text: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    match Start::parse(text) {
        Ok(Start::Earliest) => Ok(None),
        Ok(Start::Now) => Ok(Some(now)),
        Ok(Start::At(time)) => Ok(Some(time)),
        Ok(Start::Ago(ago)) => Ok(Some(now.saturating_sub(ago).unwrap_or(Timestamp::MIN))),
        Err(_) => Err(Problem::bad(format!(
            "`{key}` is no time: write one like `2026-01-31T12:00:00Z`, or an age like `-7d`"
        ))),
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time: Option<Timestamp>, none: &str| match time {
            Some(time) => time.to_string(),
            None => none.to_owned(),
        };
        if let Some(partition) = self.partition.as_deref().filter(|name| !name.is_empty()) {
            write!(f, "partition {partition}, ")?;
        }
        let from = text(self.again.from, "the earliest");
        let to = text(self.again.to, "the newest");
        write!(f, "from {from} to {to}")?;
        match self.again.is_forced {
            true => f.write_str(", by force"),
            false => Ok(()),
        }
    }
}

impl NewState {
    pub(super) fn parsed(self) -> Result<Put, Problem> {
        let what = match (self.cursor, self.state) {
            (Some(cursor), None) => What::Cursor(cursor),
            (None, Some(state)) => {
                let parsed = State::parse(&without_token(state).to_string());
                let bad = |_| Problem::bad("`state` is not what an export has");
                What::State(Box::new(parsed.map_err(bad)?))
            }
            _ => return Err(Problem::bad("say one of `cursor` and `state`")),
        };
        Ok(Put {
            partition: self.partition,
            what,
        })
    }
}

impl fmt::Display for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(partition) = self.partition.as_deref().filter(|name| !name.is_empty()) {
            write!(f, "partition {partition}, ")?;
        }
        match &self.what {
            What::Cursor(cursor) => {
                let text: String = cursor.to_string().chars().take(NOTED_CHARS_MAX).collect();
                write!(f, "cursor {text}")
            }
            What::State(_) => f.write_str("a whole state"),
        }
    }
}

impl Sources<'_> {
    pub(super) async fn list(&self, now: Timestamp) -> Result<SourceList, Problem> {
        let mut sources = Vec::new();
        if let Some(poller) = self.0 {
            for source in poller.sources().iter() {
                sources.push(view(poller, source, now).await?);
            }
        }
        Ok(SourceList { sources })
    }

    /// One source as it is now.
    pub(super) async fn one(&self, name: &str, now: Timestamp) -> Result<SourceView, Problem> {
        let (poller, source) = self.known(name)?;
        view(poller, &source, now).await
    }

    /// What is stored of a source, also of one that is not in the file any more.
    pub(super) async fn states(&self, name: &str) -> Result<StateList, Problem> {
        let poller = self.0.ok_or_else(|| missing(name))?;
        let states = poller.stored(name).await?;
        if states.is_empty() {
            self.known(name)?;
        }
        Ok(listed(name, states))
    }

    pub(super) fn known(&self, name: &str) -> Result<(&Poller, Arc<Source>), Problem> {
        let poller = self.0.ok_or_else(|| missing(name))?;
        let source = poller.source(name).ok_or_else(|| missing(name))?;
        Ok((poller, source))
    }

    /// Whether an order makes sense now.
    pub(super) async fn check(&self, name: &str, order: &Order) -> Result<(), Problem> {
        let (poller, source) = self.known(name)?;
        match order {
            Order::Run => {}
            Order::ReadAgain(range) => Poller::can_read_again(&source, &range.again)?,
            _ => return Ok(()),
        }
        if !source.is_enabled {
            let detail = "it is not polled at all: the file says `enabled: false`";
            return Err(Problem::conflict(detail));
        }
        let stored = poller.stored(name).await?;
        let still = |one: &Stored| stands_still(&source, &one.state);
        let mut whys = stored.iter().map(still);
        match whys.next() {
            // Where some partitions go on, those are polled.
            Some(Some(why)) if whys.all(|why| why.is_some()) => {
                Err(Problem::conflict(format!("the source is paused: {why}")))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn obey(&self, name: &str, order: Order) -> Result<(), Problem> {
        let (poller, source) = self.known(name)?;
        match order {
            Order::Run => poller.poll_now(&source).await,
            Order::Pause(why) => poller.pause(&source, why.as_deref()).await,
            Order::Resume => poller.resume(&source).await,
            Order::Accept => poller.accept(&source).await,
            Order::AcceptDeletions => poller.accept_deletions(&source).await,
            Order::ReadAgain(range) => {
                let partition = range.partition.as_deref();
                poller.read_again(&source, partition, range.again).await
            }
            Order::Reset => poller.reset(&source).await,
        }?;
        Ok(())
    }

    pub(super) async fn put(&self, name: &str, put: Put) -> Result<(), Problem> {
        let (poller, source) = self.known(name)?;
        let partition = put.partition.as_deref();
        match put.what {
            What::Cursor(cursor) => poller.put_cursor(&source, partition, cursor).await,
            What::State(state) => poller.put_state(&source, partition, *state).await,
        }?;
        Ok(())
    }
}

/// What is stored of a source, for a store that is read without the API.
///
/// # Errors
/// [`Problem`] when it cannot be read.
pub fn states(name: &str, rows: &[SourceRow]) -> Result<StateList, Problem> {
    let stored = crate::poll::operating::stored(rows)?;
    Ok(listed(name, stored))
}

/// A state that can be given away.
pub fn without_token(mut state: Value) -> Value {
    if let Some(state) = state.as_object_mut() {
        state.shift_remove("token");
    }
    state
}

fn listed(name: &str, states: Vec<Stored>) -> StateList {
    let state = |one: Stored| StoredState {
        source: name.to_owned(),
        partition: one.partition.to_string(),
        state: serde_json::to_value(one.state.shown()).unwrap_or_default(),
    };
    StateList {
        states: states.into_iter().map(state).collect(),
    }
}

async fn view(poller: &Poller, source: &Source, now: Timestamp) -> Result<SourceView, Problem> {
    let mut partitions: BTreeMap<Arc<str>, PartitionView> = BTreeMap::new();
    for partition in &source.partitions {
        partitions.entry(partition.key.clone()).or_default();
    }
    let unreadable = match poller.stored(&source.name).await {
        Ok(stored) => {
            for one in stored {
                let view = partitions.entry(one.partition.clone()).or_default();
                put_state(view, source, &one.state);
            }
            None
        }
        Err(error @ ChangeError::Unreadable(_)) => Some(error.to_string()),
        Err(error) => return Err(error.into()),
    };
    for (partition, view) in poller.views(&source.name) {
        let shown = partitions.entry(partition).or_default();
        put_view(shown, source, &view, now);
    }
    let named = |(partition, view): (Arc<str>, PartitionView)| PartitionView {
        partition: partition.to_string(),
        paused: unreadable.clone().or(view.paused),
        ..view
    };
    Ok(SourceView {
        name: source.name.to_string(),
        enabled: source.is_enabled,
        budget_left: source.budget.left(),
        partitions: partitions.into_iter().map(named).collect(),
    })
}

fn put_state(shown: &mut PartitionView, source: &Source, state: &State) {
    shown.last_success_at = text(state.last_success_at);
    shown.newest_item_at = text(state.last_item_at);
    shown.failures = state.failures;
    shown.error.clone_from(&state.last_error);
    shown.paused = stands_still(source, state);
    shown.replay = state.again.as_ref().map(|again| RangeView {
        from: text(again.from),
        to: text(again.to),
        force: again.is_forced,
        new: again.new,
        duplicates: again.duplicates,
        ended_at: again.end.as_ref().map(|end| end.at.to_string()),
        given_up: again.end.as_ref().and_then(|end| end.given_up.clone()),
    });
}

fn put_view(shown: &mut PartitionView, source: &Source, view: &View, now: Timestamp) {
    shown.outcome = view.last.as_ref().map(|ended| ended.label().to_owned());
    if let Some(Ended::Failed { text, .. } | Ended::Unavailable(text)) = &view.last {
        shown.error = Some(text.clone());
    }
    shown.ended_at = text(view.ended_at);
    shown.next_at = text(view.next_at);
    shown.last_success_at = text(view.success_at).or(shown.last_success_at.take());
    shown.newest_item_at = text(view.item_at).or(shown.newest_item_at.take());
    shown.new = view.tally.new;
    shown.duplicates = view.tally.duplicates;
    shown.filtered = view.tally.filtered;
    shown.silent = view.is_silent(source, now);
}

fn text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

fn missing(name: &str) -> Problem {
    Problem::missing(format!("there is no source `{name}`"))
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::Store(error) => error.into(),
            ChangeError::Unreadable(_) | ChangeError::Elsewhere => Self::conflict(text),
            ChangeError::NoPartition(_) => Self::missing(text),
            ChangeError::WhichPartition | ChangeError::Cursor(_) | ChangeError::Kind(_) => {
                Self::bad(text)
            }
        }
    }
}

//! A source: the polled side of a route, ready to be asked.
//!
//! Made by the configuration through the constructors of its parts. Decides nothing by itself.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::auth::{Auth, Session};
use super::backoff::{OnError, RetryRule};
use super::budget::{Budget, BudgetRules, LimitHeaders, MinInterval};
use super::changes::ChangeRules;
use super::decode::Format;
use super::errors::ErrorRules;
use super::fetch::Fetcher;
use super::items::ItemRules;
use super::request::RequestRules;
use super::rules::Rules;
use super::schedule::Schedule;
use super::selector::Selector;
use super::times::TimeFormat;
use crate::delivery::deliver::Deliver;
use crate::expr::scoped::{Condition, Masker, ValueTemplate};

/// The polled side of a route.
pub struct Source {
    /// Its name: that of the route.
    pub name: Arc<str>,
    /// Whether it is asked at all.
    pub is_enabled: bool,
    /// Whether the route has webhooks, too.
    pub role: Role,
    /// How often something new is expected; `None` = nobody knows.
    pub expected_every: Option<Duration>,
    /// The name that it had before.
    pub alias: Option<String>,
    /// How its items are told apart from those of other sources, and of webhooks.
    pub keys: Keys,
    /// Where its events go.
    pub deliver: Vec<Arc<Deliver>>,
    /// The most deliveries of the route that may wait.
    pub depth_max: Option<u64>,
    /// When it is asked.
    pub schedule: Schedule,
    /// What is asked.
    pub request: RequestRules,
    /// What asks it.
    pub fetcher: Arc<Fetcher>,
    /// How requests are authenticated.
    pub auth: Auth,
    /// What is asked first.
    pub session: Option<Login>,
    /// How answers are written.
    pub decode: Format,
    /// What in them is an item.
    pub items: ItemRules,
    /// Where in an item its type stands.
    pub event_type: Option<Selector>,
    /// How far it is read, and how its pages follow each other.
    pub rules: Rules,
    /// What only the file's expressions say about the cursor.
    pub cursor: CursorTemplates,
    /// How a whole list is compared with the one before; `None` = it is not.
    pub changes: Option<ChangeRules>,
    /// What it is asked for, one after the other: one without a value, unless the file has some.
    pub partitions: Vec<Partition>,
    /// How many of these are asked for at once.
    pub concurrency: NonZeroU32,
    /// What answers mean.
    pub errors: ErrorRules,
    /// How requests are repeated within a poll.
    pub retry: RetryRule,
    /// What happens after a poll that failed.
    pub on_error: OnError,
    /// What happens when the provider no longer knows the cursor.
    pub on_lost: OnLost,
    /// How long the provider keeps what it has; `None` = nobody knows.
    pub retention: Option<Duration>,
    /// Who is told that events may be missing.
    pub on_gap: OnGap,
    /// Where the provider says how much waits there; `None` = it is not asked.
    pub pending: Option<Pending>,
    /// How many requests may be made, together with others of the same budget.
    pub budget: Arc<Budget>,
    /// What the budget is called, if others may share it.
    pub shared_budget: Option<SharedBudget>,
    /// Where the provider says how much is left.
    pub limit_headers: LimitHeaders,
    /// Where the provider says how often it may be polled.
    pub min_interval: Option<MinInterval>,
    /// Stands for what must not change unseen: what is asked, the cursor, the ids.
    pub fingerprint: String,
    /// Hides the secrets of the source.
    pub masker: Masker,
}

/// A budget that sources share by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedBudget {
    /// Its name.
    pub name: String,
    /// What it was made by.
    pub rules: BudgetRules,
}

/// Whether a route has webhooks beside its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has none.
    Alone,
    /// It has: the source finds what they miss.
    SafetyNet,
}

/// How items are told apart.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Sources and webhooks of one namespace share their keys.
    pub namespace: String,
    /// The namespace as a number.
    pub scope: u64,
    /// How long a key is remembered after it was last met.
    pub window: Duration,
}

/// What is asked before anything else.
pub struct Login {
    /// The request.
    pub request: RequestRules,
    /// What is taken from its answer.
    pub session: Session,
}

/// What the file's expressions say about the cursor.
pub struct CursorTemplates {
    /// How a time is written in requests.
    pub format: TimeFormat,
    /// What is asked for next, of the last id.
    pub next: Option<ValueTemplate>,
    /// Whether there is more.
    pub has_more: Option<Condition>,
    /// The first cursor.
    pub start: Option<ValueTemplate>,
    /// Asked once the items of a page are on disk.
    pub confirm: Option<RequestRules>,
    /// Whether the provider forgets what was read.
    pub forgets: bool,
}

/// One value that a source is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it is known by on disk; empty for a source without partitions.
    pub key: Arc<str>,
    /// `${{ partition }}`.
    pub value: Option<Value>,
}

/// What happens when the provider no longer knows the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLost {
    /// Somebody must look.
    Pause,
    /// Reading begins anew.
    Restart {
        /// From this long ago on; `None` = from the earliest.
        ago: Option<Duration>,
        /// Whether that is told as a gap.
        gap: bool,
    },
}

/// Where a provider says how much waits there.
pub struct Pending {
    /// What it is asked.
    pub request: RequestRules,
    /// Where the number stands in its answer.
    pub value: Selector,
    /// How often it is asked, after a poll.
    pub every: Duration,
}

/// Who is told that events may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnGap {
    /// Operators, by the log and a metric.
    #[default]
    Log,
    /// The backends as well, by an event.
    Deliver,
}

impl Source {
    /// What one of its partitions is called in logs and events.
    pub fn label(&self, partition: &Partition) -> String {
        match &*partition.key {
            "" => self.name.to_string(),
            key => format!("{}/{key}", self.name),
        }
    }
}

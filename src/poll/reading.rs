//! One poll: pages are read from where the source is, and each is on disk before the next one is asked
//! for.
//!
//! Nothing that is asked is made of anything but what is on disk. Items, keys, cursor and validators
//! are one step of the store, fenced by version and epoch; only afterwards is anything said that tells
//! the provider "done".

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::asking::{Answer, Failure, Stop};
use super::auth::SessionState;
use super::changes::Ending;
use super::errors::Renewals;
use super::expressions;
use super::fetch::Response;
use super::items::{Extracted, Page as ItemPage, Row};
use super::page::{Page, Seen, Standing};
use super::pagination::End;
use super::position::Position;
use super::source::{Partition, Role, Source};
use super::state::{Attic, Staged, State, Validators};
use super::walk::{Next, Step, Walk};
use crate::clock::Clock;
use crate::store::fault_point::{self, Point};
use crate::store::{DedupClaim, Lead, SourceKey, Store, StoreError};

/// How much longer than a poll a lead lasts.
const LEAD_BEYOND: Duration = Duration::from_secs(60);

/// What every poll works with.
pub struct Tools {
    /// Where events and states are.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Between 0 and 1.
    pub chance: fn() -> f64,
    /// Who polls: another number for every process.
    pub who: u64,
}

/// What a poll came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    /// Requests that were made.
    pub requests: u64,
    /// Pages that were read.
    pub pages: u64,
    /// Items that were on them.
    pub items: u64,
    /// Items that became events.
    pub new: u64,
    /// Items that were known.
    pub duplicates: u64,
    /// Items that `where` does not want, and those from before the start.
    pub filtered: u64,
    /// Deliveries that were made, by backend.
    pub queued: Vec<Arc<str>>,
    /// Items that break the promised order.
    pub order_breaches: u64,
    /// Whether events were lost at the provider.
    pub gaps: u64,
    /// How long the provider wants to be left alone.
    pub at_least: Option<Duration>,
    /// The time of the newest item.
    pub newest_item_at: Option<Timestamp>,
    /// How much waits at the provider, if it was asked.
    pub pending: Option<u64>,
}

/// What a process remembers of a source from poll to poll. It costs a request to find it out again.
#[derive(Default)]
pub struct Memory {
    /// What was asked for first.
    pub session: Option<SessionState>,
    /// When the provider was last asked how much waits there.
    pub pending_at: Option<Timestamp>,
}

/// How a poll ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// Everything was read.
    Done,
    /// There is more, and time for it in the next poll.
    More,
    /// There is more, but the provider does not say how to get it: a word for that.
    Stuck(&'static str),
    /// It failed; the next one is not before this time.
    Failed {
        /// A word for metrics.
        label: &'static str,
        /// A sentence without secrets.
        text: String,
        /// When it may be asked again.
        until: Timestamp,
    },
    /// It is not to be asked before this time.
    Rests(Timestamp),
    /// It waits for somebody.
    Paused(String),
    /// Somebody else polls it.
    Elsewhere,
    /// The store cannot be written now.
    Unavailable(String),
}

impl Ended {
    /// The word for metrics and JSON.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::More => "more",
            Self::Stuck(label) => label,
            Self::Failed { label, .. } => label,
            Self::Rests(_) => "rests",
            Self::Paused(_) => "paused",
            Self::Elsewhere => "elsewhere",
            Self::Unavailable(_) => "unavailable",
        }
    }
}

/// One poll of one partition of a source.
pub(super) struct Reading<'a> {
    pub source: &'a Source,
    pub partition: &'a Partition,
    pub tools: &'a Tools,
    pub session: &'a mut Option<SessionState>,
    pub state: State,
    pub attic: Attic,
    pub lead: Lead,
    pub started: Timestamp,
    pub ends: Timestamp,
    pub renewed: Renewals,
    pub tally: Tally,
    /// Whether a range is read once more, and not what is new.
    pub is_again: bool,
    /// The pages of a list that is compared as a whole.
    pub whole: Vec<Extracted>,
    /// By what the provider can tell whether the first page is another.
    pub validators: Validators,
}

/// Polls a source once.
pub async fn poll(
    source: &Source,
    partition: &Partition,
    tools: &Tools,
    memory: &mut Memory,
) -> (Ended, Tally) {
    let started = tools.clock.now();
    let ends = later(started, source.schedule.timeout());
    let key = SourceKey {
        source: source.name.clone(),
        partition: partition.key.clone(),
    };
    let until = later(ends, LEAD_BEYOND);
    let lead = match tools.store.lead(key, tools.who, started, until).await {
        Ok(Some(lead)) => lead,
        Ok(None) => return (Ended::Elsewhere, Tally::default()),
        Err(error) => return (Ended::Unavailable(error.to_string()), Tally::default()),
    };
    let lead = match with_alias(source, lead, tools).await {
        Ok(lead) => lead,
        Err(error) => return (Ended::Unavailable(error.to_string()), Tally::default()),
    };
    let (state, attic) = match parsed(source, &lead) {
        Ok(parsed) => parsed,
        Err(text) => return (Ended::Paused(text), Tally::default()),
    };
    if let Some(why) = stands_still(source, &state) {
        return (Ended::Paused(why), Tally::default());
    }
    if let Some(until) = state.rests_until.filter(|until| *until > started) {
        return (Ended::Rests(until), Tally::default());
    }
    let mut reading = Reading {
        source,
        partition,
        tools,
        session: &mut memory.session,
        state,
        attic,
        lead,
        started,
        ends,
        renewed: Renewals::NONE,
        tally: Tally::default(),
        is_again: false,
        whole: Vec::new(),
        validators: Validators::default(),
    };
    let ended = match reading.read().await {
        Ok(ended) => ended,
        Err(stop) => reading.stopped(stop).await,
    };
    if matches!(ended, Ended::Done | Ended::More) {
        reading.ask_what_waits(&mut memory.pending_at).await;
    }
    (ended, reading.tally)
}

/// A source that was never read takes over what is known of the one whose name it had before.
async fn with_alias(source: &Source, mut lead: Lead, tools: &Tools) -> Result<Lead, StoreError> {
    let Some(alias) = source
        .alias
        .as_deref()
        .filter(|_| lead.row.document.is_none())
    else {
        return Ok(lead);
    };
    let rows = tools.store.source(alias).await?;
    let mut rows = rows.into_iter();
    if let Some(row) = rows.find(|row| row.key.partition == lead.row.key.partition) {
        lead.row.document = row.document;
        lead.row.snapshot = row.snapshot;
        lead.row.held_at = row.held_at;
    }
    Ok(lead)
}

pub(super) fn parsed(source: &Source, lead: &Lead) -> Result<(State, Attic), String> {
    let broken = |text: String| format!("what is stored of the source cannot be read: {text}");
    let state = match &lead.row.document {
        Some(document) => State::parse(document).map_err(broken)?,
        None => State {
            fingerprint: source.fingerprint.clone(),
            ..State::default()
        },
    };
    let attic = Attic::parse(lead.row.snapshot.as_deref()).map_err(broken)?;
    Ok((state, attic))
}

/// Why a source is not to be asked, whatever the time.
pub(super) fn stands_still(source: &Source, state: &State) -> Option<String> {
    if state.fingerprint != source.fingerprint {
        let name = &source.name;
        return Some(format!(
            "what is asked, the cursor or the ids are others than before: `hookgate poll accept \
             {name}` goes on from where it was, `hookgate poll reset {name}` begins anew"
        ));
    }
    state.paused.clone()
}

impl Reading<'_> {
    async fn read(&mut self) -> Result<Ended, Stop> {
        self.begin().await?;
        if self.state.is_unconfirmed {
            self.confirm().await?;
        }
        self.is_again = self.reads_again();
        if !self.is_again {
            self.is_in_time()?;
        }
        let rules = &self.source.rules;
        let position = self.position();
        let walk = Walk::new(rules, position, self.started, self.ends);
        let mut walk = walk.map_err(|error| Stop::Paused(error.to_string()))?;
        loop {
            let request = walk.request();
            let answer = self.ask(&request).await?;
            fault_point::pass(Point::PollAnswered);
            let Answer::Page { response, body } = answer else {
                if self.is_again {
                    return self.again_read(Next::Done(End::Empty), true).await;
                }
                self.succeeded().await?;
                return Ok(Ended::Done);
            };
            self.tally.pages += 1;
            let extracted = self.extracted(&body)?;
            let standings = self.standings(&extracted).await?;
            let step = self.seen(&mut walk, &response, &body, &extracted, &standings);
            for remark in &step.remarks {
                self.tell(remark.label());
            }
            let next = step.next;
            if let Next::Pause(breach) = next {
                return Err(Stop::Paused(breach.label().to_owned()));
            }
            let is_passed = self.is_passed(&extracted);
            self.take(step, extracted, &request, &response).await?;
            if self.is_again && (is_passed || next != Next::More) {
                return self.again_read(next, is_passed).await;
            }
            match next {
                Next::More => {}
                Next::Done(end) => {
                    let ending = match end.is_truncated() || end == End::Known {
                        true => Ending::Cut,
                        false => Ending::LastPage,
                    };
                    return self.finished(end.is_truncated(), ending).await;
                }
                Next::Stuck(stuck) => {
                    self.tell(stuck.label());
                    self.finished(false, Ending::Cut).await?;
                    return Ok(Ended::Stuck(stuck.label()));
                }
                Next::Pause(_) => {}
            }
        }
    }

    /// Whether the provider still has what came after the last reading.
    fn is_in_time(&self) -> Result<(), Stop> {
        let read_at = self.state.last_success_at.max(self.state.lost_at);
        let (Some(retention), Some(read_at)) = (self.source.retention, read_at) else {
            return Ok(());
        };
        let is_late = self.started.duration_since(read_at).unsigned_abs() > retention;
        match is_late && self.started > read_at && self.state.position.is_some() {
            true => Err(Stop::Restart { gap: true }),
            false => Ok(()),
        }
    }

    /// The first cursor of a source that was never read.
    pub(super) async fn begin(&mut self) -> Result<(), Stop> {
        if self.state.started_at.is_none() {
            self.state.started_at = Some(self.started);
        }
        let Some(start) = &self.source.cursor.start else {
            return Ok(());
        };
        if self.state.position.is_none() {
            self.log_in().await?;
            let value = start.value(&self.scope(None));
            let value = value.map_err(|error| Failure::lasting("expression", error))?;
            self.state.position = value.map(Position::at);
        }
        Ok(())
    }

    pub(super) fn extracted(&mut self, body: &Value) -> Result<Extracted, Stop> {
        let page = ItemPage {
            body,
            partition: self.partition.value.as_ref(),
            poll_started: self.started,
        };
        let extracted = self.source.items.extract(&page);
        let extracted = extracted.map_err(|error| Failure::passing("items", error))?;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.tally.items += count(extracted.raw_count);
        self.tally.filtered += count(extracted.filtered);
        self.tally.order_breaches += count(extracted.order_breaches);
        for row in &extracted.rows {
            let time = row.time().filter(|time| *time <= self.tools.clock.now());
            self.state.last_item_at = self.state.last_item_at.max(time);
            self.tally.newest_item_at = self.state.last_item_at;
        }
        Ok(extracted)
    }

    /// Which items of a page were seen before.
    pub(super) async fn standings(&self, extracted: &Extracted) -> Result<Vec<Standing>, Stop> {
        let rows = &extracted.rows;
        let asks = self.source.rules.asks_what_is_known() && !self.is_again;
        if self.source.changes.is_some() || !asks {
            return Ok(vec![Standing::New; rows.len()]);
        }
        let now = self.tools.clock.now();
        // What is not wanted is claimed like the rest, and never found.
        let claim = |row: &Row| {
            let staged = Staged::of(row.kept()?.clone(), self.source, self.partition);
            Some(staged.claim(self.source, now))
        };
        let claims: Vec<Option<DedupClaim>> = rows.iter().map(claim).collect();
        let asked: Vec<DedupClaim> = claims.iter().flatten().copied().collect();
        let known = self.tools.store.known(&asked, self.known_at(now)).await;
        let mut known = known.map_err(|error| unavailable(&error))?.into_iter();
        let is_staged = |claim: &DedupClaim| {
            let mut staged = self.attic.staged.iter();
            staged.any(|one| one.key == claim.key)
        };
        let standing = |claim: &Option<DedupClaim>| match claim {
            None => Standing::Met,
            Some(claim) => match (known.next(), self.source.role) {
                (Some(true), Role::Alone) => Standing::Known,
                // A webhook may have brought it: that tells nothing of older items.
                (Some(true), Role::SafetyNet) => Standing::Met,
                _ if is_staged(claim) => Standing::Met,
                _ => Standing::New,
            },
        };
        Ok(claims.iter().map(standing).collect())
    }

    pub(super) fn seen(
        &self,
        walk: &mut Walk<'_>,
        response: &Response,
        body: &Value,
        extracted: &Extracted,
        standings: &[Standing],
    ) -> Step {
        let ids: Vec<String> = extracted.rows.iter().map(told_by).collect();
        let rows = extracted.rows.iter().zip(&ids).zip(standings);
        let items: Vec<Seen<'_>> = rows
            .map(|((row, id), standing)| Seen {
                id,
                item: row.item(),
                time: row.time(),
                standing: *standing,
            })
            .collect();
        let says_more = self.source.cursor.has_more.as_ref().map(|condition| {
            let says = expressions::says_more(condition, body, &response.headers, response.status);
            says.unwrap_or_default()
        });
        let next = |last: &Value| match &self.source.cursor.next {
            Some(template) => expressions::next_id(template, last),
            None => Err("`cursor.next` is missing".to_owned()),
        };
        let page = Page {
            body,
            headers: &response.headers,
            url: &response.url,
            raw_count: extracted.raw_count,
            items: &items,
            has_more: says_more,
            next_id: &next,
        };
        walk.see(&page, self.tools.clock.now())
    }

    /// Logs something about the source.
    pub(super) fn tell(&self, text: &str) {
        let source = self.source.label(self.partition);
        let text = self.source.masker.mask(text);
        tracing::warn!(source, "{text}");
    }
}

/// What an item of a page is told by.
fn told_by(row: &Row) -> String {
    match row {
        Row::Kept(found) => match &found.version {
            Some(version) => format!("{}\0{version}", found.id.text()),
            None => found.id.text().into_owned(),
        },
        Row::Passed { item, .. } => item.to_string(),
    }
}

pub(super) fn unavailable(error: &StoreError) -> Stop {
    Failure::passing("store", error)
}

pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.saturating_add(by).unwrap_or(Timestamp::MAX)
}

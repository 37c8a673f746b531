//! What a poll has found, on disk: items, keys, cursor and validators in one step of the store.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::asking::{Failure, Stop};
use super::changes::{CompletePoll, Deletions, Diff, Ending};
use super::fetch::Response;
use super::found::{self, Claiming};
use super::items::{ChangeKind, Extracted, Row};
use super::pagination::PageRequest;
use super::position::Position;
use super::reading::{Ended, Reading, later, parsed, unavailable};
use super::state::{Attic, Staged, State, Validators};
use super::walk::{Commit, Step, Take};
use super::wire::value_of;
use crate::store::fault_point::{self, Point};
use crate::store::{Accept, Accepted, Advance, Advanced, DedupClaim};

/// How often a source that finds nothing new is noted on disk.
const NOTED_EVERY: Duration = Duration::from_secs(5 * 60);

impl Reading<'_> {
    /// Commits a page, or stages it.
    pub(super) async fn take(
        &mut self,
        step: Step,
        extracted: Extracted,
        request: &PageRequest,
        response: &Response,
    ) -> Result<(), Stop> {
        if request.is_first && !self.is_again {
            self.validators = Validators {
                etag: value_of(&response.headers, "etag").map(str::to_owned),
                last_modified: value_of(&response.headers, "last-modified").map(str::to_owned),
            };
        }
        if self.source.changes.is_some() {
            // A list is compared when it is whole; until then nothing of it is kept.
            self.whole.push(extracted);
            return Ok(());
        }
        let (found, mut learned) = self.wanted(step.take, extracted);
        match step.commit {
            Commit::Later(position) => {
                self.attic.staged.extend(found);
                // What is staged is read again if the poll fails: its validators must not hide it.
                self.put(position, Validators::default());
                let attic = self.attic.text();
                self.advance(Vec::new(), learned, Some(attic)).await
            }
            Commit::Drop(position) => {
                let attic = (!self.attic.staged.is_empty()).then(|| Attic::default().text());
                self.attic.staged.clear();
                self.put(position, Validators::default());
                self.advance(Vec::new(), Vec::new(), attic).await
            }
            Commit::Now(position) => {
                let had_staged = !self.attic.staged.is_empty();
                let mut all = std::mem::take(&mut self.attic.staged);
                all.extend(found);
                if self.source.rules.is_newest_first() {
                    all.reverse();
                }
                // A 304 to the first page would hide those that were not read.
                let validators = match position.resume {
                    Some(_) => Validators::default(),
                    None => std::mem::take(&mut self.validators),
                };
                let is_as_before = self.state.position.as_ref() == Some(&position)
                    && self.state.validators == validators;
                let is_nothing =
                    learned.is_empty() && !had_staged && is_as_before && !self.is_again;
                if is_nothing && self.all_are_known(&all).await? {
                    self.tally.duplicates += u64::try_from(all.len()).unwrap_or(u64::MAX);
                    return Ok(());
                }
                learned.extend(self.tell_versions(&mut all).await?);
                self.put(position, validators);
                let attic = had_staged.then(|| self.attic.text());
                self.advance(all, learned, attic).await
            }
        }
    }

    /// Moves the walk of this poll.
    fn put(&mut self, position: Position, validators: Validators) {
        if let Some(again) = self.range() {
            again.position = Some(position);
            again.failures = 0;
            return;
        }
        self.state.validators = validators;
        self.state.position = Some(position);
    }

    /// Calls items updated of which another version is known. Gives the keys by which these will be
    /// known to have had one.
    async fn tell_versions(&self, found: &mut [Staged]) -> Result<Vec<DedupClaim>, Stop> {
        let now = self.tools.clock.now();
        let claims: Vec<DedupClaim> = found
            .iter()
            .filter_map(|staged| staged.claim_of_all(self.source, now))
            .collect();
        let known = self.tools.store.known(&claims, self.known_at(now)).await;
        let known = known.map_err(|error| unavailable(&error))?;
        let versioned = found.iter_mut().filter(|one| one.of_all_versions.is_some());
        for (staged, is_known) in versioned.zip(known) {
            if is_known && staged.change == ChangeKind::Created {
                staged.change = ChangeKind::Updated;
            }
        }
        Ok(claims)
    }

    /// Whether nothing has to be written for these: each is known for long enough.
    async fn all_are_known(&self, found: &[Staged]) -> Result<bool, Stop> {
        let now = self.tools.clock.now();
        let claims: Vec<DedupClaim> = found
            .iter()
            .map(|staged| staged.claim(self.source, now))
            .collect();
        let at = later(now, self.source.keys.window / 2);
        let known = self.tools.store.known(&claims, at).await;
        let known = known.map_err(|error| unavailable(&error))?;
        Ok(known.into_iter().all(|is_known| is_known))
    }

    /// The items of a page that become events, and the keys that are only learned.
    fn wanted(&mut self, take: Take, extracted: Extracted) -> (Vec<Staged>, Vec<DedupClaim>) {
        let now = self.tools.clock.now();
        let mut learned = Vec::new();
        let mut wanted = Vec::new();
        for row in extracted.rows {
            let Row::Kept(found) = row else { continue };
            let is_wanted = match (take, self.state.again.as_ref().filter(|_| self.is_again)) {
                (_, Some(again)) => again.wants(found.time),
                (Take::All, None) => true,
                (Take::Since(from), None) => found.time.is_none_or(|time| time >= from),
                (Take::Learn, None) => false,
            };
            let mut staged = Staged::of(found, self.source, self.partition);
            if let Some(again) = self.state.again.as_ref().filter(|_| self.is_again) {
                staged.key = again.key(staged.key);
            }
            match is_wanted {
                true => wanted.push(staged),
                false => {
                    self.tally.filtered += 1;
                    if take == Take::Learn {
                        learned.push(staged.claim(self.source, now));
                    }
                }
            }
        }
        (wanted, learned)
    }

    /// What a whole list says has changed.
    async fn compared(&mut self, ending: Ending) -> Result<(), Stop> {
        let Some(rules) = &self.source.changes else {
            return Ok(());
        };
        let pages = std::mem::take(&mut self.whole);
        let poll = CompletePoll::new(pages, ending);
        let poll = poll.map_err(|error| Failure::passing("changes", error))?;
        let stored = self.attic.snapshot.take();
        let is_first = stored.is_none();
        let deletions = match std::mem::take(&mut self.state.accepts_deletions) {
            true => Deletions::Accepted,
            false => Deletions::Guarded,
        };
        let diff = rules.diff(stored, poll, deletions);
        let step = match diff.map_err(|error| Stop::Paused(error.to_string()))? {
            Diff::Changes(step) => step,
            Diff::Guard { gone, of } => {
                let name = &self.source.name;
                return Err(Stop::Paused(format!(
                    "{gone} of {of} items are gone at once, and nothing was told of it: \
                     `hookgate poll accept {name} --deletions` tells it"
                )));
            }
        };
        let is_written = is_first
            || deletions == Deletions::Accepted
            || !(step.written.is_empty() && step.removed.is_empty());
        let version = self.lead.row.version;
        let found = step
            .changes
            .into_iter()
            .map(|change| Staged::of_change(change, self.source, self.partition, version));
        let found: Vec<Staged> = found.collect();
        self.attic.snapshot = Some(step.next);
        let validators = std::mem::take(&mut self.validators);
        if !is_written && found.is_empty() && validators == self.state.validators {
            return Ok(());
        }
        self.state.validators = validators;
        let attic = is_written.then(|| self.attic.text());
        self.advance(found, Vec::new(), attic).await
    }

    pub(super) async fn finished(&mut self, has_more: bool, ending: Ending) -> Result<Ended, Stop> {
        self.compared(ending).await?;
        self.succeeded().await?;
        Ok(match has_more {
            true => Ended::More,
            false => Ended::Done,
        })
    }

    /// Notes that the source was read; not each time, if there is nothing else to note.
    pub(super) async fn succeeded(&mut self) -> Result<(), Stop> {
        let now = self.tools.clock.now();
        let before = self.state.last_success_at;
        let is_old = before.is_none_or(|at| now.duration_since(at).unsigned_abs() >= NOTED_EVERY);
        let was_failing = self.state.failures > 0 || self.state.rests_until.is_some();
        let is_awaited = self.tally.new > 0 && self.source.expected_every.is_some();
        if is_awaited {
            self.state.last_new_at = Some(now);
        }
        let at_least_s = self.tally.at_least.map(|at_least| at_least.as_secs());
        let is_other_pace = at_least_s != self.state.at_least_s;
        self.state.at_least_s = at_least_s;
        if is_old || was_failing || is_awaited || is_other_pace {
            self.keep().await?;
        }
        Ok(())
    }

    /// Notes the state as it is.
    pub(super) async fn keep(&mut self) -> Result<(), Stop> {
        self.advance(Vec::new(), Vec::new(), None).await
    }

    /// One step of the store.
    pub(super) async fn advance(
        &mut self,
        found: Vec<Staged>,
        learned: Vec<DedupClaim>,
        snapshot: Option<String>,
    ) -> Result<(), Stop> {
        let now = self.tools.clock.now();
        let known_at = self.known_at(now);
        let claiming = match self.source.changes {
            Some(_) => Claiming::No,
            None => Claiming::Yes,
        };
        let has_found = !found.is_empty();
        let accept = |staged| found::accept(staged, self.source, self.partition, claiming, now);
        let found: Vec<_> = found.into_iter().map(accept).collect();
        if !self.is_again {
            self.state.last_success_at = Some(now);
        }
        self.state.failures = 0;
        self.state.last_error = None;
        self.state.rests_until = None;
        let backends: Vec<Vec<Arc<str>>> = found.iter().map(backends).collect();
        // Until the provider was told: the process may end before.
        let confirms = has_found && !self.is_again && self.source.cursor.confirm.is_some();
        self.state.is_unconfirmed |= confirms;
        let document = self.state.text();
        let step = Advance {
            found,
            learned,
            known_at,
            held_at: now,
            document: Some(document.clone()),
            snapshot,
            ..self.step()
        };
        let advanced = self.tools.store.advance(step).await;
        match advanced.map_err(|error| unavailable(&error))? {
            Advanced::Done { version, accepted } => {
                self.lead.row.version = version;
                self.lead.row.held_at = now;
                self.lead.row.document = Some(document);
                self.count(&accepted, backends);
                fault_point::pass(Point::PollCommitted);
                match confirms {
                    true => self.confirm().await,
                    false => Ok(()),
                }
            }
            Advanced::Fenced => Err(Stop::Fenced),
            Advanced::Full(_) => Err(Failure::passing(
                "full",
                "there is no room for what was found: deliveries wait",
            )),
        }
    }

    fn count(&mut self, accepted: &[Accepted], backends: Vec<Vec<Arc<str>>>) {
        let before = (self.tally.new, self.tally.duplicates);
        for (one, backends) in accepted.iter().zip(backends) {
            match one {
                Accepted::New => {
                    self.tally.new += 1;
                    self.tally.queued.extend(backends);
                }
                Accepted::Duplicate { .. } | Accepted::Full(_) => self.tally.duplicates += 1,
            }
        }
        let (new, duplicates) = (self.tally.new - before.0, self.tally.duplicates - before.1);
        if let Some(again) = self.range() {
            again.new += new;
            again.duplicates += duplicates;
        }
    }

    /// Keys that were remembered at this moment are known still.
    pub(super) fn known_at(&self, now: Timestamp) -> Timestamp {
        match &self.lead.row.document {
            Some(_) => self.lead.row.held_at.min(now),
            None => now,
        }
    }

    /// Tells the provider that the items are on disk, where it wants to be told.
    pub(super) async fn confirm(&mut self) -> Result<(), Stop> {
        let Some(rules) = &self.source.cursor.confirm else {
            return Ok(());
        };
        let cursor = self
            .state
            .position
            .as_ref()
            .and_then(|position| position.cursor.clone());
        if let Err(stop) = self.send(rules, cursor.as_ref()).await {
            // It is told again by the next poll.
            self.tell(&format!("what is on disk cannot be confirmed: {stop:?}"));
            return Ok(());
        }
        fault_point::pass(Point::PollConfirmed);
        self.state.is_unconfirmed = false;
        self.note(|state| state.is_unconfirmed = false).await
    }

    /// Notes something about the state as it is on disk, without anything of a page. What cannot be
    /// noted is found out again.
    pub(super) async fn noted(&mut self, change: impl FnOnce(&mut State)) {
        if let Err(stop) = self.note(change).await {
            let source = self.source.label(self.partition);
            tracing::warn!(source, ?stop, "a poll cannot be noted");
        }
    }

    /// Notes something about the state as it is on disk.
    pub(super) async fn note(&mut self, change: impl FnOnce(&mut State)) -> Result<(), Stop> {
        self.note_with(Vec::new(), change).await
    }

    /// The same, together with events that it means.
    pub(super) async fn note_with(
        &mut self,
        found: Vec<Accept>,
        change: impl FnOnce(&mut State),
    ) -> Result<(), Stop> {
        let backends: Vec<Vec<Arc<str>>> = found.iter().map(backends).collect();
        let parsed = parsed(self.source, &self.lead);
        let (mut state, _) = parsed.map_err(Stop::Paused)?;
        state.started_at = state.started_at.or(Some(self.started));
        change(&mut state);
        let document = state.text();
        let step = Advance {
            found,
            document: Some(document.clone()),
            ..self.step()
        };
        let advanced = self.tools.store.advance(step).await;
        match advanced.map_err(|error| unavailable(&error))? {
            Advanced::Done { version, .. } => {
                self.lead.row.version = version;
                self.lead.row.document = Some(document);
                self.tally.queued.extend(backends.into_iter().flatten());
                Ok(())
            }
            Advanced::Fenced | Advanced::Full(_) => Err(Stop::Fenced),
        }
    }

    /// A step that changes nothing.
    fn step(&self) -> Advance {
        Advance {
            key: self.lead.row.key.clone(),
            epoch: self.lead.epoch,
            version: self.lead.row.version,
            found: Vec::new(),
            learned: Vec::new(),
            known_at: self.started,
            held_at: self.lead.row.held_at,
            document: None,
            snapshot: None,
        }
    }
}

fn backends(item: &Accept) -> Vec<Arc<str>> {
    item.deliveries
        .iter()
        .map(|one| one.backend.clone())
        .collect()
}

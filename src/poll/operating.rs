//! What operators do to sources: stop and go on, take a changed file, begin anew, put a state in the
//! place of another.
//!
//! A poll that is under way meanwhile is fenced off: it changes nothing any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::again::Again;
use super::poller::Poller;
use super::position::Position;
use super::reading;
use super::source::Source;
use super::state::{Attic, State, Validators};
use super::walk::Walk;
use crate::store::{Advance, Advanced, Lead, SourceKey, SourceRow, StoreError};

/// How long a source is led for a change.
const LEAD: Duration = Duration::from_secs(5);
/// Why a source stands still if nobody says.
const PAUSED: &str = "an operator has paused it";

/// Why a source was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The store does not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is stored is none of ours.
    #[error("what is stored of the source cannot be read ({0}); a reset begins anew")]
    Unreadable(String),
    /// Somebody else polls it.
    #[error("somebody else polls it at the moment; ask again")]
    Elsewhere,
    /// It has no partition of this name.
    #[error("the source has no partition `{0}`")]
    NoPartition(String),
    /// It has several partitions.
    #[error("the source has several partitions: say which")]
    WhichPartition,
    /// It cannot be used as its cursor.
    #[error("{0}")]
    Cursor(String),
    /// It makes no sense for a source of this kind.
    #[error("{0}")]
    Kind(&'static str),
}

/// What is on disk of a partition.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The partition; empty for a source without any.
    pub partition: Arc<str>,
    /// How far it is read.
    pub state: State,
}

/// What is written in the place of what was there.
struct Written {
    document: Option<String>,
    /// `None` leaves what is there.
    snapshot: Option<String>,
}

impl Poller {
    /// A source by its name.
    pub fn source(&self, name: &str) -> Option<Arc<Source>> {
        let sources = self.sources();
        let found = sources.iter().find(|source| *source.name == *name);
        found.cloned()
    }

    /// What is on disk of a source, also of one that is not in the file any more.
    ///
    /// # Errors
    /// [`ChangeError`] when it cannot be read.
    pub async fn stored(&self, name: &str) -> Result<Vec<Stored>, ChangeError> {
        let rows = self.tools.store.source(name).await?;
        stored(&rows)
    }

    /// Polls a source now, whatever its schedule says and whatever failed before.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn poll_now(&self, source: &Source) -> Result<(), ChangeError> {
        let rests = |state: &State| state.rests_until.is_some() && state.last_error.is_some();
        let stored = self.stored(&source.name).await?;
        match stored.iter().any(|one| rests(&one.state)) {
            true => {
                let go_on = |state: State| match rests(&state) {
                    true => State {
                        rests_until: None,
                        ..state
                    },
                    false => state,
                };
                self.change(source, go_on).await
            }
            false => {
                self.wake(&source.name);
                Ok(())
            }
        }
    }

    /// Asks nothing until somebody lets the source go on.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn pause(&self, source: &Source, why: Option<&str>) -> Result<(), ChangeError> {
        let why = why.unwrap_or(PAUSED);
        let paused = |state| State {
            paused: Some(why.to_owned()),
            ..state
        };
        self.change(source, paused).await
    }

    /// Asks again, and now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn resume(&self, source: &Source) -> Result<(), ChangeError> {
        let resumed = |state| State {
            paused: None,
            failures: 0,
            last_error: None,
            rests_until: None,
            ..state
        };
        self.change(source, resumed).await
    }

    /// Goes on from where the source was, although the file asks for something else now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn accept(&self, source: &Source) -> Result<(), ChangeError> {
        let accepted = |state| State {
            fingerprint: source.fingerprint.clone(),
            ..state
        };
        self.change(source, accepted).await
    }

    /// Tells what is gone although the guard has stopped it: once, by the next list that is whole.
    ///
    /// # Errors
    /// [`ChangeError`], also when the source compares no lists.
    pub async fn accept_deletions(&self, source: &Source) -> Result<(), ChangeError> {
        if source.changes.is_none() {
            let why = "nothing is ever deleted: the source compares no lists (`poll.changes`)";
            return Err(ChangeError::Kind(why));
        }
        let accepted = |state| State {
            accepts_deletions: true,
            paused: None,
            ..state
        };
        self.change(source, accepted).await
    }

    /// Whether a range of a source can be read once more.
    ///
    /// # Errors
    /// [`ChangeError::Kind`] says why it cannot.
    pub fn can_read_again(source: &Source, again: &Again) -> Result<(), ChangeError> {
        let has_range = again.from.is_some() || again.to.is_some();
        let why = if source.changes.is_some() {
            "the source compares whole lists: there is no range to read once more"
        } else if source.cursor.forgets {
            "the provider forgets what was read (`cursor.confirm`): it has nothing to read once more"
        } else if has_range && !source.items.have_time() {
            "its items have no time (`items.time`): only everything can be read once more"
        } else {
            return Ok(());
        };
        Err(ChangeError::Kind(why))
    }

    /// Reads a range once more, beside the cursor. It takes the place of one that was not read yet.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn read_again(
        &self,
        source: &Source,
        partition: Option<&str>,
        again: Again,
    ) -> Result<(), ChangeError> {
        Self::can_read_again(source, &again)?;
        let begun = |row: &SourceRow| {
            let state = State {
                again: Some(again.clone()),
                ..state_of(row, source)?
            };
            Ok(written(row, &state))
        };
        match partition {
            Some(_) => self.change_named(source, partition, &begun).await,
            None => {
                for key in self.keys(source).await? {
                    self.change_one(key, &begun).await?;
                }
                self.wake(&source.name);
                Ok(())
            }
        }
    }

    /// Forgets how far the source was read. Tokens are kept: the first one may be worth nothing now.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn reset(&self, source: &Source) -> Result<(), ChangeError> {
        let begun = |row: &SourceRow| {
            let state = state_of(row, source).ok();
            let kept = state.filter(|state| state.token.is_some());
            let kept = kept.map(|state| State {
                token: state.token,
                fingerprint: source.fingerprint.clone(),
                ..State::default()
            });
            Ok(Written {
                document: kept.map(|state| state.text()),
                snapshot: Some(String::new()),
            })
        };
        for key in self.keys(source).await? {
            self.change_one(key, &begun).await?;
        }
        self.wake(&source.name);
        Ok(())
    }

    /// Goes on from a cursor.
    ///
    /// # Errors
    /// [`ChangeError`] when it cannot be one of the source.
    pub async fn put_cursor(
        &self,
        source: &Source,
        partition: Option<&str>,
        cursor: Value,
    ) -> Result<(), ChangeError> {
        let position = Position::at(cursor);
        self.check(source, &position)?;
        let moved = |row: &SourceRow| {
            let state = State {
                position: Some(position.clone()),
                validators: Validators::default(),
                ..state_of(row, source)?
            };
            Ok(written(row, &state))
        };
        self.change_named(source, partition, &moved).await
    }

    /// Goes on from the state of another store. A walk that was not finished begins anew, since what
    /// it has found is not in its state. A source that is paused stays so.
    ///
    /// # Errors
    /// [`ChangeError`] when it cannot be one of the source.
    pub async fn put_state(
        &self,
        source: &Source,
        partition: Option<&str>,
        state: State,
    ) -> Result<(), ChangeError> {
        let position = state.position.clone().map(Position::restarted);
        if let Some(position) = &position {
            self.check(source, position)?;
        }
        let put = |row: &SourceRow| {
            let before = state_of(row, source)?;
            let state = State {
                position: position.clone(),
                validators: Validators::default(),
                paused: before.paused.or(state.paused.clone()),
                token: before.token,
                ..state.clone()
            };
            Ok(written(row, &state))
        };
        self.change_named(source, partition, &put).await
    }

    /// Whether the source could go on from there.
    fn check(&self, source: &Source, position: &Position) -> Result<(), ChangeError> {
        let now = self.tools.clock.now();
        let walk = Walk::new(&source.rules, Some(position.clone()), now, now);
        walk.map(drop)
            .map_err(|error| ChangeError::Cursor(error.to_string()))
    }

    async fn change(
        &self,
        source: &Source,
        change: impl Fn(State) -> State,
    ) -> Result<(), ChangeError> {
        let changed = |row: &SourceRow| {
            let state = change(state_of(row, source)?);
            Ok(written(row, &state))
        };
        for key in self.keys(source).await? {
            self.change_one(key, &changed).await?;
        }
        self.wake(&source.name);
        Ok(())
    }

    async fn change_named(
        &self,
        source: &Source,
        partition: Option<&str>,
        change: &impl Fn(&SourceRow) -> Result<Written, ChangeError>,
    ) -> Result<(), ChangeError> {
        let keys = self.keys(source).await?;
        let mut named = keys
            .into_iter()
            .filter(|key| partition.is_none_or(|name| *key.partition == *name));
        let none = || ChangeError::NoPartition(partition.unwrap_or_default().to_owned());
        let key = named.next().ok_or_else(none)?;
        if named.next().is_some() {
            return Err(ChangeError::WhichPartition);
        }
        self.change_one(key, change).await?;
        self.wake(&source.name);
        Ok(())
    }

    /// The partitions of the file, and those that something is stored of.
    async fn keys(&self, source: &Source) -> Result<BTreeSet<SourceKey>, ChangeError> {
        let rows = self.tools.store.source(&source.name).await?;
        let stored = rows.into_iter().map(|row| row.key);
        let configured = source.partitions.iter().map(|partition| SourceKey {
            source: source.name.clone(),
            partition: partition.key.clone(),
        });
        Ok(stored.chain(configured).collect())
    }

    async fn change_one(
        &self,
        key: SourceKey,
        change: &impl Fn(&SourceRow) -> Result<Written, ChangeError>,
    ) -> Result<(), ChangeError> {
        loop {
            let lead = self.lead(key.clone()).await?;
            let now = self.tools.clock.now();
            let written = change(&lead.row)?;
            let step = Advance {
                key: key.clone(),
                epoch: lead.epoch,
                version: lead.row.version,
                found: Vec::new(),
                learned: Vec::new(),
                known_at: now,
                held_at: lead.row.held_at,
                document: written.document,
                snapshot: written.snapshot,
            };
            match self.tools.store.advance(step).await? {
                // A poll was faster: what it noted is changed.
                Advanced::Fenced => {}
                Advanced::Done { .. } | Advanced::Full(_) => return Ok(()),
            }
        }
    }

    async fn lead(&self, key: SourceKey) -> Result<Lead, ChangeError> {
        let now = self.tools.clock.now();
        let until = now.saturating_add(LEAD).unwrap_or(now);
        let lead = self.tools.store.lead(key, self.tools.who, now, until);
        lead.await?.ok_or(ChangeError::Elsewhere)
    }
}

/// What is on disk, in words of ours.
///
/// # Errors
/// [`ChangeError`] when it is none of ours.
pub fn stored(rows: &[SourceRow]) -> Result<Vec<Stored>, ChangeError> {
    let stored = |row: &SourceRow| {
        let state = State::parse(row.document.as_deref()?);
        let partition = row.key.partition.clone();
        let state = state.map_err(ChangeError::Unreadable);
        Some(state.map(|state| Stored { partition, state }))
    };
    rows.iter().filter_map(stored).collect()
}

/// Why a source with this state stands still until somebody does something.
pub fn stands_still(source: &Source, state: &State) -> Option<String> {
    reading::stands_still(source, state)
}

fn state_of(row: &SourceRow, source: &Source) -> Result<State, ChangeError> {
    match &row.document {
        Some(document) => State::parse(document).map_err(ChangeError::Unreadable),
        None => Ok(State {
            fingerprint: source.fingerprint.clone(),
            ..State::default()
        }),
    }
}

/// What is staged belongs to a walk that was not finished, and is forgotten with it.
fn written(row: &SourceRow, state: &State) -> Written {
    let position = state.position.as_ref();
    let is_begun = position.is_some_and(|position| position.resume.is_some());
    let is_unfinished = is_begun || state.again.as_ref().is_some_and(Again::is_unfinished);
    let attic = Attic::parse(row.snapshot.as_deref()).ok();
    let dropped = attic.filter(|attic| !is_unfinished && !attic.staged.is_empty());
    let dropped = dropped.map(|attic| Attic {
        staged: Vec::new(),
        ..attic
    });
    Written {
        document: Some(state.text()),
        snapshot: dropped.map(|attic| attic.text()),
    }
}

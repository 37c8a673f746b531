//! What became of the items of a source that only ever lists what there is: those that are new,
//! another than before, or gone.
//!
//! Pure. A diff is made of a complete poll only, which the type of the argument says: what is
//! missing from half a list is not gone. Nothing is stored here, and an event is known again by the
//! version of the snapshot that it was found with, not by the item: a value may come back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json_path::JsonPath;

use super::canonical::{self, Ignored};
use super::items::{ChangeKind, Extracted, Found, PATHS_MAX, Row};

/// The most items of one snapshot.
pub const ENTRIES_MAX: usize = 100_000;
/// So many items may go at once without a word of the guard: in a short list each is a large part.
pub const GONE_UNGUARDED: usize = 2;

/// What was known after the last complete poll, by id.
pub type Snapshot = BTreeMap<String, Entry>;

/// What is known of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The hash of what is compared.
    pub hash: [u8; 16],
    /// In how many complete polls in a row it was missing.
    pub missing: u32,
    /// The item as it was when it last changed.
    pub item: Value,
}

/// The keys of `changes:`, to be checked by [`ChangeRules::new`].
#[derive(Debug, Clone)]
pub struct ChangeSpec {
    /// `compare`: what matters; none = the whole item.
    pub compare: Vec<JsonPath>,
    /// `ignore`: what of the whole item does not.
    pub ignore: Vec<JsonPath>,
    /// `emit`.
    pub emit: Vec<ChangeKind>,
    /// `deleted.after_missing`.
    pub after_missing: NonZeroU32,
    /// `deleted.guard`, in percent; 100 = no guard.
    pub guard: u8,
    /// `first`.
    pub first: First,
}

/// What the first complete poll means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum First {
    /// Its items are learned, and nobody is told.
    #[default]
    Baseline,
    /// Its items are all new.
    Emit,
}

/// Checked rules for the changes of a source.
#[derive(Debug, Clone)]
pub struct ChangeRules {
    spec: ChangeSpec,
}

/// Why rules for changes cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRulesError {
    /// Nothing would ever come of the source.
    #[error("`emit` is empty: the source would never have an event")]
    NothingEmitted,
    /// It is no part of a whole.
    #[error("`guard` is more than 100%")]
    Guard,
    /// Two keys exclude each other.
    #[error("`ignore` does nothing beside `compare`, which says what matters")]
    IgnoreBesideCompare,
    /// Too many paths.
    #[error("`{key}` has more than {PATHS_MAX} selectors")]
    TooManyPaths {
        /// The key under `changes`.
        key: &'static str,
    },
}

/// Why there is no diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// Not all items were seen: the snapshot stays as it is, until the next poll.
    #[error("the poll has not seen all items")]
    Incomplete,
    /// There are more items than can be kept: the source must be paused.
    #[error("the source has more than {ENTRIES_MAX} items")]
    TooMany,
}

/// How a poll ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With the page that the source says is the last.
    LastPage,
    /// Before that: a limit, the time, an error, or a rule to stop at what is known.
    Cut,
    /// With an answer that has no items by its kind (204, 304): it says nothing of what there is.
    NoContent,
}

/// Every item that a source has, from one poll: the only thing that a diff can be made of.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletePoll {
    /// In the order of the source, each id once.
    items: Vec<(String, Found)>,
    repeated: usize,
}

impl CompletePoll {
    /// Puts the pages of one poll together. Of an item that is on several pages, since the list
    /// moved meanwhile, the last counts. Items that are not wanted or have no id are not part of it.
    ///
    /// # Errors
    /// [`ChangesError::Incomplete`], unless the poll ended with the last page;
    /// [`ChangesError::TooMany`].
    pub fn new(
        pages: impl IntoIterator<Item = Extracted>,
        ending: Ending,
    ) -> Result<Self, ChangesError> {
        match ending {
            Ending::LastPage => {}
            Ending::Cut | Ending::NoContent => return Err(ChangesError::Incomplete),
        }
        let mut items: Vec<(String, Found)> = Vec::new();
        let mut places = HashMap::new();
        let mut repeated = 0;
        for row in pages.into_iter().flat_map(|page| page.rows) {
            let Row::Kept(found) = row else {
                continue;
            };
            let id = found.id.text().into_owned();
            let place = *places.entry(id.clone()).or_insert(items.len());
            if let Some((_, known)) = items.get_mut(place) {
                *known = found;
                repeated += 1;
            } else if items.len() < ENTRIES_MAX {
                items.push((id, found));
            } else {
                return Err(ChangesError::TooMany);
            }
        }
        Ok(Self { items, repeated })
    }

    /// How many items came more than once: many mean that the id tells too little.
    pub fn repeated(&self) -> usize {
        self.repeated
    }
}

/// Something that happened to an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The id of the item.
    pub id: String,
    /// What happened.
    pub kind: ChangeKind,
    /// The item; one that is gone as it was last, or as its tombstone says.
    pub item: Value,
    /// The item as it was when it last changed; `None` when it is new.
    pub previous: Option<Value>,
}

/// What came of a complete poll.
#[derive(Debug, Clone, PartialEq)]
pub enum Diff {
    /// These changes. They are to be committed together with the snapshot.
    Changes(Step),
    /// So many items are gone at once that the list is more likely to be wrong. There are no events,
    /// the stored snapshot stays, and the source must be paused.
    Guard {
        /// How many would be deleted.
        gone: usize,
        /// How many were known.
        of: usize,
    },
}

/// From one snapshot to the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Step {
    /// In the order of the source; deletions last, by id.
    pub changes: Vec<Change>,
    /// The next snapshot.
    pub next: Snapshot,
    /// The ids whose entries are new or another than before: what has to be written of it.
    pub written: Vec<String>,
    /// The ids whose entries are gone from it.
    pub removed: Vec<String>,
}

/// Whether the guard looks at deletions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Deletions {
    /// It does.
    #[default]
    Guarded,
    /// A person has looked at them: for this poll it does not.
    Accepted,
}

impl ChangeRules {
    /// Checks the rules.
    ///
    /// # Errors
    /// [`ChangeRulesError`].
    pub fn new(spec: ChangeSpec) -> Result<Self, ChangeRulesError> {
        if spec.emit.is_empty() {
            return Err(ChangeRulesError::NothingEmitted);
        }
        if spec.guard > 100 {
            return Err(ChangeRulesError::Guard);
        }
        if !spec.compare.is_empty() && !spec.ignore.is_empty() {
            return Err(ChangeRulesError::IgnoreBesideCompare);
        }
        for (key, paths) in [("compare", &spec.compare), ("ignore", &spec.ignore)] {
            if paths.len() > PATHS_MAX {
                return Err(ChangeRulesError::TooManyPaths { key });
            }
        }
        Ok(Self { spec })
    }

    /// What a complete poll changes. `stored` is `None` before the first one.
    ///
    /// The guard is against deletions that come all at once: more than its part of what was known,
    /// and more than [`GONE_UNGUARDED`], or everything there was, if that was more than one item.
    /// It looks whether or not deletions are emitted, since all those items would come back as new.
    ///
    /// # Errors
    /// [`ChangesError::TooMany`] when the next snapshot would be too large.
    pub fn diff(
        &self,
        stored: Option<Snapshot>,
        poll: CompletePoll,
        deletions: Deletions,
    ) -> Result<Diff, ChangesError> {
        let is_first = stored.is_none();
        let before = stored.unwrap_or_default();
        let present = poll.items.iter().map(|(id, _)| id.as_str());
        let fate = self.absent(&before, &present.collect());
        let (gone, of) = (fate.due.len(), before.len());
        if deletions == Deletions::Guarded && self.is_suspicious(gone, of) {
            return Ok(Diff::Guard { gone, of });
        }
        let mut step = Step {
            next: before,
            ..Step::default()
        };
        let mut deleted = self.take_items(&mut step, poll);
        step.miss(fate.missed);
        for id in fate.due {
            deleted.extend(step.delete(id, None));
        }
        deleted.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        step.changes.extend(deleted);
        if step.next.len() > ENTRIES_MAX {
            return Err(ChangesError::TooMany);
        }
        let is_silent = is_first && self.spec.first == First::Baseline;
        let emits = |change: &Change| !is_silent && self.spec.emit.contains(&change.kind);
        step.changes.retain(emits);
        Ok(Diff::Changes(step))
    }

    /// The same snapshot under these rules, after `compare` or `ignore` have changed: nothing looks
    /// changed that is not.
    #[must_use]
    pub fn rehashed(&self, mut snapshot: Snapshot) -> Snapshot {
        for entry in snapshot.values_mut() {
            entry.hash = self.hash(&entry.item);
        }
        snapshot
    }

    /// Those that are known and not present.
    fn absent(&self, before: &Snapshot, present: &HashSet<&str>) -> Fate {
        let absent = before.iter().filter(|(id, _)| !present.contains(&***id));
        let mut fate = Fate::default();
        for (id, entry) in absent {
            if entry.missing.saturating_add(1) >= self.spec.after_missing.get() {
                fate.due.push(id.clone());
            } else {
                fate.missed.push(id.clone());
            }
        }
        fate
    }

    fn is_suspicious(&self, gone: usize, of: usize) -> bool {
        let is_large = gone.saturating_mul(100) > of.saturating_mul(self.spec.guard.into());
        let is_everything = gone == of && of > 1;
        is_large && (gone > GONE_UNGUARDED || is_everything)
    }

    /// Notes what is there; returns the deletions that tombstones tell of. Those are said by the
    /// source itself: they need no misses and no guard.
    fn take_items(&self, step: &mut Step, poll: CompletePoll) -> Vec<Change> {
        let mut deleted = Vec::new();
        for (id, found) in poll.items {
            match found.change {
                ChangeKind::Deleted => deleted.extend(step.delete(id, Some(found.item))),
                ChangeKind::Created | ChangeKind::Updated => {
                    let hash = self.hash(&found.item);
                    step.put(id, hash, found.item);
                }
            }
        }
        deleted
    }

    fn hash(&self, item: &Value) -> [u8; 16] {
        if self.spec.compare.is_empty() {
            let ignored = Ignored::new(item, &self.spec.ignore);
            return canonical::hash(&canonical::text_without(item, &ignored));
        }
        let compared = self.spec.compare.iter();
        let texts = compared.map(|path| canonical::list(path.query(item).all()));
        canonical::hash(&texts.collect::<Vec<String>>().join(","))
    }
}

/// What becomes of those that are absent, by id.
#[derive(Default)]
struct Fate {
    /// They were missing often enough.
    due: Vec<String>,
    /// They were not.
    missed: Vec<String>,
}

impl Step {
    fn put(&mut self, id: String, hash: [u8; 16], item: Value) {
        let (kind, previous) = match self.next.get_mut(&id) {
            None => (ChangeKind::Created, None),
            Some(known) if known.hash != hash => {
                let previous = std::mem::take(&mut known.item);
                (ChangeKind::Updated, Some(previous))
            }
            Some(known) => {
                if known.missing > 0 {
                    known.missing = 0;
                    self.written.push(id);
                }
                return;
            }
        };
        let entry = Entry {
            hash,
            missing: 0,
            item: item.clone(),
        };
        self.next.insert(id.clone(), entry);
        self.written.push(id.clone());
        self.changes.push(Change {
            id,
            kind,
            item,
            previous,
        });
    }

    fn miss(&mut self, ids: Vec<String>) {
        for id in ids {
            if let Some(entry) = self.next.get_mut(&id) {
                entry.missing = entry.missing.saturating_add(1);
                self.written.push(id);
            }
        }
    }

    /// `None` when the item was not known.
    fn delete(&mut self, id: String, tombstone: Option<Value>) -> Option<Change> {
        let known = self.next.remove(&id)?.item;
        self.removed.push(id.clone());
        Some(Change {
            id,
            kind: ChangeKind::Deleted,
            item: tombstone.unwrap_or_else(|| known.clone()),
            previous: Some(known),
        })
    }
}

#[cfg(test)]
mod tests;

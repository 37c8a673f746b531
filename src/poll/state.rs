//! What is kept of a source between polls, as one document in the store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::again::Again;
use super::auth::TokenState;
use super::items::ChangeKind;
use super::position::Position;

/// How far a source is read, and how it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct State {
    /// How far it is read; `None` = it was never read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// By what the provider can tell whether there is something new.
    #[serde(skip_serializing_if = "Validators::is_empty")]
    pub validators: Validators,
    /// When it was asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success_at: Option<Timestamp>,
    /// When something new last came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_new_at: Option<Timestamp>,
    /// The time of the newest item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_item_at: Option<Timestamp>,
    /// How many polls in a row have failed.
    #[serde(skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// Why the last of them has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Not to be asked before: what failed, and what the provider has asked for, outlasts a restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests_until: Option<Timestamp>,
    /// For how many seconds after a poll the provider wants to be left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least_s: Option<u64>,
    /// Whether the provider was not told yet that items are on disk.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unconfirmed: bool,
    /// When it was last found out that the provider may have lost events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost_at: Option<Timestamp>,
    /// A range that is read once more, or was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Whether somebody has looked at the deletions that the guard would stop: once.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub accepts_deletions: bool,
    /// Why it waits for somebody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What it was when it was read.
    pub fingerprint: String,
    /// The tokens that were given to it. Serialised they are secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Value>,
}

/// By what a provider can tell whether there is something new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Validators {
    /// `ETag`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// `Last-Modified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
}

/// What is kept beside a source's state, since it may be long.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attic {
    /// The last whole list, by id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<super::changes::Snapshot>,
    /// What was found and must wait for older items, as it came.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<Staged>,
}

/// An item that waits for older ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// Its dedup key.
    pub key: [u8; 16],
    /// The part of its event's id that is not a time.
    pub suffix: [u8; 10],
    /// The key of all its versions, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_all_versions: Option<[u8; 16]>,
    /// What it is known by.
    pub id: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// Its lane.
    pub lane: Option<u64>,
    /// It.
    pub item: Value,
    /// What it was before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Value>,
}

impl State {
    /// The state in a document of the store.
    ///
    /// # Errors
    /// When it is none, in words that quote nothing of it.
    pub fn parse(document: &str) -> Result<Self, String> {
        serde_json::from_str(document)
            .map_err(|error| format!("line {}, column {}", error.line(), error.column()))
    }

    /// Its document.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The tokens that were given to the source.
    pub fn tokens(&self) -> Option<TokenState> {
        let token = self.token.clone()?;
        serde_json::from_value(token).ok()
    }

    /// The state without secrets, for people.
    #[must_use]
    pub fn shown(&self) -> Self {
        let token = self.token.as_ref().map(|_| Value::from("***"));
        Self {
            token,
            ..self.clone()
        }
    }
}

impl Validators {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Attic {
    /// What is in a document of the store.
    ///
    /// # Errors
    /// When it is none, in words that quote nothing of it.
    pub fn parse(document: Option<&str>) -> Result<Self, String> {
        match document {
            None | Some("") => Ok(Self::default()),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| format!("line {}, column {}", error.line(), error.column())),
        }
    }

    /// Its document.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

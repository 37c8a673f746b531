//! How far a source has been read: the one thing that is kept between requests.
//!
//! Stored in the transaction that stores a page's items. Decides nothing.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::block::Block;

/// Where the next request begins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The cursor; everything before it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Value>,
    /// Nothing older than this is wanted: `cursor.start`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Timestamp>,
    /// Whether items are only learned: the first reading of a source that starts now has not come
    /// to its end.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_learning: bool,
    /// The walk that was not finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<Resume>,
}

impl Position {
    /// The position for a cursor that an operator or an error rule sets.
    pub fn at(cursor: Value) -> Self {
        Self {
            cursor: Some(cursor),
            ..Self::default()
        }
    }

    /// The same cursor with the unfinished walk forgotten, for when its page token has died.
    /// What was staged must be forgotten with it.
    pub fn restarted(self) -> Self {
        Self {
            resume: None,
            ..self
        }
    }
}

/// An unfinished walk over the pages of one reading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resume {
    /// When its poll began: nothing later can have been read for certain.
    pub(super) started: Timestamp,
    /// What the cursor is in its requests: pages belong to one query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bound: Option<Value>,
    /// The page to ask for.
    #[serde(default)]
    pub(super) place: Place,
    /// What the cursor becomes at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) high: Option<Value>,
    /// Where a list that moves was taken up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) anchor: Option<Timestamp>,
    /// The passes over rows of one time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<Block>,
    /// Whether the cursor has to wait for the end: a promise about the order was broken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_held: bool,
    /// The page before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) last_page: Option<u64>,
    /// The last item of the page before this one, where pages overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tail: Option<u64>,
    /// The places that were asked for.
    #[serde(default)]
    pub(super) guard: LoopGuard,
}

impl Resume {
    pub(super) fn begin(started: Timestamp, bound: Option<Value>) -> Self {
        Self {
            started,
            bound,
            place: Place::First,
            high: None,
            anchor: None,
            block: None,
            is_held: false,
            last_page: None,
            tail: None,
            guard: LoopGuard::default(),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// The first.
    #[default]
    First,
    /// The one with this number, or at this offset.
    Number(u64),
    /// The one that a token stands for.
    Token(Value),
    /// The one at this URL.
    Url(String),
}

/// Finds out that a list leads back to where it was, in constant space (Brent's algorithm): a
/// circle of any length is found before it was walked four times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct LoopGuard {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mark: Option<u64>,
    #[serde(default)]
    steps: u32,
    #[serde(default)]
    span: u32,
}

impl LoopGuard {
    /// Whether this place was met before; remembers it.
    pub(super) fn is_back(&mut self, place: u64) -> bool {
        if self.mark == Some(place) {
            return true;
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps >= self.span {
            self.mark = Some(place);
            self.span = self.span.saturating_mul(2).max(1);
            self.steps = 0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_circle_is_found_before_it_was_walked_four_times() {
        let check = |lead: u64, circle: u64| {
            let mut guard = LoopGuard::default();
            let places = (0..).map(|step| match step < lead {
                true => step,
                false => lead + (step - lead) % circle,
            });
            let found = places.take(100_000).position(|place| guard.is_back(place));
            let found = u64::try_from(found.unwrap()).unwrap();
            assert!(found > lead, "{lead}, {circle}: {found}");
            assert!(found <= 4 * lead.max(circle), "{lead}, {circle}: {found}");
        };
        check(0, 1);
        check(0, 2);
        check(1, 1);
        check(5, 3);
        check(100, 7);
        check(3, 1000);
    }

    #[test]
    fn what_leads_on_is_no_circle() {
        let mut guard = LoopGuard::default();
        assert!(!(0..100_000).any(|place| guard.is_back(place)));
    }

    #[test]
    fn a_stored_position_is_read_back() {
        let check = |position: Position| {
            let text = serde_json::to_string(&position).unwrap();
            assert_eq!(serde_json::from_str::<Position>(&text).unwrap(), position);
        };
        let started: Timestamp = "2026-05-01T10:00:00.123456789Z".parse().unwrap();
        check(Position::default());
        check(Position::at(json!(7)));
        let mut resume = Resume::begin(started, Some(json!("x")));
        for place in [
            Place::First,
            Place::Number(u64::MAX),
            Place::Token(json!({"k": 1})),
            Place::Url("https://a".to_owned()),
        ] {
            resume.place = place;
            resume.last_page = Some(u64::MAX);
            resume.guard.is_back(u64::MAX);
            check(Position {
                cursor: Some(json!("2026")),
                floor: Some(started),
                is_learning: true,
                resume: Some(resume.clone()),
            });
        }
        assert_eq!(serde_json::to_string(&Position::default()).unwrap(), "{}");
    }

    #[test]
    fn a_restart_forgets_the_walk_only() {
        let position = Position {
            resume: Some(Resume::begin(Timestamp::UNIX_EPOCH, None)),
            ..Position::at(json!(3))
        };
        assert_eq!(position.restarted(), Position::at(json!(3)));
    }
}

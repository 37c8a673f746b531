//! An inbox as Telegram's `getUpdates`: a bot in polling mode reads what came as webhooks.
//!
//! As at Telegram, the arrival of an offset is what confirms; the newer of two requests wins. Which
//! update has which id stands in the events: nothing has to be remembered for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use super::{Inbox, InboxError, Reader};
use crate::secret::Secret;

/// The consumer that the bot is.
pub const CONSUMER: &str = "telegram";
/// The most updates of one answer.
const LIMIT_MAX: usize = 100;
/// How far above the last update an offset may be; one beyond is of another time.
const OFFSET_BEYOND: i64 = 10;
/// The longest that a request is held.
const WAIT_MAX: Duration = Duration::from_secs(50);
/// How often is looked whether a newer request has come.
const LOOKED_EVERY: Duration = Duration::from_millis(500);
/// How many events are looked through at once for those that an offset confirms.
const LOOKED_MAX: usize = 500;

/// A bot that reads an inbox.
#[derive(Debug)]
pub struct Facade {
    /// The token that the bot calls itself by.
    pub token: Secret,
    /// The backend that every other method goes to.
    pub backend: String,
    /// Counts requests: the newest one gets updates.
    pub newest: AtomicU64,
}

/// What a bot asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GetUpdates {
    /// What is below is confirmed.
    pub offset: i64,
    /// The most updates.
    pub limit: usize,
    /// How long to wait.
    pub timeout: Duration,
}

/// What a bot gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Updates {
    /// These.
    Found(Vec<Value>),
    /// None: a newer request came.
    Terminated,
}

impl GetUpdates {
    /// What the arguments of a request ask for.
    pub fn of(arguments: &[(String, String)]) -> Self {
        let number = |name: &str| {
            let found = arguments.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.parse::<i64>().ok())
        };
        let limit = number("limit").and_then(|limit| usize::try_from(limit).ok());
        let timeout = number("timeout").and_then(|timeout| u64::try_from(timeout).ok());
        Self {
            offset: number("offset").unwrap_or_default(),
            limit: limit
                .filter(|limit| *limit > 0)
                .unwrap_or(LIMIT_MAX)
                .min(LIMIT_MAX),
            timeout: Duration::from_secs(timeout.unwrap_or_default()).min(WAIT_MAX),
        }
    }
}

impl Reader {
    /// Confirms what lies below the offset, and gives the updates behind it.
    ///
    /// # Errors
    /// [`InboxError`].
    pub async fn updates(
        &self,
        inbox: &Inbox,
        facade: &Facade,
        asked: GetUpdates,
    ) -> Result<Updates, InboxError> {
        let mine = facade.newest.fetch_add(1, Ordering::SeqCst) + 1;
        let is_newest = || facade.newest.load(Ordering::SeqCst) == mine;
        self.confirm(inbox, asked.offset).await?;
        let mut arrivals = self.arrivals(inbox);
        let found = self.waiting(inbox, asked.limit).await?;
        if !found.is_empty() || asked.timeout.is_zero() {
            return Ok(Updates::Found(found));
        }
        let arrived = async {
            while is_newest() {
                let _ = timeout(LOOKED_EVERY, arrivals.changed()).await;
                let found = self.waiting(inbox, asked.limit).await?;
                if !found.is_empty() && is_newest() {
                    return Ok(Updates::Found(found));
                }
            }
            Ok(Updates::Terminated)
        };
        let none = Ok(Updates::Found(Vec::new()));
        timeout(asked.timeout, arrived).await.unwrap_or(none)
    }

    /// Updates that were not confirmed. What is none is nothing for a bot, and is passed over.
    async fn waiting(&self, inbox: &Inbox, limit: usize) -> Result<Vec<Value>, InboxError> {
        loop {
            let from = self.offset(inbox, CONSUMER).await?;
            let found = self.behind(inbox, from, limit).await?;
            let updates = found.iter().filter_map(|(_, event)| update(&event.body));
            let updates: Vec<Value> = updates.map(|(_, update)| update).collect();
            match found.last() {
                Some((last, _)) if updates.is_empty() => {
                    self.skip_to(inbox, CONSUMER, *last).await?;
                }
                _ => return Ok(updates),
            }
        }
    }

    /// Commits what is below an offset, unless that is of another time.
    async fn confirm(&self, inbox: &Inbox, offset: i64) -> Result<(), InboxError> {
        if offset <= 0 {
            return Ok(());
        }
        let mut from = self.offset(inbox, CONSUMER).await?;
        let mut last = None;
        let mut confirmed = None;
        loop {
            let found = self.behind(inbox, from, LOOKED_MAX).await?;
            for (place, event) in &found {
                let Some((id, _)) = update(&event.body) else {
                    continue;
                };
                last = Some(id);
                if id < offset {
                    confirmed = Some(*place);
                }
            }
            match found.last() {
                Some((place, _)) if found.len() == LOOKED_MAX && last < Some(offset) => {
                    from = *place
                }
                _ => break,
            }
        }
        match (last, confirmed) {
            (Some(last), Some(place)) if offset <= last.saturating_add(OFFSET_BEYOND) => {
                self.skip_to(inbox, CONSUMER, place).await
            }
            _ => Ok(()),
        }
    }
}

/// An update and its id; `None` = the body is none.
fn update(body: &[u8]) -> Option<(i64, Value)> {
    let update: Value = serde_json::from_slice(body).ok()?;
    let id = update.get("update_id")?.as_i64()?;
    Some((id, update))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bot_asks_for_is_kept_within_limits() {
        let check = |arguments: &[(&str, &str)], offset, limit, seconds| {
            let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            let arguments: Vec<_> = arguments.iter().map(own).collect();
            let expected = GetUpdates {
                offset,
                limit,
                timeout: Duration::from_secs(seconds),
            };
            assert_eq!(GetUpdates::of(&arguments), expected, "{arguments:?}");
        };
        check(&[], 0, 100, 0);
        check(
            &[("offset", "7"), ("limit", "1"), ("timeout", "30")],
            7,
            1,
            30,
        );
        check(&[("limit", "0"), ("timeout", "600")], 0, 100, 50);
        check(
            &[("limit", "-3"), ("timeout", "-1"), ("offset", "x")],
            0,
            100,
            0,
        );
    }
}

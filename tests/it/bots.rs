//! Bots notice nothing: what Telegram and VK would push arrives as they would push it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tempfile::TempDir;

use crate::support::bot_api::{BotApi, TOKEN};
use crate::support::bots::{Bot, Handled, Mode};
use crate::support::gateway::Gateway;
use crate::support::provider::Provider;

mod facade;
mod telegram;
mod vk;

/// What bots ask for in the header of a webhook.
const SECRET: &str = "a-secret-of-the-tests";
/// The longest wait for what a bot's answers bring about.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// Awaits that something holds.
async fn until(what: &str, is: impl Fn() -> bool) {
    let waited = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = tokio::time::timeout(WAIT_MAX, waited).await;
    assert!(in_time.is_ok(), "{what}: not within {WAIT_MAX:?}");
}

/// Each message of a chat in its order, repetitions of one behind another left out.
fn by_chat(handled: &[Handled]) -> BTreeMap<i64, Vec<String>> {
    let mut chats: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for one in handled {
        let texts = chats.entry(one.chat).or_default();
        if texts.last() != Some(&one.text) {
            texts.push(one.text.clone());
        }
    }
    chats
}

fn distinct(handled: &[Handled]) -> BTreeSet<String> {
    handled.iter().map(|one| one.id.to_string()).collect()
}

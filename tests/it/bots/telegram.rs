//! Telegram's bots: polled by the gateway, they get webhooks; what they answer is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;

use super::*;
use crate::support::backend::{FakeBackend, Response};
use crate::support::client::{Request, send};
use crate::support::operator::{ask, told};
use crate::support::provider::Answer;

pub(super) const LIBRARIES: [&str; 4] = ["ptb", "aiogram", "grammy", "telegraf"];

/// A Bot API with a gateway in front of a bot that takes webhooks.
struct Scene {
    api: BotApi,
    provider: Provider,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let api = BotApi::new();
        Self {
            provider: Provider::start(api.handler()).await,
            api,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    async fn bot(&self, library: &'static str, mode: Mode) -> Bot {
        let url = self.provider.url();
        let env = [("API_URL", &*url), ("TOKEN", TOKEN), ("SECRET", SECRET)];
        Bot::start(library, mode, &env).await
    }

    fn file(&self, app: &str) -> String {
        format!(
            "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app: {{url: {app}, breaker: off, retry: {{attempts: 1000, backoff: {{base: 20ms, max: 100ms}}}}}}
  bot_api: {{url: {api}/bot{TOKEN}, retry: {{backoff: {{base: 20ms, max: 100ms}}}}}}
routes:
  bot:
    poll:
      preset: telegram
      with: {{token: {TOKEN}, api: {api}}}
    deliver: {{to: app, path: /telegram, sign: {{secret: {SECRET}}}, replies: bot_api}}
",
            path = self.folder.path().join("data").display(),
            api = self.provider.url(),
        )
    }

    /// Messages in several chats, in turns.
    fn written(&self, chats: i64, each: usize) -> BTreeMap<i64, Vec<String>> {
        let mut expected: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for number in 0..each {
            for chat in 1..=chats {
                let text = format!("m{number}");
                self.api.message(chat, &text);
                expected.entry(chat).or_default().push(text);
            }
        }
        expected
    }
}

/// What a bot has said, by chat; without repetitions.
pub(super) fn said(api: &BotApi) -> BTreeMap<i64, BTreeSet<String>> {
    let mut chats: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
    for (chat, text) in api.sent() {
        chats.entry(chat).or_default().insert(text);
    }
    chats
}

pub(super) fn echoes(expected: &BTreeMap<i64, Vec<String>>) -> BTreeMap<i64, BTreeSet<String>> {
    let echo = |texts: &Vec<String>| texts.iter().map(|text| format!("echo {text}")).collect();
    expected
        .iter()
        .map(|(chat, texts)| (*chat, echo(texts)))
        .collect()
}

/// The libraries are at home at the fake: it behaves as they expect.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_poll_are_at_home_at_the_fake() {
    for library in LIBRARIES {
        let scene = Scene::new().await;
        let bot = scene.bot(library, Mode::Polling).await;
        let expected = scene.written(4, 5);
        let handled = bot.wait_for(20).await;
        assert_eq!(distinct(&handled).len(), handled.len(), "{library}: twice");
        let texts = |chats: BTreeMap<i64, Vec<String>>| -> BTreeMap<i64, BTreeSet<String>> {
            chats
                .into_iter()
                .map(|(chat, texts)| (chat, texts.into_iter().collect()))
                .collect()
        };
        assert_eq!(
            texts(by_chat(&handled)),
            texts(expected.clone()),
            "{library}"
        );
        until(library, || said(&scene.api) == echoes(&expected)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_take_webhooks_get_every_update_once_in_order_and_their_answers_are_done() {
    for library in LIBRARIES {
        let scene = Scene::new().await;
        // One of them tells Telegram its address at once, as if it could be reached.
        scene.api.ignore_webhooks();
        let bot = scene.bot(library, Mode::Webhook).await;
        let file = scene.file(&format!("http://{}", bot.addr()));
        let expected = scene.written(20, 8);
        let gateway = Gateway::start(&file).await;
        bot.wait_for(60).await;
        gateway.kill().await;
        let killed_at = bot.handled().len();
        let more = scene.written(20, 7);
        let gateway = Gateway::start(&file).await;
        let handled = bot.wait_for(300).await;
        let mut expected = expected;
        for (chat, texts) in more {
            expected.entry(chat).or_default().extend(texts);
        }
        // Only what was on its way when the gateway was killed may come twice.
        let twice = handled.len() - distinct(&handled).len();
        assert!(
            twice <= 20,
            "{library}: {twice} twice, {killed_at} before the kill"
        );
        assert_eq!(by_chat(&handled), expected, "{library}");
        until(library, || said(&scene.api) == echoes(&expected)).await;
        until("the last to be confirmed", || scene.api.waiting() == 0).await;
        gateway.stop().await;
    }
}

/// A backend that is no bot, behind a gateway in front of the fake.
async fn plain() -> (Scene, FakeBackend, Gateway) {
    let (scene, app) = (Scene::new().await, FakeBackend::start().await);
    let gateway = Gateway::start(&scene.file(&app.url())).await;
    (scene, app, gateway)
}

#[tokio::test]
async fn an_update_arrives_to_the_letter_as_telegram_sends_it() {
    let (scene, app, gateway) = plain().await;
    let id = scene.api.message(7, "hi");
    let request = app.next().await;
    assert_eq!((&*request.method, &*request.target), ("POST", "/telegram"));
    // One of the libraries refuses anything behind it.
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.header("x-telegram-bot-api-secret-token"),
        Some(SECRET)
    );
    let update: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(update["update_id"], id);
    assert_eq!(update["message"]["text"], "hi");
    let labels = [("route", "bot")];
    gateway
        .wait_for_metric("hookgate_poll_pending", &labels, 0.0)
        .await;
    let logs = gateway.logs().join("\n");
    assert!(!logs.contains(TOKEN) && !logs.contains(SECRET), "{logs}");
}

#[tokio::test]
async fn a_webhook_that_is_set_stops_the_source_until_somebody_has_looked() {
    let (scene, app) = (Scene::new().await, FakeBackend::start().await);
    scene.api.set_webhook("https://elsewhere.example");
    let gateway = Gateway::start(&scene.file(&app.url())).await;
    let line = gateway
        .wait_for_log(|line| line.contains("is paused"))
        .await;
    assert!(line.contains("a webhook is set for this bot"), "{line}");
    scene.api.set_webhook("");
    scene.api.message(1, "a");
    told(&gateway, &["poll", "resume", "bot"]).await;
    app.next().await;
}

#[tokio::test]
async fn whoever_else_polls_the_same_bot_is_given_way_for_a_while() {
    let (scene, app, gateway) = plain().await;
    scene.provider.wait_for(1).await;
    // The newer request wins: the gateway's own ends with a conflict.
    let path = format!("/bot{TOKEN}/getUpdates?timeout=1");
    let addr = scene
        .provider
        .url()
        .trim_start_matches("http://")
        .parse()
        .unwrap();
    let other = send(addr, &Request::get(&path)).await;
    assert_eq!(other.status, 200);
    scene.api.message(1, "a");
    // The preset waits from 5 to 15 seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(app.count(), 0, "it polled too early");
    tokio::time::sleep(Duration::from_secs(5)).await;
    app.next().await;
    drop(gateway);
}

#[tokio::test]
async fn ids_that_begin_anew_and_lower_are_followed() {
    let (scene, app, gateway) = plain().await;
    scene.api.message(1, "before");
    app.wait_for(1).await;
    until("the first is confirmed", || scene.api.waiting() == 0).await;
    // After a week without updates the queue is another one.
    scene.api.begin_ids_at(5);
    for text in ["a", "b", "c"] {
        scene.api.message(1, text);
    }
    let all = app.wait_for(4).await;
    let last: Value = serde_json::from_slice(&all[3].body).unwrap();
    assert_eq!(
        (&last["update_id"], &last["message"]["text"]),
        (&7.into(), &"c".into())
    );
    until("all are confirmed", || scene.api.waiting() == 0).await;
    drop(gateway);
}

#[tokio::test]
async fn what_waits_at_telegram_is_seen_before_it_is_dropped() {
    let (scene, app) = (Scene::new().await, FakeBackend::start().await);
    scene.api.keep_at_most(5);
    for number in 0..8 {
        scene.api.message(1, &format!("m{number}"));
    }
    assert_eq!(scene.api.dropped(), 3);
    let file = scene
        .file(&app.url())
        .replace("preset: telegram", "preset: telegram\n      enabled: false");
    let gateway = Gateway::start(&file).await;
    assert!(
        gateway
            .metric("hookgate_poll_pending", &[])
            .await
            .is_none_or(f64::is_nan)
    );
    gateway.stop().await;
    // Room for two: three stay at Telegram.
    let text = scene
        .file(&app.url())
        .replace("    deliver:", "    depth_max: 2\n    deliver:");
    app.respond_with(Response::new(503));
    let gateway = Gateway::start(&text).await;
    gateway.wait_for_log(|line| line.contains("no room")).await;
    assert_eq!(
        scene.api.waiting(),
        5,
        "what is not on disk is not confirmed"
    );
    drop(gateway);
}

#[tokio::test]
async fn what_a_bot_answers_is_done_though_the_api_fails_and_the_gateway_is_killed() {
    let scene = Scene::new().await;
    let app = FakeBackend::start().await;
    let answer = serde_json::json!({"method": "sendMessage", "chat_id": 7, "text": "hello"});
    let answer = Response::new(200)
        .header("Content-Type", "application/json")
        .body(answer.to_string());
    app.respond_with(answer);
    let is_down = Arc::new(AtomicBool::new(true));
    let (down, handler) = (is_down.clone(), scene.api.handler());
    scene.provider.answer_with(move |asked| {
        match asked.path.ends_with("/sendMessage") && down.load(Ordering::SeqCst) {
            true => Answer::new(502),
            false => handler(asked),
        }
    });
    let file = scene.file(&app.url());
    let gateway = Gateway::start(&file).await;
    scene.api.message(7, "hi");
    app.next().await;
    let path = format!("/bot{TOKEN}/sendMessage");
    until("the call is tried", || {
        scene.provider.asked_at(&path).len() >= 2
    })
    .await;
    gateway.kill().await;
    is_down.store(false, Ordering::SeqCst);
    let gateway = Gateway::start(&file).await;
    until("it is done", || {
        scene.api.sent() == [(7, "hello".to_owned())]
    })
    .await;
    let calls = ask(&gateway, "/events?type=telegram.sendMessage").await;
    let calls = calls["events"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0]["deliveries"][0]["backend"], "bot_api");
    // What an answer must not do is not done.
    let setting = serde_json::json!({"method": "deleteWebhook"});
    let setting = Response::new(200)
        .header("Content-Type", "application/json")
        .body(setting.to_string());
    app.respond_with(setting);
    scene.api.message(7, "again");
    app.wait_for(2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(scene.api.calls("deleteWebhook").is_empty());
}

#[tokio::test]
async fn an_update_that_is_of_no_use_any_more_is_not_delivered() {
    let scene = Scene::new().await;
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(503));
    // As long as a test has: of three, the buttons are forgotten first.
    let file = scene.file(&app.url()).replace(
        "replies: bot_api",
        "replies: bot_api, expire: \"${{ '1s' if item.callback_query else '1h' }}\"",
    );
    let gateway = Gateway::start(&file).await;
    scene.api.message(1, "a");
    scene.api.pressed(2);
    let expired = [("route", "bot"), ("reason", "expired")];
    gateway
        .wait_for_metric("hookgate_deliveries_dead_total", &expired, 1.0)
        .await;
    let count = app.count();
    app.respond_with(Response::new(200));
    let all = app.wait_for(count + 1).await;
    let last: Value = serde_json::from_slice(&all.last().unwrap().body).unwrap();
    assert_eq!(last["message"]["text"], "a");
    assert_eq!(
        gateway
            .metric("hookgate_deliveries_dead_total", &expired)
            .await,
        Some(1.0)
    );
}

//! VK's bots: polled by the gateway, they get what the Callback API would bring.

use super::*;
use crate::support::vk::{GROUP, Vk};

const TOKEN: &str = "vk1.a.token-of-the-tests";
const CONFIRMATION: &str = "c0nf1rm";

async fn bot(library: &'static str, mode: Mode, api: &str) -> Bot {
    let group = GROUP.to_string();
    let env = [
        ("API_URL", api),
        ("TOKEN", TOKEN),
        ("SECRET", SECRET),
        ("CONFIRMATION", CONFIRMATION),
        ("GROUP", &*group),
    ];
    Bot::start(library, mode, &env).await
}

fn file(api: &str, app: &str, folder: &TempDir) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  app: {{url: {app}, retry: {{backoff: {{base: 20ms, max: 100ms}}}}}}
routes:
  group:
    poll:
      preset: vk
      with: {{token: {TOKEN}, group: {GROUP}, api: {api}, hosts: [127.0.0.1]}}
    deliver: {{to: app, path: /vk, sign: {{secret: {SECRET}}}}}
",
        path = folder.path().join("data").display(),
    )
}

fn written(vk: &Vk, peers: i64, each: usize) -> BTreeMap<i64, Vec<String>> {
    let mut expected: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for number in 0..each {
        for peer in 1..=peers {
            let text = format!("m{number}");
            vk.message(peer, &text);
            expected.entry(peer).or_default().push(text);
        }
    }
    expected
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_poll_are_at_home_at_the_fake() {
    for library in ["vk_api", "vkbottle", "vk-io"] {
        let vk = Vk::new(TOKEN);
        let provider = Provider::start(vk.handler()).await;
        let bot = bot(library, Mode::Polling, &provider.url()).await;
        // One of them says that it begins before it has asked where the history stands.
        let server = async || {
            let asked = provider.asked();
            asked.iter().any(|one| one.param("act").is_some())
        };
        while !server().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let expected = written(&vk, 4, 3);
        bot.wait_for(6).await;
        vk.forget_key();
        let handled = bot.wait_for(12).await;
        let texts = |chats: BTreeMap<i64, Vec<String>>| -> BTreeMap<i64, BTreeSet<String>> {
            let set = |(chat, texts): (i64, Vec<String>)| (chat, texts.into_iter().collect());
            chats.into_iter().map(set).collect()
        };
        assert_eq!(texts(by_chat(&handled)), texts(expected), "{library}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_take_callbacks_get_every_event_once_and_in_order() {
    for library in ["vkbottle", "vk-io"] {
        let vk = Vk::new(TOKEN);
        let provider = Provider::start(vk.handler()).await;
        let folder = tempfile::tempdir().unwrap();
        let bot = bot(library, Mode::Webhook, &provider.url()).await;
        let app = format!("http://{}", bot.addr());
        let text = file(&provider.url(), &app, &folder);
        let gateway = Gateway::start(&text).await;
        // A new source begins with what comes from now on, as a bot does.
        let success = "hookgate_poll_last_success_timestamp_seconds";
        gateway
            .wait_for_metric("hookgate_poll_requests_total", &[], 1.0)
            .await;
        let mut expected = written(&vk, 4, 5);
        bot.wait_for(12).await;
        vk.forget_key();
        gateway.kill().await;
        let more = written(&vk, 4, 5);
        let gateway = Gateway::start(&text).await;
        for (peer, texts) in more {
            expected.entry(peer).or_default().extend(texts);
        }
        let handled = bot.wait_for(40).await;
        let twice = handled.len() - distinct(&handled).len();
        assert!(twice <= 4, "{library}: {twice} twice");
        assert_eq!(by_chat(&handled), expected, "{library}");
        assert!(
            gateway
                .metric(success, &[])
                .await
                .is_some_and(|at| at > 1.7e9)
        );
    }
}

#[tokio::test]
async fn a_history_that_is_gone_is_told_and_reading_goes_on() {
    let vk = Vk::new(TOKEN);
    let provider = Provider::start(vk.handler()).await;
    let folder = tempfile::tempdir().unwrap();
    let app = crate::support::backend::FakeBackend::start().await;
    // What is no `ok` has not arrived.
    app.respond_with(crate::support::backend::Response::new(200).body("thanks"));
    let gateway = Gateway::start(&file(&provider.url(), &app.url(), &folder)).await;
    gateway
        .wait_for_metric("hookgate_poll_requests_total", &[], 1.0)
        .await;
    vk.message(1, "a");
    let first = app.wait_for(3).await;
    let body: serde_json::Value = serde_json::from_slice(&first[0].body).unwrap();
    assert_eq!(
        (&body["type"], &body["secret"]),
        (&"message_new".into(), &SECRET.into())
    );
    assert_eq!(first[0].target, "/vk");
    app.respond_with(crate::support::backend::Response::new(200).body("ok"));
    let delivered = [("route", "group")];
    gateway
        .wait_for_metric("hookgate_deliveries_delivered_total", &delivered, 1.0)
        .await;
    let unacknowledged = [("backend", "app"), ("outcome", "unacknowledged")];
    assert!(
        gateway
            .metric("hookgate_attempts_total", &unacknowledged)
            .await
            >= Some(2.0)
    );
    // A part is lost: reading goes on with what VK says. Then all of it is.
    gateway.kill().await;
    vk.message(1, "lost");
    vk.begin_at(2);
    let gateway = Gateway::start(&file(&provider.url(), &app.url(), &folder)).await;
    gateway
        .wait_for_metric("hookgate_poll_gaps_total", &[], 1.0)
        .await;
    vk.lose_all();
    gateway
        .wait_for_metric("hookgate_poll_gaps_total", &[], 2.0)
        .await;
    vk.message(1, "z");
    let count = app.count();
    let last = app.wait_for(count + 1).await;
    assert!(String::from_utf8_lossy(&last.last().unwrap().body).contains("\"z\""));
}

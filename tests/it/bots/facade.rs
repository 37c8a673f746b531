//! A bot in polling mode behind the gateway: what Telegram pushes waits in an inbox, which looks to the
//! bot like the Bot API itself.

use super::telegram::{LIBRARIES, echoes, said};
use super::*;
use crate::support::client::{Request, send};

fn file(api: &str, folder: &TempDir) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0}}
admin: {{listen: 127.0.0.1:0}}
store: {{path: {path}}}
backends:
  bot_api: {{url: {api}/bot{TOKEN}}}
routes:
  bot:
    webhook:
      path: /telegram
      verify: {{provider: telegram, secrets: [{SECRET}]}}
    inbox: {{telegram: {{token: {TOKEN}, to: bot_api}}}}
",
        path = folder.path().join("data").display(),
    )
}

/// Telegram pushes an update.
async fn pushed(gateway: &Gateway, id: i64, chat: i64, text: &str) {
    let update = serde_json::json!({"update_id": id, "message": {
        "message_id": id, "date": 1_800_000_000, "text": text,
        "chat": {"id": chat, "type": "private", "first_name": "A"},
        "from": {"id": chat, "is_bot": false, "first_name": "A"},
    }});
    let request = Request::post("/telegram")
        .header("Content-Type", "application/json")
        .header("X-Telegram-Bot-Api-Secret-Token", SECRET)
        .body(update.to_string());
    assert_eq!(send(gateway.addr(), &request).await.status, 202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_that_poll_read_what_came_as_webhooks() {
    for library in LIBRARIES {
        let api = BotApi::new();
        let provider = Provider::start(api.handler()).await;
        let folder = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(&file(&provider.url(), &folder)).await;
        let mut expected: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        let mut push = async |ids: std::ops::Range<i64>| {
            for id in ids {
                let (chat, text) = (id % 4, format!("m{id}"));
                pushed(&gateway, id, chat, &text).await;
                expected.entry(chat).or_default().push(text);
            }
        };
        push(500..510).await;
        let url = format!("http://{}", gateway.addr());
        let env = [("API_URL", &*url), ("TOKEN", TOKEN), ("SECRET", SECRET)];
        let bot = Bot::start(library, Mode::Polling, &env).await;
        bot.wait_for(10).await;
        push(510..530).await;
        let handled = bot.wait_for(30).await;
        assert_eq!(handled.len(), 30, "{library}: each once");
        until(library, || said(&api) == echoes(&expected)).await;
        drop(bot);
    }
}

#[tokio::test]
async fn an_offset_confirms_the_newer_request_wins_and_a_wrong_token_finds_nothing() {
    let api = BotApi::new();
    let provider = Provider::start(api.handler()).await;
    let folder = tempfile::tempdir().unwrap();
    let text = file(&provider.url(), &folder);
    let gateway = Gateway::start(&text).await;
    for id in 500..505 {
        pushed(&gateway, id, 1, "a").await;
    }
    async fn asked(gateway: &Gateway, query: &str) -> (u16, serde_json::Value) {
        let path = format!("/bot{TOKEN}/getUpdates?{query}");
        let answer = send(gateway.addr(), &Request::get(&path)).await;
        (answer.status, answer.json())
    }
    async fn ids(gateway: &Gateway, query: &str) -> Vec<i64> {
        let (status, answer) = asked(gateway, query).await;
        assert_eq!(status, 200, "{answer}");
        let updates = answer["result"].as_array().unwrap().iter();
        updates
            .map(|one| one["update_id"].as_i64().unwrap())
            .collect()
    }
    assert_eq!(ids(&gateway, "").await, [500, 501, 502, 503, 504]);
    assert_eq!(ids(&gateway, "limit=2").await, [500, 501]);
    assert_eq!(ids(&gateway, "offset=502").await, [502, 503, 504]);
    // It is on disk, and it is for good.
    gateway.kill().await;
    let gateway = Gateway::start(&text).await;
    assert_eq!(ids(&gateway, "offset=1").await, [502, 503, 504]);
    // One that is far above everything is of another time.
    assert_eq!(ids(&gateway, "offset=900").await, [502, 503, 504]);
    assert_eq!(ids(&gateway, "offset=505").await, Vec::<i64>::new());
    let (older, newer) = tokio::join!(asked(&gateway, "offset=505&timeout=20"), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        asked(&gateway, "offset=505&timeout=1").await
    });
    assert_eq!((older.0, newer.0), (409, 200), "{older:?} {newer:?}");
    assert!(
        older.1["description"]
            .as_str()
            .unwrap()
            .starts_with("Conflict: terminated")
    );
    let wrong = send(gateway.addr(), &Request::get("/bot1:wrong/getUpdates")).await;
    assert_eq!(wrong.status, 404);
    let logs = gateway.logs().join("\n");
    assert!(!logs.contains(TOKEN), "{logs}");
}

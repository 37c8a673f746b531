//! Telegram's bots: polled by the gateway, they get webhooks; what they answer is done.

use super::*;

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
  app: {{url: {app}, retry: {{backoff: {{base: 20ms, max: 100ms}}}}}}
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

//! Telegram's Bot API as its server behaves: the arrival of an offset deletes what is below it.
//!
//! What it does is taken from the sources of `tdlib/telegram-bot-api` and TDLib's queue: limits, waits,
//! the three conflicts, ids that begin anew, a queue that drops what is too much.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::provider::{Answer, Asked};

pub const TOKEN: &str = "123456:a-token-of-the-tests";

/// The most updates of one answer.
const LIMIT_MAX: usize = 100;
/// The longest a request is held, whatever it asks for: tests are short.
const HOLD_MAX: Duration = Duration::from_secs(2);
/// How far above the last update an offset may be.
const OFFSET_BEYOND: i64 = 11;
/// How far below the first one.
const OFFSET_BELOW: i64 = 100_000;
/// An offset that is asked for again so soon brings one update.
const AGAIN_SOON: Duration = Duration::from_millis(500);

/// A call that was made, with its arguments.
#[derive(Clone, Debug)]
pub struct Call {
    pub method: String,
    pub arguments: Map<String, Value>,
}

/// The server. Its clones are the same one.
#[derive(Clone, Default)]
pub struct BotApi(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    updates: VecDeque<Value>,
    next_id: i64,
    /// Updates beyond this many are dropped.
    queue_max: Option<usize>,
    dropped: usize,
    webhook: String,
    /// Whether bots may set one.
    keeps_webhooks: bool,
    /// The request that gets updates now, by when it came.
    polling: Option<Duration>,
    /// The offset that was asked for last, and when it was answered.
    last: Option<(i64, Duration)>,
    calls: Vec<Call>,
}

impl BotApi {
    pub fn new() -> Self {
        let api = Self::default();
        api.lock().next_id = 700_001;
        api.lock().keeps_webhooks = true;
        api
    }

    /// Something is written in a chat. Gives the id of its update.
    pub fn message(&self, chat: i64, text: &str) -> i64 {
        let message = json!({
            "message_id": chat * 10_000 + 1, "date": 1_800_000_000, "text": text,
            "chat": {"id": chat, "type": "private", "first_name": "A"},
            "from": {"id": chat, "is_bot": false, "first_name": "A"},
        });
        self.update("message", message)
    }

    /// Somebody presses a button.
    pub fn pressed(&self, chat: i64) -> i64 {
        let query = json!({"id": "1", "from": {"id": chat, "is_bot": false, "first_name": "A"},
                           "chat_instance": "1", "data": "x"});
        self.update("callback_query", query)
    }

    fn update(&self, kind: &str, content: Value) -> i64 {
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        if state
            .queue_max
            .is_some_and(|max| state.updates.len() >= max)
        {
            state.dropped += 1;
            return id;
        }
        state
            .updates
            .push_back(json!({"update_id": id, kind: content}));
        id
    }

    /// After a quiet week ids begin anew, from a number chosen by chance.
    pub fn begin_ids_at(&self, id: i64) {
        let mut state = self.lock();
        state.updates.clear();
        state.next_id = id;
    }

    pub fn keep_at_most(&self, count: usize) {
        self.lock().queue_max = Some(count);
    }

    pub fn set_webhook(&self, url: &str) {
        url.clone_into(&mut self.lock().webhook);
    }

    /// Bots that set a webhook are told that it is set, and it is not.
    pub fn ignore_webhooks(&self) {
        self.lock().keeps_webhooks = false;
    }

    /// How many updates wait.
    pub fn waiting(&self) -> usize {
        self.lock().updates.len()
    }

    /// How many were dropped, since too many waited.
    pub fn dropped(&self) -> usize {
        self.lock().dropped
    }

    /// The calls of a method.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let calls = self.lock().calls.clone().into_iter();
        calls.filter(|call| call.method == method).collect()
    }

    /// What was sent: chats and texts, in order.
    pub fn sent(&self) -> Vec<(i64, String)> {
        let sent = self.calls("sendMessage").into_iter().map(|call| {
            let chat = call
                .arguments
                .get("chat_id")
                .and_then(number)
                .expect("a chat");
            (
                chat,
                call.arguments
                    .get("text")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            )
        });
        sent.collect()
    }

    /// What answers requests.
    pub fn handler(&self) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
        let api = self.clone();
        move |asked| {
            let prefix = format!("/bot{TOKEN}/");
            let Some(method) = asked.path.strip_prefix(&prefix) else {
                return error(404, "Not Found");
            };
            let arguments = arguments(asked);
            match method.to_ascii_lowercase().as_str() {
                "getupdates" => api.get_updates(asked, &arguments),
                other => {
                    let call = Call {
                        method: method.to_owned(),
                        arguments,
                    };
                    api.call(other, call)
                }
            }
        }
    }

    fn call(&self, method: &str, call: Call) -> Answer {
        let mut state = self.lock();
        let result = match method {
            "getme" => {
                json!({"id": 123_456, "is_bot": true, "first_name": "Bot", "username": "a_bot",
                              "can_join_groups": true, "can_read_all_group_messages": false,
                              "supports_inline_queries": false})
            }
            "getwebhookinfo" => json!({"url": state.webhook, "has_custom_certificate": false,
                                       "pending_update_count": state.updates.len()}),
            "setwebhook" if !state.keeps_webhooks => json!(true),
            "setwebhook" => {
                let url = call.arguments.get("url").and_then(Value::as_str);
                url.unwrap_or_default().clone_into(&mut state.webhook);
                json!(true)
            }
            "deletewebhook" => {
                state.webhook.clear();
                json!(true)
            }
            "sendmessage" => {
                let chat = call.arguments.get("chat_id").and_then(number);
                let Some(chat) = chat else {
                    return error(400, "Bad Request: chat_id is empty");
                };
                json!({"message_id": 1, "date": 1_800_000_000, "text": call.arguments.get("text"),
                       "chat": {"id": chat, "type": "private", "first_name": "A"}})
            }
            _ => json!(true),
        };
        state.calls.push(call);
        Answer::json(&json!({"ok": true, "result": result}))
    }

    fn get_updates(&self, asked: &Asked, arguments: &Map<String, Value>) -> Answer {
        let mut state = self.lock();
        if !state.webhook.is_empty() {
            let text = "Conflict: can't use getUpdates method while webhook is active; use \
                        deleteWebhook to delete the webhook first";
            return error(409, text);
        }
        // The newer request wins.
        match state.polling {
            _ if asked.held.is_zero() => state.polling = Some(asked.at),
            Some(at) if at != asked.at => {
                let text = "Conflict: terminated by other getUpdates request; make sure that only \
                            one bot instance is running";
                return error(409, text);
            }
            Some(_) | None => {}
        }
        let offset = arguments.get("offset").and_then(number).unwrap_or_default();
        assert!(offset >= 0, "it would erase: {offset}");
        state.confirm(offset);
        let is_again = state.last.is_some_and(|(last, at)| {
            last == offset && offset != 0 && asked.at.saturating_sub(at) < AGAIN_SOON
        });
        let limit = arguments.get("limit").and_then(number).unwrap_or_default();
        let limit = usize::try_from(limit)
            .unwrap_or_default()
            .clamp(0, LIMIT_MAX);
        let limit = match (limit, is_again) {
            (_, true) => 1,
            (0, false) => LIMIT_MAX,
            (limit, false) => limit,
        };
        let timeout = arguments
            .get("timeout")
            .and_then(number)
            .unwrap_or_default();
        let hold = Duration::from_secs(u64::try_from(timeout).unwrap_or_default()).min(HOLD_MAX);
        if state.updates.is_empty() && asked.held < hold {
            return Answer::held();
        }
        let found: Vec<Value> = state.updates.iter().take(limit).cloned().collect();
        state.last = Some((offset, asked.at + asked.held));
        Answer::json(&json!({"ok": true, "result": found}))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no one panics with the lock")
    }
}

impl State {
    /// An offset deletes what is below it. One that is far away is of another time, and is ignored.
    fn confirm(&mut self, offset: i64) {
        let ids = |update: &Value| update["update_id"].as_i64().unwrap_or_default();
        let (Some(head), Some(tail)) =
            (self.updates.front().map(ids), self.updates.back().map(ids))
        else {
            return;
        };
        if offset <= tail + OFFSET_BEYOND && offset + OFFSET_BELOW >= head {
            self.updates.retain(|update| ids(update) >= offset);
        }
    }
}

fn error(status: u16, text: &str) -> Answer {
    let body = json!({"ok": false, "error_code": status, "description": text});
    Answer::new(status).with_json(&body)
}

/// A number, as JSON or as a form has it.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// The arguments of a call: of the query, and of a body of any of the forms that bots use.
fn arguments(asked: &Asked) -> Map<String, Value> {
    let text = |(name, value): (String, String)| (name, Value::from(value));
    let mut arguments: Map<String, Value> = asked.query.clone().into_iter().map(text).collect();
    let media = asked.header("content-type").unwrap_or_default();
    if let Some((_, boundary)) = media.split_once("boundary=") {
        let body = String::from_utf8_lossy(&asked.body).into_owned();
        for part in body.split(&format!("--{}", boundary.trim_matches('"'))) {
            let Some((head, value)) = part.split_once("\r\n\r\n") else {
                continue;
            };
            let name = head
                .split("name=\"")
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            let name = name.expect("a part has a name").to_owned();
            arguments.insert(name, value.trim_end_matches("\r\n").into());
        }
    } else if media.starts_with("application/json") {
        arguments.extend(asked.json().as_object().cloned().unwrap_or_default());
    } else {
        let pairs = form_urlencoded::parse(&asked.body).into_owned();
        arguments.extend(pairs.map(text));
    }
    arguments
}

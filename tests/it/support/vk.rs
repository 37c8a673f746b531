//! VK's Bots Long Poll as its server behaves: the address and the key are good until it forgets them, and
//! the history begins somewhere.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};

use super::provider::{Answer, Asked};

pub const GROUP: i64 = 77;
/// How long a long poll is held, whatever is asked for.
const HOLD: Duration = Duration::from_millis(1500);

/// The server. Its clones are the same one.
#[derive(Clone, Default)]
pub struct Vk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    token: String,
    events: Vec<Value>,
    /// Counts the keys that were good.
    key: usize,
    /// The first place of the history that is still there.
    begins: usize,
    /// Whether all of the history is said to be lost, once.
    is_lost: bool,
}

impl Vk {
    pub fn new(token: &str) -> Self {
        let vk = Self::default();
        token.clone_into(&mut vk.lock().token);
        vk
    }

    /// Something is written to the community. Gives the id of its event.
    pub fn message(&self, peer: i64, text: &str) -> String {
        let mut state = self.lock();
        let number = state.events.len() + 1;
        let id = format!("{number:040x}");
        state.events.push(json!({
            "type": "message_new", "event_id": id, "v": "5.199", "group_id": GROUP,
            "object": {
                "message": {"id": number, "date": 1_800_000_000, "peer_id": peer, "from_id": peer,
                            "text": text, "conversation_message_id": number, "version": 10_000_000,
                            "out": 0, "fwd_messages": [], "attachments": [], "important": false,
                            "is_hidden": false, "random_id": 0},
                "client_info": {"button_actions": ["text"], "keyboard": true, "inline_keyboard": true,
                                "carousel": true, "lang_id": 0},
            },
        }));
        id
    }

    /// The key is forgotten: a new one is needed.
    pub fn forget_key(&self) {
        self.lock().key += 1;
    }

    /// The history up to a place is gone.
    pub fn begin_at(&self, place: usize) {
        self.lock().begins = place;
    }

    /// All of the history is said to be lost.
    pub fn lose_all(&self) {
        let mut state = self.lock();
        state.is_lost = true;
        state.key += 1;
    }

    /// What answers requests.
    pub fn handler(&self) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
        let vk = self.clone();
        move |asked| match asked.path.strip_prefix("/method/") {
            Some(method) => vk.method(method, asked),
            None => vk.check(asked),
        }
    }

    fn method(&self, method: &str, asked: &Asked) -> Answer {
        let state = self.lock();
        let given = asked.form("access_token");
        let token = given.or_else(|| asked.param("access_token").map(str::to_owned));
        if token.as_deref() != Some(&state.token) {
            let error = json!({"error_code": 5, "error_msg": "User authorization failed"});
            return Answer::json(&json!({"error": error}));
        }
        let response = match method {
            "groups.getLongPollServer" => {
                let host = asked.header("host").expect("a host");
                json!({"server": format!("http://{host}/wh{GROUP}"), "key": key(&state),
                       "ts": state.events.len().to_string()})
            }
            "groups.getById" => json!({"groups": [{"id": GROUP, "name": "G", "screen_name": "g",
                                                   "is_closed": 0, "type": "group"}],
                                       "profiles": []}),
            _ => json!(1),
        };
        Answer::json(&json!({"response": response}))
    }

    fn check(&self, asked: &Asked) -> Answer {
        let mut state = self.lock();
        if asked.param("act") != Some("a_check") {
            return Answer::new(404);
        }
        if asked.param("key") != Some(&key(&state)) {
            let failed = if std::mem::take(&mut state.is_lost) {
                3
            } else {
                2
            };
            return Answer::json(&json!({"failed": failed}));
        }
        let newest = state.events.len();
        let ts = asked.number("ts").expect("a ts");
        if ts < state.begins {
            return Answer::json(&json!({"failed": 1, "ts": newest.to_string()}));
        }
        match ts >= newest && asked.held < HOLD {
            true => Answer::held(),
            false => {
                let updates: Vec<&Value> = state.events.iter().skip(ts).take(100).collect();
                let next = (ts + updates.len()).to_string();
                Answer::json(&json!({"ts": next, "updates": updates}))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no one panics with the lock")
    }
}

fn key(state: &State) -> String {
    format!("key-{}", state.key)
}

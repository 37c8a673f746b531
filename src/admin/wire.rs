//! What the API says, apart from what is stored. The commands read these types back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explain::Finding;
use crate::redaction::{REDACTED, Redaction};
use crate::store::{self, DeliveryState, Shown};

/// The most bytes of a body that stand in an event; the rest is under `body`.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A page of the log of events, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct EventList {
    /// The events.
    pub events: Vec<Event>,
    /// What to send as `page` for the next page; absent after the last. A search for text looks
    /// through so many events at a time: its pages may have fewer events than asked for, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A webhook that came in or an item that a poll has found, or a request that was refused.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its id, a UUID of version 7; the X-Request-Id of its request, the Webhook-Id of its deliveries.
    pub id: String,
    /// The route that took it; empty when none did.
    pub route: String,
    /// The provider's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_event_id: Option<String>,
    /// The provider's type of it.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// What was decided.
    pub verdict: Verdict,
    /// The word for why it was refused, now or at first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When it was there as a whole, in UTC.
    pub received_at: String,
    /// The address of the client behind trusted proxies, or `unix`.
    pub client_addr: String,
    /// Whether its signature was verified.
    pub verified: bool,
    /// The method of its request.
    pub method: String,
    /// Path and query of its request; values of the query are not shown.
    pub target: String,
    /// Bytes of the body that are kept.
    pub body_bytes: u64,
    /// The request, where one event is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Why it was refused and what would have made it right, where one refused request is shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Its deliveries.
    pub deliveries: Vec<Delivery>,
}

/// What was decided about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It became an event.
    Accepted,
    /// It was refused.
    Refused,
}

/// A request, without what is not shown.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// The headers in the order they came: name, value.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, if it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The beginning of the body in base64, if it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_base64: Option<String>,
    /// Whether the body goes on.
    pub body_is_cut: bool,
}

/// An event on its way to a backend.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// Its place in the route's list of deliveries.
    pub slot: u16,
    /// The backend.
    pub backend: String,
    /// How far it is.
    pub state: State,
    /// Why it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When its next attempt is due, or when it ended.
    pub at: String,
    /// The attempts, first to last.
    pub attempts: Vec<Attempt>,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its next attempt.
    Pending,
    /// An attempt is being made.
    Leased,
    /// It has arrived.
    Delivered,
    /// It was given up.
    Dead,
}

/// One request that was made for a delivery, and its outcome.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Attempt {
    /// Its number, from 1; a delivery that is made again begins anew.
    pub number: u32,
    /// When it was begun.
    pub at: String,
    /// The backend's status, if it answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A word for how it ended (`2xx`, `backend_timeout`).
    pub outcome: String,
    /// Milliseconds that it took.
    pub ms: f64,
    /// The head and the beginning of the body of the answer, where one event is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// How much of an event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// What stands in a list.
    Line,
    /// Everything.
    All,
}

impl Event {
    /// What is shown of a stored event.
    pub fn new(shown: &Shown, redaction: &Redaction, detail: Detail) -> Self {
        let event = &shown.event;
        let facts = &event.facts;
        let refused = shown.refused.as_ref();
        let refused_before = facts.refused_before.clone();
        Self {
            id: event.id.to_string(),
            route: event.route.to_string(),
            provider_event_id: facts
                .provider_event_id
                .as_deref()
                .map(|id| masked(id, redaction)),
            event_type: facts
                .event_type
                .as_deref()
                .map(|text| masked(text, redaction)),
            verdict: match refused {
                Some(_) => Verdict::Refused,
                None => Verdict::Accepted,
            },
            reason: refused
                .map(|refused| refused.reason.clone())
                .or(refused_before),
            detail: refused.map(|refused| masked(&refused.detail, redaction)),
            received_at: event.received_at.to_string(),
            client_addr: facts.client.clone(),
            verified: facts.verified,
            method: event.head.method.clone(),
            target: target(event, redaction),
            body_bytes: event.body.len() as u64,
            request: (detail == Detail::All).then(|| Request::new(event, redaction)),
            findings: Vec::new(),
            deliveries: shown
                .deliveries
                .iter()
                .map(|one| Delivery::new(one, redaction, detail))
                .collect(),
        }
    }
}

fn masked(text: &str, redaction: &Redaction) -> String {
    redaction.text(text.as_bytes())
}

/// The path as it came, of the query only the names: tokens stand in queries.
fn target(event: &store::Event, redaction: &Redaction) -> String {
    let mut target = redaction.text(event.head.path());
    for (index, pair) in event
        .head
        .query()
        .unwrap_or_default()
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .enumerate()
    {
        let name = pair.split(|&byte| byte == b'=').next().unwrap_or_default();
        target.push(if index == 0 { '?' } else { '&' });
        target.push_str(&redaction.text(name));
        if pair.contains(&b'=') {
            target.push('=');
            target.push_str(REDACTED);
        }
    }
    target
}

impl Request {
    fn new(event: &store::Event, redaction: &Redaction) -> Self {
        let headers = event.head.headers.iter().map(|header| {
            let name = String::from_utf8_lossy(&header.name).into_owned();
            let value = redaction.header(&name, &header.value);
            (name, value)
        });
        let whole = redaction.body(&event.body);
        let (kept, rest) = whole.split_at(whole.len().min(BODY_BYTES_MAX));
        let text = std::str::from_utf8(kept).ok();
        // A text that was cut within a character is a text.
        let text = text.or_else(|| {
            let valid = std::str::from_utf8(kept).err()?.valid_up_to();
            let is_cut = !rest.is_empty() && kept.len() - valid < 4;
            is_cut.then(|| std::str::from_utf8(kept.split_at(valid).0).ok())?
        });
        Self {
            headers: headers.collect(),
            body: text.map(str::to_owned),
            body_base64: text.is_none().then(|| STANDARD.encode(kept)),
            body_is_cut: !rest.is_empty(),
        }
    }
}

impl Delivery {
    fn new(one: &store::ShownDelivery, redaction: &Redaction, detail: Detail) -> Self {
        Self {
            slot: one.slot,
            backend: one.backend.to_string(),
            state: one.state.into(),
            reason: one.reason.clone(),
            at: one.at.to_string(),
            attempts: one
                .attempts
                .iter()
                .map(|attempt| Attempt {
                    number: attempt.number,
                    at: attempt.at.to_string(),
                    status: attempt.status,
                    outcome: attempt.outcome.clone(),
                    ms: (attempt.took.as_secs_f64() * 1e6).round() / 1e3,
                    answer: (detail == Detail::All && !attempt.answer.is_empty())
                        .then(|| redaction.message(&attempt.answer)),
                })
                .collect(),
        }
    }
}

impl From<DeliveryState> for State {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Pending => Self::Pending,
            DeliveryState::Leased => Self::Leased,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Dead => Self::Dead,
        }
    }
}

impl State {
    /// Its word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Leased => "leased",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// A state from its word.
pub fn state(text: &str) -> Option<DeliveryState> {
    match text {
        "pending" => Some(DeliveryState::Pending),
        "leased" => Some(DeliveryState::Leased),
        "delivered" => Some(DeliveryState::Delivered),
        "dead" => Some(DeliveryState::Dead),
        _ => None,
    }
}

/// Reads an object; a list of its values in order is none.
pub(super) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    if !value.is_object() {
        return Err(serde::de::Error::custom("not a JSON object"));
    }
    T::deserialize(value).map_err(serde::de::Error::custom)
}

/// The deliveries of an event with their attempts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AttemptList {
    /// The deliveries.
    pub deliveries: Vec<Delivery>,
}

/// What to deliver an event to once more. All of it may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDelivery {
    /// Another backend than the event's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Which deliveries, where no other backend is named.
    #[serde(default)]
    pub config: super::replay::Config,
}

/// What was made.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Made {
    /// Deliveries that are due now.
    pub deliveries: u64,
}

/// What became of a delivery that was to be cancelled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Cancelled {
    /// Always true: what could not be cancelled is a problem.
    pub cancelled: bool,
}

/// All replays, latest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ReplayList {
    /// The replays.
    pub replays: Vec<super::replay::Replay>,
}

/// What was done through the API, latest first.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ActList {
    /// The acts.
    pub acts: Vec<Act>,
    /// What to send as `page` for the next page; absent after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What somebody did, or was about to do.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Act {
    /// When.
    pub at: String,
    /// The name of the token, or `local`.
    pub who: String,
    /// The operation, by its name in the OpenAPI document.
    pub what: String,
    /// To what, and how.
    pub detail: String,
}

impl From<store::Acts> for ActList {
    fn from(acts: store::Acts) -> Self {
        let act = |act: store::Act| Act {
            at: act.at.to_string(),
            who: act.who,
            what: act.what,
            detail: act.detail,
        };
        Self {
            acts: acts.acts.into_iter().map(act).collect(),
            next: acts.next,
        }
    }
}

/// A request as it was answered: the data of a server-sent event.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TailLine {
    /// The id of the request and of its event.
    pub id: String,
    /// When it was answered.
    pub at: String,
    /// The route; empty when there is none.
    pub route: String,
    /// `accepted`, `duplicate`, `refused` or `handshake`.
    pub verdict: String,
    /// The word for the reason; empty when there is none.
    pub reason: String,
    /// The status that was sent.
    pub status: u16,
    /// The address of the client.
    pub client_addr: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Milliseconds from the head to the end of the answer.
    pub ms: f64,
}

impl From<&crate::ingress::service::tail::Line> for TailLine {
    fn from(line: &crate::ingress::service::tail::Line) -> Self {
        Self {
            id: line.id.to_string(),
            at: line.at.to_string(),
            route: line.route.clone(),
            verdict: line.verdict.to_owned(),
            reason: line.reason.to_owned(),
            status: line.status,
            client_addr: line.client.to_string(),
            method: line.method.clone(),
            path: line.path.clone(),
            ms: (line.took.as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

//! Native formats: a polled item as the webhook that its provider would have sent.
//!
//! Only what a poll has found is dressed: what came as a webhook has its form already. How it is signed
//! is `sign`'s business, as for every delivery; what does not fit a signature (VK's secret stands in the
//! body) is done here.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::retry::Outcome;
use crate::event::Head;
use crate::secret::Secret;
use crate::store::{Event, Facts};

pub mod reply;

/// What a backend takes for the provider itself.
#[derive(Debug, Clone, Default)]
pub enum Profile {
    /// Nothing: it gets the item as JSON.
    #[default]
    Raw,
    /// Standard Webhooks: `{type, timestamp, data}`.
    StandardWebhooks,
    /// Telegram: an update is its own body, and a backend may answer with a method to call.
    Telegram,
    /// VK's Callback API: the event with its secret; only `ok` means that it has arrived.
    VkCallback {
        /// What stands in the body as `secret`; `None` = nothing does.
        secret: Option<Secret>,
    },
    /// Stripe: an event is its own body.
    Stripe,
    /// GitHub: the payload of an event, and its name in a header.
    GitHub,
}

impl Profile {
    /// The provider whose signature goes with it.
    pub fn provider(&self) -> Option<&'static str> {
        match self {
            Self::Raw | Self::VkCallback { .. } => None,
            Self::StandardWebhooks => Some("standardwebhooks"),
            Self::Telegram => Some("telegram"),
            Self::Stripe => Some("stripe"),
            Self::GitHub => Some("github"),
        }
    }

    /// The item of an event as its provider would have sent it; `None` = as it is.
    pub fn dressed(&self, event: &Event) -> Option<(Head, Bytes)> {
        let facts = &event.facts;
        let is_item = facts.source.is_some() && facts.change.as_deref() != Some(Facts::GAP);
        if !is_item {
            return None;
        }
        let mut head = event.head.clone();
        let item = || serde_json::from_slice::<Value>(&event.body).ok();
        let body = match self {
            Self::Raw | Self::Telegram => return None,
            Self::Stripe => {
                let media = "application/json; charset=utf-8";
                head.headers.set("Content-Type", media);
                return Some((head, event.body.clone()));
            }
            Self::StandardWebhooks => json!({
                "type": facts.event_type.as_deref().or(facts.change.as_deref()),
                "timestamp": event.received_at.to_string(),
                "data": item()?,
            }),
            Self::VkCallback { secret } => {
                let mut item = item()?;
                if let (Some(secret), Some(members)) = (secret, item.as_object_mut()) {
                    members.insert("secret".to_owned(), secret.expose().into());
                }
                item
            }
            Self::GitHub => {
                let item = item()?;
                let name = github_name(item.get("type")?.as_str()?);
                head.headers.set("X-GitHub-Event", name);
                let id = facts.provider_event_id.clone().unwrap_or_default();
                head.headers.set("X-GitHub-Delivery", id);
                github_payload(&item)
            }
        };
        Some((head, body.to_string().into()))
    }

    /// What an answer means: some ask for more than a good status.
    pub fn judged(&self, outcome: Outcome, body: &[u8]) -> Outcome {
        match (self, outcome) {
            (Self::VkCallback { .. }, Outcome::Answered { status, .. })
                if (200..=299).contains(&status) && body.trim_ascii() != b"ok" =>
            {
                Outcome::Unacknowledged
            }
            (_, outcome) => outcome,
        }
    }

    /// Whether the provider tries again whatever the backend dislikes.
    pub fn tries_whatever_is_disliked(&self) -> bool {
        match self {
            Self::Telegram | Self::VkCallback { .. } | Self::Stripe => true,
            Self::Raw | Self::StandardWebhooks | Self::GitHub => false,
        }
    }
}

/// The name of a GitHub event in webhooks: `PullRequestEvent` is `pull_request`.
fn github_name(kind: &str) -> String {
    let kind = kind.strip_suffix("Event").unwrap_or(kind);
    let mut name = String::new();
    for letter in kind.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// The body of a GitHub webhook: the payload, with who and where as far as the list tells.
fn github_payload(item: &Value) -> Value {
    let part = |pointer: &str| item.pointer(pointer).cloned().unwrap_or_default();
    let mut payload = match part("/payload") {
        Value::Object(payload) => payload,
        _ => Map::new(),
    };
    let full_name = part("/repo/name");
    let full_name = full_name.as_str().unwrap_or_default();
    let (owner, name) = full_name.split_once('/').unwrap_or(("", full_name));
    let repository = json!({
        "id": part("/repo/id"),
        "name": name,
        "full_name": full_name,
        "private": !part("/public").as_bool().unwrap_or(true),
        "owner": {"login": owner},
        "url": part("/repo/url"),
        "html_url": format!("https://github.com/{full_name}"),
    });
    let sender = json!({
        "login": part("/actor/login"),
        "id": part("/actor/id"),
        "avatar_url": part("/actor/avatar_url"),
        "url": part("/actor/url"),
    });
    payload.insert("repository".to_owned(), repository);
    payload.insert("sender".to_owned(), sender);
    let organization = part("/org");
    if organization.is_object() {
        payload.insert("organization".to_owned(), organization);
    }
    Value::Object(payload)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::event::Headers;
    use crate::store::EventId;

    fn event(item: &Value, facts: Facts) -> Event {
        let mut headers = Headers::default();
        headers.push("Content-Type", "application/json");
        Event {
            id: EventId::from_bytes([7; 16]),
            received_at: Timestamp::constant(1_800_000_000, 0),
            route: "r".into(),
            head: Head {
                method: "POST".to_owned(),
                target: Bytes::from_static(b"/"),
                host: None,
                headers,
            },
            body: item.to_string().into(),
            facts,
        }
    }

    fn found() -> Facts {
        Facts {
            source: Some("r".to_owned()),
            change: Some("created".to_owned()),
            provider_event_id: Some("12".to_owned()),
            ..Facts::default()
        }
    }

    fn body(profile: &Profile, item: &Value) -> Value {
        let (_, body) = profile.dressed(&event(item, found())).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn what_came_as_a_webhook_and_what_tells_a_gap_stay_as_they_are() {
        let gap = Facts {
            change: Some(Facts::GAP.to_owned()),
            ..found()
        };
        for facts in [Facts::default(), gap] {
            for profile in [Profile::StandardWebhooks, Profile::Stripe, Profile::GitHub] {
                let event = event(&json!({"type": "PushEvent"}), facts.clone());
                assert!(profile.dressed(&event).is_none(), "{profile:?}");
            }
        }
    }

    #[test]
    fn a_github_event_looks_like_its_webhook() {
        let item = json!({
            "id": "12", "type": "PullRequestReviewCommentEvent", "public": true,
            "actor": {"id": 1, "login": "mona"}, "org": {"login": "acme"},
            "repo": {"id": 2, "name": "acme/api", "url": "https://api.github.com/repos/acme/api"},
            "payload": {"action": "created", "number": 7},
        });
        let (head, _) = Profile::GitHub.dressed(&event(&item, found())).unwrap();
        let header = |name: &str| head.headers.first(name).map(|value| value.to_vec());
        assert_eq!(
            header("x-github-event"),
            Some(b"pull_request_review_comment".to_vec())
        );
        assert_eq!(header("x-github-delivery"), Some(b"12".to_vec()));
        let body = body(&Profile::GitHub, &item);
        assert_eq!(
            (&body["action"], &body["number"]),
            (&json!("created"), &json!(7))
        );
        assert_eq!(body["repository"]["full_name"], "acme/api");
        assert_eq!(body["repository"]["owner"]["login"], "acme");
        assert_eq!(body["sender"]["login"], "mona");
        assert_eq!(body["organization"]["login"], "acme");
        assert_eq!(github_name("PushEvent"), "push");
        assert_eq!(github_name("CreateEvent"), "create");
    }

    #[test]
    fn a_vk_event_carries_its_secret_and_needs_an_ok() {
        let secret = Some(Secret::new("hush"));
        let profile = Profile::VkCallback { secret };
        let item = json!({"type": "message_new", "group_id": 1, "object": {}});
        assert_eq!(body(&profile, &item)["secret"], "hush");
        let answered = |status| Outcome::Answered {
            status,
            retry_after: None,
        };
        assert_eq!(profile.judged(answered(200), b" ok\n"), answered(200));
        for body in [&b""[..], b"OK!", b"{}"] {
            assert_eq!(profile.judged(answered(200), body), Outcome::Unacknowledged);
        }
        assert_eq!(profile.judged(answered(500), b""), answered(500));
        assert_eq!(Profile::Raw.judged(answered(200), b""), answered(200));
    }

    #[test]
    fn an_item_is_the_data_of_a_standard_webhook() {
        let item = json!({"id": 3});
        let expected = json!({"type": "created", "timestamp": "2027-01-15T08:00:00Z",
                              "data": {"id": 3}});
        assert_eq!(body(&Profile::StandardWebhooks, &item), expected);
    }
}

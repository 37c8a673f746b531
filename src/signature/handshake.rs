//! Answers a provider's question whether an address is ours.
//!
//! Guarded against being used as an oracle: an answer only repeats what the provider sent or what
//! was configured, or holds a MAC of a plain word; what is repeated is short and is never HTML.

use super::key::Key;
use super::known_keys::is_allowed;
use super::message::{Inputs, Message};
use super::place::Place;
use super::reply::{Answer, is_json};
use super::request::Request;
use crate::secret::Secret;

/// The longest answer; challenges of providers have 20 to 64 characters.
pub const ANSWER_BYTES_MAX: usize = 1024;

/// One handshake of a provider: when it is one, what it must carry, what is answered.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// The method it comes with.
    pub method: String,
    /// Values that must stand in the request for it to be this handshake.
    pub matches: Vec<(Place, String)>,
    /// Places that hold something in this handshake, whatever it is.
    pub present: Vec<Place>,
    /// Places that hold nothing in this handshake, and something in an event.
    pub absent: Vec<Place>,
    /// What authenticates it.
    pub require: Require,
    /// The status of the answer.
    pub status: u16,
    /// The media type of the answer.
    pub content_type: String,
    /// Headers of the answer.
    pub headers: Vec<(String, Message)>,
    /// The body of the answer.
    pub body: Message,
    /// What is to be done before it is answered.
    pub task: Option<Task>,
}

/// What a handshake asks to be done.
#[derive(Debug, Clone)]
pub enum Task {
    /// To visit an address that stands in it, at one of these hosts; `*` stands for one label of a name.
    Visit(Place, Vec<String>),
    /// To keep a secret that stands in it.
    Keep(Place),
}

/// A task with what it is about.
#[derive(Debug, Clone)]
pub enum Effect {
    /// This address is to be visited.
    Visit(String),
    /// This secret is to be kept.
    Keep(Secret),
}

/// What authenticates a handshake.
#[derive(Debug, Clone)]
pub enum Require {
    /// The signature, as for any event.
    Signature,
    /// A token that was agreed on, in this place; it can never serve as a signing key.
    VerifyToken(Place),
    /// Nothing: the provider shows nothing that could be checked, and learns nothing that it has not.
    Nothing,
}

/// Why a handshake is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// The token is missing or is another one.
    #[error("the verify token is not the configured one")]
    Token,
    /// A token is needed and none is configured.
    #[error("set `webhook.handshake.verify_token` to answer this handshake")]
    NotConfigured,
    /// What is asked for would lead elsewhere.
    #[error("what it asks to visit is missing, or is not one of the provider's addresses")]
    Address,
    /// A secret was brought before, and nobody may replace it from outside.
    #[error("another secret was kept already: remove {0} to take a new one")]
    Kept(String),
    /// The challenge is missing, too long, or holds characters that no challenge has.
    #[error("the challenge is missing or is no plain text of {ANSWER_BYTES_MAX} bytes at most")]
    Challenge,
}

impl Handshake {
    /// Whether this request is this handshake.
    pub fn is(&self, request: &Request<'_>) -> bool {
        request.head().method == self.method
            && self.matches.iter().all(|(place, value)| {
                may_hold(place, value, request)
                    && place
                        .read(request)
                        .is_some_and(|found| *found == *value.as_bytes())
            })
            && self
                .present
                .iter()
                .all(|place| place.read(request).is_some())
            && self
                .absent
                .iter()
                .all(|place| place.read(request).is_none())
    }

    /// Whether the signature must be good before it is answered.
    pub fn needs_signature(&self) -> bool {
        matches!(self.require, Require::Signature)
    }

    /// Whether a token must have been agreed on before it is answered.
    pub fn needs_token(&self) -> bool {
        matches!(self.require, Require::VerifyToken(_))
    }

    /// Whether it brings the secret of the events that follow.
    pub fn brings_secret(&self) -> bool {
        matches!(self.task, Some(Task::Keep(_)))
    }

    /// What is to be done before it is answered.
    ///
    /// # Errors
    /// [`HandshakeRefusal`] when the request does not say what, or says what is not the provider's.
    pub fn effect(&self, request: &Request<'_>) -> Result<Option<Effect>, HandshakeRefusal> {
        let text = |place: &Place| {
            let found = place.read(request).ok_or(HandshakeRefusal::Challenge)?;
            let found = String::from_utf8_lossy(&found).into_owned();
            let is_plain = !found.is_empty() && found.bytes().all(|byte| byte.is_ascii_graphic());
            (is_plain && found.len() <= ANSWER_BYTES_MAX)
                .then_some(found)
                .ok_or(HandshakeRefusal::Challenge)
        };
        Ok(match &self.task {
            None => None,
            Some(Task::Keep(place)) => Some(Effect::Keep(Secret::new(text(place)?))),
            Some(Task::Visit(place, hosts)) => {
                let url = text(place).map_err(|_| HandshakeRefusal::Address)?;
                let url = is_allowed(&url, hosts).then_some(url);
                Some(Effect::Visit(url.ok_or(HandshakeRefusal::Address)?))
            }
        })
    }

    /// Makes the answer. The key is for those that prove that we have it.
    ///
    /// # Errors
    /// [`HandshakeRefusal`] when the token or the challenge is not as it should be.
    pub fn answer(
        &self,
        request: &Request<'_>,
        verify_token: Option<&Secret>,
        key: Option<&Key>,
    ) -> Result<Answer, HandshakeRefusal> {
        if let Require::VerifyToken(place) = &self.require {
            let token = verify_token.ok_or(HandshakeRefusal::NotConfigured)?;
            let presented = place.read(request).ok_or(HandshakeRefusal::Token)?;
            if !token.matches(&presented) {
                return Err(HandshakeRefusal::Token);
            }
        }
        let inputs = Inputs {
            key,
            ..Inputs::default()
        };
        let plain = |text: Vec<u8>| {
            let is_plain = text.iter().all(|byte| (b' '..=b'~').contains(byte));
            (is_plain && text.len() <= ANSWER_BYTES_MAX)
                .then_some(text)
                .ok_or(HandshakeRefusal::Challenge)
        };
        let missing = |_| HandshakeRefusal::Challenge;
        let body = match is_json(&self.content_type) {
            true => self.body.render_json(request, inputs),
            false => self.body.render(request, inputs),
        };
        let body = plain(body.map_err(missing)?)?;
        let mut headers = vec![("X-Content-Type-Options".to_owned(), "nosniff".to_owned())];
        if !body.is_empty() {
            headers.insert(0, ("Content-Type".to_owned(), self.content_type.clone()));
        }
        for (name, value) in &self.headers {
            let value = plain(value.render(request, inputs).map_err(missing)?)?;
            let value = String::from_utf8_lossy(&value).into_owned();
            headers.push((name.clone(), value));
        }
        Ok(Answer {
            status: self.status,
            headers,
            body: body.into(),
        })
    }
}

/// Spares parsing the JSON of every event: a body without the word cannot be the handshake.
fn may_hold(place: &Place, value: &str, request: &Request<'_>) -> bool {
    match place {
        Place::Json(_) => contains(request.body(), value.as_bytes()),
        _ => true,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::event::{Head, Headers};

    #[test]
    fn a_task_is_about_the_providers_own_addresses_alone() {
        let handshake = |task| Handshake {
            method: "POST".to_owned(),
            matches: Vec::new(),
            present: Vec::new(),
            absent: Vec::new(),
            require: Require::Signature,
            status: 200,
            content_type: "text/plain".to_owned(),
            headers: Vec::new(),
            body: Message::literal(""),
            task: Some(task),
        };
        let place = || Place::Json("$.a".parse().unwrap());
        let visit = handshake(Task::Visit(place(), vec!["sns.*.example.com".to_owned()]));
        let keep = handshake(Task::Keep(place()));
        let head = Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/"),
            host: None,
            headers: Headers::default(),
        };
        let effect = |one: &Handshake, value: &str| {
            let body = format!(r#"{{"a": "{value}"}}"#);
            one.effect(&Request::new(&head, body.as_bytes()))
        };
        let url = "https://sns.eu.example.com/?Action=ConfirmSubscription&Token=1";
        assert!(matches!(effect(&visit, url), Ok(Some(Effect::Visit(to))) if to == url));
        for url in [
            "https://evil.example/",
            "http://sns.eu.example.com/",
            "",
            "a b",
        ] {
            assert_eq!(
                effect(&visit, url).err(),
                Some(HandshakeRefusal::Address),
                "{url}"
            );
        }
        assert!(
            matches!(effect(&keep, "s3cret"), Ok(Some(Effect::Keep(kept))) if kept.expose() == "s3cret")
        );
        for secret in ["", "a b", &"x".repeat(2000)] {
            assert_eq!(
                effect(&keep, secret).err(),
                Some(HandshakeRefusal::Challenge)
            );
        }
    }
}

//! Providers as their documents and servers say they behave, as far as a poll can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::github;
use crate::support::provider::{Answer, Asked, Rows};

/// What every secret in the examples is set to.
pub(super) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// How long fakes hold a long poll, whatever they are asked.
const HOLD: Duration = Duration::from_millis(1500);

/// How far above the last update an offset may be.
const OFFSET_BEYOND: i64 = 11;

/// Telegram's Bot API: the arrival of an offset deletes what is below it.
pub(super) fn telegram(updates: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let updates = updates.clone();
    move |asked| {
        if asked.path != format!("/bot{SECRET}/getUpdates") {
            let answer = json!({"ok": false, "error_code": 404, "description": "Not Found"});
            return Answer::new(404).with_json(&answer);
        }
        let given = match asked.json() {
            Value::Null => json!({"offset": asked.number("offset")}),
            body => body,
        };
        let offset = given["offset"].as_i64();
        assert!(
            offset.is_none_or(|offset| offset > 0),
            "it would erase: {offset:?}"
        );
        let last = updates
            .all()
            .last()
            .and_then(|one| one["update_id"].as_i64());
        // One that is far above all updates is of another time, and is ignored.
        let is_known = |offset: &i64| last.is_some_and(|last| *offset <= last + OFFSET_BEYOND);
        if let Some(offset) = offset.filter(is_known) {
            updates.change(|all| all.retain(|one| one["update_id"].as_i64() >= Some(offset)));
        }
        match updates.len() == 0 && asked.held < HOLD {
            true => Answer::held(),
            false => Answer::json(&json!({"ok": true, "result": updates.page(0, 100)})),
        }
    }
}

/// VK's long poll server: its address and key are good until it forgets them.
pub(super) struct Vk {
    /// The events, by their place in the history.
    pub(super) events: Rows,
    /// The key that is good now.
    pub(super) key: Arc<AtomicUsize>,
    /// The first place of the history that is still there.
    pub(super) begins: Arc<AtomicI64>,
}

impl Vk {
    pub(super) fn new() -> Self {
        Self {
            events: Rows::default(),
            key: Arc::default(),
            begins: Arc::default(),
        }
    }

    pub(super) fn handler(&self) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
        let (events, key, begins) = (self.events.clone(), self.key.clone(), self.begins.clone());
        move |asked| {
            let good = format!("key-{}", key.load(Ordering::SeqCst));
            let newest = i64::try_from(events.len()).unwrap();
            if asked.path.ends_with("groups.getLongPollServer") {
                assert_eq!(asked.form("access_token").as_deref(), Some(SECRET));
                let host = asked.header("host").unwrap();
                let server = format!("http://{host}/wh1234");
                let response = json!({"server": server, "key": good, "ts": newest.to_string()});
                return Answer::json(&json!({"response": response}));
            }
            assert_eq!(
                (&*asked.path, asked.param("act")),
                ("/wh1234", Some("a_check"))
            );
            if asked.param("key") != Some(&good) {
                return Answer::json(&json!({"failed": 2}));
            }
            let ts: i64 = asked.param("ts").unwrap().parse().unwrap();
            if ts < begins.load(Ordering::SeqCst) {
                return Answer::json(&json!({"failed": 1, "ts": newest.to_string()}));
            }
            match ts >= newest && asked.held < HOLD {
                true => Answer::held(),
                false => {
                    let updates = events.page(usize::try_from(ts).unwrap(), 100);
                    Answer::json(&json!({"ts": newest.to_string(), "updates": updates}))
                }
            }
        }
    }
}

/// Stripe's list of events: the newest first, and pages towards the newer ones by `ending_before`.
pub(super) fn stripe(events: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let events = events.clone();
    move |asked| {
        let given = asked.header("authorization").unwrap_or_default();
        let is_known = given.starts_with("Basic ") || given.starts_with("Bearer ");
        if asked.path != "/v1/events" || !is_known {
            return Answer::new(401)
                .with_json(&json!({"error": {"type": "invalid_request_error"}}));
        }
        // The oldest first, as they are kept here.
        let mut all = events.all();
        if let Some(from) = asked.number("created[gte]") {
            all.retain(|one| one["created"].as_u64() >= u64::try_from(from).ok());
        }
        if let Some(before) = asked.param("ending_before") {
            match all.iter().position(|one| one["id"] == before) {
                Some(place) => drop(all.drain(..=place)),
                None => {
                    let error = json!({"error": {"code": "resource_missing"}});
                    return Answer::new(400).with_json(&error);
                }
            }
        }
        if let Some(after) = asked.param("starting_after") {
            let place = all.iter().position(|one| one["id"] == after);
            all.truncate(place.expect("an event that it has listed"));
        }
        let types: Vec<_> = asked
            .query
            .iter()
            .filter(|(name, _)| name == "types[]")
            .collect();
        all.retain(|one| types.is_empty() || types.iter().any(|(_, is)| one["type"] == **is));
        let limit = asked.number("limit").unwrap_or(10);
        let has_more = all.len() > limit;
        match asked.param("ending_before") {
            Some(_) => all.truncate(limit),
            None => drop(all.drain(..all.len().saturating_sub(limit))),
        }
        all.reverse();
        Answer::json(
            &json!({"object": "list", "url": "/v1/events", "data": all, "has_more": has_more}),
        )
    }
}

/// GitHub's events of a repository: the newest first, with an ETag and pages by links.
pub(super) fn github(events: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let events = events.clone();
    move |asked| {
        let Some(repository) = asked.path.strip_prefix("/repos/") else {
            return Answer::new(404).with_json(&json!({"message": "Not Found"}));
        };
        if asked.header("user-agent").is_none() || asked.header("authorization").is_none() {
            return Answer::new(403).with_json(&json!({"message": "Forbidden"}));
        }
        let repository = repository.trim_end_matches("/events");
        let mut all = events.all();
        all.retain(|one| one["repo"]["name"] == repository);
        all.reverse();
        let per_page = asked.number("per_page").unwrap_or(30);
        let page = asked.number("page").unwrap_or(1);
        let etag = format!("\"{repository}-{}-{page}\"", all.len());
        let limits = |answer: Answer| {
            let answer = answer.header("ETag", &etag);
            let answer = answer.header("X-RateLimit-Remaining", "4999");
            answer.header("X-RateLimit-Reset", "4000000000")
        };
        if asked.header("if-none-match") == Some(&etag) {
            return limits(Answer::new(304));
        }
        let host = asked.header("host").unwrap();
        let next = format!(
            "<http://{host}{}?page={}>; rel=\"next\"",
            asked.path,
            page + 1
        );
        let has_next = all.len() > page * per_page;
        let part = all.into_iter().skip((page - 1) * per_page).take(per_page);
        let answer = limits(Answer::json(&part.collect()));
        match has_next {
            true => answer.header("Link", &next),
            false => answer,
        }
    }
}

/// An Atom feed.
pub(super) fn feed(entries: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let entries = entries.clone();
    move |_| {
        let mut xml = String::from(
            r#"<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom">
               <title>Advisories</title><id>urn:feed</id><updated>2026-11-01T00:00:00Z</updated>"#,
        );
        for entry in entries.all().iter().rev() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            xml += &format!(
                r#"<entry><id>{id}</id><title>{title}</title><updated>{updated}</updated>
                   <link href="https://vendor.example.com/{id}"/></entry>"#,
                id = text("id"),
                title = text("title"),
                updated = text("updated"),
            );
        }
        Answer::text("application/atom+xml", xml + "</feed>")
    }
}

/// An old ERP system: a login, numbered pages of what has changed, errors that look good.
pub(super) fn erp(
    orders: &Rows,
    sessions: &Arc<AtomicUsize>,
) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let (orders, sessions) = (orders.clone(), sessions.clone());
    move |asked| {
        if asked.path.ends_with("/login") {
            assert!(asked.json()["password"].is_string());
            let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
            return Answer::json(&json!({"token": format!("session-{number}")}));
        }
        let session = format!("session-{}", sessions.load(Ordering::SeqCst));
        if asked.header("x-auth-token") != Some(&session) {
            return Answer::json(&json!({"err": "SESSION"}));
        }
        let since = asked.param("updated_since").unwrap_or_default().to_owned();
        assert_eq!(since.len(), "2026-01-01 00:00:00".len(), "{since}");
        let mut all = orders.all();
        all.retain(|one| one["updated_at"].as_str() >= Some(&since));
        all.sort_by_key(|one| one["updated_at"].as_str().map(str::to_owned));
        let size = asked.number("per_page").unwrap_or(50);
        let page = asked.number("page").unwrap_or(1);
        let rows: Vec<_> = all.into_iter().skip((page - 1) * size).take(size).collect();
        Answer::json(&json!({"rows": rows}))
    }
}

/// A bank that tells balances to whoever signs the time.
pub(super) fn bank(accounts: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let accounts = accounts.clone();
    move |asked| {
        let time = asked.header("x-timestamp").unwrap_or_default();
        let message = format!("{time}.GET.{}", asked.path);
        let expected = github::signature_with(SECRET, message.as_bytes());
        let given = asked.header("x-signature").unwrap_or_default();
        match expected == format!("sha256={given}") {
            true => Answer::json(&json!({"accounts": accounts.all()})),
            false => Answer::new(401).with_json(&json!({"error": "signature"})),
        }
    }
}

/// A sender of text messages: a token for client credentials, pages by links.
pub(super) fn sms(reports: &Rows) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let reports = reports.clone();
    move |asked| {
        if asked.path.ends_with("/token") {
            assert!(asked.header("authorization").is_some());
            return Answer::json(&json!({"access_token": "access", "expires_in": 600}));
        }
        if asked.header("authorization") != Some("Bearer access") {
            return Answer::new(401);
        }
        let since = asked.param("since").unwrap_or_default().to_owned();
        let mut all = reports.all();
        all.retain(|one| one["status_at"].as_str() >= Some(&since));
        all.sort_by_key(|one| one["status_at"].as_str().map(str::to_owned));
        let offset = asked.number("offset").unwrap_or_default();
        let has_next = all.len() > offset + 2;
        let part: Vec<_> = all.into_iter().skip(offset).take(2).collect();
        let answer = Answer::json(&json!({"reports": part}));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("since", &since)
            .append_pair("offset", &(offset + 2).to_string())
            .finish();
        match has_next {
            true => answer.header("Link", &format!("<{}?{query}>; rel=next", asked.path)),
            false => answer,
        }
    }
}

//! Requests carry what the provider wants to see, and sessions begin again when they are over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Scene, row, rows};
use crate::support::github;
use crate::support::provider::{Answer, Asked, Rows};

fn with_auth(auth: &str) -> String {
    format!(
        r#"request: UPSTREAM/rows, items: "$[*]", cursor: {{start: earliest}}, auth: {{{auth}}}"#
    )
}

/// Runs a source with this authentication against a provider that lists a row to whoever shows
/// what it wants.
async fn admitted(auth: &str, admits: impl Fn(&Asked) -> bool + Send + Sync + 'static) {
    let scene = Scene::new(move |asked| match admits(asked) {
        true => Answer::json(&json!([row(1)])),
        false => Answer::new(401),
    })
    .await;
    let gateway = scene.start(&with_auth(auth)).await;
    scene.have_come(1..=1).await;
    let text = gateway.logs().join("\n");
    assert!(!text.contains("hush-hush"), "{text}");
}

#[tokio::test]
async fn credentials_are_shown_as_the_provider_wants_them() {
    let header = |name: &'static str, value: String| {
        move |asked: &Asked| asked.header(name) == Some(&*value)
    };
    let basic = STANDARD.encode("me:hush-hush");
    admitted(
        "type: bearer, token: hush-hush",
        header("authorization", "Bearer hush-hush".to_owned()),
    )
    .await;
    admitted(
        "type: basic, username: me, password: hush-hush",
        header("authorization", format!("Basic {basic}")),
    )
    .await;
    admitted(
        "type: api_key, name: X-Key, value: Token hush-hush",
        header("x-key", "Token hush-hush".to_owned()),
    )
    .await;
    admitted(
        "type: api_key, name: key, value: hush-hush, in: cookie",
        header("cookie", "key=hush-hush".to_owned()),
    )
    .await;
    admitted(
        "type: api_key, name: key, value: hush-hush, in: query",
        |asked| asked.param("key") == Some("hush-hush"),
    )
    .await;
}

#[tokio::test]
async fn a_request_is_signed_as_the_file_says() {
    let auth = format!(
        r#"type: hmac, secret: "{secret}", header: X-Signature,
           message: "${{{{ method }}}} ${{{{ path }}}}""#,
        secret = github::SECRET,
    );
    let expected = github::signature(b"GET /rows").replace("sha256=", "");
    admitted(&auth, move |asked| {
        asked.header("x-signature") == Some(&*expected)
    })
    .await;
    let auth = format!(
        r#"type: hmac, secret: "{secret}", message: "${{{{ now | unix }}}}.GET./rows",
           headers: {{X-Timestamp: "${{{{ now | unix }}}}", X-Signature: "v1=${{{{ signature }}}}"}}"#,
        secret = github::SECRET,
    );
    admitted(&auth, |asked| {
        let Some(time) = asked.header("x-timestamp") else {
            return false;
        };
        let expected = github::signature(format!("{time}.GET./rows").as_bytes());
        asked.header("x-signature") == Some(&*expected.replace("sha256=", "v1="))
    })
    .await;
}

#[tokio::test]
async fn client_credentials_are_exchanged_for_a_token() {
    let scene = Scene::new(|asked| match &*asked.path {
        "/token" => {
            let basic = format!("Basic {}", STANDARD.encode("me:hush-hush"));
            assert_eq!(asked.header("authorization"), Some(&*basic));
            assert_eq!(
                asked.form("grant_type").as_deref(),
                Some("client_credentials")
            );
            assert_eq!(asked.form("scope").as_deref(), Some("read list"));
            Answer::json(&json!({"access_token": "access", "expires_in": 3600}))
        }
        _ => match asked.header("authorization") {
            Some("Bearer access") => Answer::json(&json!([row(1)])),
            _ => Answer::new(401),
        },
    })
    .await;
    let auth = "type: oauth2, grant: client_credentials, token_url: UPSTREAM/token, \
                client_id: me, client_secret: hush-hush, scopes: [read, list]";
    let _gateway = scene.start(&with_auth(auth)).await;
    scene.have_come(1..=1).await;
    scene.provider.wait_for_more(3).await;
    assert_eq!(scene.provider.asked_at("/token").len(), 1);
}

/// A provider that lists rows within a session, whose number it counts.
fn in_session(
    rows: &Rows,
    sessions: &Arc<AtomicUsize>,
) -> impl Fn(&Asked) -> Answer + Send + Sync + use<> {
    let (rows, sessions) = (rows.clone(), sessions.clone());
    move |asked| match &*asked.path {
        "/login" => {
            assert_eq!(asked.json(), json!({"user": "me", "password": "hush-hush"}));
            let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
            Answer::json(&json!({"token": format!("session-{number}"), "seconds": 3600}))
        }
        _ => {
            let session = format!("session-{}", sessions.load(Ordering::SeqCst));
            match asked.header("x-auth-token") == Some(&session) {
                true => Answer::json(&json!({"rows": rows.all()})),
                // It says so with a status that looks good.
                false => Answer::json(&json!({"err": "SESSION"})),
            }
        }
    }
}

const SESSION: &str = r#"request: UPSTREAM/rows, items: "$.rows[*]", cursor: {start: earliest},
    session: {request: {method: POST, url: UPSTREAM/login,
                        body: {json: {user: me, password: hush-hush}}},
              extract: {token: $.token}, ttl: TTL},
    auth: {type: session, inject: {header: X-Auth-Token, value: "${{ session.token }}"}},
    errors: [{when: {body: "body.err == 'SESSION'"}, do: renew_session}]"#;

#[tokio::test]
async fn a_session_that_is_refused_begins_again() {
    let (rows, sessions) = (rows(1..=1), Arc::default());
    let scene = Scene::new(in_session(&rows, &sessions)).await;
    let poll = SESSION.replace("TTL", "{from: $.seconds}");
    let gateway = scene.start(&poll).await;
    scene.have_come(1..=1).await;
    scene.provider.wait_for_more(3).await;
    assert_eq!(sessions.load(Ordering::SeqCst), 1);
    // The provider has forgotten its sessions.
    sessions.store(7, Ordering::SeqCst);
    rows.add(row(2));
    scene.have_come(1..=2).await;
    assert_eq!(sessions.load(Ordering::SeqCst), 8);
    let text = gateway.logs().join("\n");
    assert!(
        !text.contains("hush-hush") && !text.contains("session-"),
        "{text}"
    );
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let (rows, sessions) = (rows(1..=1), Arc::<AtomicUsize>::default());
    let scene = Scene::new(in_session(&rows, &sessions)).await;
    let _gateway = scene.start(&SESSION.replace("TTL", "1s")).await;
    scene.have_come(1..=1).await;
    for _ in 0..300 {
        if sessions.load(Ordering::SeqCst) > 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(sessions.load(Ordering::SeqCst), 2);
    rows.add(row(2));
    scene.have_come(1..=2).await;
}

#[tokio::test]
async fn refused_credentials_pause_the_source() {
    let scene = Scene::new(|_| Answer::new(401)).await;
    let gateway = scene
        .start(&with_auth("type: bearer, token: hush-hush"))
        .await;
    gateway
        .wait_for_metric("hookgate_poll_paused", &[("route", "rows")], 1.0)
        .await;
    let line = gateway.wait_for_log(|line| line.contains("is paused"));
    assert!(line.await.contains("401"));
    assert_eq!(scene.provider.count(), 1);
}

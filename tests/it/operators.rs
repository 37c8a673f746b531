//! A payment did not arrive: it is found, its attempts are read, the backend is mended, it is
//! delivered once more, and what was done is on record.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::{self, FakeBackend, Response};
use crate::support::client::{Client, Request, send};
use crate::support::gateway::{Gateway, run};
use crate::support::github;
use crate::support::operator::{
    ask, folder, has_events, order, payment, told, wait_for, yaml, yaml_with,
};

#[tokio::test]
async fn a_payment_is_found_and_replayed_by_the_api() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_once(Response::new(500).body("no database"));
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    let request = payment("evt_1", r#"{"card":{"number":"4242"}}"#).header("X-Internal", "x1");
    assert_eq!(send(gateway.addr(), &request).await.status, 202);
    let dead = wait_for(&gateway, "/dead", has_events(1)).await;
    let by_provider = ask(&gateway, "/events?provider_event_id=evt_1").await;
    assert_eq!(by_provider["events"], dead["events"]);
    let id = dead["events"][0]["id"].as_str().unwrap().to_owned();
    let event = ask(&gateway, &format!("/events/{id}")).await;
    assert_eq!(event["type"], "payment");
    assert_eq!(event["verdict"], "accepted");
    let attempt = &event["deliveries"][0]["attempts"][0];
    assert_eq!(attempt["status"], 500);
    assert_eq!(attempt["outcome"], "5xx");
    assert!(attempt["answer"].as_str().unwrap().ends_with("no database"));
    let shown = event.to_string();
    assert!(shown.contains("[redacted]"));
    assert!(
        !shown.contains("4242") && !shown.contains("x1\""),
        "{shown}"
    );
    let body = send(
        gateway.admin(),
        &Request::get(&format!("/api/v1/events/{id}/body")),
    )
    .await;
    assert_eq!(body.text(), r#"{"card":{"number":"[redacted]"}}"#);

    let (status, made) = order(&gateway, &format!("/events/{id}/replay"), &json!({})).await;
    assert_eq!((status, &made), (200, &json!({"deliveries": 1})));
    let both = app.wait_for(2).await;
    assert_eq!(both[0].header("webhook-id"), both[1].header("webhook-id"));
    assert_eq!(
        both[1].text(),
        r#"{"card":{"number":"4242"}}"#,
        "the original"
    );
    assert_eq!(both[1].header("x-internal"), Some("x1"));
    wait_for(&gateway, &format!("/events/{id}"), |event| {
        event["deliveries"][0]["state"] == "delivered"
    })
    .await;
    let acts = ask(&gateway, "/acts").await;
    assert_eq!(acts["acts"][0]["what"], "replay_event");
    assert_eq!(acts["acts"][0]["who"], "local");
    assert_eq!(acts["acts"][0]["detail"], id);
}

#[tokio::test]
async fn a_payment_is_found_and_replayed_by_commands() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_once(Response::new(500));
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        202
    );
    wait_for(&gateway, "/dead", has_events(1)).await;
    let dead = told(&gateway, &["dead"]).await;
    assert!(dead.contains("attempts_exhausted"), "{dead}");
    let list = told(&gateway, &["events", "list", "--state", "dead"]).await;
    assert!(
        list.contains("payments") && list.contains("app dead"),
        "{list}"
    );
    let json = told(
        &gateway,
        &["events", "list", "--route", "payments", "--json"],
    )
    .await;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["events"][0]["provider_event_id"], "evt_1");
    let show = told(&gateway, &["events", "show", "evt_1"]).await;
    assert!(show.contains("5xx"), "{show}");
    let replayed = told(&gateway, &["events", "replay", "evt_1"]).await;
    assert!(replayed.contains("1 deliveries are due"), "{replayed}");
    app.wait_for(2).await;
    let exported = told(&gateway, &["events", "export"]).await;
    let lines: Vec<Value> = exported
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["request"]["body"], "{}");
    let backends = told(&gateway, &["backends"]).await;
    assert!(
        backends.contains("app") && backends.contains("closed"),
        "{backends}"
    );
    let routes = told(&gateway, &["routes"]).await;
    assert!(routes.contains("app (queue)"), "{routes}");
}

#[tokio::test]
async fn what_a_stopped_gateway_has_left_can_be_read() {
    let folder = folder();
    let refusing = backend::refuse();
    let text = yaml(&refusing.url(), &folder, "", "");
    let gateway = Gateway::start(&text).await;
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        202
    );
    wait_for(&gateway, "/dead", has_events(1)).await;
    let admin = gateway.admin();
    gateway.kill().await;
    let file = folder.path().join("hookgate.yaml");
    let text = text.replace(
        "admin: {listen: 127.0.0.1:0",
        &format!("admin: {{listen: \"{admin}\""),
    );
    std::fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let told = async |args: &[&str]| {
        let args = [args, &["-c", &file]].concat();
        let finished = run(&args, b"", &[]).await;
        assert_eq!(finished.code, Some(0), "{args:?}: {}", finished.stderr);
        assert!(
            finished.stderr.contains("does not answer"),
            "{}",
            finished.stderr
        );
        finished.stdout
    };
    let show = told(&["events", "show", "evt_1"]).await;
    assert!(show.contains("backend_unreachable"), "{show}");
    let list = told(&["events", "list"]).await;
    assert!(list.contains("app dead"), "{list}");
    let dead = told(&["dead"]).await;
    assert!(dead.contains("attempts_exhausted"), "{dead}");
    let replay = run(&["events", "replay", "evt_1", "-c", &file], b"", &[]).await;
    assert_eq!(replay.code, Some(1));
    assert!(
        replay.stderr.contains("start it first"),
        "{}",
        replay.stderr
    );
}

#[tokio::test]
async fn a_refused_request_is_explained_and_accepted_once_its_secret_is_mended() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let keep = "      refused_body: 64KiB";
    let wrong = yaml_with(&app.url(), &folder, "", keep, "the-wrong-secret");
    let gateway = Gateway::start(&wrong).await;
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        401
    );
    let refused = wait_for(&gateway, "/events?verdict=refused", has_events(1)).await;
    let refused = &refused["events"][0];
    assert_eq!(refused["reason"], "signature_mismatch");
    let id = refused["id"].as_str().unwrap().to_owned();
    let explained = told(&gateway, &["explain", &id]).await;
    assert!(
        explained.contains("secret 1 was tried and does not fit"),
        "{explained}"
    );
    let again = format!("/events/{id}/replay");
    let (status, problem) = order(&gateway, &again, &json!({})).await;
    assert_eq!(status, 409, "{problem}");
    gateway.stop().await;

    let right = yaml(&app.url(), &folder, "", keep);
    let gateway = Gateway::start(&right).await;
    let explained = told(&gateway, &["explain", &id]).await;
    assert!(explained.contains("genuine by secret 1"), "{explained}");
    let (status, made) = order(&gateway, &again, &json!({})).await;
    assert_eq!((status, made), (200, json!({"deliveries": 1})));
    assert_eq!(app.next().await.header("webhook-id"), Some(&*id));
    let event = ask(&gateway, &format!("/events/{id}")).await;
    assert_eq!(event["verdict"], "accepted");
    assert_eq!(
        event["reason"], "signature_mismatch",
        "why it was refused at first"
    );
    // The provider's own retry is a duplicate now.
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        200
    );
    let (status, _) = order(&gateway, &again, &json!({"to": "nowhere"})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_changed_body_is_recognised() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let keep = "      refused_body: 64KiB";
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", keep)).await;
    let cases = [
        ("{\"a\":1}", "{\"a\": 1}", "without spaces"),
        ("{\"a\": 1}", "{\"a\":1}", "a space after colons"),
        ("{}", "{}\n", "without white space at its end"),
        ("a\nb", "a\r\nb", "LF in place of CR LF"),
        (
            "{\"a\":\"\\u00e9\"}",
            "{\"a\":\"é\"}",
            "non-ASCII characters escaped",
        ),
    ];
    for (signed, sent, expected) in cases {
        let request = Request::post("/payments")
            .header(github::HEADER, github::signature(signed.as_bytes()))
            .body(sent);
        let refused = send(gateway.addr(), &request).await;
        assert_eq!(refused.status, 401);
        let id = refused.header("x-request-id").map(str::to_owned);
        let list = wait_for(
            &gateway,
            "/events?limit=1&reason=signature_mismatch",
            |list| list["events"][0]["body_bytes"] == sent.len(),
        )
        .await;
        let id = id.unwrap_or_else(|| list["events"][0]["id"].as_str().unwrap().to_owned());
        let explained = ask(&gateway, &format!("/events/{id}/explain")).await;
        let text = explained["findings"].to_string();
        assert!(text.contains(expected), "{sent:?}: {text}");
        assert!(
            !text.contains(&github::signature(sent.as_bytes())),
            "no valid signature"
        );
    }
    let elsewhere = Request::post("/payments")
        .header("X-Signature", github::signature(b"{}"))
        .body("{}");
    assert_eq!(send(gateway.addr(), &elsewhere).await.status, 401);
    let list = wait_for(&gateway, "/events?reason=signature_missing", has_events(1)).await;
    let id = list["events"][0]["id"].as_str().unwrap();
    let explained = ask(&gateway, &format!("/events/{id}/explain")).await;
    let text = explained["findings"].to_string();
    assert!(text.contains("stands in X-Signature"), "{text}");
}

#[tokio::test]
async fn a_secret_read_otherwise_another_url_and_another_provider_are_recognised() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let gateway = Gateway::start(&format!(
        r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "127.0.0.1:0"}}
store: {{path: "{}"}}
backends: {{app: {{url: "{}"}}}}
routes:
  raw:
    webhook:
      path: /raw
      refused_body: 64KiB
      verify:
        secrets: ["whsec_aG9va2dhdGUtc2VjcmV0"]
        scheme: {{signature: {{from: {{header: X-Signature}}}}, algorithm: hmac-sha256}}
    deliver: {{to: app}}
  square:
    webhook:
      path: /square
      refused_body: 64KiB
      verify: {{provider: square, secrets: ["a secret of square"], public_url: "https://hooks.example.com/square"}}
    deliver: {{to: app}}
  stripe:
    webhook: {{path: /stripe, verify: {{provider: stripe, secrets: ["whsec_of_stripe"]}}}}
    deliver: {{to: app}}
"#,
        folder.path().join("events.db").display(),
        app.url()
    ))
    .await;
    // OpenSSL: printf '{{}}' | openssl dgst -sha256 -hmac hookgate-secret
    let as_base64 = "4a64afca0eb41896fd4649e873d4a1f117dd4c60fd8c07aaf7626296ea2e29cd";
    // printf 'http://hooks.example.com/square{{}}' | openssl dgst -sha256 -hmac KEY -binary | base64
    let by_http = "2LSC5oQZFhYz+/Qkh4d7fPt9OZKgKlWGx/rmNUWsmXA=";
    let cases = [
        (
            "/raw",
            "X-Signature",
            as_base64,
            "secret 1 read as base64 behind `whsec_`",
        ),
        (
            "/square",
            "x-square-hmacsha256-signature",
            by_http,
            "the URL http://hooks.example.com/square:",
        ),
        ("/stripe", "X-Shopify-Hmac-SHA256", "AAAA", "`shopify`"),
    ];
    for (path, header, value, expected) in cases {
        let request = Request::post(path).header(header, value).body("{}");
        assert_eq!(send(gateway.addr(), &request).await.status, 401);
        let list = format!("/events?route={}", &path[1..]);
        let list = wait_for(&gateway, &list, has_events(1)).await;
        let id = list["events"][0]["id"].as_str().unwrap();
        let told = told(&gateway, &["explain", id]).await;
        assert!(told.contains(expected), "{path}: {told}");
        for secret in [
            "aG9va2dhdGUtc2VjcmV0",
            "hookgate-secret",
            "a secret of square",
        ] {
            assert!(!told.contains(secret), "{told}");
        }
        let event = ask(&gateway, &format!("/events/{id}")).await;
        assert!(event["findings"].to_string().contains(expected), "{event}");
    }
}

#[tokio::test]
async fn everything_that_a_filter_means_is_replayed_at_a_rate() {
    let folder = folder();
    let app = FakeBackend::start().await;
    app.respond_with(Response::new(400));
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    for number in 0..30 {
        let request = payment(&format!("evt_{number}"), "{}");
        assert_eq!(send(gateway.addr(), &request).await.status, 202);
    }
    wait_for(&gateway, "/dead", has_events(30)).await;
    app.respond_with(Response::new(200));
    let new = json!({"filter": {"state": "dead"}, "preview": true, "rate": 60});
    let (status, preview) = order(&gateway, "/replays", &new).await;
    assert_eq!((status, &preview["found"]), (200, &json!(30)));
    assert_eq!(app.count(), 30);
    let new = json!({"filter": {"state": "dead"}, "rate": 60});
    let started = std::time::Instant::now();
    let (status, replay) = order(&gateway, "/replays", &new).await;
    assert_eq!(status, 201, "{replay}");
    let id = replay["id"].as_str().unwrap().to_owned();
    let done = wait_for(&gateway, &format!("/replays/{id}"), |one| {
        one["state"] == "done"
    })
    .await;
    assert!(
        started.elapsed() >= Duration::from_millis(350),
        "30 at 60/s"
    );
    assert_eq!(done["events"], 30);
    assert_eq!(done["deliveries"], 30);
    app.wait_for(60).await;
    let (status, over) = order(&gateway, &format!("/replays/{id}/pause"), &json!({})).await;
    assert_eq!(status, 409, "{over}");
    let acts = ask(&gateway, "/acts").await.to_string();
    assert!(acts.contains("begin_replay"), "{acts}");
}

#[tokio::test]
async fn a_replay_is_paused_survives_a_restart_and_goes_on() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let text = yaml(&app.url(), &folder, "", "");
    let gateway = Gateway::start(&text).await;
    for number in 0..20 {
        let request = payment(&format!("evt_{number}"), "{}");
        assert_eq!(send(gateway.addr(), &request).await.status, 202);
    }
    app.wait_for(20).await;
    let delivered = wait_for(&gateway, "/events?state=delivered", has_events(20)).await;
    let new = json!({"filter": {}, "to": "copy", "rate": 10});
    let (_, replay) = order(&gateway, "/replays", &new).await;
    let path = format!("/replays/{}", replay["id"].as_str().unwrap());
    wait_for(&gateway, &path, |one| one["events"].as_u64() > Some(1)).await;
    let (status, _) = order(&gateway, &format!("{path}/pause"), &json!({})).await;
    assert_eq!(status, 200);
    gateway.stop().await;
    let gateway = Gateway::start(&text).await;
    let paused = wait_for(&gateway, "/replays", |list| {
        list["replays"][0]["state"] == "paused"
    })
    .await;
    assert!(paused["replays"][0]["events"].as_u64() < Some(20));
    let (status, _) = order(&gateway, &format!("{path}/resume"), &json!({})).await;
    assert_eq!(status, 200);
    wait_for(&gateway, &path, |one| one["state"] == "done").await;
    app.wait_for(40).await;
    let id = delivered["events"][3]["id"].as_str().unwrap();
    let event = wait_for(&gateway, &format!("/events/{id}"), |event| {
        event["deliveries"].as_array().unwrap().len() == 2
            && event["deliveries"][1]["state"] == "delivered"
    })
    .await;
    assert_eq!(event["deliveries"][1]["backend"], "copy");
}

#[tokio::test]
async fn a_waiting_delivery_is_cancelled_and_retried() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    let (status, backends) = order(&gateway, "/backends/app/pause", &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(backends["backends"][0]["paused"], true);
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        202
    );
    let list = ask(&gateway, "/events?state=pending").await;
    let id = list["events"][0]["id"].as_str().unwrap();
    let one = format!("/events/{id}/deliveries/0");
    let (status, _) = order(&gateway, &format!("{one}/cancel"), &json!({})).await;
    assert_eq!(status, 200);
    let dead = ask(&gateway, &format!("/events/{id}")).await;
    assert_eq!(dead["deliveries"][0]["reason"], "cancelled");
    let (status, _) = order(&gateway, &format!("{one}/cancel"), &json!({})).await;
    assert_eq!(status, 409);
    let (status, _) = order(&gateway, &format!("{one}/retry"), &json!({})).await;
    assert_eq!(status, 200);
    let (status, _) = order(
        &gateway,
        &format!("/events/{id}/deliveries/7/retry"),
        &json!({}),
    )
    .await;
    assert_eq!(status, 404);
    assert_eq!(app.count(), 0, "the backend is paused");
    let (status, _) = order(&gateway, "/backends/app/resume", &json!({})).await;
    assert_eq!(status, 200);
    app.next().await;
}

#[tokio::test]
async fn a_paused_route_says_so_after_a_restart_too() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let text = yaml(&app.url(), &folder, "", "");
    let gateway = Gateway::start(&text).await;
    let (status, _) = order(&gateway, "/routes/live/pause", &json!({})).await;
    assert_eq!(status, 200);
    let (status, _) = order(&gateway, "/routes/none/pause", &json!({})).await;
    assert_eq!(status, 404);
    let refused = send(gateway.addr(), &github::post("/live", "{}")).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(
        send(gateway.addr(), &payment("evt_1", "{}")).await.status,
        202
    );
    gateway.stop().await;
    let gateway = Gateway::start(&text).await;
    assert_eq!(
        send(gateway.addr(), &github::post("/live", "{}"))
            .await
            .status,
        503
    );
    told(&gateway, &["routes", "--resume", "live"]).await;
    assert_eq!(
        send(gateway.addr(), &github::post("/live", "{}"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn requests_are_followed_as_they_are_answered() {
    let folder = folder();
    let app = FakeBackend::start().await;
    let gateway = Gateway::start(&yaml(&app.url(), &folder, "", "")).await;
    let mut reader = Client::connect(gateway.admin()).await;
    let path = "/api/v1/tail?route=live";
    let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    reader.send_raw(head.as_bytes()).await.unwrap();
    let url = format!("http://{}", gateway.admin());
    let args = ["events", "tail", "--limit", "2", "--json", "--url", &url];
    let tail = run(&args, b"", &[]);
    let sent = async {
        // The command follows from when it is connected.
        for _ in 0..100 {
            send(gateway.addr(), &Request::post("/live").body("{}")).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let finished = tokio::select! {
        finished = tail => finished,
        () = sent => panic!("the command did not end"),
    };
    let line: Value = serde_json::from_str(finished.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line["verdict"], "refused");
    assert_eq!(line["reason"], "signature_missing");
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
}

//! Who may send stands in a list that somebody publishes: fetched, refreshed, kept on disk.

#![allow(
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, send};
use crate::support::gateway::{Gateway, run};
use crate::support::provider::{Answer, Asked, Provider};
use crate::support::within;

const RANGES: &str = "hookgate_feed_ranges";
const AGE: &str = "hookgate_feed_age_seconds";
const REFRESHES: &str = "hookgate_feed_refreshes_total";
/// A list with comments, and three ranges.
const LINES: &str = "# partner\n192.0.2.0/24\n\n198.51.100.7 # one\n2001:db8::/32\n";

/// A publisher of plain lines.
async fn publisher(lines: &'static str) -> Provider {
    Provider::start(move |_| Answer::text("text/plain", lines)).await
}

/// A gateway whose route `/partner` takes what `feeds` says, for clients that 127.0.0.1 names.
fn yaml(backend: &FakeBackend, feeds: &str) -> String {
    format!(
        "
server: {{listen: 127.0.0.1:0, trusted_proxies: [127.0.0.1]}}
admin: {{listen: 127.0.0.1:0}}
log: {{format: json}}
store: {{path: data}}
feeds: {feeds}
backends: {{app: {{url: {url}}}}}
routes:
  partner:
    webhook: {{path: /partner, allow: [feed.partner, 10.0.0.0/8], deny: [192.0.2.66]}}
    deliver: {{to: app}}
  open: {{webhook: {{path: /open}}, deliver: {{to: app}}}}
",
        url = backend.url(),
    )
}

/// The status for a client.
async fn status(gateway: &Gateway, client: &str) -> u16 {
    let request = Request::post("/partner").header("X-Forwarded-For", client);
    send(gateway.addr(), &request).await.status
}

async fn has_ranges(gateway: &Gateway, count: f64) {
    let labels = [("feed", "partner")];
    gateway.wait_for_metric(RANGES, &labels, count).await;
}

/// Awaits the list on disk, which is in use before.
async fn is_kept(gateway: &Gateway) {
    let kept = gateway.dir().join("data/feeds/partner.json");
    let exists = async {
        while !kept.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(Duration::from_secs(10), "the list on disk", exists).await;
}

/// Awaits so many more refreshes with this outcome.
async fn refreshed(gateway: &Gateway, outcome: &str, count: f64) {
    let labels = [("feed", "partner"), ("outcome", outcome)];
    let before = gateway.metric(REFRESHES, &labels).await.unwrap_or_default();
    gateway
        .wait_for_metric(REFRESHES, &labels, before + count)
        .await;
}

#[tokio::test]
async fn who_is_on_the_list_may_send() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}/ips.txt}}}}", publisher.url());
    let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
    has_ranges(&gateway, 3.0).await;
    for (client, expected) in [
        ("192.0.2.1", 200),
        ("192.0.2.1:4711", 200),
        ("198.51.100.7", 200),
        ("[2001:db8::7]:4711", 200),
        ("::ffff:192.0.2.1", 200),
        ("10.1.2.3", 200),
        ("198.51.100.8", 403),
        ("2001:db9::7", 403),
        ("192.0.2.66", 403),
        ("192.0.2.1, 203.0.113.9", 403),
        ("nonsense", 403),
    ] {
        assert_eq!(status(&gateway, client).await, expected, "{client}");
    }
    let labels = [("route", "partner"), ("reason", "address_denied")];
    gateway
        .wait_for_metric("hookgate_requests_total", &labels, 5.0)
        .await;
    let asked = publisher.asked_at("/ips.txt");
    assert_eq!(asked.len(), 1, "once every six hours");
    let header = |name| asked[0].header(name).unwrap_or_default().to_owned();
    assert_eq!(asked[0].method, "GET");
    assert!(header("accept").starts_with("text/plain"));
    assert!(header("user-agent").starts_with("hookgate/"));
}

#[tokio::test]
async fn what_a_stranger_claims_of_himself_is_not_heard() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}}}}}", publisher.url());
    let yaml = yaml(&backend, &feeds);
    let wary = yaml.replace(", trusted_proxies: [127.0.0.1]", "");
    let gateway = Gateway::start(&wary).await;
    has_ranges(&gateway, 3.0).await;
    assert_eq!(status(&gateway, "192.0.2.1").await, 403);

    let announced = yaml.replacen(
        "listen: 127.0.0.1:0",
        "listen: {address: 127.0.0.1:0, proxy_protocol: true}",
        1,
    );
    let gateway = Gateway::start(&announced).await;
    has_ranges(&gateway, 3.0).await;
    for (client, expected) in [("192.0.2.1", 200), ("203.0.113.9", 403)] {
        let mut connection = Client::connect(gateway.addr()).await;
        let header = format!("PROXY TCP4 {client} 127.0.0.1 1000 443\r\n");
        assert!(connection.send_raw(header.as_bytes()).await.is_ok());
        let answer = connection.request(&Request::post("/partner")).await;
        assert_eq!(answer.status, expected, "{client}");
    }
}

#[tokio::test]
async fn a_refresh_replaces_the_list() {
    let backend = FakeBackend::start().await;
    let document = |prefixes: &[&str]| {
        let prefixes: Vec<Value> = prefixes.iter().map(|ip| json!({"ip_prefix": ip})).collect();
        json!({"syncToken": "1", "prefixes": prefixes, "v6": [{"ip": "2001:db8::/32"}]})
    };
    let first = document(&["192.0.2.0/24", "198.51.100.0/24"]);
    let publisher = Provider::start(move |_| Answer::json(&first)).await;
    let feeds = format!(
        "{{partner: {{url: {}, pointer: [/prefixes/*/ip_prefix, /v6/*/ip], refresh: 200ms}}}}",
        publisher.url()
    );
    let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
    has_ranges(&gateway, 3.0).await;
    assert_eq!(status(&gateway, "198.51.100.1").await, 200);
    assert_eq!(status(&gateway, "2001:db8::1").await, 200);
    let accept = publisher.asked()[0].header("accept").map(str::to_owned);
    assert!(accept.is_some_and(|accept| accept.starts_with("application/json")));

    let second = document(&["203.0.113.0/24"]);
    publisher.answer_with(move |_| Answer::json(&second));
    let labels = [("feed", "partner")];
    gateway.wait_for_fall(RANGES, &labels, 2.0).await;
    assert_eq!(status(&gateway, "198.51.100.1").await, 403);
    assert_eq!(status(&gateway, "203.0.113.1").await, 200);
    let log = |line: &str| line.contains("have changed") && line.contains("\"ranges\":2");
    gateway.wait_for_log(log).await;
}

#[tokio::test]
async fn a_list_that_is_unchanged_is_not_sent_again() {
    let backend = FakeBackend::start().await;
    let answer = |asked: &Asked| {
        let both = (
            asked.header("if-none-match"),
            asked.header("if-modified-since"),
        );
        match both {
            (Some("\"1\""), Some("Mon, 01 Jan 2024 00:00:00 GMT")) => Answer::new(304),
            _ => Answer::text("text/plain", LINES)
                .header("ETag", "\"1\"")
                .header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
        }
    };
    let publisher = Provider::start(answer).await;
    let feeds = format!("{{partner: {{url: {}, refresh: 200ms}}}}", publisher.url());
    let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
    refreshed(&gateway, "unchanged", 2.0).await;
    assert_eq!(status(&gateway, "192.0.2.1").await, 200);
    let labels = [("feed", "partner"), ("outcome", "changed")];
    assert_eq!(gateway.metric(REFRESHES, &labels).await, Some(1.0));
    // After a restart, too: the validators are kept with the list.
    let stopped = gateway.stop().await;
    let before = publisher.count();
    let gateway = Gateway::start_in(stopped.dir, &yaml(&backend, &feeds), &[]).await;
    refreshed(&gateway, "unchanged", 1.0).await;
    let asked = &publisher.asked()[before..];
    assert!(
        asked
            .iter()
            .all(|asked| asked.header("if-none-match").is_some())
    );
}

#[tokio::test]
async fn a_bad_list_never_takes_the_place_of_a_good_one() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}, refresh: 100ms}}}}", publisher.url());
    let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
    has_ranges(&gateway, 3.0).await;
    let lines = |body: &str| Answer::text("text/plain", body);
    for (answer, outcome, why) in [
        (lines(""), "empty", "the list is empty"),
        (lines("# nothing"), "empty", "the list is empty"),
        (lines("10.0.0.0/8\n0.0.0.0/0"), "too_wide", "entry 2"),
        (lines("::/0"), "too_wide", "wider than a list may say"),
        (lines("203.0.113.0/24\n<html>"), "malformed", "<html>"),
        (Answer::new(500).body("203.0.113.0/24"), "status", "500"),
        (Answer::new(304), "unchanged", ""),
        (
            Answer::new(302)
                .header("Location", "/other")
                .body("203.0.113.0/24"),
            "status",
            "redirects are not followed",
        ),
        (Answer::long(5 * 1024 * 1024), "too_large", "more than"),
    ] {
        publisher.answer_with(move |_| answer.clone());
        refreshed(&gateway, outcome, 1.0).await;
        assert_eq!(status(&gateway, "192.0.2.1").await, 200, "{outcome}");
        assert_eq!(status(&gateway, "203.0.113.1").await, 403, "{outcome}");
        if !why.is_empty() {
            let log =
                |line: &str| line.contains("its last list stays in use") && line.contains(why);
            gateway.wait_for_log(log).await;
        }
    }
    assert!(publisher.asked_at("/other").is_empty());
    // It is fetched again by itself once it is good.
    publisher.answer_with(|_| Answer::text("text/plain", "203.0.113.0/24"));
    gateway
        .wait_for_fall(RANGES, &[("feed", "partner")], 1.0)
        .await;
    assert_eq!(status(&gateway, "203.0.113.1").await, 200);
}

#[tokio::test]
async fn a_restart_without_the_publisher_keeps_the_list() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}}}}}", publisher.url());
    let yaml = yaml(&backend, &feeds);
    let gateway = Gateway::start(&yaml).await;
    has_ranges(&gateway, 3.0).await;
    is_kept(&gateway).await;
    drop(publisher);
    let stopped = gateway.kill().await;
    let gateway = Gateway::start_in(stopped.dir, &yaml, &[]).await;
    assert_eq!(
        status(&gateway, "192.0.2.1").await,
        200,
        "from the first request on"
    );
    assert_eq!(status(&gateway, "203.0.113.1").await, 403);
    assert_eq!(
        gateway.metric(RANGES, &[("feed", "partner")]).await,
        Some(3.0)
    );

    // What is judged without a gateway is judged by the same list.
    let config = gateway.dir().join("hookgate.yaml").display().to_string();
    let line = |client: &str| json!({"id": client, "method": "POST", "url": "http://h/partner", "headers": {}, "remote_addr": client});
    let requests = format!("{}\n{}\n", line("192.0.2.1"), line("203.0.113.1"));
    let judged = run(
        &["verify", "-c", &config, "--requests", "-"],
        requests.as_bytes(),
        &[],
    )
    .await;
    let verdicts: Vec<Value> = judged
        .stdout
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(verdicts.len(), 2, "{judged:?}");
    assert_eq!(verdicts[0]["verdict"], "accepted");
    assert_eq!(verdicts[1]["reason"], "address_denied");
}

#[tokio::test]
async fn a_list_that_was_spoiled_on_disk_is_fetched_anew() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}}}}}", publisher.url());
    let yaml = yaml(&backend, &feeds);
    let gateway = Gateway::start(&yaml).await;
    has_ranges(&gateway, 3.0).await;
    is_kept(&gateway).await;
    let stopped = gateway.stop().await;
    let kept = stopped.dir.path().join("data/feeds/partner.json");
    std::fs::write(&kept, "{").expect("the file can be written");
    let gateway = Gateway::start_in(stopped.dir, &yaml, &[]).await;
    has_ranges(&gateway, 3.0).await;
    let log = |line: &str| line.contains("cannot be used, it is fetched anew");
    gateway.wait_for_log(log).await;
    assert_eq!(publisher.count(), 2);
}

#[tokio::test]
async fn until_there_is_a_list_the_file_decides() {
    let backend = FakeBackend::start().await;
    for (on_missing, expected, said) in [
        ("refuse", 403, "its addresses do not match"),
        ("allow", 200, "EVERY ADDRESS MATCHES"),
    ] {
        let publisher = Provider::start(|_| Answer::new(503)).await;
        let feeds = format!(
            "{{partner: {{url: {}, refresh: 100ms, on_missing: {on_missing}}}}}",
            publisher.url()
        );
        let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
        refreshed(&gateway, "status", 1.0).await;
        assert_eq!(status(&gateway, "203.0.113.1").await, expected);
        assert_eq!(status(&gateway, "10.0.0.1").await, 200, "written beside it");
        assert_eq!(status(&gateway, "192.0.2.66").await, 403, "denied");
        gateway.wait_for_log(|line| line.contains(said)).await;
        let ready = send(gateway.admin(), &Request::get("/readyz")).await;
        assert_eq!(ready.status, 200, "a feed makes no gateway unready");
        assert_eq!(ready.json()["feeds"]["partner"]["ranges"], 0);

        publisher.answer_with(|_| Answer::text("text/plain", LINES));
        has_ranges(&gateway, 3.0).await;
        assert_eq!(status(&gateway, "203.0.113.1").await, 403);
        assert_eq!(status(&gateway, "192.0.2.1").await, 200);
    }
}

#[tokio::test]
async fn a_reload_keeps_lists_and_begins_with_new_feeds() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let url = publisher.url();
    let partner = format!("partner: {{url: {url}/partner}}");
    let old = format!("old: {{url: {url}/old}}");
    let gateway = Gateway::start(&yaml(&backend, &format!("{{{partner}, {old}}}"))).await;
    has_ranges(&gateway, 3.0).await;
    let ranges_of = async |feed, count| {
        let labels = [("feed", feed)];
        gateway.wait_for_metric(RANGES, &labels, count).await;
    };
    ranges_of("old", 3.0).await;

    let applied = async |feeds: &str, count| {
        let file = gateway.dir().join("hookgate.yaml");
        std::fs::write(file, yaml(&backend, feeds)).expect("the file can be written");
        gateway.signal("HUP").await;
        let labels = [("result", "applied")];
        let reloads = "hookgate_config_reloads_total";
        gateway.wait_for_metric(reloads, &labels, count).await;
    };
    applied(&format!("{{{partner}, new: {{url: {url}/new}}}}"), 1.0).await;
    assert_eq!(status(&gateway, "192.0.2.1").await, 200);
    ranges_of("new", 3.0).await;
    assert_eq!(publisher.asked_at("/partner").len(), 1, "it did not change");
    assert_eq!(gateway.metric(RANGES, &[("feed", "old")]).await, None);
    assert_eq!(gateway.metric(AGE, &[("feed", "old")]).await, None);

    // Refreshed more often, the list is the same one.
    let often = format!("{{partner: {{url: {url}/partner, refresh: 100ms, on_missing: allow}}}}");
    applied(&often, 2.0).await;
    assert_eq!(status(&gateway, "192.0.2.1").await, 200);
    assert_eq!(status(&gateway, "203.0.113.1").await, 403);
    refreshed(&gateway, "unchanged", 2.0).await;

    // From elsewhere it is another list, and there is none yet.
    publisher.answer_with(|asked| match asked.path.as_str() {
        "/elsewhere" => Answer::new(500),
        _ => Answer::text("text/plain", LINES),
    });
    applied(&format!("{{partner: {{url: {url}/elsewhere}}}}"), 3.0).await;
    assert_eq!(status(&gateway, "192.0.2.1").await, 403);
}

#[tokio::test]
async fn a_metric_tells_how_old_a_list_is() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}, refresh: 500ms}}}}", publisher.url());
    let gateway = Gateway::start(&yaml(&backend, &feeds)).await;
    let labels = [("feed", "partner")];
    has_ranges(&gateway, 3.0).await;
    let refresh = gateway.metric("hookgate_feed_refresh_seconds", &labels);
    assert_eq!(refresh.await, Some(0.5));
    publisher.answer_with(|_| Answer::new(503));
    gateway.wait_for_metric(AGE, &labels, 1.0).await;
    publisher.answer_with(|_| Answer::text("text/plain", LINES));
    gateway.wait_for_fall(AGE, &labels, 0.5).await;
}

#[tokio::test]
async fn a_check_fetches_nothing() {
    let backend = FakeBackend::start().await;
    let publisher = publisher(LINES).await;
    let feeds = format!("{{partner: {{url: {}}}}}", publisher.url());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("hookgate.yaml");
    std::fs::write(&path, yaml(&backend, &feeds)).expect("the file can be written");
    let config = path.display().to_string();
    let checked = run(&["check", "-c", &config], b"", &[]).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert_eq!(publisher.count(), 0);
}

#[test]
fn what_a_provider_publishes_is_one_feed_for_all_its_routes() {
    let names = |routes: &str| -> Vec<String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("hookgate.yaml");
        let text = format!("backends: {{app: {{url: http://127.0.0.1:9}}}}\nroutes:\n{routes}");
        std::fs::write(&path, text).expect("the file can be written");
        let config = hookgate::config::load(&path).expect("the file has no fault");
        let stranger = hookgate::event::ClientAddr::Ip([192, 0, 2, 1].into());
        for route in &config.routes {
            let is_let_in = route.addresses.check(stranger).is_ok();
            assert_eq!(is_let_in, route.name == "open", "{}", route.name);
        }
        let feeds = config.feeds.iter();
        feeds.map(|feed| feed.name().to_owned()).collect()
    };
    let route = |name: &str, provider: &str, allow: &str| {
        format!(
            "  {name}: {{webhook: {{path: /{name}, {allow} verify: {{provider: {provider}, \
             secrets: [whsec_x]}}}}, deliver: {{to: app}}}}\n"
        )
    };
    let some = [
        route("a", "github", "allow: provider,"),
        route("b", "github", "allow: [provider, 10.0.0.0/8],"),
        route("c", "stripe", "allow: provider,"),
    ];
    assert_eq!(
        names(&some.concat()),
        ["provider.github", "provider.stripe"]
    );
    // A preset alone asks nobody.
    assert!(names(&route("open", "github", "")).is_empty());
}

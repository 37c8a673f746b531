//! The handshake of every provider that has one, as the provider sends it, and what it is answered.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeSet;

use bytes::Bytes;
use hookgate::clock::{Clock, SystemClock};
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::Preset;
use hookgate::signature::handshake::Require;
use hookgate::signature::key::Key;
use hookgate::signature::preset::Proof;
use hookgate::signature::sign::Stamp;

use serde_json::json;

use crate::support::backend::FakeBackend;
use crate::support::client::{Client, Request, Response};
use crate::support::gateway::Gateway;

const VERIFY_TOKEN: &str = "a token that was agreed on";
const CONFIRMATION: &str = "7a1b2c3d";

/// A handshake and its answer: status, `Content-Type`, body.
struct Case {
    provider: &'static str,
    method: &'static str,
    query: &'static str,
    header: Option<(&'static str, &'static str)>,
    content_type: &'static str,
    body: &'static str,
    answer: (u16, Option<&'static str>, &'static str),
}

/// Signed by [`sign`] with the key of the preset's sample, and its time set to now.
const SNS_CONFIRMATION: &str = r#"{"Type":"SubscriptionConfirmation","MessageId":"165545c9-2a5c-472c-8df2-7ff2be2b3b1b","Token":"2336412f37","TopicArn":"arn:aws:sns:us-east-1:123456789012:hookgate","Message":"You have chosen to subscribe.","SubscribeURL":"https://sns.us-west-2.amazonaws.com.example.com/?Action=ConfirmSubscription&Token=2336412f37","SignatureVersion":"2","SigningCertURL":"https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"}"#;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

const NOTHING: Case = Case {
    provider: "",
    method: "POST",
    query: "",
    header: None,
    content_type: JSON,
    body: "",
    answer: (200, None, ""),
};

fn cases() -> Vec<Case> {
    let get = |provider, query, answer| Case {
        provider,
        method: "GET",
        query,
        answer,
        ..NOTHING
    };
    let post = |provider, body, answer| Case {
        provider,
        body,
        answer,
        ..NOTHING
    };
    let head = |provider| Case {
        provider,
        method: "HEAD",
        ..NOTHING
    };
    vec![
        Case {
            header: Some(("X-Hook-Secret", "b537207f20cbfa02357cf448134da559")),
            ..post("asana", "", (200, None, ""))
        },
        // Signed as it should be, it asks to visit somebody else: that is never done.
        post("aws_sns", SNS_CONFIRMATION, (403, None, "")),
        post(
            "azure_eventgrid",
            r#"[{"id":"2d1781af","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}}]"#,
            (
                200,
                Some(JSON),
                r#"{"validationResponse":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}"#,
            ),
        ),
        Case {
            method: "OPTIONS",
            header: Some(("WebHook-Request-Origin", "eventgrid.azure.net")),
            ..post("azure_eventgrid", "", (200, None, ""))
        },
        get(
            "braintree",
            "bt_challenge=20f9f8ed05f77439fe955c977e4c8a53",
            (
                200,
                Some(TEXT),
                "hookgate_sample_public_key|c69cb7d8f567d122136cfe156fe6ca397b0dd54a",
            ),
        ),
        post(
            "discord",
            r#"{"id":"2","type":1}"#,
            (200, Some(JSON), r#"{"type":1}"#),
        ),
        post("discord", r#"{"version":1,"type":0}"#, (204, None, "")),
        get(
            "dropbox",
            "challenge=Zm9vYmFy",
            (200, Some(TEXT), "Zm9vYmFy"),
        ),
        Case {
            header: Some(("X-Front-Challenge", "f00-ba2")),
            ..post(
                "front",
                r#"{"type":"sync"}"#,
                (200, Some(JSON), r#"{"challenge":"f00-ba2"}"#),
            )
        },
        post(
            "lark",
            r#"{"challenge":"ajls384kdjx98XX","token":"hookgate-sample-lark-secret","type":"url_verification"}"#,
            (200, Some(JSON), r#"{"challenge":"ajls384kdjx98XX"}"#),
        ),
        get("mailchimp", "", (200, None, "")),
        head("mandrill"),
        get(
            "meta",
            "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=a%20token%20that%20was%20agreed%20on",
            (200, Some(TEXT), "1158201444"),
        ),
        post(
            "monday",
            r#"{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#,
            (
                200,
                Some(JSON),
                r#"{"challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#,
            ),
        ),
        Case {
            query: "validationToken=Validation%3A%20Testing%20client%20application%20reachability",
            ..post(
                "msgraph",
                "",
                (
                    200,
                    Some(TEXT),
                    "Validation: Testing client application reachability",
                ),
            )
        },
        Case {
            header: Some(("X-Okta-Verification-Challenge", "XE_0PgBGsmfjlVwNbJ1w")),
            ..get(
                "okta",
                "",
                (
                    200,
                    Some(JSON),
                    r#"{"verification":"XE_0PgBGsmfjlVwNbJ1w"}"#,
                ),
            )
        },
        post(
            "notion",
            r#"{"verification_token":"secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl"}"#,
            (200, None, ""),
        ),
        get("onfleet", "check=1a2b3c", (200, Some(TEXT), "1a2b3c")),
        post(
            "slack",
            r#"{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}"#,
            (
                200,
                Some(TEXT),
                "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P",
            ),
        ),
        get(
            "strava",
            "hub.verify_token=a+token+that+was+agreed+on&hub.challenge=15f7d1a91c1f40f8a748fd134752feb3&hub.mode=subscribe",
            (
                200,
                Some(JSON),
                r#"{"hub.challenge":"15f7d1a91c1f40f8a748fd134752feb3"}"#,
            ),
        ),
        head("surveymonkey"),
        head("trello"),
        Case {
            header: Some((
                "Twitch-Eventsub-Message-Type",
                "webhook_callback_verification",
            )),
            ..post(
                "twitch",
                r#"{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{"id":"f1c2a387"}}"#,
                (200, Some(TEXT), "pogchamp-kappa-360noscope-vohiyo"),
            )
        },
        // printf TOKEN | openssl dgst -sha256 -hmac SECRET -binary | base64
        get(
            "twitter",
            "crc_token=c2FtcGxlLWNyYy10b2tlbg",
            (
                200,
                Some(JSON),
                r#"{"response_token":"sha256=HOke4Xmmvn0WUjiSCx3tsgjQaQve19CYirBvxHvzKDw="}"#,
            ),
        ),
        post(
            "vk",
            r#"{"type":"confirmation","group_id":1}"#,
            (200, Some(TEXT), CONFIRMATION),
        ),
        Case {
            content_type: "application/x-www-form-urlencoded",
            ..post("woocommerce", "webhook_id=42", (200, None, ""))
        },
        // printf TOKEN | openssl dgst -sha256 -hmac SECRET
        post(
            "zoom",
            r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680}"#,
            (
                200,
                Some(JSON),
                r#"{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"a3cbb3c82c543be849aa2b34f1af294e6bd028808841e11200478e50b7f256c6"}"#,
            ),
        ),
    ]
}

#[tokio::test]
async fn each_is_answered_as_its_provider_insists_and_no_backend_hears_of_it() {
    let backend = FakeBackend::start().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&configuration(&backend.url(), Some(&folder))).await;
    for case in cases() {
        let response = ask(&gateway, &case, true).await;
        let what = format!("{} {}: {response:?}", case.method, case.provider);
        let (status, content_type, body) = case.answer;
        assert_eq!((response.status, response.text()), (status, body), "{what}");
        if status == 403 {
            continue;
        }
        assert_eq!(response.header("content-type"), content_type, "{what}");
        assert_eq!(
            response.header("x-content-type-options"),
            Some("nosniff"),
            "{what}"
        );
        if case.provider == "asana" {
            let (name, value) = case.header.unwrap();
            assert_eq!(response.header(name), Some(value));
        }
        if case.method == "OPTIONS" {
            let allowed = response.header("webhook-allowed-origin");
            assert_eq!(allowed, Some("eventgrid.azure.net"));
        }
    }
    assert_eq!(backend.count(), 0);
    let kept = |route: &str| std::fs::read_to_string(folder.path().join("handshakes").join(route));
    assert_eq!(kept("asana").unwrap(), "b537207f20cbfa02357cf448134da559");
    let token = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";
    assert_eq!(kept("notion").unwrap(), token);
    assert!(!gateway.logs().join("\n").contains(token));
    // The first is taken, and nobody replaces it from outside; the provider may ask again.
    for (value, status) in [("another", 403), ("b537207f20cbfa02357cf448134da559", 200)] {
        let request = Request::post("/asana").header("X-Hook-Secret", value);
        let response = Client::connect(gateway.addr())
            .await
            .request(&request)
            .await;
        assert_eq!(response.status, status, "{value}");
    }
    assert_eq!(kept("asana").unwrap(), "b537207f20cbfa02357cf448134da559");
}

/// A route without a secret, until a handshake brings one.
#[tokio::test]
async fn what_a_handshake_brings_verifies_from_then_on() {
    let backend = FakeBackend::start().await;
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "server: {{listen: \"127.0.0.1:0\"}}\nadmin: {{listen: \"127.0.0.1:0\"}}\n\
         store: {{path: \"{}\"}}\nbackends: {{app: {{url: \"{}\"}}}}\nroutes:\n  \
         asana_1:\n    webhook: {{path: /in, verify: {{provider: asana}}}}\n    deliver: {{to: app}}\n",
        folder.path().display(),
        backend.url(),
    );
    let status = async |gateway: &Gateway, header: (&str, &str), body: &str| {
        let request = Request::post("/in")
            .header(header.0, header.1)
            .body(body.to_owned());
        let mut client = Client::connect(gateway.addr()).await;
        client.request(&request).await.status
    };
    let body = r#"{"events": []}"#;
    // printf '{"events": []}' | openssl dgst -sha256 -hmac b537207f20cbfa02357cf448134da559
    let signature = "41d0977dd36cca27eb1f0a9f5100d5e3f65c11505a8fb56f467caaabc8abd5c8";
    let event = ("X-Hook-Signature", signature);
    let gateway = Gateway::start(&yaml).await;
    assert_eq!(status(&gateway, event, body).await, 401);
    let line = gateway
        .wait_for_log(|line| line.contains("secret_unknown"))
        .await;
    assert!(line.contains("no secret yet"), "{line}");
    let handshake = ("X-Hook-Secret", "b537207f20cbfa02357cf448134da559");
    assert_eq!(status(&gateway, handshake, "").await, 200);
    assert_eq!(status(&gateway, event, body).await, 200);
    assert_eq!(status(&gateway, event, "{}").await, 401);
    gateway.stop().await;
    let gateway = Gateway::start(&yaml).await;
    assert_eq!(status(&gateway, event, body).await, 200);
    std::fs::remove_file(folder.path().join("handshakes/asana%5F1")).unwrap();
    gateway.signal("HUP").await;
    let applied = [("result", "applied")];
    gateway
        .wait_for_metric("hookgate_config_reloads_total", &applied, 1.0)
        .await;
    assert_eq!(status(&gateway, event, body).await, 401);
    assert_eq!(backend.count(), 2);
    // Beside a secret that is written down, nobody brings another.
    gateway.stop().await;
    let own = yaml.replace("provider: asana", "provider: asana, secrets: [own]");
    assert_ne!(own, yaml);
    let gateway = Gateway::start(&own).await;
    assert_eq!(status(&gateway, handshake, "").await, 200);
    assert_eq!(status(&gateway, event, body).await, 401);
    assert_eq!(backend.count(), 2);
}

#[tokio::test]
async fn what_a_handshake_brings_is_not_lost_where_nothing_can_keep_it() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&configuration(&backend.url(), None)).await;
    let request = Request::post("/asana").header("X-Hook-Secret", "b537207f20cbfa02");
    let response = Client::connect(gateway.addr())
        .await
        .request(&request)
        .await;
    assert_eq!((response.status, response.text()), (502, ""));
}

#[tokio::test]
async fn one_that_must_be_signed_is_refused_unsigned() {
    let backend = FakeBackend::start().await;
    let gateway = Gateway::start(&configuration(&backend.url(), None)).await;
    let mut refused = BTreeSet::new();
    for case in cases() {
        let preset = preset(case.provider);
        let needs = |one: &hookgate::signature::handshake::Handshake| {
            one.method == case.method && one.needs_signature()
        };
        // Lark shows its secret in the body itself.
        if case.provider == "lark" || !preset.handshakes.iter().any(needs) {
            continue;
        }
        let response = ask(&gateway, &case, false).await;
        assert_eq!(
            (response.status, response.text()),
            (401, ""),
            "{}",
            case.provider
        );
        refused.insert(case.provider);
    }
    let expected = [
        "aws_sns",
        "azure_eventgrid",
        "discord",
        "front",
        "slack",
        "twitch",
        "zoom",
    ];
    assert_eq!(refused, BTreeSet::from(expected));
    assert_eq!(backend.count(), 0);
}

#[test]
fn no_handshake_of_a_preset_is_missing_here() {
    let cases = cases();
    for preset in presets::builtin().unwrap().iter() {
        let own = cases.iter().filter(|case| case.provider == preset.name);
        assert_eq!(own.count(), preset.handshakes.len(), "{}", preset.name);
    }
}

async fn ask(gateway: &Gateway, case: &Case, signed: bool) -> Response {
    let target = match case.query {
        "" => format!("/{}", case.provider),
        query => format!("/{}?{query}", case.provider),
    };
    let mut headers = Headers::default();
    headers.push("Content-Type", case.content_type);
    if let Some((name, value)) = case.header {
        headers.push(name, value);
    }
    let mut head = Head {
        method: case.method.to_owned(),
        target: Bytes::from(target),
        host: None,
        headers,
    };
    let preset = preset(case.provider);
    let is_signed = preset
        .handshakes
        .iter()
        .any(|one| one.method == case.method && matches!(one.require, Require::Signature));
    let mut body = case.body.as_bytes().to_vec();
    if signed && is_signed && case.provider != "lark" {
        sign(preset, &mut head, &mut body);
    }
    let target = String::from_utf8(head.target.to_vec()).unwrap();
    let mut request = Request::new(case.method, &target).body(body);
    for header in head.headers.iter() {
        let name = String::from_utf8_lossy(&header.name).into_owned();
        request = request.header(&name, &header.value);
    }
    let mut client = Client::connect(gateway.addr()).await;
    client.request(&request).await
}

/// Signs a request as the provider would, by the scheme that its sample's secret fits.
fn sign(preset: &Preset, head: &mut Head, body: &mut Vec<u8>) {
    let secret = Secret::new(preset.sample_secret.clone());
    let mut schemes = preset.schemes.iter();
    let (scheme, key) = schemes
        .find_map(|scheme| {
            let parts = scheme.parts();
            let key = Key::new(parts.algorithm, &parts.key, &secret).ok()?;
            Some((scheme, key))
        })
        .unwrap();
    let stamp = Stamp {
        at: SystemClock.now(),
        id: "msg_1",
    };
    let terms = preset_terms(preset);
    scheme.sign(&key, head, body, &stamp, &terms).unwrap();
}

fn preset_terms(preset: &Preset) -> hookgate::signature::Terms {
    hookgate::signature::Terms {
        public_url: preset.sample.public_url.clone(),
        options: preset.sample.options.clone(),
    }
}

fn preset(name: &str) -> &'static Preset {
    presets::builtin().unwrap().find(name).unwrap()
}

fn configuration(backend: &str, folder: Option<&tempfile::TempDir>) -> String {
    let store = folder.map(|folder| format!("store: {{path: \"{}\"}}\n", folder.path().display()));
    let store = store.unwrap_or_default();
    let mut yaml = format!(
        "server: {{listen: \"127.0.0.1:0\"}}\nadmin: {{listen: \"off\"}}\n{store}\
         backends: {{app: {{url: \"{backend}\"}}}}\nroutes:\n"
    );
    let providers: BTreeSet<_> = cases().iter().map(|case| case.provider).collect();
    for name in providers {
        let preset = preset(name);
        let mut verify = json!({"provider": name});
        match preset.proof {
            Proof::Scheme => verify["secrets"] = json!([preset.sample_secret]),
            _ => verify["enforce"] = json!(false),
        }
        if let Some(url) = &preset.sample.public_url {
            verify["public_url"] = json!(url);
        }
        if !preset.sample.options.is_empty() {
            verify["options"] = json!(preset.sample.options);
        }
        let mut webhook = json!({"path": format!("/{name}"), "verify": verify});
        if preset.handshakes.iter().any(|one| one.needs_token()) {
            webhook["handshake"] = json!({"verify_token": VERIFY_TOKEN});
        }
        if name == "vk" {
            webhook["handshake"] = json!({"confirmation": CONFIRMATION});
        }
        yaml += &format!("  {name}: {{webhook: {webhook}, deliver: {{to: app}}}}\n");
    }
    yaml
}

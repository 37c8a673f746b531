//! `hookgate send` signs as a provider does: a running gateway lets it through, or does not.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use hookgate::config::presets;
use hookgate::signature::place::Place;
use hookgate::signature::preset::Proof;
use hookgate::signature::scheme::TimestampPlace;
use hookgate::signature::{Preset, Scheme};
use serde_json::json;

use crate::support::backend::{FakeBackend, Response, refuse};
use crate::support::gateway::{Finished, Gateway, run};

const SECRET: &str = "whsec_canary_of_the_send_tests";

struct Scene {
    backend: FakeBackend,
    gateway: Gateway,
}

impl Scene {
    async fn start() -> Self {
        let backend = FakeBackend::start().await;
        let url = backend.url();
        let yaml = format!(
            r#"
server: {{listen: "127.0.0.1:0"}}
admin: {{listen: "off"}}
backends: {{app: {{url: "{url}"}}}}
routes:
  stripe:
    webhook: {{path: /stripe, verify: {{provider: stripe, secrets: ["{SECRET}"]}}}}
    deliver: {{to: app}}
"#
        );
        let gateway = Gateway::start(&yaml).await;
        Self { backend, gateway }
    }

    async fn send(&self, more: &[&str], env: &[(&str, &str)]) -> Finished {
        let url = format!("http://{}/stripe?a=b", self.gateway.addr());
        let mut args = vec!["send", "stripe", "--to", &url];
        args.extend(more);
        let finished = run(&args, b"", env).await;
        let output = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!output.contains(SECRET), "the secret is shown: {output}");
        assert!(!output.contains('\x1b'), "colour in a pipe: {output:?}");
        finished
    }
}

#[tokio::test]
async fn a_signed_sample_is_accepted_and_the_answer_is_shown() {
    let scene = Scene::start().await;
    let answer = Response::new(201).header("X-Answer", "a").body("thank you");
    scene.backend.respond_with(answer);
    let finished = scene.send(&["--secret", SECRET], &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.starts_with("201 Created\n"), "{finished:?}");
    assert!(finished.stdout.to_lowercase().contains("\nx-answer: a\n"));
    assert!(finished.stdout.ends_with("\nthank you\n"), "{finished:?}");
    assert_eq!(finished.stderr, "signed with the secret given\n");
    let sample = &presets::builtin().unwrap().find("stripe").unwrap().sample;
    let arrived = &scene.backend.requests()[0];
    assert_eq!(arrived.text(), sample.body);
    assert_eq!(arrived.target, "/stripe?a=b");
    assert!(arrived.header("stripe-signature").is_some());
}

#[tokio::test]
async fn the_secret_comes_from_the_environment_unless_it_is_given() {
    let scene = Scene::start().await;
    let env = [("HOOKGATE_SECRET_STRIPE", SECRET)];
    let finished = scene.send(&[], &env).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(
        finished.stderr,
        "signed with the secret of the environment\n"
    );
    let finished = scene.send(&["--secret", "another"], &env).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let finished = scene.send(&[], &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr, "signed with the sample's own secret\n");
}

#[tokio::test]
async fn a_file_is_sent_byte_for_byte() {
    let scene = Scene::start().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let body = b"{\"id\": \"evt_1\" ,\n \xff\x00 }\r\n";
    std::fs::write(file.path(), body).unwrap();
    let path = file.path().to_str().unwrap();
    let finished = scene.send(&["--secret", SECRET, "--body", path], &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(scene.backend.requests()[0].body, body);
    let finished = scene.send(&["--body", "nowhere.json"], &[]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("cannot read nowhere.json"));
}

#[tokio::test]
async fn what_is_forged_or_old_is_refused_and_ends_with_1() {
    let scene = Scene::start().await;
    for more in [
        &["--forge"][..],
        &["--age", "10m"],
        &["--forge", "--age", "10m"],
        &["--secret", "another"],
    ] {
        let mut args = vec!["--secret", SECRET];
        if more[0] == "--secret" {
            args.clear();
        }
        args.extend(more);
        let finished = scene.send(&args, &[]).await;
        assert_eq!(finished.code, Some(1), "{more:?}: {finished:?}");
        assert!(
            finished.stdout.starts_with("401 Unauthorized\n"),
            "{more:?}"
        );
    }
    let finished = scene.send(&["--secret", SECRET, "--age", "4m"], &[]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert_eq!(scene.backend.count(), 1);
}

#[tokio::test]
async fn where_nothing_listens_the_error_names_the_place() {
    let nowhere = refuse();
    let url = format!("{}/stripe", nowhere.url());
    let finished = run(&["send", "stripe", "--to", &url], b"", &[]).await;
    assert_eq!((finished.code, &finished.stdout[..]), (Some(1), ""));
    let expected = format!("error: cannot send to {url}: no connection");
    assert!(finished.stderr.contains(&expected), "{}", finished.stderr);
    for (url, problem) in [
        ("nonsense", "`nonsense` is not a URL with a host"),
        ("ftp://127.0.0.1/", "`ftp` is not http or https"),
        ("http://", "is not a URL"),
    ] {
        let finished = run(&["send", "stripe", "--to", url], b"", &[]).await;
        assert_eq!((finished.code, &finished.stdout[..]), (Some(1), ""));
        assert!(finished.stderr.contains(problem), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn the_sample_of_every_provider_is_accepted_by_its_own_preset() {
    let backend = FakeBackend::start().await;
    let presets = presets::builtin().unwrap();
    let url = backend.url();
    let mut yaml = format!(
        "server: {{listen: \"127.0.0.1:0\"}}\nadmin: {{listen: \"off\"}}\n\
         backends: {{app: {{url: \"{url}\"}}}}\nroutes:\n"
    );
    let can_be_sent = |preset: &&Preset| !matches!(preset.proof, Proof::Unsupported(_));
    let presets: Vec<_> = presets.iter().filter(can_be_sent).collect();
    for preset in &presets {
        let name = &preset.name;
        let sample = &preset.sample;
        let mut verify = json!({"provider": name});
        match preset.proof {
            Proof::Scheme => verify["secrets"] = json!([preset.sample_secret]),
            Proof::Nothing => verify["enforce"] = json!(false),
            Proof::Address | Proof::Unsupported(_) => {}
        }
        if let Some(url) = &sample.public_url {
            verify["public_url"] = json!(url);
        }
        if !sample.options.is_empty() {
            verify["options"] = json!(sample.options);
        }
        // JSON is YAML; the samples come from here, whatever addresses are the provider's.
        let webhook = json!({"path": format!("/{name}"), "verify": verify, "allow": "127.0.0.1"});
        yaml += &format!("  {name}: {{webhook: {webhook}, deliver: {{to: app}}}}\n");
    }
    let gateway = Gateway::start(&yaml).await;
    for (index, preset) in presets.iter().enumerate() {
        let url = format!("http://{}/{}", gateway.addr(), preset.name);
        let mut args = vec!["send", &preset.name, "--to", &url];
        if let Some(public_url) = &preset.sample.public_url {
            args.extend(["--public-url", public_url]);
        }
        let finished = run(&args, b"", &[]).await;
        assert_eq!(finished.code, Some(0), "{}: {finished:?}", preset.name);
        let arrived = backend.wait_for(index + 1).await;
        let mut schemes = preset.schemes.iter();
        let in_head = |scheme: &Scheme| {
            let time = scheme.parts().timestamp.as_ref().map(|rule| &rule.place);
            let dated = matches!(time, Some(TimestampPlace::Request(Place::Json(_))));
            matches!(scheme.parts().place, Place::Header(_)) && !dated
        };
        if schemes.all(in_head) {
            assert_eq!(arrived[index].text(), preset.sample.body);
        }
    }
}

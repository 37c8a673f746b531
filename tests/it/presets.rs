//! What the files in conf/providers claim about providers holds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hookgate::config::compile::{CompiledProvider, CompiledVector};
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::algorithm::{Algorithm, Hash};
use hookgate::signature::key::Key;
use hookgate::signature::place::Place;
use hookgate::signature::preset::Proof;
use hookgate::signature::sign::{SignError, Stamp};
use hookgate::signature::{Preset, Request, Scheme, Terms, Verifier};
use jiff::Timestamp;

use crate::support::gateway::run;

/// Every preset in the folder, with its vectors.
fn all() -> Vec<CompiledProvider> {
    let compile = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        presets::compile(name, &text).unwrap_or_else(|report| panic!("{name}.yaml:\n{report}"))
    };
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.into_iter().map(compile).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/providers")
}

/// Those whose requests are signed, or present a secret.
fn signing() -> impl Iterator<Item = CompiledProvider> {
    let signs = |one: &CompiledProvider| one.preset.proof == Proof::Scheme;
    all().into_iter().filter(signs)
}

#[test]
fn every_file_in_conf_providers_is_compiled_in_without_a_fault() {
    let files: BTreeSet<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let compiled: BTreeSet<_> = presets::builtin()
        .unwrap()
        .names()
        .map(|name| format!("{name}.yaml"))
        .collect();
    assert_eq!(files, compiled);
}

#[test]
fn every_vector_is_judged_as_it_says() {
    let mut judged = 0;
    for CompiledProvider { preset, vectors } in all() {
        for vector in &vectors {
            check_vector(&preset, vector);
            judged += 1;
        }
    }
    println!("{judged} vectors");
}

fn check_vector(preset: &Preset, vector: &CompiledVector) {
    let name = format!("{}: {}", preset.name, vector.name);
    let head = vector_head(vector);
    let request = Request::new(&head, vector.body.as_bytes());
    let verdict = match preset.proof {
        Proof::Scheme => judge(preset, vector, vector.body.as_bytes()),
        _ => "accepted",
    };
    assert_eq!(verdict, vector.expect, "{name}");
    if verdict == "accepted" {
        let found = first_text(&preset.event_id, &request);
        assert_eq!(found, vector.event_id, "event id of {name}");
        let found = first_text(&preset.event_type, &request);
        assert_eq!(found, vector.event_type, "event type of {name}");
    }
}

#[test]
fn every_preset_has_vectors_that_are_accepted_and_vectors_that_are_refused() {
    for CompiledProvider { preset, vectors } in all() {
        let accepted = |vector: &&CompiledVector| vector.expect == "accepted";
        let count = vectors.iter().filter(accepted).count();
        let is_unsupported = matches!(preset.proof, Proof::Unsupported(_));
        assert_eq!(count > 0, !is_unsupported, "{}", preset.name);
        let has_refused = count < vectors.len();
        assert_eq!(
            has_refused,
            preset.proof == Proof::Scheme,
            "{}",
            preset.name
        );
        let names: BTreeSet<_> = vectors.iter().map(|vector| &vector.name).collect();
        assert_eq!(
            names.len(),
            vectors.len(),
            "{}: two of one name",
            preset.name
        );
        assert!(vectors.iter().all(|vector| !vector.source.is_empty()));
    }
}

#[test]
fn every_accepted_vector_is_refused_with_another_body_where_the_body_is_signed() {
    for CompiledProvider { preset, vectors } in signing() {
        for vector in vectors.iter().filter(|vector| vector.expect == "accepted") {
            let head = vector_head(vector);
            let request = Request::new(&head, b"");
            let is_used = |scheme: &&Scheme| scheme.parts().place.read(&request).is_some();
            if preset.schemes.iter().filter(is_used).any(binds_every_byte) {
                let longer = format!("{} ", vector.body);
                let others = [longer.as_bytes(), b""].into_iter();
                for body in others.filter(|body| *body != vector.body.as_bytes()) {
                    assert_ne!(judge(&preset, vector, body), "accepted", "{}", vector.name);
                }
            }
        }
    }
}

#[test]
fn every_sample_is_signed_with_its_secret_and_verifies() {
    let at = Timestamp::from_second(1_767_225_600).unwrap();
    for CompiledProvider { preset, .. } in signing() {
        let name = &preset.name;
        let secret = Secret::new(preset.sample_secret.clone());
        let schemes = keyed(&preset, &secret);
        assert!(!schemes.is_empty(), "{name}: the secret fits no scheme");
        for (scheme, keys) in schemes {
            let mut head = head("POST", "/hooks/in", &preset.sample.headers);
            let mut body = preset.sample.body.clone().into_bytes();
            let stamp = Stamp { at, id: "msg_1" };
            let terms = sample_terms(&preset);
            let signed = scheme.sign(&keys[0], &mut head, &mut body, &stamp, &terms);
            if scheme.parts().algorithm == Algorithm::Rsa(Hash::Sha1) {
                assert_eq!(signed, Err(SignError::PublicKey), "{name}");
                continue;
            }
            signed.unwrap_or_else(|error| panic!("{name}: {error}"));
            let request = terms.request(&head, &body);
            let verdict = verifier(&preset, &secret, &terms).verify(&request, at);
            assert!(verdict.is_ok(), "{name}: {verdict:?}");
            for (what, places) in [("id", &preset.event_id), ("type", &preset.event_type)] {
                let found = first_text(places, &request);
                assert_eq!(found.is_none(), places.is_empty(), "{name}: event {what}");
            }
        }
    }
}

#[test]
fn an_unsigned_sample_is_refused() {
    let now = Timestamp::from_second(1_767_225_600).unwrap();
    for CompiledProvider { preset, .. } in signing() {
        let secret = Secret::new(preset.sample_secret.clone());
        let head = head("POST", "/hooks/in", &preset.sample.headers);
        let request = Request::new(&head, preset.sample.body.as_bytes());
        let terms = sample_terms(&preset);
        let reason = verifier(&preset, &secret, &terms).verify(&request, now);
        let reason = reason.map_err(|reason| reason.label());
        assert_eq!(reason, Err("signature_missing"), "{}", preset.name);
    }
}

#[test]
fn every_preset_says_what_it_is_and_where_that_is_documented() {
    for CompiledProvider { preset, .. } in all() {
        let url: http::Uri = preset.docs.parse().unwrap();
        assert_eq!(url.scheme_str(), Some("https"), "{}", preset.docs);
        assert!(url.host().unwrap().contains('.'), "{}", preset.docs);
        assert!(!preset.title.is_empty() && !preset.category.is_empty());
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(preset.name.bytes().all(plain), "{}", preset.name);
    }
}

#[tokio::test]
async fn the_page_of_providers_is_what_the_command_prints() {
    let printed = run(&["providers", "--markdown"], b"", &[]).await.stdout;
    let page = include_str!("../../PROVIDERS.md");
    assert!(printed == page, "it is another one: make schema");
}

/// The schemes that the secret fits, as a configuration file would have them.
fn keyed(preset: &Preset, secret: &Secret) -> Vec<(Scheme, Vec<Key>)> {
    let fit = |scheme: &Scheme| {
        let parts = scheme.parts();
        let key = Key::new(parts.algorithm, &parts.key, secret).ok()?;
        Some((scheme.clone(), vec![key]))
    };
    preset.schemes.iter().filter_map(fit).collect()
}

fn verifier(preset: &Preset, secret: &Secret, terms: &Terms) -> Verifier {
    Verifier::new(keyed(preset, secret), terms.clone()).unwrap()
}

fn sample_terms(preset: &Preset) -> Terms {
    Terms {
        public_url: preset.sample.public_url.clone(),
        options: preset.sample.options.clone(),
    }
}

/// What is decided about a vector with this body.
fn judge(preset: &Preset, vector: &CompiledVector, body: &[u8]) -> &'static str {
    let head = vector_head(vector);
    let request = vector.terms.request(&head, body);
    match verifier(preset, &vector.secret, &vector.terms).verify(&request, vector.now) {
        Ok(_) => "accepted",
        Err(reason) => reason.label(),
    }
}

/// Whether every byte of the body is signed.
fn binds_every_byte(scheme: &Scheme) -> bool {
    let parts = scheme.parts();
    let in_token = parts
        .jwt
        .as_ref()
        .is_some_and(|jwt| jwt.body_hash.is_some());
    // A list of all fields says nothing of the space between them.
    let fields = format!("{:?}", parts.message).contains("SortedJson");
    let in_message = parts.algorithm.signs() && !parts.unsigned_body && !fields;
    parts.for_each.is_none() && (in_token || in_message)
}

fn vector_head(vector: &CompiledVector) -> Head {
    head(&vector.method, &vector.target, &vector.headers)
}

fn head(method: &str, target: &str, headers: &Headers) -> Head {
    Head {
        method: method.to_owned(),
        target: Bytes::copy_from_slice(target.as_bytes()),
        host: None,
        headers: headers.clone(),
    }
}

fn first_text(places: &[Place], request: &Request<'_>) -> Option<String> {
    let value = places.iter().find_map(|place| place.read(request))?;
    Some(String::from_utf8(value.into_owned()).unwrap())
}

//! What the files in conf/providers claim about providers holds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use hookgate::config::compile::{CompiledProvider, CompiledVector};
use hookgate::config::presets;
use hookgate::event::{Head, Headers};
use hookgate::secret::Secret;
use hookgate::signature::key::Key;
use hookgate::signature::place::Place;
use hookgate::signature::sign::Stamp;
use hookgate::signature::{Preset, Request, Scheme, Verifier};
use jiff::Timestamp;

/// Every preset that is compiled in, read anew with its vectors.
fn all() -> Vec<CompiledProvider> {
    let compile = |(name, text)| {
        presets::compile(name, text).unwrap_or_else(|report| panic!("{name}.yaml:\n{report}"))
    };
    presets::files().map(compile).collect()
}

#[test]
fn every_file_in_conf_providers_is_compiled_in_without_a_fault() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/providers");
    let files: BTreeSet<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let compiled: BTreeSet<_> = all()
        .iter()
        .map(|provider| format!("{}.yaml", provider.preset.name))
        .collect();
    assert_eq!(files, compiled);
    assert_eq!(presets::builtin().unwrap().iter().count(), files.len());
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
    let verdict = judge(preset, vector, vector.body.as_bytes());
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
        assert!(count > 0, "{}", preset.name);
        assert!(count < vectors.len(), "{}", preset.name);
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
    for CompiledProvider { preset, vectors } in all() {
        for vector in vectors.iter().filter(|vector| vector.expect == "accepted") {
            let head = vector_head(vector);
            let request = Request::new(&head, b"");
            let is_used = |scheme: &&Scheme| scheme.parts().place.read(&request).is_some();
            if preset.schemes.iter().filter(is_used).any(signs) {
                let longer = format!("{} ", vector.body);
                for body in [longer.as_bytes(), b""] {
                    assert_ne!(judge(&preset, vector, body), "accepted", "{}", vector.name);
                }
            }
        }
    }
}

#[test]
fn every_sample_is_signed_with_its_secret_and_verifies() {
    let at = Timestamp::from_second(1_767_225_600).unwrap();
    for CompiledProvider { preset, .. } in all() {
        let name = &preset.name;
        let secret = Secret::new(preset.sample_secret.clone());
        let schemes = keyed(&preset, &secret);
        assert!(!schemes.is_empty(), "{name}: the secret fits no scheme");
        for (scheme, keys) in schemes {
            let mut head = head("POST", "/hooks/in", &preset.sample.headers);
            let body = preset.sample.body.as_bytes();
            let stamp = Stamp { at, id: "msg_1" };
            let url = preset.sample.public_url.as_deref();
            scheme.sign(&keys[0], &mut head, body, &stamp, url).unwrap();
            let request = Request::new(&head, body).with_public_url(url);
            let verdict = verifier(&preset, &secret, url).verify(&request, at);
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
    for CompiledProvider { preset, .. } in all() {
        let secret = Secret::new(preset.sample_secret.clone());
        let head = head("POST", "/hooks/in", &preset.sample.headers);
        let request = Request::new(&head, preset.sample.body.as_bytes());
        let url = preset.sample.public_url.as_deref();
        let reason = verifier(&preset, &secret, url).verify(&request, now);
        let reason = reason.unwrap_err().label();
        assert_eq!(reason, "signature_missing", "{}", preset.name);
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

#[test]
fn the_readme_names_every_provider() {
    let readme = include_str!("../../README.md").to_lowercase();
    let (_, section) = readme.split_once("## providers").unwrap();
    let (list, _) = section.split_once("```").unwrap();
    for CompiledProvider { preset, .. } in all() {
        let title = preset.title.to_lowercase();
        assert!(list.contains(&title), "{title}");
    }
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

fn verifier(preset: &Preset, secret: &Secret, public_url: Option<&str>) -> Verifier {
    Verifier::new(keyed(preset, secret), public_url.map(str::to_owned)).unwrap()
}

/// What is decided about a vector with this body.
fn judge(preset: &Preset, vector: &CompiledVector, body: &[u8]) -> &'static str {
    let url = vector.public_url.as_deref();
    let head = vector_head(vector);
    let request = Request::new(&head, body).with_public_url(url);
    match verifier(preset, &vector.secret, url).verify(&request, vector.now) {
        Ok(_) => "accepted",
        Err(reason) => reason.label(),
    }
}

/// Whether something is signed, rather than the secret presented.
fn signs(scheme: &Scheme) -> bool {
    let parts = scheme.parts();
    let key = Key::new(parts.algorithm, &parts.key, &Secret::new("c2VjcmV0"));
    !matches!(key, Ok(Key::Token(_)))
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

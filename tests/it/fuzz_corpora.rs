//! What the fuzz targets promise holds for every file of their corpora.

#![allow(
    clippy::unwrap_used,
    reason = "a broken assumption of a test must fail the test"
)]

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The most files of one corpus, and the most bytes of one file: these are seeds, not findings.
const FILES_MAX: usize = 300;
const FILE_BYTES_MAX: usize = 8192;
/// Writes the seeds that are made of presets instead of comparing them.
const UPDATE: &str = "UPDATE_EXPECTED";

type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 11] = [
    ("chunks", fuzz::chunks::check),
    ("config", fuzz::config::check),
    ("feed", fuzz::feed::check),
    ("form", fuzz::form::check),
    ("head", fuzz::head::check),
    ("keys", fuzz::keys::check),
    ("proxy_protocol", fuzz::proxy_protocol::check),
    ("query", fuzz::query::check),
    ("router", fuzz::router::check),
    ("signature", fuzz::signature::check),
    ("source_addr", fuzz::source_addr::check),
];

#[test]
fn every_file_of_the_corpora_keeps_what_its_target_promises() {
    for (name, check) in TARGETS {
        let files = files(&root().join("fuzz/corpus").join(name));
        assert!(
            (1..=FILES_MAX).contains(&files.len()),
            "{name}: {}",
            files.len()
        );
        for (path, bytes) in files {
            println!("{}", path.display());
            assert!(bytes.len() <= FILE_BYTES_MAX, "{} is long", path.display());
            check(&bytes);
        }
    }
}

#[test]
fn every_file_in_conf_keeps_what_the_config_target_promises() {
    for folder in ["conf", "conf/bad", "conf/examples"] {
        for (path, bytes) in files(&root().join(folder)) {
            if path
                .extension()
                .is_some_and(|extension| extension == "yaml")
            {
                println!("{}", path.display());
                fuzz::config::check(&bytes);
            }
        }
    }
}

#[test]
fn every_target_is_known_to_the_fuzzer_and_to_this_test() {
    let folder = root().join("fuzz/fuzz_targets");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
        .collect();
    files.sort();
    assert_eq!(files, TARGETS.map(|(name, _)| name));
}

#[test]
fn the_signature_corpus_has_a_request_that_each_preset_accepts() {
    let folder = root().join("fuzz/corpus/signature");
    let update = std::env::var_os(UPDATE).is_some();
    for (name, seed) in fuzz::signature::seeds() {
        let accepted_by = fuzz::signature::accepted_by(&seed);
        assert!(
            accepted_by.contains(&name),
            "{name} does not accept its own request"
        );
        let path = folder.join(&name);
        if update {
            std::fs::write(&path, &seed).unwrap();
        }
        let recorded = std::fs::read(&path).unwrap_or_default();
        assert!(
            recorded == seed,
            "{name} signs otherwise now: {UPDATE}=1 make test ARGS=corpora"
        );
    }
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

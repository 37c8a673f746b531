//! Every file under conf/ is what it claims to be: the examples pass `hookgate check`, and each
//! faulty file gives exactly the message that is recorded beside it.
//!
//! The commands run with the project as working directory and an environment of their own, so that
//! messages are the same everywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// What every secret in a faulty file begins with, so that none can be shown unnoticed.
const CANARY: &str = "canary";
/// Rewrites the recorded messages instead of comparing them.
const UPDATE: &str = "UPDATE_EXPECTED";

/// The secrets that the examples ask for.
const SECRETS: [(&str, &str); 32] = [
    ("ANN_TOKEN", "hookgate-example-token-of-ann"),
    ("BANK", "hookgate-example-signing-key"),
    ("BILLING", "whsec_hookgateExampleBilling"),
    ("CI", "hookgate-example-secret-of-ci"),
    ("DASHBOARD_TOKEN", "hookgate-example-token-to-look"),
    ("ERP", "hookgate-example-password"),
    ("GITHUB", "It's a Secret to Everybody"),
    ("GITHUB_API", "hookgate-example-token-of-github"),
    ("GITHUB_NEW", "the new secret"),
    ("GITHUB_OLD", "the old secret"),
    ("GITLAB", "hookgate-example-token"),
    ("GITLAB_SIGNING", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("LEDGER", "whsec_plJ3nmyCDGBKInavdOK15jsl"),
    ("LEGACY", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("READER", "hookgate-example-token-of-readers"),
    ("SCRIPTS", "hookgate-example-bearer"),
    ("SHOPIFY", "hush"),
    ("SLACK", "8f742231b10e8888abcd99yyyzzz85a5"),
    ("SMS", "hookgate-example-client-secret"),
    ("STORE_KEY", "hookgate-example-key-of-the-store"),
    ("STRIPE", "whsec_hookgateExampleSecret"),
    ("STRIPE_API", "hookgate-example-api-key"),
    ("SVIX", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ("SVIX_STAGING", "whsec_plJ3nmyCDGBKInavdOK15jsl"),
    ("TELEGRAM", "hookgate_example_token"),
    ("TELEGRAM_APP", "hookgate_example_app_token"),
    ("TELEGRAM_BOT", "110201543:hookgate-example-bot"),
    ("VK", "hookgate-example-token-of-vk"),
    ("VK_APP", "hookgate-example-secret-of-callbacks"),
    ("WAREHOUSE", "hookgate-example-key"),
    ("WHATSAPP", "hookgate-example-app-secret"),
    ("WHATSAPP_VERIFY", "hookgate-example-verify-token"),
];

#[test]
fn every_example_passes_its_own_tests() {
    let mut used = String::new();
    for file in files("conf").into_iter().chain(files("conf/examples")) {
        let output = hookgate(&["check", "--json", "-c", &file]);
        let told = text(&output.stdout);
        assert!(output.status.success(), "{file}:\n{told}");
        let tests = document(&told)["tests"].as_array().map_or(0, Vec::len);
        // What only polls takes no request that could be judged.
        let takes_requests = read(&file).contains("webhook:");
        assert!(
            tests > 0 || !takes_requests,
            "{file} has no test under `tests:`"
        );
        used += &read(&file);
    }
    for (name, _) in SECRETS {
        let expression = format!("secret.{}", name.to_lowercase());
        assert!(used.contains(&expression), "no example uses {expression}");
    }
}

#[test]
fn an_example_names_every_secret_that_it_needs() {
    for file in files("conf/examples") {
        let text = read(&file);
        let (mut comment, mut rest) = (String::new(), text.as_str());
        while let Some((_, after)) = rest.split_once("${{ secret.") {
            let (name, after) = after.split_once(' ').unwrap();
            let variable = format!("HOOKGATE_SECRET_{}", name.to_uppercase());
            if !text.contains(&variable) {
                comment += &format!("{file} does not say that it needs {variable}\n");
            }
            rest = after;
        }
        assert!(comment.is_empty(), "{comment}");
    }
}

#[test]
fn a_secret_that_is_missing_stops_an_example() {
    let output = command(&["check", "-c", "conf/examples/stripe.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("HOOKGATE_SECRET_STRIPE"), "{told}");
}

#[test]
fn every_faulty_file_gives_its_message() {
    let update = std::env::var_os(UPDATE).is_some();
    let mut differing = Vec::new();
    for file in files("conf/bad") {
        let output = command(&["check", "-c", &file]).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{file}: {told}");
        assert_eq!(text(&output.stdout), "", "{file}");
        let recorded = root().join(&file).with_extension("txt");
        if update {
            std::fs::write(&recorded, &told).unwrap();
        } else if std::fs::read_to_string(&recorded).unwrap_or_default() != told {
            differing.push(format!("{file} now says:\n{told}"));
        }
    }
    assert!(
        differing.is_empty(),
        "{}\nIf this is what a stranger should read, record it: {UPDATE}=1 cargo test conf",
        differing.join("\n")
    );
}

#[test]
fn every_recorded_message_belongs_to_a_faulty_file() {
    let stems = |extension| -> BTreeSet<_> {
        files_with("conf/bad", extension)
            .into_iter()
            .map(|file| file.with_extension(""))
            .collect()
    };
    assert_eq!(stems("txt"), stems("yaml"));
}

#[test]
fn no_message_shows_a_secret() {
    for file in files("conf/bad") {
        for arguments in [
            &["check", "-c", &file][..],
            &["check", "--json", "-c", &file],
            &["serve", "-c", &file],
        ] {
            let output = command(arguments).output().unwrap();
            let told = text(&output.stdout) + &text(&output.stderr);
            assert!(!told.contains(CANARY), "{arguments:?} tells:\n{told}");
        }
    }
    for recorded in files_with("conf/bad", "txt") {
        let told = read(recorded.to_str().unwrap());
        assert!(!told.contains(CANARY), "{}:\n{told}", recorded.display());
    }
}

#[test]
fn every_fault_in_json_has_a_place() {
    for file in files("conf/bad") {
        let output = command(&["check", "--json", "-c", &file]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{file}");
        let document = document(&text(&output.stdout));
        assert_eq!(document["ok"], false, "{file}");
        let faults = document["faults"].as_array().unwrap();
        assert!(!faults.is_empty(), "{file}");
        let lines = read(&file).lines().count() as u64;
        for fault in faults {
            let place = (fault["line"].as_u64(), fault["column"].as_u64());
            let (Some(line), Some(column)) = place else {
                panic!("{file}: {fault} has no place");
            };
            assert!(
                (1..=lines).contains(&line) && column >= 1,
                "{file}: {fault}"
            );
            assert!(fault["message"].is_string(), "{file}: {fault}");
        }
    }
}

#[test]
fn faults_stand_in_the_order_of_the_file() {
    for file in files("conf/bad") {
        let output = command(&["check", "--json", "-c", &file]).output().unwrap();
        let document = document(&text(&output.stdout));
        let places: Vec<_> = document["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|fault| (fault["line"].as_u64(), fault["column"].as_u64()))
            // Faults of the whole file stand at its beginning in JSON, and after all others.
            .filter(|place| *place != (Some(1), Some(1)))
            .collect();
        assert!(places.is_sorted(), "{file}: {places:?}");
    }
}

#[test]
fn a_faulty_file_does_not_serve() {
    for file in ["many-faults", "missing-secret", "tab", "empty"] {
        let path = format!("conf/bad/{file}.yaml");
        let output = command(&["serve", "-c", &path]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{path}");
        let check = command(&["check", "-c", &path]).output().unwrap();
        assert_eq!(text(&output.stderr), text(&check.stderr), "{path}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let output = command(&["check", "-c", "conf/none.yaml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("cannot read conf/none.yaml"), "{told}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The YAML files of a folder as they are named on a command line, in order.
fn files(folder: &str) -> Vec<String> {
    let paths = files_with(folder, "yaml").into_iter();
    let names = paths.map(|path| path.to_str().unwrap().to_owned());
    names.collect()
}

/// Files of a folder, relative to the project.
fn files_with(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| Path::new(folder).join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} has no {extension} file");
    found
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn document(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}:\n{json}"))
}

/// The binary in the project's folder with an empty environment.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hookgate"));
    command.current_dir(root()).env_clear().args(arguments);
    command
}

/// Runs the binary with the secrets of the examples.
fn hookgate(arguments: &[&str]) -> Output {
    let secrets = SECRETS.map(|(name, value)| (format!("HOOKGATE_SECRET_{name}"), value));
    command(arguments).envs(secrets).output().unwrap()
}

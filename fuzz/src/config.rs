//! The configuration file: any text gives a configuration or a report, every fault stands in the
//! text, and no report shows a secret, neither one that stands in the text nor one that it names.
//!
//! Input: the file.

use std::collections::BTreeSet;
use std::path::Path;

use hookgate::config::fault::Report;
use hookgate::config::yaml::{self, Kind, Node, Span};
use hookgate::config::{self, Surroundings, presets};
use hookgate::ingress::rate_limit::Limiters;
use hookgate::secret::SecretSource;

/// What a secret that stands in the text begins with.
const CANARY: &str = "canary";
/// What every secret is that the text names.
const NAMED: &str = "whsec_QSBuYW1lZCBzZWNyZXQgb2YgdGhlIGZ1enplcg";

pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let limiters = Limiters::default();
    let surroundings = Surroundings {
        base: Path::new("nowhere"),
        presets: presets::builtin().unwrap(),
        limiters: &limiters,
    };
    // Secrets never come from files here: `secrets_dir` is whatever the text says.
    let secrets = |_| SecretSource::with_environment(variable, None);
    if let Err(report) = config::parse("hookgate.yaml", text, surroundings, secrets) {
        check_report(text, &report);
    }
}

fn variable(name: &str) -> Option<String> {
    name.starts_with("HOOKGATE_SECRET_")
        .then(|| NAMED.to_owned())
}

fn check_report(text: &str, report: &Report) {
    assert!(!report.is_empty(), "a refusal without a fault");
    for fault in report.faults() {
        let Some(Span { start, end }) = fault.span else {
            continue;
        };
        let lines = text.split('\n').count();
        assert!(
            text.get(start..end).is_some(),
            "{start}..{end}: {}",
            fault.message
        );
        assert!((1..=lines).contains(&report.position(fault).unwrap().line));
    }
    for shown in [report.to_string(), report.coloured()] {
        assert!(text.contains(NAMED) || !shown.contains(NAMED), "{shown}");
        if only_in_secrets(text) {
            assert!(!shown.contains(CANARY), "{shown}");
        }
    }
}

/// Whether the canary stands in the text, and only where `secrets:` says that it is one; an alias
/// may not carry it elsewhere.
fn only_in_secrets(text: &str) -> bool {
    let all = text.matches(CANARY).count();
    match yaml::parse(text).root {
        Some(root) => {
            let mut found = Found::default();
            found.collect(&root, Place::Elsewhere);
            all > 0 && found.secret.len() == all && found.elsewhere.is_empty()
        }
        None => {
            // Without a tree, only a line by itself tells; an expression in it is shown.
            let mut lines = text.lines().filter(|line| line.contains(CANARY));
            let is_secret =
                |line: &str| line.trim_start().starts_with("secrets: ") && !line.contains("{{");
            all > 0 && lines.all(is_secret)
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    BelowSecrets,
    Elsewhere,
}

/// The places of texts with the canary. A text with an expression in it is no secret: its secret
/// part is what the expression names.
#[derive(Default)]
struct Found {
    secret: BTreeSet<Span>,
    elsewhere: BTreeSet<Span>,
}

impl Found {
    fn collect(&mut self, node: &Node, place: Place) {
        match &node.kind {
            Kind::Scalar { text, .. } => self.note(text, node.span, place),
            Kind::Sequence(items) => items.iter().for_each(|item| self.collect(item, place)),
            Kind::Mapping(entries) => {
                for (key, value) in entries {
                    self.note(&key.name, key.span, place);
                    let below = key.name == "secrets" || place == Place::BelowSecrets;
                    let place = if below { Place::BelowSecrets } else { place };
                    self.collect(value, place);
                }
            }
        }
    }

    fn note(&mut self, text: &str, span: Span, place: Place) {
        if !text.contains(CANARY) {
            return;
        }
        let is_secret = place == Place::BelowSecrets && !text.contains("${{");
        let spans = if is_secret {
            &mut self.secret
        } else {
            &mut self.elsewhere
        };
        spans.insert(span);
    }
}

//! The alerts and the dashboard in conf/ ask for what the gateway tells: metrics and labels that
//! exist, in queries that Prometheus takes, and each alert fires when it should.
//!
//! A query is read as words, quoted texts and marks here, which is enough to find names. Whether it
//! is `PromQL`, and what comes out of it, is left to promtool.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::gateway::Gateway;

const RULES: &str = "conf/alerts.yml";
const STORIES: &str = "conf/alerts.test.yml";
const DASHBOARD: &str = "conf/grafana.json";

/// What Prometheus adds to every series of a scrape.
const TARGET_LABELS: [&str; 2] = ["instance", "job"];
/// Words before a list of labels that every metric of the expression behind it must have.
const AGGREGATIONS: [&str; 2] = ["by", "without"];
/// Words before a list of labels that one of the metrics must have; the list may be left out.
const MATCHINGS: [&str; 4] = ["group_left", "group_right", "ignoring", "on"];
/// Other words that stand where a metric could.
const OPERATORS: [&str; 5] = ["and", "bool", "offset", "or", "unless"];

/// Names of series, as queries spell them, with their labels.
type Series = BTreeMap<String, BTreeSet<String>>;

#[tokio::test]
async fn alerts_ask_for_what_is_exported() {
    let exported = exported().await;
    let (rules, stories) = (read(RULES), read(STORIES));
    let queries = values(&rules, "expr: ");
    assert_eq!(queries.len(), alerts(&rules).len());
    for query in queries.iter().chain(&values(&stories, "series: ")) {
        check(query, &exported);
    }
}

#[tokio::test]
async fn the_dashboard_asks_for_what_is_exported() {
    let exported = exported().await;
    let dashboard = dashboard();
    for target in targets(&dashboard) {
        let query = target["expr"].as_str().expect("a target has a query");
        check(query, &exported);
        let legend = target["legendFormat"].as_str().unwrap_or_default();
        for part in legend.split("{{").skip(1) {
            let label = part.split("}}").next().unwrap_or_default();
            let metrics = selectors(&tokens(query));
            let is_known = metrics
                .iter()
                .any(|(metric, _)| exported[*metric].contains(label));
            assert!(is_known, "`{legend}` of {query}");
        }
    }
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let mut asked = BTreeSet::new();
    for query in variables
        .iter()
        .filter_map(|variable| variable["query"]["query"].as_str())
    {
        let arguments = query.strip_prefix("label_values(").unwrap_or_default();
        let arguments = arguments.trim_end_matches(')').split_once(", ");
        let (metric, label) = arguments.unwrap_or_else(|| panic!("no variable: {query}"));
        check(&format!("sum by ({label}) ({metric})"), &exported);
        asked.insert(label);
    }
    assert!(asked.contains("route") && asked.contains("backend"));
}

#[tokio::test]
async fn comments_and_descriptions_name_what_is_exported() {
    let exported = exported().await;
    let spelled = exported.keys().map(String::as_str);
    let known: BTreeSet<_> = spelled.clone().map(family).chain(spelled).collect();
    for file in [RULES, STORIES, DASHBOARD] {
        let text = read(file);
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        for word in words.filter(|word| word.starts_with("hookgate_")) {
            assert!(known.contains(word), "{file}: nothing is called {word}");
        }
    }
}

#[test]
fn an_alert_says_how_grave_it_is_and_what_to_do() {
    let rules = read(RULES);
    for rule in rules.split("- alert: ").skip(1) {
        let severity = values(rule, "severity: ").concat();
        assert!(["critical", "warning"].contains(&&*severity), "{rule}");
        for key in ["for: ", "summary: ", "description: "] {
            assert_eq!(values(rule, key).len(), 1, "{key}in {rule}");
        }
    }
}

#[test]
fn every_alert_fires_in_a_story_and_is_silent_in_one() {
    let stories = read(STORIES);
    let lines = stories.lines().map(str::trim);
    let told: BTreeSet<_> = lines
        .clone()
        .zip(lines.skip(1))
        .filter_map(|(line, next)| Some((line.strip_prefix("alertname: ")?, next)))
        .collect();
    for alert in alerts(&read(RULES)) {
        for expected in ["exp_alerts:", "exp_alerts: []"] {
            assert!(told.contains(&(&*alert, expected)), "{alert}: {expected}");
        }
    }
}

#[test]
fn prometheus_takes_the_rules() {
    promtool(&["check", "rules", RULES]);
}

#[test]
fn the_stories_of_the_alerts_come_true() {
    promtool(&["test", "rules", STORIES]);
}

#[test]
fn prometheus_takes_the_queries_of_the_dashboard() {
    let rules: Vec<_> = targets(&dashboard())
        .iter()
        .enumerate()
        .map(|(number, target)| {
            let query = target["expr"].as_str().unwrap_or_default();
            // What Grafana puts in.
            let query = query
                .replace("$__rate_interval", "1m")
                .replace("$__range", "3h");
            json!({"record": format!("query:{number}"), "expr": query})
        })
        .collect();
    // JSON is YAML.
    let file = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("queries.yml");
    std::fs::write(&path, file.to_string()).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()]);
}

/// Runs promtool, from the path or from where `scripts/deps.sh` puts it, in the project's folder.
fn promtool(arguments: &[&str]) {
    let installed = root().join("target/deps/prometheus/usr/bin/promtool");
    let output = [Path::new("promtool"), &installed]
        .into_iter()
        .find_map(|program| {
            let mut command = Command::new(program);
            command.current_dir(root()).args(arguments).output().ok()
        })
        .expect("promtool is missing: run `make test`, which installs it");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success(), "promtool {arguments:?}:\n{told}");
}

/// What a gateway with a queue exports from its start, and `up`, which Prometheus makes.
async fn exported() -> Series {
    let yaml = "
server: {listen: 127.0.0.1:0}
admin: {listen: 127.0.0.1:0}
backends: {app: {url: http://127.0.0.1:9}}
feeds: {f: {url: 'http://127.0.0.1:9/'}}
routes:
  r: {webhook: {path: /r}, deliver: {to: app, mode: queue}}
  p: {poll: {request: 'http://127.0.0.1:9/'}, deliver: {to: app}}
";
    let exposition = Gateway::start(yaml).await.metrics().await;
    let mut series = Series::new();
    let samples = exposition.lines().filter(|line| !line.starts_with('#'));
    for sample in samples.chain(["up 1"]) {
        let (sample, _value) = sample.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let labels = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0));
        let known = series.entry(name.to_owned()).or_default();
        known.extend(labels.chain(TARGET_LABELS).map(str::to_owned));
    }
    series
}

/// The name of a metric, without what the format adds for a histogram.
fn family(name: &str) -> &str {
    let endings = ["_bucket", "_sum", "_count"];
    let family = endings.iter().find_map(|ending| name.strip_suffix(ending));
    family.unwrap_or(name)
}

/// Claims that all that a query names is there.
fn check(query: &str, exported: &Series) {
    let tokens = tokens(query);
    let metrics = selectors(&tokens);
    assert!(!metrics.is_empty(), "no metric in {query}");
    let has = |metric: &str, label: &str| exported[metric].contains(label);
    for (metric, labels) in &metrics {
        assert!(exported.contains_key(*metric), "no {metric}: {query}");
        for label in labels {
            assert!(has(metric, label), "no `{label}` on {metric}: {query}");
        }
    }
    for (at, word) in tokens.iter().enumerate() {
        let rest = &tokens[at + 1..];
        if AGGREGATIONS.contains(word) {
            let labels = inside(rest);
            let of = selectors(inside(&rest[labels.len() + 2..]));
            for label in names(labels) {
                let on_all = of.iter().all(|(metric, _)| has(metric, label));
                assert!(on_all, "no `{label}` to sum {word}: {query}");
            }
        } else if MATCHINGS.contains(word) && rest.first() == Some(&"(") {
            for label in names(inside(rest)) {
                let on_one = metrics.iter().any(|(metric, _)| has(metric, label));
                assert!(on_one, "no `{label}` to match {word}: {query}");
            }
        }
    }
}

/// The metrics of a query, each with the labels that select its series.
fn selectors<'q>(tokens: &[&'q str]) -> Vec<(&'q str, Vec<&'q str>)> {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let Some((word, after)) = rest.split_first() {
        rest = after;
        let next = rest.first().copied().unwrap_or_default();
        if AGGREGATIONS.contains(word) || MATCHINGS.contains(word) {
            if next == "(" {
                rest = &rest[inside(rest).len() + 2..];
            }
        } else if is_name(word)
            && !OPERATORS.contains(word)
            && next != "("
            && !AGGREGATIONS.contains(&next)
        {
            let labels = if next == "{" { inside(rest) } else { &[] };
            rest = &rest[labels.len()..];
            found.push((*word, names(labels).collect()));
        }
    }
    found
}

/// What stands between the first token, which opens, and the one that closes it.
fn inside<'t, 'q>(tokens: &'t [&'q str]) -> &'t [&'q str] {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "{" => depth += 1,
            ")" | "}" => depth -= 1,
            _ => {}
        }
        assert!(depth > 0 || at > 0, "nothing opens: {tokens:?}");
        if depth == 0 {
            return &tokens[1..at];
        }
    }
    panic!("nothing closes: {tokens:?}");
}

fn names<'q>(tokens: &[&'q str]) -> impl Iterator<Item = &'q str> {
    tokens.iter().copied().filter(|token| is_name(token))
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Words, numbers, quoted texts and marks; times in brackets are left out.
fn tokens(query: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "_:.".contains(c);
    let mut tokens = Vec::new();
    let mut rest = query.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '[' => rest.find(']').map(|at| at + 1),
            '"' => rest[1..].find('"').map(|at| at + 2),
            first if is_word(first) => rest.find(|c| !is_word(c)),
            first => Some(first.len_utf8()),
        };
        let (token, after) = rest.split_at(end.unwrap_or(rest.len()));
        if first != '[' {
            tokens.push(token);
        }
        rest = after.trim_start();
    }
    tokens
}

/// What stands behind a key in YAML: on its line, or indented below it.
fn values(yaml: &str, key: &str) -> Vec<String> {
    let lines: Vec<_> = yaml.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((indent, value)) = line
            .split_once(key)
            .filter(|(indent, _)| indent.chars().all(|c| " -".contains(c)))
        else {
            continue;
        };
        if !["|", ">-"].contains(&value) {
            found.push(value.to_owned());
            continue;
        }
        let is_below = |line: &&&str| line.len() - line.trim_start().len() > indent.len();
        let below = lines[at + 1..].iter().take_while(is_below);
        found.push(below.copied().collect::<Vec<_>>().join("\n"));
    }
    found
}

fn alerts(rules: &str) -> Vec<String> {
    let alerts = values(rules, "- alert: ");
    assert!(!alerts.is_empty(), "{RULES} has no alert");
    alerts
}

fn dashboard() -> Value {
    serde_json::from_str(&read(DASHBOARD)).unwrap()
}

/// The queries of all panels.
fn targets(dashboard: &Value) -> Vec<&Value> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets: Vec<_> = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten()
        .collect();
    assert!(!targets.is_empty(), "{DASHBOARD} has no query");
    targets
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

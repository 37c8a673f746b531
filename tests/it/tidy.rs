//! The house keeps its order: what style.md and ARCHITECTURE.md promise about the source tree.
//!
//! Everything here reads files and looks for plain words; what the compiler and clippy can see is
//! left to them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken assumption of a test must fail the test"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::gateway::Gateway;

/// Where code is.
const CODE: [&str; 5] = ["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"];
/// The most lines of a file.
const LINES_MAX: usize = 600;
/// Files that wait to be cut in pieces, with the lines they may have until then.
const LONG: [(&str, usize); 1] = [("tests/it/support/backend.rs", 650)];

/// Which module may use which. A file belongs to the longest name that fits; a name that has no
/// row here is no module. Stages never import `config`, and do not know each other's adapters.
const IMPORTS: [(&str, &[&str]); 23] = [
    ("access", &["secret"]),
    (
        "app",
        &[
            "admin",
            "clock",
            "config",
            "delivery",
            "dispatch",
            "feed",
            "ingress::service",
            "ingress",
            "metrics",
            "outbound",
            "poll",
            "reload",
            "store",
        ],
    ),
    // What the gateway holds, and what operators do to it; never a stage of a request.
    (
        "admin",
        &[
            "access",
            "clock",
            "delivery",
            "dispatch",
            "event",
            "feed",
            "ingress",
            "ingress::service",
            "metrics",
            "poll",
            "redaction",
            "reload",
            "signature",
            "store",
        ],
    ),
    (
        "cli",
        &[
            "admin",
            "app",
            "clock",
            "config",
            "delivery",
            "event",
            "feed",
            "ingress",
            "outbound",
            "poll",
            "secret",
            "signature",
            "store",
        ],
    ),
    ("clock", &[]),
    // Compiling calls the constructors of what it configures.
    (
        "config",
        &[
            "access",
            "app",
            "delivery",
            "event",
            "expr",
            "feed",
            "inbox",
            "ingress",
            "ingress::service",
            "poll",
            "redaction",
            "request_log",
            "secret",
            "signature",
            "store",
        ],
    ),
    // Pure: what is stored is a noun to it.
    (
        "delivery",
        &["event", "expr", "secret", "signature", "store"],
    ),
    (
        "dispatch",
        &["clock", "delivery", "metrics", "outbound", "store"],
    ),
    ("event", &[]),
    ("expr", &["secret"]),
    // It fetches as polls do, and shows the door ranges; no stage knows where they come from.
    ("feed", &["clock", "ingress", "metrics", "poll"]),
    // It reads the log for others, and knows no request.
    ("inbox", &["clock", "secret", "store"]),
    (
        "ingress",
        &["clock", "delivery", "event", "inbox", "secret", "signature"],
    ),
    // The adapter: the only part of ingress that meets sockets, time and metrics.
    (
        "ingress::service",
        &[
            "clock",
            "delivery",
            "event",
            "inbox",
            "ingress",
            "metrics",
            "outbound",
            "poll",
            "redaction",
            "request_log",
            "secret",
            "signature",
            "store",
        ],
    ),
    // It watches the commits of the store.
    ("metrics", &["store"]),
    ("outbound", &["delivery"]),
    // It asks providers by itself, and knows no request.
    (
        "poll",
        &[
            "clock", "delivery", "event", "expr", "metrics", "secret", "store",
        ],
    ),
    ("redaction", &["secret"]),
    (
        "reload",
        &[
            "access",
            "clock",
            "config",
            "delivery",
            "dispatch",
            "feed",
            "ingress::service",
            "metrics",
            "outbound",
            "poll",
        ],
    ),
    ("request_log", &["event", "redaction"]),
    ("secret", &[]),
    ("signature", &["event", "secret"]),
    ("store", &["event", "secret"]),
];

/// Where Pingora's types may appear.
const PINGORA: [&str; 4] = ["app", "cli", "ingress::service", "outbound"];
/// Where time may be measured, which is not to read the clock: deciding code takes `now`.
const STOPWATCHES: [&str; 7] = [
    "src/clock.rs",
    "src/cli/",
    "src/dispatch/",
    "src/ingress/body",
    "src/ingress/service",
    "src/outbound",
    "src/store/embedded/",
];

#[test]
fn no_file_is_long() {
    for (path, text) in sources(&CODE) {
        let lines = text.lines().count();
        let name = path.display().to_string();
        let allowed = LONG.iter().find(|(long, _)| *long == name);
        let lines_max = allowed.map_or(LINES_MAX, |(_, lines)| *lines);
        assert!(
            lines <= lines_max,
            "{name} has {lines} lines, {lines_max} are allowed"
        );
        assert!(
            allowed.is_none() || lines > LINES_MAX,
            "{name} is short enough now: take it out of LONG"
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources(&CODE) {
        assert!(
            text.starts_with("//! "),
            "{} does not begin with `//! `",
            path.display()
        );
    }
}

#[test]
fn nothing_is_left_for_later() {
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    for (path, text) in sources(&CODE) {
        for word in words {
            let line = text.lines().position(|line| line.contains(word));
            assert!(
                line.is_none(),
                "{}: {word} in line {line:?}",
                path.display()
            );
        }
    }
}

#[test]
fn imports_go_one_way() {
    let mut unused: BTreeSet<(&str, &str)> = IMPORTS
        .iter()
        .flat_map(|(module, uses)| uses.iter().map(move |used| (*module, *used)))
        .collect();
    for (path, text) in sources(&["src"]) {
        let here = module_path(&path);
        if here.is_empty() {
            continue;
        }
        let from =
            owner(&here).unwrap_or_else(|| panic!("{} has no row in IMPORTS", path.display()));
        for (number, line) in code(&text) {
            let at = format!("{}:{number}", path.display());
            assert!(
                !line.contains("crate::{"),
                "{at}: one path a line, so that imports can be read"
            );
            for target in paths(line, &here) {
                let Some(to) = owner(&target) else {
                    panic!("{at}: {} has no row in IMPORTS", target.join("::"));
                };
                unused.remove(&(from, to));
                assert!(
                    from == to || allowed(from, to),
                    "{at}: `{from}` must not use `{to}`"
                );
            }
        }
    }
    assert!(
        unused.is_empty(),
        "nothing needs these any more, take them out of IMPORTS: {unused:?}"
    );
}

#[test]
fn pingora_stays_at_the_edge() {
    for (path, number, line) in lines_of_code() {
        let here = module_path(&path);
        let inside = owner(&here).is_some_and(|owner| PINGORA.contains(&owner));
        assert!(
            inside || !has_path(&line, "pingora_"),
            "{}:{number}: {line}",
            path.display()
        );
    }
}

#[test]
fn only_the_commands_print() {
    let prints = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    for (path, number, line) in lines_of_code() {
        let is_command = owner(&module_path(&path)) == Some("cli");
        let found = prints.iter().any(|print| line.contains(print));
        assert!(is_command || !found, "{}:{number}: {line}", path.display());
    }
}

#[test]
fn only_the_clock_reads_the_time() {
    let readers = [
        "Timestamp::now",
        "Zoned::now",
        "SystemTime::now",
        "Utc::now",
    ];
    for (path, number, line) in lines_of_code() {
        let owner = owner(&module_path(&path));
        let at = format!("{}:{number}: {line}", path.display());
        let reads = readers.iter().any(|reader| line.contains(reader));
        assert!(owner == Some("clock") || !reads, "{at}");
        let name = path.display().to_string();
        let may_measure = STOPWATCHES.iter().any(|place| name.starts_with(place));
        assert!(may_measure || !line.contains("Instant::now"), "{at}");
    }
}

#[test]
fn keys_and_metrics_use_one_word_for_one_idea() {
    let mut names = BTreeSet::new();
    collect_keys(&hookgate::config::schema(), &mut names);
    assert!(names.contains("webhook") && names.contains("deliver"));
    names.extend(documented_metrics().into_keys());
    let other = [
        "message",
        "messages",
        "job",
        "jobs",
        "hook",
        "hooks",
        "endpoint",
        "endpoints",
        "target",
        "targets",
        "upstream",
        "upstreams",
    ];
    for name in &names {
        let found = name.split('_').find(|word| other.contains(word));
        assert!(found.is_none(), "`{name}`: product.md has another word");
    }
}

#[tokio::test]
async fn the_readme_lists_every_metric_and_label() {
    let yaml = "
server: {listen: 127.0.0.1:0}
admin: {listen: 127.0.0.1:0}
backends: {app: {url: http://127.0.0.1:9}}
feeds: {f: {url: 'http://127.0.0.1:9/'}}
routes:
  r: {webhook: {path: /r}, deliver: {to: app, mode: queue}}
  p: {poll: {request: 'http://127.0.0.1:9/'}, deliver: {to: app}}
  i: {webhook: {path: /i}, inbox: {tokens: [t]}}
";
    let gateway = Gateway::start(yaml).await;
    let exported = exported_metrics(&gateway.metrics().await);
    assert_eq!(documented_metrics(), exported);
}

/// Metric names with their labels.
type Metrics = BTreeMap<String, BTreeSet<String>>;

/// The rows of the table in README.md: name, labels, meaning.
fn documented_metrics() -> Metrics {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let section = readme.split("\n## Metrics\n").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `hookgate_"));
    let metrics: Metrics = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').collect();
            let [name, labels, meaning, ..] = cells.as_slice() else {
                panic!("a row has a name, labels and a meaning: {row}");
            };
            assert!(!meaning.trim().is_empty(), "what does this mean: {row}");
            let labels = labels.split('`').skip(1).step_by(2).map(str::to_owned);
            let name = name.trim().trim_end_matches('`');
            (format!("hookgate_{name}"), labels.collect())
        })
        .collect();
    assert!(!metrics.is_empty(), "README.md has no table of metrics");
    metrics
}

/// Names and labels in the text format; `le` and the endings of a histogram belong to the format.
fn exported_metrics(exposition: &str) -> Metrics {
    let mut metrics = Metrics::new();
    for line in exposition.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap_or_default();
            metrics.insert(name.to_owned(), BTreeSet::new());
        }
    }
    for line in exposition.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, labels)) = line.split_once('{') else {
            continue;
        };
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|ending| series.strip_suffix(ending))
            .filter(|family| metrics.contains_key(*family))
            .unwrap_or(series);
        let known = metrics.get_mut(family).expect("a series has a type");
        let labels = labels.split("=\"").map(|before| {
            let start = before.rfind(['"', ',', ' ']).map_or(0, |at| at + 1);
            before[start..].to_owned()
        });
        let is_name = |label: &String| !label.is_empty() && !label.contains('}') && label != "le";
        known.extend(
            labels
                .filter(is_name)
                .filter(|label| label.chars().all(|c| c.is_ascii_lowercase() || c == '_')),
        );
    }
    metrics
}

/// Every key of the configuration file. `message` is what a scheme signs: cryptography's own word.
fn collect_keys(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::Object(properties)) = members.get("properties") {
                let is_scheme = properties.contains_key("algorithm");
                let keys = properties.keys();
                names.extend(
                    keys.filter(|key| !(is_scheme && *key == "message"))
                        .cloned(),
                );
            }
            members
                .values()
                .for_each(|value| collect_keys(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_keys(item, names)),
        _ => {}
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below these folders, relative to the project, with its text.
fn sources(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(root().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(root().join(&path)).unwrap();
                found.push((path, text));
            }
        }
    }
    found.sort();
    assert!(found.len() >= folders.len(), "no sources in {folders:?}");
    found
}

fn lines_of_code() -> Vec<(PathBuf, usize, String)> {
    let mut lines = Vec::new();
    for (path, text) in sources(&["src"]) {
        let code = code(&text).map(|(number, line)| (path.clone(), number, line.to_owned()));
        lines.extend(code);
    }
    lines
}

/// The lines that are compiled into the binary, numbered from 1: no comments, no tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate();
    numbered
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// `src/ingress/gate.rs` → `ingress::gate`; nothing for `lib.rs` and `main.rs`.
fn module_path(path: &Path) -> Vec<String> {
    let path = path.strip_prefix("src").unwrap_or(path).with_extension("");
    let mut names: Vec<_> = path
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.pop_if(|last| matches!(last.as_str(), "mod" | "lib" | "main"));
    names
}

/// The row of the table that a path belongs to: the longest name that fits.
fn owner(path: &[String]) -> Option<&'static str> {
    let fits = |module: &&&str| {
        let names: Vec<_> = module.split("::").collect();
        path.len() >= names.len() && names.iter().zip(path).all(|(a, b)| a == b)
    };
    let modules = IMPORTS.iter().map(|(module, _)| module);
    modules
        .filter(fits)
        .max_by_key(|module| module.len())
        .copied()
}

fn allowed(from: &str, to: &str) -> bool {
    IMPORTS
        .iter()
        .any(|(module, uses)| *module == from && uses.contains(&to))
}

/// The modules that a line names through `crate::` and `super::`, from the root.
fn paths(line: &str, here: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    for word in words {
        let mut names: Vec<_> = word.split("::").collect();
        let mut base: Vec<String> = match names.first() {
            Some(&"crate") => Vec::new(),
            Some(&"super") => here.to_vec(),
            _ => continue,
        };
        while names.first() == Some(&"super") {
            base.pop();
            names.remove(0);
        }
        let is_module = |name: &&str| name.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = names.into_iter().skip_while(|name| *name == "crate");
        base.extend(rest.take_while(is_module).map(str::to_owned));
        if !base.is_empty() {
            found.push(base);
        }
    }
    found
}

/// Whether a line names a path that begins so.
fn has_path(line: &str, beginning: &str) -> bool {
    let words = line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.starts_with(beginning))
        .any(|word| word.contains("::"))
}

//! `hookgate check`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use super::style::{self, Paint};
use crate::clock::{Clock, SystemClock};
use crate::config::fault::Position;
use crate::config::{self, Config, LoadError};
use crate::poll::source::Role;

/// Find every fault of a configuration file and run the tests in it.
#[derive(Args)]
pub(super) struct Check {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// A test of the file, run.
struct TestResult {
    name: String,
    problems: Vec<String>,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let config = match config::load(&self.config) {
            Ok(config) => config,
            Err(failure) => {
                if self.json {
                    print_faults(&failure)?
                } else {
                    style::load_error(&failure)
                }
                return Ok(ExitCode::FAILURE);
            }
        };
        let now = SystemClock.now();
        let results: Vec<_> = config
            .tests
            .iter()
            .map(|test| TestResult {
                name: test.name.clone(),
                problems: test.run(&config.gate, now),
            })
            .collect();
        if self.json {
            print_json(&config, &results)?
        } else {
            self.print(&config, &results)
        }
        let failed = results.iter().any(|result| !result.problems.is_empty());
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn print(&self, config: &Config, results: &[TestResult]) {
        for result in results {
            if result.problems.is_empty() {
                style::print(format!("{} {}", Paint::Green.on("passed"), result.name));
            } else {
                style::print(format!("{} {}", Paint::Red.on("failed"), result.name));
                for problem in &result.problems {
                    style::print(format!("       {problem}"));
                }
            }
        }
        let alone = config.sources.iter().filter(|one| one.role == Role::Alone);
        // What is polled comes over connections of our own, and needs no signature.
        let is_polled = |name: &str| alone.clone().any(|source| *source.name == *name);
        let unchecked = config.routes.iter();
        let unchecked = unchecked.filter(|one| one.check.is_none() && !is_polled(&one.name));
        for route in unchecked {
            let warning = Paint::Yellow.on("warning");
            let name = &route.name;
            style::note(format!(
                "{warning}: route `{name}` verifies nothing: it has no `webhook.verify`"
            ));
        }
        let passed = results
            .iter()
            .filter(|result| result.problems.is_empty())
            .count();
        style::print(format!(
            "{}: {}, {}, {passed} of {} passed",
            self.config.display(),
            count(config.routes.len(), "route"),
            count(config.backends.len(), "backend"),
            count(results.len(), "test"),
        ));
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn print_faults(failure: &LoadError) -> anyhow::Result<()> {
    let faults: Vec<_> = match failure {
        LoadError::Faults(report) => report
            .faults()
            .iter()
            .map(|fault| {
                // An editor has to put a fault of the whole file somewhere.
                let start = Position { line: 1, column: 1 };
                let place = report.position(fault).unwrap_or(start);
                serde_json::json!({
                    "message": fault.message,
                    "line": place.line,
                    "column": place.column,
                    "hint": fault.hint,
                })
            })
            .collect(),
        LoadError::Read { .. } | LoadError::Presets(_) => {
            vec![serde_json::json!({"message": failure.to_string()})]
        }
    };
    let document = serde_json::json!({"ok": false, "faults": faults});
    style::print(serde_json::to_string_pretty(&document)?);
    Ok(())
}

fn print_json(config: &Config, results: &[TestResult]) -> anyhow::Result<()> {
    let tests: Vec<_> = results
        .iter()
        .map(|result| {
            serde_json::json!({
                "name": result.name,
                "passed": result.problems.is_empty(),
                "problems": result.problems,
            })
        })
        .collect();
    let names = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let document = serde_json::json!({
        "ok": results.iter().all(|result| result.problems.is_empty()),
        "routes": names(config.routes.iter().map(|route| route.name.as_str()).collect()),
        "backends": names(config.backends.iter().map(|backend| backend.name.as_str()).collect()),
        "tests": tests,
    });
    style::print(serde_json::to_string_pretty(&document)?);
    Ok(())
}

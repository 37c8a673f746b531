//! `hookgate poll state`: what is stored of a source.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::Value;

use super::super::Outcome;
use super::super::operator::{Gateway, Where, segment};
use super::super::style;
use super::label;
use crate::admin::sources::{self, NewState, StateList, StoredState, without_token};
use crate::store::Log as _;

/// Look at what is stored of a source, or put something in its place.
#[derive(Args)]
pub(super) struct State {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what is stored of a source
    Get(Get),
    /// Let a source go on from a cursor
    Set(Set),
    /// Print what is stored of a source as JSON lines, without its tokens
    Export(Export),
    /// Let a source go on from what an export has printed
    Import(Import),
}

#[derive(Args)]
struct Get {
    /// The source: the name of its route
    name: String,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Set {
    /// The source: the name of its route
    name: String,
    /// The cursor as JSON; a text has quotes ('"2026-01-31T12:00:00Z"')
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    cursor: String,
    /// The partition, where there are several
    #[arg(long)]
    partition: Option<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Export {
    /// The source: the name of its route
    name: String,
    /// Print JSON lines, which it always does
    #[arg(long, hide = true)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Import {
    /// The source: the name of its route
    name: String,
    /// The file that an export was written to
    file: PathBuf,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl State {
    pub(super) async fn run(self) -> Outcome {
        match self.command {
            Command::Get(command) => command.run().await,
            Command::Set(command) => command.run().await,
            Command::Export(command) => command.run().await,
            Command::Import(command) => command.run().await,
        }
    }
}

impl Get {
    async fn run(self) -> Outcome {
        let states = states(&self.at, &self.name).await?;
        print(&self.name, &states, self.json)
    }
}

impl Set {
    async fn run(self) -> Outcome {
        let cursor: Value = serde_json::from_str(&self.cursor)
            .with_context(|| format!("`{}` is no JSON; a text needs quotes", self.cursor))?;
        let new = NewState {
            partition: self.partition,
            cursor: Some(cursor),
            state: None,
        };
        let client = self.at.running().await?;
        let states: StateList = client.put(&path(&self.name), &new).await?;
        print(&self.name, &states, self.json)
    }
}

impl Export {
    async fn run(self) -> Outcome {
        let states = states(&self.at, &self.name).await?;
        for one in states.states {
            let one = StoredState {
                state: without_token(one.state),
                ..one
            };
            style::print(serde_json::to_string(&one)?);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Import {
    async fn run(self) -> Outcome {
        let file = self.file.display();
        let text = std::fs::read_to_string(&self.file);
        let text = text.with_context(|| format!("cannot read {file}"))?;
        let lines: Vec<(usize, &str)> = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .collect();
        if lines.is_empty() {
            bail!("{file} has no line");
        }
        let mut read = Vec::new();
        for (index, line) in lines {
            let one: StoredState = serde_json::from_str(line)
                .with_context(|| format!("line {} of {file} is none of an export", index + 1))?;
            read.push(NewState {
                partition: Some(one.partition),
                cursor: None,
                state: Some(without_token(one.state)),
            });
        }
        let client = self.at.running().await?;
        let mut states = StateList { states: Vec::new() };
        for new in read {
            states = client.put(&path(&self.name), &new).await?;
        }
        print(&self.name, &states, self.json)
    }
}

fn path(name: &str) -> String {
    format!("/sources/{}/state", segment(name))
}

/// What is stored, by the gateway or from its store while it is down.
async fn states(at: &Where, name: &str) -> anyhow::Result<StateList> {
    match at.find().await? {
        Gateway::Running(client) => client.get(&path(name), &[]).await,
        Gateway::Stopped(stopped) => {
            let rows = stopped.log.source(name).await?;
            if rows.is_empty() && !stopped.config.source_names().any(|known| known == name) {
                bail!("there is no source `{name}`");
            }
            let states = sources::states(name, &rows);
            states.map_err(|problem| anyhow::Error::msg(problem.detail))
        }
    }
}

fn print(name: &str, states: &StateList, json: bool) -> Outcome {
    if json {
        style::print(serde_json::to_string(states)?);
        return Ok(ExitCode::SUCCESS);
    }
    if states.states.is_empty() {
        style::note(format!("`{name}` was never read"));
    }
    for one in &states.states {
        style::print(label(&one.source, &one.partition));
        style::print(serde_json::to_string_pretty(&one.state)?);
    }
    Ok(ExitCode::SUCCESS)
}

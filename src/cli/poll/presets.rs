//! `hookgate poll presets`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::style;
use super::super::table::Table;
use crate::config::polls::{self, PollPreset};

/// List the presets for `poll.preset`, or show one.
#[derive(Args)]
pub(super) struct Presets {
    /// The preset to show
    name: Option<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
}

impl Presets {
    pub(super) fn run(self) -> Outcome {
        let Some(name) = &self.name else {
            let all: Vec<PollPreset> = polls::names().map(preset).collect::<Result<_, _>>()?;
            match self.json {
                true => style::print(json!({"presets": all.iter().map(shown).collect::<Vec<_>>()})),
                false => list(&all),
            }
            return Ok(ExitCode::SUCCESS);
        };
        let preset = preset(name)?;
        match self.json {
            true => style::print(shown(&preset)),
            false => show(&preset),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn preset(name: &str) -> anyhow::Result<PollPreset> {
    match polls::find(name) {
        Some(Ok(preset)) => Ok(preset),
        Some(Err(_)) => bail!("the preset `{name}` cannot be read"),
        None => {
            let known: Vec<_> = polls::names().collect();
            bail!(
                "there is no preset `{name}` for polls; known are: {}",
                known.join(", ")
            )
        }
    }
}

fn list(all: &[PollPreset]) {
    let mut table = Table::new(&["PRESET", "WITH", "WHAT IT POLLS"]);
    for preset in all {
        let needed = preset
            .parameters
            .iter()
            .filter(|(_, _, is_needed)| *is_needed);
        let needed: Vec<&str> = needed.map(|(name, _, _)| &**name).collect();
        table.row(vec![
            preset.name.to_owned(),
            needed.join(", "),
            preset.summary.clone(),
        ]);
    }
    table.print("there is none");
}

fn show(preset: &PollPreset) {
    style::print(format!("{}: {}", preset.name, preset.summary));
    style::print(&preset.documentation);
    style::print("");
    let mut table = Table::new(&["WITH", "", "MEANING"]);
    for (name, summary, is_needed) in &preset.parameters {
        let needed = match is_needed {
            true => "needed",
            false => "",
        };
        table.row(vec![name.clone(), needed.to_owned(), summary.clone()]);
    }
    table.print("it needs nothing");
    style::print("");
    style::print(preset.text.trim_end());
}

fn shown(preset: &PollPreset) -> Value {
    let parameter = |(name, summary, is_needed): &(String, String, bool)| json!({"name": name, "summary": summary, "needed": is_needed});
    json!({
        "name": preset.name,
        "summary": preset.summary,
        "documentation": preset.documentation,
        "with": preset.parameters.iter().map(parameter).collect::<Vec<_>>(),
    })
}

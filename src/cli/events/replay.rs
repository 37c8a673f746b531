//! `hookgate events replay`

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::Chosen;
use crate::admin::filter::Filter;
use crate::admin::replay::{Config, NewReplay, Replay as Progress, ReplayState};
use crate::admin::wire::{Made, NewDelivery};
use crate::cli::Outcome;
use crate::cli::operator::{Gateway, Where};
use crate::cli::style::{self, Paint};

/// How often progress is looked at.
const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(super) struct Replay {
    /// The id of one event, or the provider's id of it
    id: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Every event that there is, if nothing else is said
    #[arg(long)]
    all: bool,
    /// To this backend instead of the event's own
    #[arg(long, value_name = "BACKEND")]
    to: Option<String>,
    /// The deliveries that the route would make now, instead of those that the event has
    #[arg(long)]
    current: bool,
    /// The most events in a second
    #[arg(long)]
    rate: Option<std::num::NonZeroU32>,
    /// Only tell how many events there are
    #[arg(long)]
    preview: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Replay {
    pub(super) async fn run(self) -> Outcome {
        let gateway = self.at.find().await?;
        let Gateway::Running(client) = &gateway else {
            bail!("only a running gateway delivers: start it first");
        };
        let config = match self.current {
            true => Config::Current,
            false => Config::Stored,
        };
        if let Some(text) = &self.id {
            let id = gateway.id(text).await?;
            let new = NewDelivery {
                to: self.to.clone(),
                config,
            };
            let made: Made = client.post(&format!("/events/{id}/replay"), &new).await?;
            match self.json {
                true => style::print(serde_json::to_string(&made)?),
                false => style::print(format!(
                    "{} {id}: {} deliveries are due",
                    Paint::Green.on("replayed"),
                    made.deliveries
                )),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let filter = self.chosen.filter()?;
        if filter == Filter::default() && !self.all {
            bail!("say which events: an id, a filter (see --help), or --all");
        }
        let mut new = NewReplay {
            filter,
            to: self.to.clone(),
            config,
            rate: self.rate,
            preview: true,
        };
        let preview: Progress = client.post("/replays", &new).await?;
        if self.preview {
            match self.json {
                true => style::print(serde_json::to_string(&preview)?),
                false => style::print(format!("{} events", preview.found)),
            }
            return Ok(ExitCode::SUCCESS);
        }
        if !self.yes && !agreed(&preview)? {
            style::note("nothing was done");
            return Ok(ExitCode::FAILURE);
        }
        new.preview = false;
        let mut replay: Progress = client.post("/replays", &new).await?;
        let path = format!("/replays/{}", replay.id);
        while !self.detach && replay.state == Some(ReplayState::Running) {
            tokio::time::sleep(PROGRESS_PAUSE).await;
            replay = client.get(&path, &[]).await?;
            if std::io::stderr().is_terminal() {
                let Progress { events, found, .. } = &replay;
                style::unfinished(format!("\r{} events ", style::bar(*events, *found)));
            }
        }
        if std::io::stderr().is_terminal() {
            style::note("");
        }
        match self.json {
            true => style::print(serde_json::to_string(&replay)?),
            false => style::print(format!(
                "replay {}: {} events, {} deliveries, {} skipped",
                replay.id, replay.events, replay.deliveries, replay.skipped
            )),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn agreed(preview: &Progress) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "{} events would be delivered once more; add --yes if that is meant",
            preview.found
        );
    }
    style::unfinished(format!(
        "deliver {} events once more, {} a second? [y/N] ",
        preview.found, preview.rate
    ));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

//! `hookgate poll`

mod presets;
mod state;
mod trial;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Outcome;
use super::operator::{Where, block_on, segment};
use super::style;
use super::table::Table;
use crate::admin::sources::{
    NewAcceptance, NewPause, NewRange, PartitionView, RangeView, SourceList, SourceView,
};

/// How often a range that is read once more is looked at.
const FOLLOWED_EVERY: Duration = Duration::from_millis(300);

/// See what is polled, try a source out, repair how far it is read.
#[derive(Args)]
pub(super) struct Poll {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what is polled, with how it went
    List(List),
    /// Poll a source now
    Run(Named),
    /// Poll a source no more
    Pause(Pause),
    /// Poll a source again
    Resume(Named),
    /// Go on from where a source was, although the file asks for something else now; or tell that
    /// much is gone at once
    Accept(Accept),
    /// Read a range of a source once more, beside its cursor: what was missed is delivered, and what
    /// is known is not
    Replay(Replay),
    /// Forget how far a source was read, and begin anew as `cursor.start` says; what was found
    /// before is not delivered again as long as it is remembered
    Reset(Reset),
    /// List the presets for `poll.preset`, or show one
    Presets(presets::Presets),
    /// Look at what is stored of a source, or put something in its place
    State(state::State),
    /// Ask a provider once, and show what a poll would make of its answer; nothing is kept
    Check(trial::Check),
    /// Show the requests that backends would get for the first items; nothing is kept or sent to
    /// them
    Preview(trial::Preview),
}

#[derive(Args)]
struct List {
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Named {
    /// The source: the name of its route
    name: String,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Pause {
    #[command(flatten)]
    named: Named,
    /// The reason, for whoever looks at it later
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
}

#[derive(Args)]
struct Accept {
    #[command(flatten)]
    named: Named,
    /// Instead of the changed file, that so many items are gone at once: their deletions are told
    #[arg(long)]
    deletions: bool,
}

#[derive(Args)]
struct Replay {
    #[command(flatten)]
    named: Named,
    /// Where it begins: a time (2026-01-31T12:00:00Z), an age (-7d) or `earliest`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: String,
    /// Where it ends: a time or an age. Default: with the newest
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    to: Option<String>,
    /// Deliver again what is known, too, under other ids
    #[arg(long)]
    force: bool,
    /// The partition. Default: all
    #[arg(long)]
    partition: Option<String>,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

#[derive(Args)]
struct Reset {
    #[command(flatten)]
    named: Named,
    /// Do it
    #[arg(long)]
    yes: bool,
}

impl Poll {
    pub(super) fn run(self) -> Outcome {
        let nothing = json!({});
        match self.command {
            Command::List(command) => block_on(command.run()),
            Command::Run(command) => block_on(command.order("run", &nothing)),
            Command::Pause(command) => {
                let body = json!(NewPause { why: command.why });
                block_on(command.named.order("pause", &body))
            }
            Command::Resume(command) => block_on(command.order("resume", &nothing)),
            Command::Accept(command) => {
                let body = json!(NewAcceptance {
                    deletions: command.deletions
                });
                block_on(command.named.order("accept", &body))
            }
            Command::Replay(command) => block_on(command.run()),
            Command::Reset(command) => block_on(command.run()),
            Command::Presets(command) => command.run(),
            Command::State(command) => block_on(command.run()),
            Command::Check(command) => block_on(command.run()),
            Command::Preview(command) => block_on(command.run()),
        }
    }
}

impl List {
    async fn run(self) -> Outcome {
        let client = self.at.running().await?;
        let list: SourceList = client.get("/sources", &[]).await?;
        match self.json {
            true => style::print(serde_json::to_string(&list)?),
            false => print(&list.sources),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Named {
    /// Lets something be done to the source, and shows how it is.
    async fn order(self, what: &str, body: &Value) -> Outcome {
        let client = self.at.running().await?;
        let path = format!("/sources/{}/{what}", segment(&self.name));
        let view: SourceView = client.post(&path, body).await?;
        match self.json {
            true => style::print(serde_json::to_string(&view)?),
            false => print(&[view]),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Replay {
    async fn run(self) -> Outcome {
        let client = self.named.at.running().await?;
        let path = format!("/sources/{}/replay", segment(&self.named.name));
        let body = json!(NewRange {
            from: self.from,
            to: self.to,
            force: self.force,
            partition: self.partition,
        });
        let mut view: SourceView = client.post(&path, &body).await?;
        while !self.detach && ranges(&view).any(|(_, range)| range.ended_at.is_none()) {
            let count = |count: fn(&RangeView) -> u64| -> u64 {
                ranges(&view).map(|(_, range)| count(range)).sum()
            };
            let (new, known) = (count(|range| range.new), count(|range| range.duplicates));
            if std::io::stderr().is_terminal() {
                style::unfinished(format!("\r{new} new, {known} known "));
            }
            tokio::time::sleep(FOLLOWED_EVERY).await;
            let list: SourceList = client.get("/sources", &[]).await?;
            let mut sources = list.sources.into_iter();
            let found = sources.find(|source| source.name == self.named.name);
            view = found.context("the source is not polled any more")?;
        }
        if std::io::stderr().is_terminal() && !self.detach {
            style::note("");
        }
        let is_given_up = ranges(&view).any(|(_, range)| range.given_up.is_some());
        match self.named.json {
            true => style::print(serde_json::to_string(&view)?),
            false => print_ranges(&view),
        }
        Ok(match is_given_up {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }
}

/// The ranges of a source that are read once more, with their partitions.
fn ranges(view: &SourceView) -> impl Iterator<Item = (&str, &RangeView)> {
    let partitions = view.partitions.iter();
    partitions.filter_map(|one| Some((&*one.partition, one.replay.as_ref()?)))
}

fn print_ranges(view: &SourceView) {
    let mut table = Table::new(&["SOURCE", "FROM", "TO", "NEW", "KNOWN", ""]);
    for (partition, range) in ranges(view) {
        table.row(vec![
            label(&view.name, partition),
            seconds(range.from.as_deref()),
            seconds(range.to.as_deref()),
            range.new.to_string(),
            range.duplicates.to_string(),
            match (&range.ended_at, &range.given_up) {
                (None, _) => "under way",
                (Some(_), None) => "done",
                (Some(_), Some(_)) => "given up",
            }
            .to_owned(),
        ]);
    }
    table.print("nothing is read once more");
    for (partition, range) in ranges(view) {
        if let Some(why) = &range.given_up {
            style::note(format!("{}: {why}", label(&view.name, partition)));
        }
    }
}

impl Reset {
    async fn run(self) -> Outcome {
        if !self.yes {
            bail!(
                "this forgets how far `{}` was read: keep that with `hookgate poll state export`, \
                 and say --yes",
                self.named.name
            );
        }
        self.named.order("reset", &json!({})).await
    }
}

fn print(sources: &[SourceView]) {
    let mut table = Table::new(&[
        "SOURCE",
        "LAST POLL",
        "NEW",
        "KNOWN",
        "LAST SUCCESS",
        "NEWEST ITEM",
        "NEXT",
        "",
    ]);
    for source in sources {
        for one in &source.partitions {
            table.row(vec![
                label(&source.name, &one.partition),
                one.outcome.clone().unwrap_or_else(|| "-".to_owned()),
                one.new.to_string(),
                one.duplicates.to_string(),
                seconds(one.last_success_at.as_deref()),
                seconds(one.newest_item_at.as_deref()),
                seconds(one.next_at.as_deref()),
                remark(source, one),
            ]);
        }
    }
    table.print("nothing is polled");
    for source in sources {
        for one in &source.partitions {
            let told = one.paused.as_ref().or(one.error.as_ref());
            if let Some(told) = told {
                let label = label(&source.name, &one.partition);
                style::note(format!("{label}: {told}"));
            }
        }
    }
}

fn remark(source: &SourceView, one: &PartitionView) -> String {
    if !source.enabled {
        return "disabled".to_owned();
    }
    match (&one.paused, one.failures, one.silent) {
        (Some(_), _, _) => "paused".to_owned(),
        (None, 0, true) => "silent".to_owned(),
        (None, 0, false) => String::new(),
        (None, failures, _) => format!("{failures} failed"),
    }
}

fn label(source: &str, partition: &str) -> String {
    match partition {
        "" => source.to_owned(),
        partition => format!("{source}/{partition}"),
    }
}

/// A time without its fraction.
fn seconds(time: Option<&str>) -> String {
    let Some(time) = time else {
        return "-".to_owned();
    };
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

//! `hookgate backends`, `hookgate routes`, `hookgate dead`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::events::print_dead;
use super::operator::{Where, block_on, segment};
use super::style;
use super::table::Table;
use crate::admin::live::{BackendList, RouteList};

/// List backends with their state, or pause one
#[derive(Args)]
pub(super) struct Backends {
    /// Hold the queued deliveries to this backend
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pause: Option<String>,
    /// Deliver to this backend again
    #[arg(long, value_name = "NAME")]
    resume: Option<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Backends {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let client = self.at.running().await?;
            let asked = turn("backends", self.pause.as_deref(), self.resume.as_deref());
            let list: BackendList = match asked {
                Some(path) => client.post(&path, &json!({})).await?,
                None => client.get("/backends", &[]).await?,
            };
            if self.json {
                style::print(serde_json::to_string(&list)?);
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(&[
                "BACKEND",
                "HEALTHY",
                "BREAKER",
                "WAITING",
                "LATE",
                "LAST SUCCESS",
                "",
            ]);
            for one in &list.backends {
                table.row(vec![
                    one.name.clone(),
                    format!("{}/{}", one.healthy, one.addresses),
                    one.breaker.clone(),
                    one.depth.to_string(),
                    format!("{:.0} s", one.lag_seconds),
                    one.last_success_seconds
                        .map_or_else(|| "never".to_owned(), |ago| format!("{ago:.0} s ago")),
                    paused(one.paused),
                ]);
            }
            table.print("no backends");
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// List routes with what waits of them, or pause one
#[derive(Args)]
pub(super) struct Routes {
    /// Answer 503 on this route
    #[arg(long, value_name = "NAME", conflicts_with = "resume")]
    pause: Option<String>,
    /// Take requests on this route again
    #[arg(long, value_name = "NAME")]
    resume: Option<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Routes {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let client = self.at.running().await?;
            let asked = turn("routes", self.pause.as_deref(), self.resume.as_deref());
            let list: RouteList = match asked {
                Some(path) => client.post(&path, &json!({})).await?,
                None => client.get("/routes", &[]).await?,
            };
            if self.json {
                style::print(serde_json::to_string(&list)?);
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new(&["ROUTE", "WAITING", "DELIVERS TO", ""]);
            for one in &list.routes {
                let to = one.deliver.iter();
                let to = to.map(|one| format!("{} ({})", one.backend, one.mode));
                table.row(vec![
                    one.name.clone(),
                    one.depth.to_string(),
                    to.collect::<Vec<_>>().join(", "),
                    paused(one.paused),
                ]);
            }
            table.print("no routes");
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// List deliveries that were given up
#[derive(Args)]
pub(super) struct Dead {
    /// Of this route
    #[arg(long)]
    route: Option<String>,
    /// To this backend
    #[arg(long)]
    backend: Option<String>,
    /// The most events
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Dead {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let gateway = self.at.find().await?;
            print_dead(&gateway, self.route, self.backend, self.limit, self.json).await
        })
    }
}

fn turn(kind: &str, pause: Option<&str>, resume: Option<&str>) -> Option<String> {
    let (name, what) = match (pause, resume) {
        (Some(name), _) => (name, "pause"),
        (None, Some(name)) => (name, "resume"),
        (None, None) => return None,
    };
    Some(format!("/{kind}/{}/{what}", segment(name)))
}

fn paused(is_paused: bool) -> String {
    if is_paused { "paused" } else { "" }.to_owned()
}

//! `hookgate events`

mod replay;

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Outcome;
use super::operator::{Gateway, Next, Where, block_on};
use super::style::{self, Paint};
use super::table::Table;
use crate::admin::api;
use crate::admin::filter::Filter;
use crate::admin::query::Query;
use crate::admin::wire::{Delivery, Detail, Event, EventList, TailLine, Verdict};
use crate::clock::{Clock, SystemClock};

/// How many events are fetched at a time where all are wanted.
const PAGE: usize = 200;
/// Find events, see what became of them, deliver them once more.
#[derive(Args)]
pub(super) struct Events {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List events and refused requests, newest first
    List(List),
    /// Show one event with its request, deliveries and attempts
    Show(Show),
    /// Follow requests as they are answered
    Tail(Tail),
    /// Deliver one event once more, or everything that a filter means
    Replay(replay::Replay),
    /// Print events as JSON lines, newest first
    Export(Export),
}

/// Which events are meant.
#[derive(Args, Clone, Default)]
struct Chosen {
    /// Of this route
    #[arg(long)]
    route: Option<String>,
    /// accepted or refused
    #[arg(long)]
    verdict: Option<String>,
    /// Refused for this reason (signature_mismatch, rate_limited, …)
    #[arg(long)]
    reason: Option<String>,
    /// With a delivery to this backend
    #[arg(long)]
    backend: Option<String>,
    /// With a delivery in this state: pending, leased, delivered or dead
    #[arg(long)]
    state: Option<String>,
    /// Received at or after: a time (2026-01-31T12:00:00Z) or how long ago (2h)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Received before: a time or how long ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// With this id of the provider's
    #[arg(long, value_name = "ID")]
    provider_event_id: Option<String>,
    /// Of this type of the provider's
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// From this address
    #[arg(long, value_name = "ADDRESS")]
    client: Option<String>,
    /// With this text somewhere in head or body
    #[arg(long)]
    text: Option<String>,
}

impl Chosen {
    fn pairs(&self) -> Vec<(String, String)> {
        [
            ("route", &self.route),
            ("verdict", &self.verdict),
            ("reason", &self.reason),
            ("backend", &self.backend),
            ("state", &self.state),
            ("since", &self.since),
            ("until", &self.until),
            ("provider_event_id", &self.provider_event_id),
            ("type", &self.event_type),
            ("client", &self.client),
            ("text", &self.text),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
        .collect()
    }

    fn filter(&self) -> anyhow::Result<Filter> {
        let pairs = self.pairs();
        let value = |key: &str| {
            let pair = pairs.iter().find(|(known, _)| known == key);
            pair.map(|(_, value)| value.clone())
        };
        Filter::from_pairs(value).map_err(anyhow::Error::msg)
    }
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    chosen: Chosen,
    /// The most events
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Show {
    /// The id of the event, or the provider's id of it
    id: String,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Tail {
    /// Only of this route
    #[arg(long)]
    route: Option<String>,
    /// Only with this verdict: accepted, duplicate, refused or handshake
    #[arg(long)]
    verdict: Option<String>,
    /// End after so many lines
    #[arg(long)]
    limit: Option<usize>,
    /// JSON lines for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

#[derive(Args)]
struct Export {
    #[command(flatten)]
    chosen: Chosen,
    /// The most events. Default: all
    #[arg(long)]
    limit: Option<usize>,
    #[command(flatten)]
    at: Where,
}

impl Events {
    pub(super) fn run(self) -> Outcome {
        match self.command {
            Command::List(command) => block_on(command.run()),
            Command::Show(command) => block_on(command.run()),
            Command::Tail(command) => block_on(command.run()),
            Command::Replay(command) => block_on(command.run()),
            Command::Export(command) => block_on(command.run()),
        }
    }
}

impl Gateway {
    async fn page(&self, query: Vec<(String, String)>) -> anyhow::Result<EventList> {
        match self {
            Self::Running(client) => client.get("/events", &query).await,
            Self::Stopped(stopped) => {
                let query = Query::of(query);
                let redaction = &stopped.config.log.redaction;
                let list = api::list(&stopped.log, &query, redaction, SystemClock.now()).await;
                list.map_err(|problem| anyhow::Error::msg(problem.detail))
            }
        }
    }

    /// Events of a filter, newest first, at most `limit`; `each` gets them as they come.
    async fn each(
        &self,
        chosen: &Chosen,
        limit: usize,
        mut each: impl FnMut(&Event) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = limit;
        let mut page: Option<String> = None;
        while left > 0 {
            let mut query = chosen.pairs();
            query.push(("limit".to_owned(), left.min(PAGE).to_string()));
            query.extend(page.map(|page| ("page".to_owned(), page)));
            let list = self.page(query).await?;
            for event in &list.events {
                each(event)?;
            }
            left = left.saturating_sub(list.events.len());
            page = list.next;
            if page.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// The id of an event from its own or the provider's.
    pub(super) async fn id(&self, text: &str) -> anyhow::Result<String> {
        if text.parse::<crate::store::EventId>().is_ok() {
            return Ok(text.to_owned());
        }
        let by_provider = Chosen {
            provider_event_id: Some(text.to_owned()),
            ..Chosen::default()
        };
        let mut found = Vec::new();
        self.each(&by_provider, 2, |event| {
            found.push(event.id.clone());
            Ok(())
        })
        .await?;
        match found.as_slice() {
            [] => bail!("no event has the id `{text}`, and none the provider's id `{text}`"),
            [id] => Ok(id.clone()),
            _ => bail!(
                "several events have the provider's id `{text}`: list them with \
                 `hookgate events list --provider-event-id {text}`"
            ),
        }
    }

    async fn event(&self, id: &str) -> anyhow::Result<Event> {
        let id = self.id(id).await?;
        match self {
            Self::Running(client) => client.get(&format!("/events/{id}"), &[]).await,
            Self::Stopped(stopped) => {
                let shown = api::event(&stopped.log, &id).await;
                let shown = shown.map_err(|problem| anyhow::Error::msg(problem.detail))?;
                Ok(Event::new(
                    &shown,
                    &stopped.config.log.redaction,
                    Detail::All,
                ))
            }
        }
    }
}

impl List {
    async fn run(self) -> Outcome {
        let gateway = self.at.find().await?;
        if self.json {
            let mut events = Vec::new();
            gateway
                .each(&self.chosen, self.limit, |event| {
                    events.push(event.clone());
                    Ok(())
                })
                .await?;
            style::print(json!({"events": events}));
            return Ok(ExitCode::SUCCESS);
        }
        print_list(&gateway, &self.chosen, self.limit).await
    }
}

/// Prints events as a table.
async fn print_list(gateway: &Gateway, chosen: &Chosen, limit: usize) -> Outcome {
    let mut table = Table::new(&["RECEIVED", "ROUTE", "VERDICT", "TYPE", "DELIVERIES", "ID"]);
    gateway
        .each(chosen, limit, |event| {
            table.row(vec![
                seconds(&event.received_at),
                or_dash(&event.route),
                match event.verdict {
                    Verdict::Accepted => "accepted".to_owned(),
                    Verdict::Refused => event.reason.clone().unwrap_or_default(),
                },
                or_dash(event.event_type.as_deref().unwrap_or_default()),
                deliveries(&event.deliveries),
                event.id.clone(),
            ]);
            Ok(())
        })
        .await?;
    table.print("no events");
    Ok(ExitCode::SUCCESS)
}

/// Prints the dead, for `hookgate dead`.
pub(super) async fn print_dead(
    gateway: &Gateway,
    route: Option<String>,
    backend: Option<String>,
    limit: usize,
    json: bool,
) -> Outcome {
    let chosen = Chosen {
        state: Some("dead".to_owned()),
        route,
        backend,
        ..Chosen::default()
    };
    let mut table = Table::new(&["RECEIVED", "ROUTE", "BACKEND", "REASON", "ATTEMPTS", "ID"]);
    let mut events = Vec::new();
    gateway
        .each(&chosen, limit, |event| {
            let dead = event.deliveries.iter().filter(|one| one.reason.is_some());
            for one in dead {
                table.row(vec![
                    seconds(&event.received_at),
                    or_dash(&event.route),
                    one.backend.clone(),
                    one.reason.clone().unwrap_or_default(),
                    one.attempts.len().to_string(),
                    event.id.clone(),
                ]);
            }
            events.push(event.clone());
            Ok(())
        })
        .await?;
    match json {
        true => style::print(json!({"events": events})),
        false => table.print("no delivery was given up"),
    }
    Ok(ExitCode::SUCCESS)
}

/// A time to the second.
fn seconds(at: &str) -> String {
    let cut = at.split('.').next().unwrap_or(at).trim_end_matches('Z');
    cut.replace('T', " ")
}

pub(super) fn or_dash(text: &str) -> String {
    match text {
        "" => "–".to_owned(),
        text => text.to_owned(),
    }
}

fn deliveries(all: &[Delivery]) -> String {
    let one = |one: &Delivery| format!("{} {}", one.backend, one.state.label());
    or_dash(&all.iter().map(one).collect::<Vec<_>>().join(", "))
}

impl Show {
    async fn run(self) -> Outcome {
        let event = self.at.find().await?.event(&self.id).await?;
        if self.json {
            style::print(serde_json::to_string(&event)?);
            return Ok(ExitCode::SUCCESS);
        }
        show(&event);
        Ok(ExitCode::SUCCESS)
    }
}

fn show(event: &Event) {
    let line = |name: &str, value: &str| {
        if !value.is_empty() {
            style::print(format!("{}  {value}", Paint::Dim.on(format!("{name:9}"))));
        }
    };
    style::print(Paint::Bold.on(&event.id));
    line("route", &event.route);
    let verdict = match event.verdict {
        Verdict::Accepted => Paint::Green.on("accepted"),
        Verdict::Refused => Paint::Red.on("refused"),
    };
    line("verdict", &verdict);
    line("reason", event.reason.as_deref().unwrap_or_default());
    line("detail", event.detail.as_deref().unwrap_or_default());
    for finding in &event.findings {
        line("finding", &clean(&finding.text));
    }
    line("type", event.event_type.as_deref().unwrap_or_default());
    line(
        "provider",
        event.provider_event_id.as_deref().unwrap_or_default(),
    );
    line("received", &event.received_at);
    line("client", &event.client_addr);
    style::print("");
    style::print(format!("{} {}", event.method, clean(&event.target)));
    if let Some(request) = &event.request {
        for (name, value) in &request.headers {
            style::print(Paint::Dim.on(clean(&format!("{name}: {value}"))));
        }
        match (&request.body, &request.body_base64) {
            (Some(body), _) if !body.is_empty() => style::print(format!("\n{}", clean(body))),
            (None, Some(body)) => style::print(format!("\n(base64) {body}")),
            _ => {}
        }
        if request.body_is_cut {
            style::note(format!("the body goes on, to {} bytes", event.body_bytes));
        }
    }
    for one in &event.deliveries {
        let paint = match one.state.label() {
            "delivered" => Paint::Green,
            "dead" => Paint::Red,
            _ => Paint::Yellow,
        };
        let reason = one.reason.as_deref().unwrap_or_default();
        style::print(format!(
            "\n→ {} (place {})  {}  {reason} {}",
            Paint::Bold.on(&one.backend),
            one.slot,
            paint.on(one.state.label()),
            one.at
        ));
        for attempt in &one.attempts {
            style::print(format!(
                "  {}. {}  {}  {} ms",
                attempt.number, attempt.at, attempt.outcome, attempt.ms
            ));
            for line in attempt.answer.iter().flat_map(|text| text.lines()) {
                style::print(Paint::Dim.on(format!("     {}", clean(line))));
            }
        }
    }
}

/// What a sender wrote, without what could command a terminal.
pub(super) fn clean(text: &str) -> String {
    let keep = |c: char| c == '\n' || c == '\t' || !c.is_control();
    text.chars()
        .map(|c| if keep(c) { c } else { '\u{fffd}' })
        .collect()
}

impl Tail {
    async fn run(self) -> Outcome {
        let client = self.at.running().await?;
        let query: Vec<(String, String)> = [("route", self.route), ("verdict", self.verdict)]
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect();
        let mut left = self.limit;
        let mut text = Vec::new();
        client
            .follow("/tail", &query, |piece| {
                text.extend_from_slice(piece);
                while let Some(end) = text.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let Some(data) = line.strip_prefix(b"data: ") else {
                        continue;
                    };
                    print_line(data, self.json);
                    if let Some(left) = &mut left {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            return Next::Stop;
                        }
                    }
                }
                Next::Go
            })
            .await?;
        Ok(ExitCode::SUCCESS)
    }
}

fn print_line(data: &[u8], json: bool) {
    let text = String::from_utf8_lossy(data);
    match serde_json::from_str::<TailLine>(&text) {
        Ok(line) if !json => {
            let paint = match line.verdict.as_str() {
                "refused" => Paint::Red,
                "accepted" => Paint::Green,
                _ => Paint::Cyan,
            };
            let verdict = paint.on(format!("{:9}", line.verdict));
            let at = seconds(&line.at);
            let (route, path) = (or_dash(&line.route), clean(&line.path));
            style::print(format!(
                "{at}  {verdict}  {}  {route}  {} {path}  {}  {}",
                line.status, line.method, line.reason, line.id
            ));
        }
        Ok(_) | Err(_) => style::print(text.trim_end()),
    }
}

impl Export {
    async fn run(self) -> Outcome {
        let gateway = self.at.find().await?;
        let limit = self.limit.unwrap_or(usize::MAX);
        let mut ids = Vec::new();
        let mut left = limit;
        let mut page: Option<String> = None;
        while left > 0 {
            let mut query = self.chosen.pairs();
            query.push(("limit".to_owned(), left.min(PAGE).to_string()));
            query.extend(page.map(|page| ("page".to_owned(), page)));
            let list = gateway.page(query).await?;
            ids.extend(list.events.into_iter().map(|event| event.id));
            left = limit.saturating_sub(ids.len());
            for id in ids.drain(..) {
                let event = gateway.event(&id).await?;
                style::print(serde_json::to_string(&event)?);
            }
            page = list.next;
            if page.is_none() {
                break;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

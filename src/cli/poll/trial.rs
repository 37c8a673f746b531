//! `hookgate poll check` and `hookgate poll preview`: one request to a provider, of which nothing is
//! kept.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::super::Outcome;
use super::super::style::{self, Paint};
use super::super::table::Table;
use crate::clock::{Clock, SystemClock};
use crate::config::{self, Config};
use crate::delivery::deliver::deliveries_of;
use crate::delivery::outgoing::{self, Outgoing};
use crate::poll::Source;
use crate::poll::reading::Tools;
use crate::poll::source::Partition;
use crate::poll::state::State;
use crate::poll::trial::{Asked, Onward, Taken, Trial, TrialError, trial};
use crate::store::embedded::{Embedded, Options, Reading};
use crate::store::{Event, Log as _, Observer, Store as _};

/// How many items are shown.
const SHOWN: usize = 3;
/// The most deliveries that the store takes which is thrown away: none is made.
const DEPTH_MAX: u64 = 1000;
/// Its most bytes.
const STORE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Which source is tried.
#[derive(Args)]
struct Tried {
    /// The source: the name of its route
    name: String,
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The partition. Default: the first
    #[arg(long)]
    partition: Option<String>,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct Check {
    #[command(flatten)]
    tried: Tried,
}

#[derive(Args)]
pub(super) struct Preview {
    #[command(flatten)]
    tried: Tried,
    /// The most items
    #[arg(long, default_value_t = 5)]
    limit: usize,
}

impl Check {
    pub(super) async fn run(self) -> Outcome {
        let Some(config) = self.tried.load() else {
            return Ok(ExitCode::FAILURE);
        };
        let source = self.tried.source(&config)?;
        match self.tried.attempt(&config, &source).await? {
            Ok(trial) => {
                match self.tried.json {
                    true => style::print(found_json(&source, &trial)),
                    false => print_found(&source, &trial),
                }
                Ok(ExitCode::SUCCESS)
            }
            Err(error) => self.tried.failed(&error),
        }
    }
}

impl Preview {
    pub(super) async fn run(self) -> Outcome {
        let Some(config) = self.tried.load() else {
            return Ok(ExitCode::FAILURE);
        };
        let source = self.tried.source(&config)?;
        let trial = match self.tried.attempt(&config, &source).await? {
            Ok(trial) => trial,
            Err(error) => return self.tried.failed(&error),
        };
        let now = SystemClock.now();
        let mut made = Vec::new();
        for event in trial.events.iter().take(self.limit) {
            let deliveries = deliveries_of(&source.name, &source.deliver, event, |_| true);
            for delivery in deliveries {
                let mut deliver = source.deliver.iter();
                let Some(deliver) = deliver.find(|one| one.slot == delivery.slot) else {
                    continue;
                };
                made.push(Request {
                    event,
                    backend: delivery.backend.to_string(),
                    outgoing: outgoing::single(event, deliver, Some(1), now)
                        .map_err(|death| death.label()),
                });
            }
        }
        match self.tried.json {
            true => {
                let requests: Vec<_> = made.iter().map(|one| one.json(&source)).collect();
                style::print(json!({"requests": requests}));
            }
            false => print_requests(&source, &made),
        }
        let is_made = made.iter().all(|one| one.outgoing.is_ok());
        Ok(match is_made {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}

impl Tried {
    fn load(&self) -> Option<Config> {
        match config::load(&self.config) {
            Ok(config) => Some(config),
            Err(failure) => {
                style::load_error(&failure);
                None
            }
        }
    }

    fn source(&self, config: &Config) -> anyhow::Result<Arc<Source>> {
        let mut sources = config.sources.iter();
        let found = sources.find(|source| *source.name == *self.name);
        found.cloned().with_context(|| {
            let known: Vec<_> = config.source_names().collect();
            match known.is_empty() {
                true => format!("{} polls nothing", self.config.display()),
                false => format!(
                    "no source is called `{}`; known are: {}",
                    self.name,
                    known.join(", ")
                ),
            }
        })
    }

    fn partition<'s>(&self, source: &'s Source) -> anyhow::Result<&'s Partition> {
        let is_meant = |one: &&Partition| {
            let wanted = self.partition.as_deref();
            wanted.is_none_or(|wanted| *one.key == *wanted)
        };
        source.partitions.iter().find(is_meant).with_context(|| {
            let known: Vec<&str> = source.partitions.iter().map(|one| &*one.key).collect();
            format!(
                "there is no such partition; known are: {}",
                known.join(", ")
            )
        })
    }

    /// Asks the provider once, with a store that is thrown away.
    async fn attempt(
        &self,
        config: &Config,
        source: &Source,
    ) -> anyhow::Result<Result<Trial, TrialError>> {
        let partition = self.partition(source)?;
        let stored = stored(config, source, partition).await;
        let folder = tempfile::tempdir()?;
        let options = Options {
            folder: folder.path().to_owned(),
            depth_max: DEPTH_MAX,
            bytes_max: STORE_BYTES_MAX,
            cache_bytes: STORE_BYTES_MAX,
            cipher: crate::store::cipher::Cipher::default(),
            vfs: None,
        };
        let clock = Arc::new(SystemClock);
        let store = Arc::new(Embedded::open(options, clock.now(), Arc::new(Unwatched))?);
        let tools = Tools {
            store: store.clone(),
            clock,
            chance: fastrand::f64,
            who: fastrand::u64(..),
        };
        let tried = trial(source, partition, stored, &tools).await;
        store.close().await;
        Ok(tried)
    }

    fn failed(&self, error: &TrialError) -> Outcome {
        if self.json {
            let mut document = asked_json(&error.asked);
            if let Some(document) = document.as_object_mut() {
                document.insert("ok".to_owned(), false.into());
                document.insert("error".to_owned(), error.text.clone().into());
            }
            style::print(document);
        } else {
            print_asked(&error.asked);
            style::error(&error.text);
        }
        Ok(ExitCode::FAILURE)
    }
}

/// Nobody looks at the commits of a store that is thrown away.
struct Unwatched;

impl Observer for Unwatched {
    fn committed(&self, _: usize, _: f64, _: f64) {}
}

/// What the gateway has stored of a source, if that can be read.
async fn stored(config: &Config, source: &Source, partition: &Partition) -> State {
    let from_start = |why: &str| {
        style::note(format!("{why}: beginning as `cursor.start` says"));
        State::default()
    };
    let Some(store) = &config.store else {
        return from_start("the file names no store");
    };
    let Ok(log) = Reading::open(&store.folder, store.cipher.clone()) else {
        return from_start("there is no store yet that can be read");
    };
    let rows = log.source(&source.name).await.unwrap_or_default();
    let mut rows = rows.into_iter();
    let row = rows.find(|row| row.key.partition == partition.key);
    match row.and_then(|row| State::parse(&row.document?).ok()) {
        Some(state) => state,
        None => from_start("the source was never read"),
    }
}

fn print_asked(asked: &Asked) {
    if let Some(request) = &asked.request {
        line("request", request);
    }
    if let (Some(status), Some(bytes)) = (asked.status, asked.body_bytes) {
        line("status", &format!("{status}, {bytes} bytes"));
    }
}

fn print_found(source: &Source, trial: &Trial) {
    let mask = |text: &str| source.masker.mask(text);
    print_asked(&trial.asked);
    if trial.is_empty {
        line("items", "the answer says that there is nothing to read");
    } else {
        let filtered = trial.items.iter().filter(|item| item.id.is_none()).count();
        let all = trial.items.len();
        line("items", &format!("{all} on the page, {filtered} filtered"));
        line("taken", &taken(trial));
    }
    let mut table = Table::new(&["  ID", "TIME"]);
    for item in trial.items.iter().take(SHOWN) {
        let id = item.id.as_deref().map_or("(filtered)".to_owned(), mask);
        let time = item.time.map_or("-".to_owned(), |time| time.to_string());
        table.row(vec![format!("  {id}"), time]);
    }
    if !trial.items.is_empty() {
        table.print("");
    }
    let cursor = trial.cursor.as_ref().map(Value::to_string);
    line(
        "cursor",
        &cursor.map_or("none".to_owned(), |text| mask(&text)),
    );
    match &trial.onward {
        Onward::Page(request) => line("next page", request),
        Onward::End(why) => line("next page", &format!("none ({why})")),
    }
    for remark in &trial.remarks {
        line("remark", remark);
    }
    if let Some(guess) = &trial.guess {
        line("hint", &mask(&guess.reason));
        if let Some(yaml) = &guess.yaml {
            line("", &format!("perhaps `pagination: {}`", mask(yaml)));
        }
    }
}

fn taken(trial: &Trial) -> String {
    match trial.taken {
        Taken::All => "every item that was not found before".to_owned(),
        Taken::Since(from) => format!("items from {from} on"),
        Taken::Learned => {
            "none: the first reading only learns what there is (`cursor.start: now`)".to_owned()
        }
        Taken::Compared => "what differs from the list before".to_owned(),
    }
}

fn line(name: &str, text: &str) {
    let name = format!("{name:<10}");
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    style::print(format!("{}{clean}", Paint::Bold.on(name)));
}

fn asked_json(asked: &Asked) -> Value {
    json!({
        "request": asked.request,
        "status": asked.status,
        "bytes": asked.body_bytes,
    })
}

fn found_json(source: &Source, trial: &Trial) -> Value {
    let mask = |text: &str| source.masker.mask(text);
    let filtered = trial.items.iter().filter(|item| item.id.is_none()).count();
    let items: Vec<Value> = trial
        .items
        .iter()
        .take(SHOWN)
        .map(|item| {
            json!({
                "id": item.id.as_deref().map(mask),
                "time": item.time.map(|time| time.to_string()),
            })
        })
        .collect();
    let (next, end) = match &trial.onward {
        Onward::Page(request) => (Some(request), None),
        Onward::End(why) => (None, Some(why)),
    };
    let guess = trial.guess.as_ref().map(|guess| {
        json!({"reason": mask(&guess.reason), "pagination": guess.yaml.as_deref().map(mask)})
    });
    let mut document = json!({
        "ok": true,
        "found": trial.items.len(),
        "filtered": filtered,
        "taken": taken(trial),
        "items": items,
        "cursor": trial.cursor.as_ref().map(|cursor| hidden(cursor, &mask)),
        "next": next,
        "end": end,
        "remarks": trial.remarks,
        "guess": guess,
    });
    if let (Some(document), Value::Object(asked)) =
        (document.as_object_mut(), asked_json(&trial.asked))
    {
        document.extend(asked);
    }
    document
}

/// A value as it is, or as a text if it holds a secret.
fn hidden(value: &Value, mask: &impl Fn(&str) -> String) -> Value {
    let text = value.to_string();
    let masked = mask(&text);
    match masked == text {
        true => value.clone(),
        false => masked.into(),
    }
}

/// The request that a backend would get for an event.
struct Request<'t> {
    event: &'t Event,
    backend: String,
    outgoing: Result<Outgoing, &'static str>,
}

impl Request<'_> {
    fn json(&self, source: &Source) -> Value {
        let mask = |bytes: &[u8]| source.masker.mask(&String::from_utf8_lossy(bytes));
        let mut document = json!({
            "event": self.event.id.to_string(),
            "item": self.event.facts.provider_event_id,
            "backend": self.backend,
        });
        let Some(fields) = document.as_object_mut() else {
            return document;
        };
        match &self.outgoing {
            Ok(outgoing) => {
                fields.insert("method".to_owned(), outgoing.method.clone().into());
                fields.insert("head".to_owned(), mask(&outgoing.head).into());
                let body = match std::str::from_utf8(&outgoing.body) {
                    Ok(_) => ("body", mask(&outgoing.body)),
                    Err(_) => ("body_base64", STANDARD.encode(&outgoing.body)),
                };
                fields.insert(body.0.to_owned(), body.1.into());
            }
            Err(label) => {
                fields.insert("error".to_owned(), (*label).into());
            }
        }
        document
    }
}

fn print_requests(source: &Source, made: &[Request<'_>]) {
    if made.is_empty() {
        style::note("no item would be delivered");
    }
    for one in made {
        let item = one.event.facts.provider_event_id.as_deref();
        let title = format!("item {} to {}", item.unwrap_or("-"), one.backend);
        style::print(Paint::Bold.on(source.masker.mask(&title)));
        match &one.outgoing {
            Ok(outgoing) => {
                let head = source.masker.mask(&String::from_utf8_lossy(&outgoing.head));
                style::print(head.replace('\r', "").trim_end());
                style::print("");
                let body = String::from_utf8_lossy(&outgoing.body);
                style::print(source.masker.mask(&body));
            }
            Err(label) => style::error(&format!("no request can be made: {label}")),
        }
        style::print("");
    }
}

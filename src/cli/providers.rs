//! `hookgate providers`

mod page;

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::style::{self, Paint};
use crate::config::presets;
use crate::signature::handshake::Require;
use crate::signature::key::KeyEncoding;
use crate::signature::preset::Proof;
use crate::signature::scheme::{Scheme, TimestampPlace, UrlPort};
use crate::signature::{Preset, Presets};

/// List the providers that are known, or tell everything about one.
#[derive(Args)]
pub(super) struct Providers {
    /// The name of one provider, or a part of names, titles and categories to list
    name: Option<String>,
    /// Print the page of providers (PROVIDERS.md)
    #[arg(long, hide = true, conflicts_with_all = ["name", "json"])]
    markdown: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Providers {
    pub(super) fn run(self) -> Outcome {
        let presets = presets::builtin().map_err(anyhow::Error::msg)?;
        if self.markdown {
            style::print(page::write(presets).trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        if let Some(preset) = self.name.as_ref().and_then(|name| presets.find(name)) {
            match self.json {
                true => style::print(serde_json::to_string_pretty(&describe(preset))?),
                false => print_one(preset),
            }
            return Ok(ExitCode::SUCCESS);
        }
        let word = self.name.as_deref().unwrap_or_default().to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&word);
        let found: Vec<_> = presets
            .iter()
            .filter(|one| has(&one.name) || has(&one.title) || has(&one.category))
            .collect();
        if found.is_empty() {
            find(presets, &word)?;
        }
        match self.json {
            true => {
                let all: Vec<_> = found.into_iter().map(describe).collect();
                style::print(serde_json::to_string_pretty(&all)?);
            }
            false => print_table(&found),
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Finds a preset, or says which names come near.
pub(super) fn find<'p>(presets: &'p Presets, name: &str) -> anyhow::Result<&'p Preset> {
    presets.find(name).ok_or_else(|| {
        let known: Vec<_> = presets.names().collect();
        anyhow::anyhow!(
            "there is no provider `{name}`; {}",
            crate::config::near(name, &known)
        )
    })
}

fn print_table(presets: &[&Preset]) {
    let widest =
        |pick: fn(&Preset) -> &str| presets.iter().map(|p| pick(p).len()).max().unwrap_or(0);
    let (names, titles) = (
        widest(|preset| &preset.name),
        widest(|preset| &preset.title),
    );
    let head = format!(
        "{:names$}  {:titles$}  {:16}  signature",
        "name", "provider", "category"
    );
    style::print(Paint::Bold.on(head));
    for preset in presets.iter() {
        style::print(format!(
            "{:names$}  {:titles$}  {:16}  {}",
            preset.name,
            preset.title,
            preset.category,
            ways(preset).join(" or "),
        ));
    }
}

fn print_one(preset: &Preset) {
    style::print(format!(
        "{} ({})",
        Paint::Bold.on(&preset.title),
        preset.name
    ));
    let places = |places: &[crate::signature::place::Place]| match places {
        [] => "none".to_owned(),
        places => places
            .iter()
            .map(|place| place.describe())
            .collect::<Vec<_>>()
            .join(", else "),
    };
    let mut lines = vec![("category", preset.category.clone())];
    for way in ways(preset) {
        lines.push(("signature", way));
    }
    if let Proof::Unsupported(reason) = &preset.proof {
        lines.push(("why", reason.trim().to_owned()));
    }
    for (name, what) in &preset.options {
        lines.push(("option", format!("{name}: {what}")));
    }
    lines.push(("event id", places(&preset.event_id)));
    lines.push(("event type", places(&preset.event_type)));
    for handshake in &preset.handshakes {
        let require = match &handshake.require {
            Require::Signature => "signed".to_owned(),
            Require::VerifyToken(place) => format!("verify token in {}", place.describe()),
            Require::Nothing => "unsigned".to_owned(),
        };
        lines.push(("handshake", format!("{}, {require}", handshake.method)));
    }
    if let Some(reply) = &preset.accepted {
        lines.push((
            "answer",
            format!("{} once an event is on disk", reply.status),
        ));
    }
    if let Some(reply) = &preset.refused {
        lines.push(("refusal", reply.status.to_string()));
    }
    if let Some(deadline) = preset.deadline {
        lines.push(("waits", humantime::format_duration(deadline).to_string()));
    }
    if !preset.addresses.is_empty() {
        let ranges: Vec<_> = preset.addresses.iter().map(ToString::to_string).collect();
        lines.push(("addresses", ranges.join(", ")));
    }
    if let Some(feed) = &preset.feed {
        lines.push(("ranges from", feed.url.clone()));
    }
    lines.push(("documentation", preset.docs.clone()));
    if let Some(notes) = &preset.notes {
        lines.push(("notes", notes.clone()));
    }
    for (label, text) in lines {
        style::print(format!("  {} {text}", Paint::Dim.on(format!("{label:14}"))));
    }
    if let Some(lines) = lines_to_write(preset) {
        style::print(format!("\n  {lines}"));
    }
}

/// What to write in a route; `None` = there is nothing to write.
fn lines_to_write(preset: &Preset) -> Option<String> {
    let name = &preset.name;
    let mut inner = vec![format!("provider: {name}")];
    match &preset.proof {
        Proof::Scheme => inner.push(format!("secrets: [\"${{{{ secret.{name} }}}}\"]")),
        Proof::Address => {}
        Proof::Nothing => inner.push("enforce: false".to_owned()),
        Proof::Unsupported(_) => return None,
    }
    if let Some(url) = &preset.sample.public_url {
        inner.push(format!("public_url: \"{url}\""));
    }
    if !preset.sample.options.is_empty() {
        let options = preset.sample.options.iter();
        let options: Vec<_> = options
            .map(|(name, value)| format!("{name}: \"{value}\""))
            .collect();
        inner.push(format!("options: {{{}}}", options.join(", ")));
    }
    Some(format!("verify: {{{}}}", inner.join(", ")))
}

/// How it is known that a request is genuine.
fn ways(preset: &Preset) -> Vec<String> {
    match &preset.proof {
        Proof::Scheme => preset.schemes.iter().map(scheme_in_words).collect(),
        Proof::Address => vec!["nothing is signed: by the address that it sends from".to_owned()],
        Proof::Nothing => vec!["nothing is signed".to_owned()],
        Proof::Unsupported(_) => vec!["cannot be verified here".to_owned()],
    }
}

fn scheme_in_words(scheme: &Scheme) -> String {
    let parts = scheme.parts();
    let time = match &parts.timestamp {
        None => String::new(),
        Some(rule) => {
            let place = match &rule.place {
                TimestampPlace::Request(place) => place.describe(),
                TimestampPlace::Signature(key) => format!("`{key}`"),
                TimestampPlace::Claim(claim) => format!("claim {claim}"),
            };
            let tolerance = rule
                .max_past
                .map(|max| humantime::format_duration(max).to_string());
            format!(
                ", time in {place}, tolerance {}",
                tolerance.unwrap_or("none".into())
            )
        }
    };
    let key = match parts.key.encoding {
        KeyEncoding::Public(form) => format!(", public key in {}", form.describe()),
        _ => String::new(),
    };
    let url = match (scheme.needs_url(), parts.url_port) {
        (false, _) => "",
        (true, UrlPort::AsWritten) => ", over the URL",
        (true, UrlPort::Either) => ", over the URL with or without a port",
    };
    let hash = match &parts.body_hash {
        Some(place) => format!(", hash of the body in {}", place.describe()),
        None => String::new(),
    };
    format!(
        "{} in {}{key}{url}{hash}{time}",
        parts.algorithm.word(),
        parts.place.describe()
    )
}

fn describe(preset: &Preset) -> serde_json::Value {
    let places = |places: &[crate::signature::place::Place]| -> Vec<String> {
        places.iter().map(|place| place.describe()).collect()
    };
    let proof = match &preset.proof {
        Proof::Scheme => "scheme",
        Proof::Address => "address",
        Proof::Nothing => "nothing",
        Proof::Unsupported(_) => "unsupported",
    };
    let schemes: Vec<_> = preset
        .schemes
        .iter()
        .map(|scheme| {
            let parts = scheme.parts();
            json!({
                "algorithm": parts.algorithm.word(),
                "signature": parts.place.describe(),
                "tolerance_seconds": parts
                    .timestamp
                    .as_ref()
                    .and_then(|rule| rule.max_past)
                    .map(|max| max.as_secs()),
            })
        })
        .collect();
    json!({
        "name": preset.name,
        "title": preset.title,
        "category": preset.category,
        "docs": preset.docs,
        "notes": preset.notes,
        "proof": proof,
        "schemes": schemes,
        "options": preset.options,
        "deadline_seconds": preset.deadline.map(|deadline| deadline.as_secs()),
        "event_id": places(&preset.event_id),
        "event_type": places(&preset.event_type),
        "handshakes": preset.handshakes.len(),
        "addresses": preset.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "feed": preset.feed.as_ref().map(|feed| json!({"url": feed.url, "pointer": feed.pointers})),
    })
}

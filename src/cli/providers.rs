//! `hookgate providers`

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::Outcome;
use super::style::{self, Paint};
use crate::config::presets;
use crate::signature::handshake::Require;
use crate::signature::key::KeyEncoding;
use crate::signature::scheme::{Algorithm, Scheme, TimestampPlace, UrlPort};
use crate::signature::{Preset, Presets};

/// List the providers that are known, or tell everything about one.
#[derive(Args)]
pub(super) struct Providers {
    /// The name of one provider
    name: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

impl Providers {
    pub(super) fn run(self) -> Outcome {
        let presets = presets::builtin().map_err(anyhow::Error::msg)?;
        match &self.name {
            Some(name) => {
                let preset = find(presets, name)?;
                if self.json {
                    style::print(serde_json::to_string_pretty(&describe(preset))?);
                } else {
                    print_one(preset);
                }
            }
            None if self.json => {
                let all: Vec<_> = presets.iter().map(describe).collect();
                style::print(serde_json::to_string_pretty(&all)?);
            }
            None => print_table(presets),
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

fn print_table(presets: &Presets) {
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
        let ways: Vec<_> = preset.schemes.iter().map(scheme_in_words).collect();
        style::print(format!(
            "{:names$}  {:titles$}  {:16}  {}",
            preset.name,
            preset.title,
            preset.category,
            ways.join(" or "),
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
    for scheme in &preset.schemes {
        lines.push(("signature", scheme_in_words(scheme)));
    }
    lines.push(("event id", places(&preset.event_id)));
    lines.push(("event type", places(&preset.event_type)));
    for handshake in &preset.handshakes {
        let require = match &handshake.require {
            Require::Signature => "signed".to_owned(),
            Require::VerifyToken(place) => format!("verify token in {}", place.describe()),
        };
        lines.push(("handshake", format!("{}, {require}", handshake.method)));
    }
    if !preset.addresses.is_empty() {
        let ranges: Vec<_> = preset.addresses.iter().map(ToString::to_string).collect();
        lines.push(("addresses", ranges.join(", ")));
    }
    lines.push(("documentation", preset.docs.clone()));
    if let Some(notes) = &preset.notes {
        lines.push(("notes", notes.clone()));
    }
    for (label, text) in lines {
        style::print(format!("  {} {text}", Paint::Dim.on(format!("{label:14}"))));
    }
    let public_url = match &preset.sample.public_url {
        Some(url) => format!(", public_url: \"{url}\""),
        None => String::new(),
    };
    style::print(format!(
        "\n  verify: {{provider: {}, secrets: [\"${{{{ secret.{} }}}}\"]{public_url}}}",
        preset.name, preset.name
    ));
}

fn scheme_in_words(scheme: &Scheme) -> String {
    let parts = scheme.parts();
    let time = match &parts.timestamp {
        None => String::new(),
        Some(rule) => {
            let place = match &rule.place {
                TimestampPlace::Request(place) => place.describe(),
                TimestampPlace::Signature(key) => format!("`{key}`"),
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
        KeyEncoding::Utf8 | KeyEncoding::Base64 | KeyEncoding::Hex => String::new(),
    };
    let url = match (parts.message.needs_url(), parts.url_port) {
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
        algorithm(parts.algorithm),
        parts.place.describe()
    )
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HmacSha1 => "hmac-sha1",
        Algorithm::HmacSha256 => "hmac-sha256",
        Algorithm::HmacSha384 => "hmac-sha384",
        Algorithm::HmacSha512 => "hmac-sha512",
        Algorithm::Ed25519 => "ed25519",
        Algorithm::EcdsaP256Sha256(_) => "ecdsa-p256-sha256",
        Algorithm::Static => "static",
        Algorithm::Basic => "basic",
        Algorithm::Bearer => "bearer",
    }
}

fn describe(preset: &Preset) -> serde_json::Value {
    let places = |places: &[crate::signature::place::Place]| -> Vec<String> {
        places.iter().map(|place| place.describe()).collect()
    };
    let schemes: Vec<_> = preset
        .schemes
        .iter()
        .map(|scheme| {
            let parts = scheme.parts();
            json!({
                "algorithm": algorithm(parts.algorithm),
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
        "schemes": schemes,
        "event_id": places(&preset.event_id),
        "event_type": places(&preset.event_type),
        "handshakes": preset.handshakes.len(),
        "addresses": preset.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

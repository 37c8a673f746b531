//! Compiles a preset file.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::{Compiler, value};
use crate::config::Surroundings;
use crate::config::decode::{Entries, Field, OneOrMany};
use crate::config::fault::Fault;
use crate::config::raw::provider as raw;
use crate::config::raw::verify::From;
use crate::event::Headers;
use crate::expr::scoped::Engine;
use crate::ingress::rate_limit::Limiters;
use crate::secret::Secret;
use crate::signature::handshake::{Handshake, Require};
use crate::signature::place::Place;
use crate::signature::preset::Sample;
use crate::signature::{Preset, Presets};

/// A preset with the genuine requests that prove it.
pub struct CompiledProvider {
    /// The preset.
    pub preset: Preset,
    /// Its genuine requests.
    pub vectors: Vec<CompiledVector>,
}

/// A genuine request, and what must be decided about it.
pub struct CompiledVector {
    /// What it shows.
    pub name: String,
    /// Who made it.
    pub source: String,
    /// The secret it was signed with.
    pub secret: Secret,
    /// The moment of judging.
    pub now: Timestamp,
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The URL that the provider has, where it signs that.
    pub public_url: Option<String>,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: String,
    /// The event's id, where it has one.
    pub event_id: Option<String>,
    /// The event's type, where it has one.
    pub event_type: Option<String>,
    /// `accepted`, or the reason of the refusal.
    pub expect: String,
}

/// Compiles the preset called `name`; gives none when something essential is missing.
pub fn compile_provider(
    name: &str,
    file: &raw::Provider,
) -> (Option<CompiledProvider>, Vec<Fault>) {
    let presets = Presets::default();
    let limiters = Limiters::default();
    let surroundings = Surroundings {
        base: Path::new(""),
        presets: &presets,
        limiters: &limiters,
    };
    let engine = Engine::new(Arc::new(|_, name| Err(format!("a preset has no `{name}`"))));
    let mut compiler = Compiler::new(surroundings, &engine);
    let compiled = compiler.provider(name, file);
    (compiled, compiler.faults)
}

impl Compiler<'_> {
    fn provider(&mut self, name: &str, file: &raw::Provider) -> Option<CompiledProvider> {
        let schemes: Vec<_> = file
            .schemes
            .get()?
            .iter()
            .filter_map(|field| self.scheme(field))
            .collect();
        if schemes.is_empty() {
            self.fault(file.schemes.span, "a provider has at least one scheme");
        }
        let event = value(&file.event);
        let event_id = event
            .map(|event| self.places(&event.id))
            .unwrap_or_default();
        let event_type = event
            .map(|event| self.places(&event.event_type))
            .unwrap_or_default();
        let handshakes = value(&file.handshakes)
            .into_iter()
            .flatten()
            .filter_map(|field| self.handshake(field))
            .collect();
        let addresses = match value(&file.addresses) {
            Some(fields) => self.ranges(fields),
            None => Vec::new(),
        };
        let sample = file.sample.get()?;
        let preset = Preset {
            name: name.to_owned(),
            title: file.title.get()?.clone(),
            category: file.category.get()?.clone(),
            docs: file.docs.get()?.clone(),
            notes: value(&file.notes).cloned(),
            schemes,
            event_id,
            event_type,
            handshakes,
            addresses,
            sample_secret: sample.secret.get()?.clone(),
            sample: Sample {
                headers: headers(sample.headers.get()?),
                public_url: value(&sample.public_url).cloned(),
                body: sample.body.get()?.clone(),
            },
        };
        let vectors = file
            .vectors
            .get()?
            .iter()
            .filter_map(|field| self.vector(field))
            .collect::<Vec<_>>();
        if vectors.is_empty() {
            self.fault(
                file.vectors.span,
                "a preset is proven by at least one genuine request",
            );
        }
        Some(CompiledProvider { preset, vectors })
    }

    fn places(&mut self, fields: &Option<Field<OneOrMany<From>>>) -> Vec<Place> {
        value(fields)
            .into_iter()
            .flatten()
            .filter_map(|field| self.place(field))
            .collect()
    }

    fn handshake(&mut self, field: &Field<raw::HandshakeRule>) -> Option<Handshake> {
        let rule = field.get()?;
        let mut matches = Vec::new();
        for (key, field) in value(&rule.query).into_iter().flatten() {
            matches.push((Place::Query(key.name.clone()), field.get()?.clone()));
        }
        for (key, field) in value(&rule.json).into_iter().flatten() {
            matches.push((self.json_place(key.span, &key.name)?, field.get()?.clone()));
        }
        if matches.is_empty() {
            self.fault(
                field.span,
                "a handshake is told from an event by `query` or `json`",
            );
        }
        let mut absent = Vec::new();
        for field in value(&rule.absent).into_iter().flatten() {
            absent.push(self.json_place(field.span, field.get()?)?);
        }
        let require = match &rule.verify_token {
            Some(field) => Require::VerifyToken(self.place(field)?),
            None => Require::Signature,
        };
        let content_type = value(&rule.content_type)
            .cloned()
            .unwrap_or_else(|| "text/plain".to_owned());
        if content_type.to_ascii_lowercase().contains("html") {
            self.fault(field.span, "a handshake is never answered with HTML");
        }
        Some(Handshake {
            method: rule.method.get()?.clone(),
            matches,
            absent,
            require,
            status: value(&rule.status).copied().unwrap_or(200),
            content_type,
            body: self.message(&rule.body)?,
        })
    }

    fn vector(&mut self, field: &Field<raw::Vector>) -> Option<CompiledVector> {
        let vector = field.get()?;
        let now = Timestamp::from_second(*vector.now.get()?);
        Some(CompiledVector {
            name: vector.name.get()?.clone(),
            source: vector.source.get()?.clone(),
            secret: Secret::new(vector.secret.get()?.clone()),
            now: self.try_at(vector.now.span, now)?,
            method: value(&vector.method)
                .cloned()
                .unwrap_or_else(|| "POST".to_owned()),
            target: value(&vector.target)
                .cloned()
                .unwrap_or_else(|| "/hooks/in".to_owned()),
            public_url: value(&vector.public_url).cloned(),
            headers: headers(vector.headers.get()?),
            body: vector.body.get()?.clone(),
            event_id: value(&vector.event_id).cloned(),
            event_type: value(&vector.event_type).cloned(),
            expect: value(&vector.expect)
                .cloned()
                .unwrap_or_else(|| "accepted".to_owned()),
        })
    }
}

pub(super) fn headers(entries: &Entries<String>) -> Headers {
    let mut headers = Headers::default();
    for (key, field) in entries {
        if let Some(value) = field.get() {
            headers.push(key.name.clone(), value.clone());
        }
    }
    headers
}

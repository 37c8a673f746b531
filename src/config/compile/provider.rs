//! Compiles a preset file.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::verify::options;
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
use crate::signature::handshake::{Handshake, Require, Task};
use crate::signature::message::Message;
use crate::signature::place::Place;
use crate::signature::preset::{Proof, Sample};
use crate::signature::reply::Reply;
use crate::signature::{Preset, Presets, Terms};

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
    /// What was agreed on with the provider.
    pub terms: Terms,
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
        let schemes: Vec<_> = value(&file.schemes)
            .into_iter()
            .flatten()
            .filter_map(|field| self.scheme(field))
            .collect();
        let proof = self.proof(file)?;
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
        let sample = value(&file.sample);
        if proof == Proof::Scheme && sample.is_none() {
            self.fault(file.title.span, "a provider has a sample");
        }
        let reply = value(&file.reply);
        let accepted = reply.and_then(|reply| self.reply_of(&reply.accepted));
        let refused = reply.and_then(|reply| self.reply_of(&reply.refused));
        let preset = Preset {
            name: name.to_owned(),
            title: file.title.get()?.clone(),
            category: file.category.get()?.clone(),
            docs: file.docs.get()?.clone(),
            notes: value(&file.notes).cloned(),
            proof,
            options: value(&file.options).map(options).unwrap_or_default(),
            schemes,
            event_id,
            event_type,
            handshakes,
            accepted,
            refused,
            deadline: value(&file.deadline).map(|period| period.as_duration()),
            addresses,
            feed: file
                .feed
                .as_ref()
                .and_then(|field| self.published_feed(name, field)),
            sample_secret: sample
                .and_then(|sample| value(&sample.secret))
                .cloned()
                .unwrap_or_default(),
            sample: match sample {
                Some(sample) => Sample {
                    headers: headers(sample.headers.get()?),
                    public_url: value(&sample.public_url).cloned(),
                    options: value(&sample.options).map(options).unwrap_or_default(),
                    body: sample.body.get()?.clone(),
                },
                None => Sample::default(),
            },
        };
        let vectors = value(&file.vectors)
            .into_iter()
            .flatten()
            .filter_map(|field| self.vector(field))
            .collect::<Vec<_>>();
        Some(CompiledProvider { preset, vectors })
    }

    /// How a provider proves that a request is its own: it says so in one way.
    fn proof(&mut self, file: &raw::Provider) -> Option<Proof> {
        let named = [
            ("schemes", file.schemes.as_ref().map(|field| field.span)),
            ("proof", file.proof.as_ref().map(|field| field.span)),
            (
                "unsupported",
                file.unsupported.as_ref().map(|field| field.span),
            ),
        ];
        self.only_one("a provider", &named, file.title.span)?;
        Some(match (value(&file.proof), value(&file.unsupported)) {
            (Some(raw::Proof::Address), _) => Proof::Address,
            (Some(raw::Proof::Nothing), _) => Proof::Nothing,
            (None, Some(reason)) => Proof::Unsupported(reason.clone()),
            (None, None) => Proof::Scheme,
        })
    }

    fn reply_of(&mut self, field: &Option<Field<raw::Reply>>) -> Option<Reply> {
        let raw = value(field)?;
        let body = match &raw.body {
            Some(field) => self.message(field)?,
            None => Message::literal(""),
        };
        let plain = || "text/plain".to_owned();
        let content_type = value(&raw.content_type).cloned();
        Some(Reply {
            status: *raw.status.get()?,
            content_type: (!body.is_empty()).then(|| content_type.unwrap_or_else(plain)),
            body,
        })
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
        for (key, field) in value(&rule.header).into_iter().flatten() {
            let place = self.header_place(key.span, &key.name)?;
            matches.push((place, field.get()?.clone()));
        }
        let present = self.places(&rule.present);
        let method = rule.method.get()?;
        if matches.is_empty() && present.is_empty() && method == "POST" {
            self.fault(
                field.span,
                "a handshake is told from an event by `query`, `json`, `header` or `present`",
            );
        }
        let mut absent = Vec::new();
        for field in value(&rule.absent).into_iter().flatten() {
            absent.push(self.json_place(field.span, field.get()?)?);
        }
        let require = match (&rule.verify_token, value(&rule.require)) {
            (Some(field), _) => Require::VerifyToken(self.place(field)?),
            (None, Some(raw::Require::Nothing)) => Require::Nothing,
            (None, Some(raw::Require::Signature) | None) => Require::Signature,
        };
        let mut headers = Vec::new();
        for (key, field) in value(&rule.headers).into_iter().flatten() {
            self.header_place(key.span, &key.name)?;
            headers.push((key.name.clone(), self.message(field)?));
        }
        let task = match (value(&rule.visit), &rule.keep) {
            (Some(visit), _) => {
                let hosts = visit.hosts.get()?.iter();
                let hosts = hosts.filter_map(|field| field.get().cloned()).collect();
                Some(Task::Visit(self.place(&visit.from)?, hosts))
            }
            (None, Some(field)) => Some(Task::Keep(self.place(field)?)),
            (None, None) => None,
        };
        let content_type = value(&rule.content_type)
            .cloned()
            .unwrap_or_else(|| "text/plain".to_owned());
        if content_type.to_ascii_lowercase().contains("html") {
            self.fault(field.span, "a handshake is never answered with HTML");
        }
        Some(Handshake {
            method: method.clone(),
            matches,
            present,
            absent,
            require,
            status: value(&rule.status).copied().unwrap_or(200),
            content_type,
            headers,
            body: self.message(&rule.body)?,
            task,
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
            terms: Terms {
                public_url: value(&vector.public_url).cloned(),
                options: value(&vector.options).map(options).unwrap_or_default(),
            },
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

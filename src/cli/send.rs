//! `hookgate send`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::Outcome;
use super::providers::find;
use super::style::{self, Paint};
use crate::clock::{Clock, SystemClock};
use crate::config::presets;
use crate::delivery::backend::{Backend, Origin};
use crate::event::{Head, Header};
use crate::outbound::{Received, Road};
use crate::secret::{Secret, SecretSource};
use crate::signature::key::Key;
use crate::signature::preset::Proof;
use crate::signature::sign::{Body, Stamp};
use crate::signature::{Preset, Scheme, Terms};

/// How much of an answer is shown.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sign a sample as a provider would, send it, show the answer.
#[derive(Args)]
pub(super) struct Send {
    /// The name of the provider (see `hookgate providers`)
    provider: String,
    /// Where to send it
    #[arg(long, value_name = "URL")]
    to: String,
    /// The secret to sign with. Default: HOOKGATE_SECRET_<PROVIDER>, else the sample's own
    #[arg(long)]
    secret: Option<String>,
    /// A file to send instead of the sample's body
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The URL to sign, for providers that sign it (what the route has as `public_url`).
    /// Default: the one given with --to
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Sign as if that long ago (5m, 1h)
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    age: Option<Duration>,
    /// Change the body after signing, as a forger would
    #[arg(long)]
    forge: bool,
}

impl Send {
    pub(super) fn run(self) -> Outcome {
        let presets = presets::builtin().map_err(anyhow::Error::msg)?;
        let preset = find(presets, &self.provider)?;
        let (secret, from) = self.secret(preset)?;
        let mut body = match &self.body {
            Some(path) => {
                std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?
            }
            None => preset.sample.body.clone().into_bytes(),
        };
        let age = SignedDuration::try_from(self.age.unwrap_or_default())?;
        let at = SystemClock.now().checked_sub(age)?;
        let public_url = self.public_url.as_deref();
        let head = sign_as(preset, &secret, &self.to, public_url, &mut body, at)?;
        if self.forge {
            body.push(b' ');
        }
        style::note(Paint::Dim.on(format!("signed with {from}")));
        let received = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(send(&self.to, &head, &Bytes::from(body)))?;
        show(&received);
        let good = (200..300).contains(&received.status);
        Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// The secret, and where it came from.
    fn secret(&self, preset: &Preset) -> anyhow::Result<(Secret, &'static str)> {
        if let Some(text) = &self.secret {
            return Ok((Secret::new(text.clone()), "the secret given"));
        }
        let variable = format!("HOOKGATE_SECRET_{}", preset.name.to_ascii_uppercase());
        let source = SecretSource::new(None);
        match source.variable(&variable) {
            Some(text) => Ok((Secret::new(text), "the secret of the environment")),
            None => Ok((
                Secret::new(preset.sample_secret.clone()),
                "the sample's own secret",
            )),
        }
    }
}

/// A sample of the provider, signed at a moment, for the path of a URL.
pub(super) fn sign<'b>(
    preset: &Preset,
    secret: &Secret,
    url: &str,
    body: impl Into<Body<'b>>,
    at: Timestamp,
) -> anyhow::Result<Head> {
    sign_as(preset, secret, url, None, body, at)
}

/// The same for a gateway whose public URL may be another than where the request is sent.
fn sign_as<'b>(
    preset: &Preset,
    secret: &Secret,
    url: &str,
    public_url: Option<&str>,
    body: impl Into<Body<'b>>,
    at: Timestamp,
) -> anyhow::Result<Head> {
    let origin = Origin::parse(url)?;
    let path = if origin.base_path.is_empty() {
        "/"
    } else {
        &origin.base_path
    };
    let query = origin
        .query
        .as_ref()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let mut head = Head {
        method: "POST".into(),
        target: Bytes::from(format!("{path}{query}")),
        host: Some(origin.authority.to_string()),
        headers: std::iter::once(("Host", origin.authority.to_string()))
            .map(|(name, value)| Header {
                name: name.into(),
                value: value.into(),
            })
            .chain(preset.sample.headers.iter().cloned())
            .collect(),
    };
    match &preset.proof {
        Proof::Scheme => {}
        // What it sends is its sample, as it stands.
        Proof::Address | Proof::Nothing => return Ok(head),
        Proof::Unsupported(reason) => {
            bail!("{} cannot be signed here: {}", preset.title, reason.trim())
        }
    }
    let (scheme, key) = signer(preset, secret)?;
    let id = format!("msg_{}", uuid::Uuid::now_v7().simple());
    // The query is signed as it is sent, with what signing adds to it.
    let public_url = public_url.or_else(|| url.split('?').next());
    let terms = Terms {
        public_url: public_url.map(str::to_owned),
        options: preset.sample.options.clone(),
    };
    let stamp = Stamp { at, id: &id };
    scheme.sign(&key, &mut head, body, &stamp, &terms)?;
    Ok(head)
}

/// The first way of a provider that the secret fits.
fn signer<'p>(preset: &'p Preset, secret: &Secret) -> anyhow::Result<(&'p Scheme, Key)> {
    let mut refused = None;
    for scheme in &preset.schemes {
        match Key::new(scheme.parts().algorithm, &scheme.parts().key, secret) {
            Ok(key) => return Ok((scheme, key)),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.map_or_else(|| anyhow!("the provider signs nothing"), Into::into))
}

/// Sends a request, framed by the length of this body, and reads the answer, cut off where nobody
/// would read on.
pub(super) async fn send(url: &str, head: &Head, body: &Bytes) -> anyhow::Result<Received> {
    exchange(url, head, body, ANSWER_BYTES_MAX).await
}

/// Sends a request without a body and reads the whole answer.
pub(super) async fn read_all(url: &str, head: &Head) -> anyhow::Result<Received> {
    exchange(url, head, &Bytes::new(), usize::MAX).await
}

async fn exchange(
    url: &str,
    head: &Head,
    body: &Bytes,
    bytes_max: usize,
) -> anyhow::Result<Received> {
    let origin = Origin::parse(url)?;
    let backend = Backend::at(origin, TIMEOUT);
    let road = Road::new(Arc::new(backend));
    road.refresh().await;
    // The length is that of what is sent, not of what was signed: a forger changes the body.
    let mut sent = head.clone();
    sent.headers.set("Content-Length", body.len().to_string());
    let answer = road.send(&head.method, &written(&sent), body).await;
    let answer = answer.with_context(|| format!("cannot send to {url}"))?;
    answer
        .receive(bytes_max)
        .await
        .with_context(|| format!("no whole answer from {url}"))
}

/// A head as it is sent.
pub(super) fn written(head: &Head) -> Bytes {
    let mut wire = format!("{} ", head.method).into_bytes();
    wire.extend_from_slice(&head.target);
    wire.extend_from_slice(b" HTTP/1.1\r\n");
    for Header { name, value } in head.headers.iter() {
        wire.extend_from_slice(name);
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value);
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"\r\n");
    Bytes::from(wire)
}

fn show(received: &Received) {
    let status = http::StatusCode::from_u16(received.status).ok();
    let reason = status
        .and_then(|status| status.canonical_reason())
        .unwrap_or_default();
    let paint = if received.status < 400 {
        Paint::Green
    } else {
        Paint::Red
    };
    style::print(paint.on(format!("{} {reason}", received.status)));
    for (name, value) in &received.headers {
        style::print(Paint::Dim.on(format!("{name}: {value}")));
    }
    if !received.body.is_empty() {
        style::print(String::from_utf8_lossy(&received.body));
    }
}

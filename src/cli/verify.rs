//! `hookgate verify`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Outcome, style};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::config;
use crate::event::{ClientAddr, Fingerprint, Head, Headers, Verdict};
use crate::feed;
use crate::ingress::Gate;
use crate::ingress::gate::Judgement;
use crate::signature::known_keys::KnownKeys;

/// Judge recorded requests offline, without a socket: one JSON line in, one JSON line out.
#[derive(Args)]
pub(super) struct Verify {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Recorded requests, one JSON object a line:
    /// {id, method, url, headers, body_base64, remote_addr?, client_cert?, now?}; `-` for standard input
    #[arg(long, value_name = "FILE")]
    requests: PathBuf,
    /// The moment of judging, for lines that do not say: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    now: Option<Timestamp>,
    /// For symmetry with other commands: the output is JSON always
    #[arg(long, hide = true)]
    json: bool,
}

/// One recorded request.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    #[serde(default)]
    id: Value,
    method: String,
    url: String,
    /// An object, whose values may be lists, or a list of pairs.
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    body_base64: String,
    remote_addr: Option<String>,
    /// The SHA-256 of the certificate that the sender showed.
    client_cert: Option<String>,
    now: Option<Value>,
}

/// What was decided.
#[derive(Serialize)]
struct Line {
    id: Value,
    route: Option<String>,
    verdict: &'static str,
    reason: Option<&'static str>,
    event_id: Option<String>,
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Value>,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let config = match config::load(&self.config) {
            Ok(config) => config,
            Err(failure) => {
                style::load_error(&failure);
                return Ok(ExitCode::FAILURE);
            }
        };
        // Judged by the lists that the gateway has: they lie beside its store.
        if let Some(store) = &config.store {
            for one in &config.feeds {
                feed::recall(one, &store.folder);
            }
        }
        let clock: Box<dyn Clock> = match self.now {
            Some(now) => Box::new(ManualClock::at(now)),
            None => Box::new(SystemClock),
        };
        let input: Box<dyn BufRead> = if self.requests.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            let file = File::open(&self.requests)
                .with_context(|| format!("cannot read {}", self.requests.display()))?;
            Box::new(BufReader::new(file))
        };
        let mut output = BufWriter::new(io::stdout().lock());
        let mut bad_lines = 0_usize;
        for (index, line) in input.lines().enumerate() {
            let line = line.with_context(|| format!("cannot read {}", self.requests.display()))?;
            if line.trim().is_empty() {
                continue;
            }
            match judge(&config.gate, &line, clock.as_ref()) {
                Ok(decided) => {
                    serde_json::to_writer(&mut output, &decided)?;
                    output.write_all(b"\n")?;
                }
                Err(error) => {
                    bad_lines += 1;
                    style::error(&format!(
                        "{}:{}: {error:#}",
                        self.requests.display(),
                        index + 1
                    ));
                }
            }
        }
        output.flush()?;
        if bad_lines > 0 {
            anyhow::bail!("{bad_lines} line(s) are not recorded requests; the others were judged");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn judge(gate: &Gate, line: &str, clock: &dyn Clock) -> anyhow::Result<Line> {
    let recorded: Recorded = serde_json::from_str(line)?;
    let body = STANDARD
        .decode(&recorded.body_base64)
        .context("body_base64 is not base64")?;
    let now = match &recorded.now {
        None | Some(Value::Null) => clock.now(),
        Some(now) => {
            let text = now.as_str().map_or_else(|| now.to_string(), str::to_owned);
            parse_time(&text).map_err(anyhow::Error::msg)?
        }
    };
    let peer = parse_peer(recorded.remote_addr.as_deref())?;
    let certificate: Option<Fingerprint> = match &recorded.client_cert {
        Some(text) => Some(
            text.parse()
                .with_context(|| format!("client_cert: {text}"))?,
        ),
        None => None,
    };
    let head = head(&recorded)?;
    let mut decided = Line {
        id: recorded.id,
        route: None,
        verdict: Verdict::Refused.label(),
        reason: None,
        event_id: None,
        event_type: None,
        response: None,
    };
    let admitted = match gate.admit(&head, peer, Some(body.len() as u64)) {
        Ok(admitted) => admitted,
        Err(refused) => {
            decided.route = refused.route.map(|route| route.name.clone());
            decided.reason = Some(refused.refusal.label());
            return Ok(decided);
        }
    };
    let route = admitted.route;
    decided.route = Some(route.name.clone());
    match route.judge(
        &head,
        &body,
        certificate.as_ref(),
        &KnownKeys::default(),
        now,
    ) {
        Err(refusal) => {
            decided.reason = Some(refusal.label());
        }
        Ok(Judgement::Handshake { answer, .. }) => {
            decided.verdict = Verdict::Handshake.label();
            decided.response = Some(json!({
                "status": answer.status,
                "headers": BTreeMap::from_iter(answer.headers),
                "body": String::from_utf8_lossy(&answer.body),
            }));
        }
        Ok(Judgement::Event(permit)) => {
            decided.verdict = Verdict::Accepted.label();
            decided.reason = permit.observed().map(|reason| reason.label());
            decided.event_id = route.event_id(&head, &body);
            decided.event_type = route.event_type(&head, &body);
        }
    }
    Ok(decided)
}

fn head(recorded: &Recorded) -> anyhow::Result<Head> {
    let mut headers = Headers::default();
    match &recorded.headers {
        Value::Null => {}
        Value::Array(pairs) => {
            for pair in pairs {
                let (name, value) = name_and_value(pair)
                    .with_context(|| format!("{pair} is not a header: write [name, value]"))?;
                push_values(&mut headers, name, value)?;
            }
        }
        Value::Object(object) => {
            for (name, value) in object {
                push_values(&mut headers, name, value)?;
            }
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            anyhow::bail!("`headers` is neither an object nor a list of pairs")
        }
    }
    let (host, target) = split(&recorded.url)?;
    let host_header = headers
        .first("host")
        .map(|host| String::from_utf8_lossy(host).into_owned());
    Ok(Head {
        method: recorded.method.clone(),
        target: Bytes::from(target),
        host: host_header.or(host),
        headers,
    })
}

fn name_and_value(pair: &Value) -> Option<(&str, &Value)> {
    match pair.as_array()?.as_slice() {
        [Value::String(name), value] => Some((name, value)),
        _ => None,
    }
}

fn push_values(headers: &mut Headers, name: &str, value: &Value) -> anyhow::Result<()> {
    match value {
        Value::String(text) => headers.push(name.to_owned(), text.clone()),
        Value::Number(number) => headers.push(name.to_owned(), number.to_string()),
        Value::Array(values) => {
            for value in values {
                push_values(headers, name, value)?;
            }
        }
        Value::Null | Value::Bool(_) | Value::Object(_) => {
            anyhow::bail!("the header {name} is neither a text nor a list of texts")
        }
    }
    Ok(())
}

/// Host and target of a whole URL or of a bare target. The target is kept as written.
fn split(url: &str) -> anyhow::Result<(Option<String>, String)> {
    if url.starts_with('/') {
        return Ok((None, url.to_owned()));
    }
    let (_, rest) = url
        .split_once("://")
        .with_context(|| format!("`{url}` is not a URL"))?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at(end);
    let target = match target.chars().next() {
        Some('/') => target.to_owned(),
        Some(_) => format!("/{target}"),
        None => "/".to_owned(),
    };
    Ok((Some(host.to_owned()), target))
}

fn parse_peer(text: Option<&str>) -> anyhow::Result<ClientAddr> {
    let Some(text) = text else {
        return Ok(ClientAddr::Ip(IpAddr::from([127, 0, 0, 1])));
    };
    if text == "unix" {
        return Ok(ClientAddr::Unix);
    }
    let ip = text
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|addr| addr.ip()));
    let ip: IpAddr = ip.with_context(|| format!("remote_addr `{text}` is not an address"))?;
    Ok(ClientAddr::Ip(ip.to_canonical()))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    let seconds = text
        .parse::<i64>()
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let fraction = || {
        let seconds: f64 = text.parse().ok()?;
        Timestamp::from_duration(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?).ok()
    };
    seconds
        .or_else(fraction)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| {
            format!("`{text}` is not a time: write 2026-01-31T12:00:00Z, or seconds since 1970")
        })
}

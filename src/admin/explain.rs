//! Why a signature is wrong: what was compared, and what would have made it right.
//!
//! A request is judged again as it came, and then with one thing changed at a time. What is said
//! never holds a secret, nor a signature that would be valid.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Head, Headers};
use crate::ingress::gate::Route;
use crate::ingress::service::Snapshot;
use crate::redaction::replaced;
use crate::signature::known_keys::KnownKeys;
use crate::signature::place::Place;
use crate::signature::{Preset, Presets, Reason, Scheme, Verified, Verifier};
use crate::store::Shown;

/// How many providers with the same header are named.
const PROVIDERS_SHOWN: usize = 4;

/// Why a request was refused, and what would have made it right.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// The event or the refused request.
    pub event: String,
    /// The route it came to.
    pub route: String,
    /// The word for why it was refused then; absent if it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// That reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether its signature is right by what the file says now, as of when it came.
    pub is_right_now: bool,
    /// What was found, the most telling first.
    pub findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What it is about.
    pub about: About,
    /// What was found and what to do, in a sentence or two.
    pub text: String,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// The secret.
    Secret,
    /// The clock.
    Clock,
    /// The body.
    Body,
    /// A header.
    Header,
    /// The URL that the provider has.
    Url,
    /// Whose request it is.
    Provider,
    /// The log has too little to say more.
    Log,
}

/// Explains a refused request, or an event that was let through.
pub(super) fn explain(
    shown: &Shown,
    snapshot: &Snapshot,
    known: &KnownKeys,
    now: Timestamp,
) -> Explanation {
    let event = shown.event.as_ref();
    let route = snapshot
        .routes
        .iter()
        .find(|route| *route.name == *event.route);
    let mut findings = Vec::new();
    let mut is_right_now = false;
    match route.map(|route| (route, route.check.as_ref())) {
        None => findings.push(Finding {
            about: About::Log,
            text: "its route is not in the file any more, or it came to none".to_owned(),
        }),
        Some((_, None)) => findings.push(Finding {
            about: About::Secret,
            text: "the route has no `verify`: it passes everything on".to_owned(),
        }),
        Some((route, Some(check))) => {
            let verifier = check.verifier.clone().knowing(known);
            let trial = Trial {
                verifier: &verifier,
                head: &event.head,
                body: &event.body,
                known,
                at: event.received_at,
            };
            match trial.verified(trial.head, trial.body) {
                Ok(verified) => {
                    is_right_now = true;
                    findings.push(right(&verified, shown.refused.is_some()));
                }
                Err(reason) => {
                    let is_whole = shown.refused.as_ref().is_none_or(|one| one.body_is_whole);
                    findings = trial.findings(&reason, is_whole);
                    findings.extend(others(route, snapshot, &trial));
                    findings.extend(provider(snapshot.presets, &trial, &reason));
                    if findings.is_empty() {
                        findings.push(nothing(&reason));
                    }
                }
            }
        }
    }
    if event.received_at > now {
        findings.push(Finding {
            about: About::Clock,
            text: "it came later than now: this machine's clock was set back".to_owned(),
        });
    }
    Explanation {
        event: event.id.to_string(),
        route: event.route.to_string(),
        reason: shown.refused.as_ref().map(|one| one.reason.clone()),
        detail: shown.refused.as_ref().map(|one| one.detail.clone()),
        is_right_now,
        findings,
    }
}

fn right(verified: &Verified, was_refused: bool) -> Finding {
    let with = match verified {
        Verified::Signature { scheme, secret } => {
            format!("secret {} by scheme {}", secret + 1, scheme + 1)
        }
        Verified::Certificate => "a client certificate".to_owned(),
    };
    let then = match was_refused {
        true => "; the file has changed since, or it was refused for something else: replay it",
        false => "",
    };
    Finding {
        about: About::Secret,
        text: format!("it is genuine by {with}{then}"),
    }
}

fn nothing(reason: &Reason) -> Finding {
    let about = match reason {
        Reason::SignatureMissing { .. } | Reason::SignatureMalformed { .. } => About::Header,
        _ => About::Secret,
    };
    let text = match reason {
        Reason::SignatureMissing { place } => format!(
            "nothing stands in {place}: the provider is set up without a secret, something on the \
             way removes it, or another provider sends here"
        ),
        Reason::SignatureMismatch { keys, .. } => {
            let tried = match keys {
                1 => "secret 1 was tried and does not fit".to_owned(),
                keys => format!("secrets 1 to {keys} were tried in turn and none fits"),
            };
            format!(
                "{tried}, to this body and to others: most likely the secret in the file is not the \
                 one that the provider has for this address"
            )
        }
        other => other.to_string(),
    };
    Finding { about, text }
}

/// Another route whose secret fits.
fn others(route: &Route, snapshot: &Snapshot, trial: &Trial<'_>) -> Option<Finding> {
    let fits = snapshot.routes.iter().find(|other| {
        let other_check = other.check.as_ref().filter(|_| other.name != route.name);
        other_check.is_some_and(|check| {
            let trial = Trial {
                verifier: &check.verifier,
                ..*trial
            };
            trial.verified(trial.head, trial.body).is_ok()
        })
    })?;
    Some(Finding {
        about: About::Secret,
        text: format!(
            "the secret of route `{}` fits: the provider calls the address of another route, or two \
             secrets were mixed up",
            fits.name
        ),
    })
}

/// Another provider, whose header the request carries.
fn provider<'p>(presets: &'p Presets, trial: &Trial<'_>, reason: &Reason) -> Option<Finding> {
    let is_missing = matches!(
        reason,
        Reason::SignatureMissing { .. } | Reason::SignatureMalformed { .. }
    );
    let own: Vec<_> = trial.verifier.signature_headers().collect();
    let is_own = |name: &str| own.iter().any(|own| own.eq_ignore_ascii_case(name));
    let telling = |name: &str| !is_own(name) && !name.eq_ignore_ascii_case("authorization");
    let carried = |preset: &'p Preset| {
        let mut headers = preset.schemes.iter().filter_map(Scheme::signature_header);
        headers.find(|name| telling(name) && trial.head.headers.first(name).is_some())
    };
    let mut found: Option<(&str, Vec<&str>)> = None;
    for preset in presets.iter().filter(|_| is_missing) {
        let Some(header) = carried(preset) else {
            continue;
        };
        let (first, names) = found.get_or_insert((header, Vec::new()));
        if first.eq_ignore_ascii_case(header) {
            names.push(&preset.name);
        }
    }
    let (header, mut names) = found?;
    let more = names.len().saturating_sub(PROVIDERS_SHOWN);
    names.truncate(PROVIDERS_SHOWN);
    let more = match more {
        0 => String::new(),
        more => format!(" or one of {more} others"),
    };
    Some(Finding {
        about: About::Provider,
        text: format!(
            "it carries {header}, which is the header of `{}`{more}: another provider sends here, or \
             the route names the wrong one",
            names.join("`, `")
        ),
    })
}

/// URLs that people write in place of the one that the provider has.
fn urls(own: &str, host: Option<&str>, path: &str) -> Vec<String> {
    let Ok(parsed) = url::Url::parse(own) else {
        return Vec::new();
    };
    let (Some(own_host), own_path) = (parsed.host_str(), parsed.path()) else {
        return Vec::new();
    };
    let own_host = match parsed.port() {
        Some(port) => format!("{own_host}:{port}"),
        None => own_host.to_owned(),
    };
    let bare = own_host.split(':').next().unwrap_or_default().to_owned();
    let hosts = [Some(own_host.as_str()), Some(bare.as_str()), host];
    let slashed = match own_path.strip_suffix('/') {
        Some(without) => without.to_owned(),
        None => format!("{own_path}/"),
    };
    let mut urls = Vec::new();
    for scheme in ["https", "http"] {
        for host in hosts.into_iter().flatten() {
            for port in ["", ":443", ":80"] {
                for path in [own_path, path, slashed.as_str(), ""] {
                    if port.is_empty() || !host.contains(':') {
                        urls.push(format!("{scheme}://{host}{port}{path}"));
                    }
                }
            }
        }
    }
    urls.retain(|url| url != own);
    urls
}

/// A request and what judges it.
#[derive(Clone, Copy)]
struct Trial<'a> {
    verifier: &'a Verifier,
    head: &'a Head,
    body: &'a [u8],
    known: &'a KnownKeys,
    at: Timestamp,
}

impl Trial<'_> {
    fn verified(&self, head: &Head, body: &[u8]) -> Result<Verified, Reason> {
        let request = self.verifier.terms().request(head, body);
        let request = request.with_known_keys(self.known);
        self.verifier.verify(&request, self.at)
    }

    /// By what it would have been genuine, at whatever time; `None` = it would not.
    fn fits(&self, head: &Head, body: &[u8]) -> Option<String> {
        match self.verified(head, body) {
            Ok(Verified::Signature { secret, .. }) => Some(format!("by secret {}", secret + 1)),
            Ok(Verified::Certificate) => Some("by a client certificate".to_owned()),
            Err(Reason::TimestampStale { .. } | Reason::TimestampFuture { .. }) => {
                Some("at another time".to_owned())
            }
            Err(_) => None,
        }
    }

    fn findings(&self, reason: &Reason, is_whole: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Reason::TimestampStale { .. } | Reason::TimestampFuture { .. } = reason {
            findings.push(Finding {
                about: About::Clock,
                text: format!(
                    "the signature is right, its time is not: {reason}. Compare the clocks, or look \
                     whether the provider sends it late"
                ),
            });
            return findings;
        }
        if !is_whole {
            findings.push(Finding {
                about: About::Log,
                text: "the log has not the whole body, so bodies cannot be compared: set \
                       `webhook.refused_body` for requests to come"
                    .to_owned(),
            });
            return findings;
        }
        let mut others = bodies(self.body).into_iter();
        let changed = others.find_map(|(body, how)| {
            let is_other = body != self.body;
            let by = is_other.then(|| self.fits(self.head, &body)).flatten()?;
            Some((how, by))
        });
        if let Some((how, by)) = changed {
            findings.push(Finding {
                about: About::Body,
                text: format!(
                    "the signature fits {by} the body {how}: something between the provider and the \
                     gateway has changed it"
                ),
            });
        }
        findings.extend(self.elsewhere());
        findings.extend(self.secret());
        findings.extend(self.url());
        findings
    }

    /// A secret that fits once it is read in another way.
    fn secret(&self) -> Option<Finding> {
        let readings = self.verifier.readings();
        let (reading, by) = readings.iter().find_map(|reading| {
            let trial = Trial {
                verifier: &reading.verifier,
                ..*self
            };
            Some((reading, trial.fits(self.head, self.body)?))
        })?;
        let time = if by.contains("time") {
            " (at another time)"
        } else {
            ""
        };
        Some(Finding {
            about: About::Secret,
            text: format!(
                "the signature fits secret {} read {}{time}: write a scheme that reads it so, or the \
                 secret as this provider writes it",
                reading.secret + 1,
                reading.how
            ),
        })
    }

    /// Another URL that the signature fits.
    fn url(&self) -> Option<Finding> {
        if !self.verifier.needs_url() {
            return None;
        }
        let own = self.verifier.terms().public_url.as_deref()?;
        let host = self.head.headers.first("host");
        let host = host.map(|host| String::from_utf8_lossy(host).into_owned());
        let path = String::from_utf8_lossy(self.head.path()).into_owned();
        let fits = |url: &String| {
            let verifier = self.verifier.at(url.clone());
            let trial = Trial {
                verifier: &verifier,
                ..*self
            };
            trial.fits(self.head, self.body).is_some()
        };
        let url = urls(own, host.as_deref(), &path).into_iter().find(fits)?;
        Some(Finding {
            about: About::Url,
            text: format!(
                "the signature fits the URL {url}: write that as `public_url`, or change the one at \
                 the provider"
            ),
        })
    }

    /// A header that holds the signature in place of the one it is looked for in.
    fn elsewhere(&self) -> Option<Finding> {
        let (scheme, _) = self.verifier.signer()?;
        let Place::Header(expected) = &scheme.parts().place else {
            return None;
        };
        let (found, by) = self.head.headers.iter().find_map(|header| {
            let is_other = !header.name.eq_ignore_ascii_case(expected.as_bytes());
            let moved = is_other.then(|| moved(self.head, expected, &header.value))?;
            Some((header, self.fits(&moved, self.body)?))
        })?;
        let name = String::from_utf8_lossy(&found.name);
        Some(Finding {
            about: About::Header,
            text: format!(
                "the signature stands in {name}, where it fits {by}, and is looked for in {expected}"
            ),
        })
    }
}

fn moved(head: &Head, name: &str, value: &bytes::Bytes) -> Head {
    let mut headers: Headers = head.headers.clone().without(name);
    headers.push(name.to_owned(), value.clone());
    Head {
        headers,
        ..head.clone()
    }
}

/// The body as something on its way may have got it, with how that would be said.
fn bodies(body: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let mut bodies = vec![
        (
            body.trim_ascii_end().to_vec(),
            "without white space at its end",
        ),
        ([body, b"\n"].concat(), "with a line feed at its end"),
        ([body, b"\r\n"].concat(), "with CR LF at its end"),
        (replaced(body, b"\r\n", b"\n"), "with LF in place of CR LF"),
        (replaced(body, b"\n", b"\r\n"), "with CR LF in place of LF"),
        (Vec::new(), "when it is empty"),
    ];
    if let Some(rest) = body.strip_prefix(b"\xef\xbb\xbf") {
        bodies.push((rest.to_vec(), "without its byte order mark"));
    }
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        let how = "written as JSON without spaces";
        bodies.push((json.to_string().into_bytes(), how));
        let how = "written as JSON with non-ASCII characters escaped";
        bodies.push((escaped(&json.to_string()), how));
        if let Ok(pretty) = serde_json::to_vec_pretty(&json) {
            bodies.push((pretty, "written as JSON with line breaks"));
        }
        let how = "written as JSON with a space after colons and commas";
        bodies.push((spaced(&json).into_bytes(), how));
        bodies.push((escaped(&spaced(&json)), how));
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(body).collect();
    bodies.push((decoded, "when it is percent-decoded"));
    bodies
}

/// JSON with what is not ASCII as `\u` escapes, as Python writes it.
fn escaped(json: &str) -> Vec<u8> {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            escaped.push_str(&format!("\\u{unit:04x}"));
        }
    }
    escaped.into_bytes()
}

/// JSON with a space after colons and commas, as Python writes it.
fn spaced(json: &Value) -> String {
    match json {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(spaced).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), spaced(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

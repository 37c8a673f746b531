//! What decoding makes of files, good and bad.

#![expect(
    dead_code,
    reason = "some types are only there for the faults they find"
)]

mod faults;
mod reports;
mod templates;
mod values;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::Deserialize;

use super::*;
use crate::config::fault::Report;
use crate::config::units::{Period, Rate, Size};
use crate::config::yaml;

#[derive(Debug, Deserialize, JsonSchema)]
struct File {
    backends: Field<Entries<Backend>>,
    routes: Option<Field<Entries<Route>>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Backend {
    url: Field<String>,
    port: Option<Field<u16>>,
    timeout: Option<Field<Timeout>>,
    keepalive: Option<Field<bool>>,
    weight: Option<Field<f64>>,
    concurrency: Option<Field<NonZeroU32>>,
    headers: Option<Field<Entries<Option<Template>>>>,
    body_max: Option<Field<Size>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Timeout {
    connect: Field<Period>,
    response: Field<Period>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Route {
    verify: Option<Field<Verify>>,
    deliver: Option<Field<OneOrMany<TextOr<Deliver>>>>,
    auth: Option<Field<Auth>>,
    rate: Option<Field<Rate>>,
    sample: Option<Field<serde_json::Value>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Verify {
    provider: Field<String>,
    secrets: Field<OneOrMany<String>>,
    algorithm: Option<Field<Algorithm>>,
    parse: Option<Field<Parse>>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    Sha1,
    Sha256,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Parse {
    Plain,
    Prefix(Field<String>),
    Pairs {
        separator: Field<char>,
        key: Field<String>,
    },
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Deliver {
    to: Field<String>,
    mode: Option<Field<Mode>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Proxy,
    Queue,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename = "Auth by type", rename_all = "snake_case")]
#[schemars(rename = "Auth", tag = "type")]
enum Auth {
    Basic {
        username: Field<String>,
        retries: Option<Field<u8>>,
    },
    Bearer(Bearer),
    None,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Bearer {
    token: Field<String>,
}

fn expand(text: &str) -> Result<String, String> {
    match text {
        "${{ env.PORT }}" => Ok("8080".to_owned()),
        "${{ secret.long }}" => Ok("correct horse battery".to_owned()),
        "${{ env.EMPTY }}" => Ok(String::new()),
        _ => Err("environment variable `GONE` is not set".to_owned()),
    }
}

fn read(source: &str) -> (Option<File>, Report) {
    let parsed = yaml::parse(source);
    let mut report = Report::new("hookgate.yaml", source);
    report.add(parsed.faults);
    report.hide(parsed.hidden);
    let value = parsed.root.and_then(|root| {
        let (value, faults, hidden) = decode(&root, &expand);
        report.add(faults);
        report.hide(hidden);
        value
    });
    (value, report)
}

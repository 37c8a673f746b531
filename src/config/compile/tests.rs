//! Compiles `tests`.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::provider::headers;
use super::verify::FINGERPRINT_SHAPE;
use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::File;
use crate::config::raw::tests as raw;
use crate::config::route_test::{Expected, RouteTest, SignSample};
use crate::event::{ClientAddr, Fingerprint, Head, Headers, NoFingerprint};

impl Compiler<'_> {
    pub(super) fn route_tests(&mut self, file: &File) -> Vec<RouteTest> {
        let fields = value(&file.tests).into_iter().flatten();
        fields.filter_map(|field| self.route_test(field)).collect()
    }

    fn route_test(&mut self, field: &Field<raw::RouteTest>) -> Option<RouteTest> {
        let raw = field.get()?;
        let request = raw.request.get()?;
        let expect = raw.expect.get()?;
        // Every part is compiled before any is missed: a fault must not hide another.
        let url = self.url(&request.url);
        let from = self.sender(&request.from);
        let at = self.moment(&request.at);
        let certificate = self.certificate(&request.client_cert);
        let (host, target) = url?;
        let mut headers = value(&request.headers).map(headers).unwrap_or_default();
        set_host(&mut headers, &host);
        Some(RouteTest {
            name: raw.name.get()?.clone(),
            span: field.span,
            head: Head {
                method: value(&request.method)
                    .cloned()
                    .unwrap_or_else(|| "POST".to_owned()),
                target: Bytes::from(target),
                host: Some(host),
                headers,
            },
            body: value(&request.body).cloned().unwrap_or_default(),
            from: from?,
            at: at?,
            certificate: certificate?,
            sign: match &request.sign {
                None => None,
                Some(field) => {
                    let sign = field.get()?;
                    Some(SignSample {
                        age: value(&sign.age).map_or(Duration::ZERO, |age| age.as_duration()),
                        secret: value(&sign.secret).cloned(),
                    })
                }
            },
            expected: Expected {
                verdict: *expect.verdict.get()?,
                route: value(&expect.route).cloned(),
                reason: value(&expect.reason).cloned(),
                status: value(&expect.status).copied(),
                event_id: value(&expect.event_id).cloned(),
                event_type: value(&expect.event_type).cloned(),
                backend_path: value(&expect.backend_path).cloned(),
            },
        })
    }

    /// Host and target.
    fn url(&mut self, field: &Field<String>) -> Option<(String, String)> {
        let url = field.get()?;
        let parts = split_url(url);
        if parts.is_none() {
            let help = "write a path (/hooks/stripe) or a whole URL (https://host/path)";
            self.fault_with_help(field.span, format!("`{url}` is not a URL"), help);
        }
        parts
    }

    fn sender(&mut self, field: &Option<Field<String>>) -> Option<ClientAddr> {
        let Some(field) = field else {
            return Some(ClientAddr::Ip(IpAddr::from([127, 0, 0, 1])));
        };
        let text = field.get()?;
        if text == "unix" {
            return Some(ClientAddr::Unix);
        }
        match text.parse() {
            Ok(ip) => Some(ClientAddr::Ip(ip)),
            Err(_) => {
                let help = "write an address (192.0.2.7, 2001:db8::1), or `unix`";
                self.fault_with_help(field.span, format!("`{text}` is not an address"), help);
                None
            }
        }
    }

    fn certificate(&mut self, field: &Option<Field<String>>) -> Option<Option<Fingerprint>> {
        let Some(field) = field else {
            return Some(None);
        };
        match field.get()?.parse() {
            Ok(fingerprint) => Some(Some(fingerprint)),
            Err(NoFingerprint) => {
                self.fault_with_help(field.span, NoFingerprint.to_string(), FINGERPRINT_SHAPE);
                None
            }
        }
    }

    fn moment(&mut self, field: &Option<Field<String>>) -> Option<Option<Timestamp>> {
        let Some(field) = field else {
            return Some(None);
        };
        let text = field.get()?;
        match text.parse() {
            Ok(moment) => Some(Some(moment)),
            Err(_) => {
                let help = "write it like 2026-01-31T12:00:00Z";
                self.fault_with_help(field.span, format!("`{text}` is not a time"), help);
                None
            }
        }
    }
}

/// Host and target of a path or a whole URL.
fn split_url(url: &str) -> Option<(String, String)> {
    if url.starts_with('/') {
        return Some(("localhost".to_owned(), url.to_owned()));
    }
    let uri: http::Uri = url.parse().ok()?;
    let host = uri.authority()?.as_str().to_owned();
    let target = uri
        .path_and_query()
        .map_or("/", |target| target.as_str())
        .to_owned();
    Some((host, target))
}

fn set_host(headers: &mut Headers, host: &str) {
    if headers.first("host").is_none() {
        headers.push("Host", host.to_owned());
    }
}

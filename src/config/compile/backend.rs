//! Compiles `backends.NAME`.

use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::Field;
use crate::config::raw::backend as raw;
use crate::config::yaml::Span;
use crate::delivery::backend::{Backend, Health, Origin, OriginError, Tls};

const CONNECT: Duration = Duration::from_secs(2);
const RESPONSE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
const HEALTH_FAILURES: u8 = 3;
const SHAPE: &str = "write http://HOST:PORT or https://HOST:PORT, with a path if need be";

impl Compiler<'_> {
    pub(super) fn backend(&mut self, name: &str, field: &Field<raw::Backend>) -> Option<Backend> {
        let raw = field.get()?;
        // Every part is compiled before any is missed: a fault must not hide another.
        let origins = self.origins(raw).unwrap_or_default();
        let several = origins.len() > 1;
        let timeouts = value(&raw.timeout);
        let mut period = |pick: fn(&raw::BackendTimeouts) -> &Option<Field<_>>, default| {
            timeouts.map_or(default, |timeouts| self.period(pick(timeouts), default))
        };
        let connect_timeout = period(|timeouts| &timeouts.connect, CONNECT);
        let response_timeout = period(|timeouts| &timeouts.response, RESPONSE);
        let idle_timeout = period(|timeouts| &timeouts.idle, IDLE);
        let host_header = self.host_header(raw);
        let health = self.health(raw, several);
        let first = origins.first()?.clone();
        Some(Backend {
            name: name.to_owned(),
            tls: self.tls(raw, first.tls),
            authorities: origins.into_iter().map(|origin| origin.authority).collect(),
            base_path: first.base_path,
            connect_timeout,
            response_timeout,
            idle_timeout,
            host_header,
            health,
        })
    }

    fn origins(&mut self, raw: &raw::Backend) -> Option<Vec<Origin>> {
        let urls = raw.url.get()?;
        if urls.is_empty() {
            self.fault_with_help(raw.url.span, "a backend needs at least one URL", SHAPE);
        }
        let mut origins: Vec<Origin> = Vec::new();
        for field in urls {
            let Some(text) = field.get() else { continue };
            let Some(origin) = self.origin(field.span, text) else {
                continue;
            };
            let differs = origins.first().is_some_and(|first| {
                (first.tls, &first.base_path) != (origin.tls, &origin.base_path)
            });
            if differs {
                let help = "instances of one backend differ in host and port only";
                self.fault_with_help(
                    field.span,
                    "scheme or path differs from the first URL's",
                    help,
                );
            } else if origins.contains(&origin) {
                let help = "take one of them away";
                self.fault_with_help(field.span, "this URL stands here twice", help);
            }
            origins.push(origin);
        }
        Some(origins)
    }

    fn origin(&mut self, span: Span, text: &str) -> Option<Origin> {
        if text.contains(['?', '#']) && !text.contains('@') {
            let help = "take it away from the `?` or `#` on: the sender's query is passed on";
            self.hidden.push(span);
            self.fault_with_help(span, "the URL of a backend has no query", help);
            return None;
        }
        match Origin::parse(text) {
            Ok(origin) => Some(origin),
            Err(OriginError::Credentials) => {
                let help =
                    "send credentials with `deliver.headers: {Authorization: …}` from a secret";
                self.hidden.push(span);
                self.fault_with_help(span, OriginError::Credentials.to_string(), help);
                None
            }
            Err(error) => {
                self.fault_with_help(span, error.to_string(), SHAPE);
                None
            }
        }
    }

    fn tls(&mut self, raw: &raw::Backend, tls: bool) -> Option<Tls> {
        let settings = raw.tls.as_ref();
        if let (Some(field), false) = (settings, tls) {
            let help = "write https:// in `url`, or take `tls` away";
            self.fault_with_help(field.span, "`tls` is only for https URLs", help);
        }
        if !tls {
            return None;
        }
        let settings = settings.and_then(|field| field.get());
        let ca = settings
            .and_then(|settings| settings.ca.as_ref())
            .and_then(|field| {
                let path = self.base.join(field.get()?);
                if let Err(error) = std::fs::metadata(&path) {
                    let message = format!("cannot read {}: {error}", path.display());
                    let help = "write the path of a PEM file, relative to this file";
                    self.fault_with_help(field.span, message, help);
                }
                Some(path)
            });
        let server_name = settings
            .and_then(|settings| value(&settings.server_name))
            .cloned();
        Some(Tls { server_name, ca })
    }

    fn host_header(&mut self, raw: &raw::Backend) -> Option<String> {
        let field = raw.host_header.as_ref()?;
        let host = field.get()?;
        let graphic = !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic());
        if !graphic {
            let help = "write a name, and `:PORT` if need be (app.internal, app.internal:8443)";
            self.fault_with_help(
                field.span,
                format!("`{host}` cannot be a Host header"),
                help,
            );
        }
        Some(host.clone())
    }

    fn health(&mut self, raw: &raw::Backend, several: bool) -> Option<Health> {
        let Some(field) = &raw.health else {
            return several.then_some(Health {
                path: None,
                interval: HEALTH_INTERVAL,
                timeout: HEALTH_TIMEOUT,
                failures: usize::from(HEALTH_FAILURES),
            });
        };
        let health = field.get()?;
        let path = health.path.as_ref().and_then(|field| {
            let path = field.get()?;
            if !path.starts_with('/') {
                let help = format!("write `/{path}`");
                self.fault_with_help(field.span, "a path begins with `/`", help);
            }
            Some(path.clone())
        });
        let failures = value(&health.failures).copied().unwrap_or(HEALTH_FAILURES);
        if let (0, Some(field)) = (failures, &health.failures) {
            let help = format!("leave `failures` out for the default, {HEALTH_FAILURES}");
            let message = "at least one failure is needed to be unhealthy";
            self.fault_with_help(field.span, message, help);
        }
        Some(Health {
            path,
            interval: self.period(&health.interval, HEALTH_INTERVAL),
            timeout: self.period(&health.timeout, HEALTH_TIMEOUT),
            failures: usize::from(failures),
        })
    }
}

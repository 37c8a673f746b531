//! Compiles `backends.NAME`.

use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::{Field, TextOr};
use crate::config::raw::backend as raw;
use crate::config::yaml::Span;
use crate::delivery::backend::{
    ANSWER_BYTES, Backend, CONCURRENCY, Health, Origin, OriginError, Pace, Tls,
};
use crate::delivery::breaker::BreakerRule;
use crate::delivery::retry::{Backoff, Jitter, RetryPolicy};

const CONNECT: Duration = Duration::from_secs(2);
const RESPONSE: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(1);
const HEALTH_FAILURES: u8 = 3;
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60 * 60);
const ANSWER_BYTES_CEILING: usize = 64 * 1024;
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
        let retry = self.retry(value(&raw.retry));
        let breaker = self.breaker(raw);
        let answer_bytes_max = self.answer_bytes_max(raw);
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
            retry,
            concurrency: value(&raw.concurrency).copied().unwrap_or(CONCURRENCY),
            rate: value(&raw.rate).map(|rate| Pace {
                count: rate.count(),
                per: rate.per(),
            }),
            breaker,
            answer_bytes_max,
        })
    }

    fn retry(&mut self, raw: Option<&raw::Retry>) -> RetryPolicy {
        let default = RetryPolicy::default();
        let Some(raw) = raw else { return default };
        let backoff = value(&raw.backoff).map(|raw| self.backoff(raw));
        let asked = value(&raw.retry_after);
        let honoured = asked.and_then(|asked| value(&asked.honour)) != Some(&false);
        let max = asked.map(|asked| self.period(&asked.max, RETRY_AFTER_MAX));
        RetryPolicy {
            attempts: value(&raw.attempts).copied().unwrap_or(default.attempts),
            backoff: backoff.unwrap_or(default.backoff),
            give_up_after: self.period(&raw.give_up_after, default.give_up_after),
            retry_after_max: honoured.then(|| max.unwrap_or(RETRY_AFTER_MAX)),
        }
    }

    fn backoff(&mut self, raw: &raw::Backoff) -> Backoff {
        let default = Backoff::default();
        let factor = raw.factor.as_ref().and_then(|field| {
            let factor = *field.get()?;
            if !(1.0..=100.0).contains(&factor) {
                let help = "write a number from 1 (always the same pause) to 100";
                self.fault_with_help(field.span, format!("{factor} is no factor of pauses"), help);
            }
            Some(factor)
        });
        let base = self.period(&raw.base, default.base);
        let max = self.period(&raw.max, default.max.max(base));
        if let Some(field) = raw.max.as_ref().filter(|_| max < base) {
            let message = "the longest pause is shorter than the first";
            let help = format!(
                "write at least {}, the first pause",
                humantime::format_duration(base)
            );
            self.fault_with_help(field.span, message, help);
        }
        Backoff {
            base,
            factor: factor.unwrap_or(default.factor),
            max,
            jitter: match value(&raw.jitter) {
                None | Some(raw::Jitter::Full) => Jitter::Full,
                Some(raw::Jitter::None) => Jitter::None,
            },
        }
    }

    fn breaker(&mut self, raw: &raw::Backend) -> Option<BreakerRule> {
        let default = BreakerRule::default();
        let Some(field) = &raw.breaker else {
            return Some(default);
        };
        match field.get()? {
            TextOr::Text(text) if text == "off" => None,
            TextOr::Text(text) => {
                let help = "write `off`, or {failures: 10, open: 30s, probes: 1}";
                self.fault_with_help(field.span, format!("`{text}` is no breaker"), help);
                None
            }
            TextOr::Full(raw) => Some(BreakerRule {
                failures: value(&raw.failures).copied().unwrap_or(default.failures),
                open: self.period(&raw.open, default.open),
                probes: value(&raw.probes).copied().unwrap_or(default.probes),
            }),
        }
    }

    fn answer_bytes_max(&mut self, raw: &raw::Backend) -> usize {
        let Some(field) = &raw.answer_max else {
            return ANSWER_BYTES;
        };
        let bytes = field.get().map_or(ANSWER_BYTES, |size| size.as_usize());
        if bytes > ANSWER_BYTES_CEILING {
            let help = "write at most 64KiB: it is kept with every attempt";
            self.fault_with_help(field.span, "that much of an answer is not kept", help);
        }
        bytes
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

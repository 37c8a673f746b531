//! Compiles `poll.schedule`, and how long one request may take.

use std::num::NonZeroU32;
use std::time::Duration;

use super::texts::place;
use super::{SourceCompiler, value};
use crate::config::decode::{Field, TemplateOr};
use crate::config::raw::poll::Poll;
use crate::config::raw::poll::request::Request;
use crate::config::raw::poll::schedule as raw;
use crate::config::units::{Period, Spread};
use crate::config::yaml::Span;
use crate::poll::schedule::{
    Adaptive, Cron, CronError, Interval, Jitter, LongPoll, Missed, Pace, PaceError, Schedule,
    ScheduleError, TIMEOUT_DEFAULT,
};

const INTERVAL: Duration = Duration::from_secs(60);
const REQUEST: Duration = Duration::from_secs(15);
/// What a request gets beyond what the provider holds it for, and a poll beyond its request.
const BEYOND: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(25);
const MIN_GAP: Duration = Duration::from_millis(200);
const ADAPTIVE_MIN: Duration = Duration::from_secs(5);
const ADAPTIVE_MAX: Duration = Duration::from_secs(10 * 60);
const ADAPTIVE_FACTOR: f64 = 2.0;
const IDLE_AFTER: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const ZONE: &str = "UTC";

/// How long one request may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Until its answer is whole.
    pub(super) request: Duration,
}

impl SourceCompiler<'_, '_> {
    /// How long one request may take: longer than the provider holds it.
    pub(super) fn times(&mut self, poll: &Poll) -> Times {
        let wait = value(&poll.schedule)
            .and_then(|schedule| value(&schedule.long_poll))
            .map(|long| value(&long.wait).map_or(WAIT, |wait| wait.as_duration()));
        let default = wait.map_or(REQUEST, |wait| REQUEST.max(wait.saturating_add(BEYOND)));
        let field = match poll.request.get() {
            Some(TemplateOr::Full(Request { timeout, .. })) => timeout,
            Some(TemplateOr::Text(_)) | None => &None,
        };
        let request = self.period(field, default);
        if let (Some(field), Some(wait)) = (field, wait)
            && field.get().is_some()
            && request <= wait
        {
            let message = format!(
                "the provider holds a request for {}, and it may take only {}",
                Period::new(wait),
                Period::new(request)
            );
            let help = format!(
                "write more than {}, the `long_poll.wait`",
                Period::new(wait)
            );
            self.fault_with_help(field.span, message, help);
            return Times { request: default };
        }
        Times { request }
    }

    pub(super) fn schedule(&mut self, poll: &Poll, times: Times) -> Option<Schedule> {
        let whole = place(&poll.schedule).unwrap_or_default();
        let none = raw::Schedule::default();
        let raw = match &poll.schedule {
            Some(field) => field.get()?,
            None => &none,
        };
        self.one_schedule(raw);
        let pace = match (&raw.cron, &raw.long_poll) {
            (Some(field), _) => self.cron(field, raw),
            (None, Some(field)) => self.long_poll(field),
            (None, None) => self.interval(whole, raw),
        };
        let jitter = self.jitter(raw);
        let timeout = self.timeout(raw, times);
        let span = |error: &ScheduleError| match error {
            ScheduleError::JitterTooLong { .. } => place(&raw.jitter),
            ScheduleError::NoTimeout
            | ScheduleError::TimeoutTooLong
            | ScheduleError::WaitTooLong { .. } => place(&raw.timeout),
        };
        match Schedule::new(pace?, jitter?, Some(timeout?)) {
            Ok(schedule) => Some(schedule),
            Err(error) => {
                let help = match error {
                    ScheduleError::JitterTooLong { .. } => "write a shorter one, or a share: `10%`",
                    _ => "leave `timeout` out for the default",
                };
                self.fault_with_help(span(&error).unwrap_or(whole), error.to_string(), help);
                None
            }
        }
    }

    /// Finds two schedules in one, and keys of another than is there.
    fn one_schedule(&mut self, raw: &raw::Schedule) {
        let ways = [
            ("interval", place(&raw.interval)),
            ("cron", place(&raw.cron)),
            ("long_poll", place(&raw.long_poll)),
        ];
        let mut ways = ways.iter().filter_map(|(key, span)| Some((key, (*span)?)));
        let Some((first, _)) = ways.next() else {
            return self.keys_of_schedules(raw);
        };
        for (key, span) in ways {
            let message = format!("`{first}` and `{key}` are two schedules");
            self.fault_with_help(span, message, "take one of them away");
        }
        self.keys_of_schedules(raw);
    }

    fn keys_of_schedules(&mut self, raw: &raw::Schedule) {
        if raw.cron.is_none() {
            let keys = [
                ("timezone", place(&raw.timezone)),
                ("missed", place(&raw.missed)),
            ];
            self.needless(&keys, "is for `cron`, which is not there");
        }
        if raw.cron.is_some() || raw.long_poll.is_some() {
            let keys = [("adaptive", place(&raw.adaptive))];
            self.needless(&keys, "is for `interval`");
        }
    }

    fn cron(&mut self, field: &Field<String>, raw: &raw::Schedule) -> Option<Pace> {
        let zone = value(&raw.timezone).map_or(ZONE, String::as_str);
        let missed = match value(&raw.missed) {
            None | Some(raw::Missed::Skip) => Missed::Skip,
            Some(raw::Missed::RunOnce) => Missed::RunOnce,
        };
        let error = match Cron::new(field.get()?, zone, missed) {
            Ok(cron) => return Some(Pace::Cron(cron)),
            Err(error) => error,
        };
        let (span, help) = match error {
            CronError::UnknownZone(_) => (
                place(&raw.timezone).unwrap_or(field.span),
                "names are listed at https://www.iana.org/time-zones",
            ),
            CronError::Impossible(_) => (field.span, "write a day that the calendar has"),
            CronError::TooLong | CronError::Fields(_) | CronError::Field { .. } => (
                field.span,
                "write it like `*/5 8-20 * * mon-fri`: every five minutes on workdays",
            ),
        };
        self.fault_with_help(span, error.to_string(), help);
        None
    }

    fn long_poll(&mut self, field: &Field<raw::LongPoll>) -> Option<Pace> {
        let raw = field.get()?;
        let wait = self.period(&raw.wait, WAIT);
        let min_gap = value(&raw.min_gap).map_or(MIN_GAP, |gap| gap.as_duration());
        if raw.wait.is_some() && wait.is_zero() {
            return None;
        }
        let made = LongPoll::new(wait, min_gap);
        self.try_at(field.span, made).map(Pace::LongPoll)
    }

    fn interval(&mut self, whole: Span, raw: &raw::Schedule) -> Option<Pace> {
        let adaptive = match &raw.adaptive {
            Some(field) => Some(self.adaptive(field)?),
            None => None,
        };
        let (pause, span) = match &raw.interval {
            Some(field) => (field.get()?.as_duration(), field.span),
            None => {
                let bounds = value(&raw.adaptive).map(bounds);
                let clamped = bounds.map(|(min, max)| INTERVAL.max(min).min(max));
                (clamped.unwrap_or(INTERVAL), whole)
            }
        };
        match Interval::new(pause, adaptive) {
            Ok(interval) => Some(Pace::Interval(interval)),
            Err(error) => {
                let help = match error {
                    PaceError::Outside { .. } => "write one in between, or leave `interval` out",
                    _ => "leave `interval` out for the default, 60s",
                };
                self.fault_with_help(span, error.to_string(), help);
                None
            }
        }
    }

    fn adaptive(&mut self, field: &Field<raw::Adaptive>) -> Option<Adaptive> {
        let raw = field.get()?;
        let (min, max) = bounds(raw);
        let idle_after = value(&raw.idle_after).copied().unwrap_or(IDLE_AFTER);
        let factor = value(&raw.factor).copied().unwrap_or(ADAPTIVE_FACTOR);
        match Adaptive::new(min, max, idle_after, factor) {
            Ok(adaptive) => Some(adaptive),
            Err(error) => {
                let help = "write it like {min: 5s, max: 10m, idle_after: 3, factor: 2}";
                self.fault_with_help(field.span, error.to_string(), help);
                None
            }
        }
    }

    fn jitter(&mut self, raw: &raw::Schedule) -> Option<Jitter> {
        let Some(field) = &raw.jitter else {
            return Some(Jitter::default());
        };
        let made = match field.get()? {
            Spread::Share(share) => Jitter::percent(share.as_f64()),
            Spread::Length(length) => Jitter::up_to(length.as_duration()),
        };
        self.try_at(field.span, made)
    }

    /// How long a whole poll may take: at least as long as one request.
    fn timeout(&mut self, raw: &raw::Schedule, times: Times) -> Option<Duration> {
        let Some(field) = &raw.timeout else {
            return Some(TIMEOUT_DEFAULT.max(times.request.saturating_add(BEYOND)));
        };
        field.get()?;
        let timeout = self.period(&raw.timeout, TIMEOUT_DEFAULT);
        if timeout.is_zero() {
            return None;
        }
        if timeout < times.request {
            let message = format!(
                "one request may take {}, and the whole poll only {}",
                Period::new(times.request),
                Period::new(timeout)
            );
            let help = "write a longer `timeout` here, or a shorter one under `request`";
            self.fault_with_help(field.span, message, help);
            return None;
        }
        Some(timeout)
    }
}

/// The shortest and the longest pause.
fn bounds(raw: &raw::Adaptive) -> (Duration, Duration) {
    (
        value(&raw.min).map_or(ADAPTIVE_MIN, |min| min.as_duration()),
        value(&raw.max).map_or(ADAPTIVE_MAX, |max| max.as_duration()),
    )
}

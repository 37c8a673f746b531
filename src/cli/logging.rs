//! Log lines on their way to standard error: gathered, and written many at once.
//!
//! A system call for each line costs more than checking a signature. A line waits for
//! [`GATHER`] at most; when a lot has gathered, whoever logs writes it out, so that memory stays
//! bounded by the speed of what reads the log.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::clock::{Clock, SystemClock};
use crate::config::raw::server::LogFormat;

/// What is logged when RUST_LOG does not say otherwise. Pingora reports every broken connection as
/// an error; what matters of them stands in our own lines.
const LOG_FILTER: &str = "info,pingora_core=off,pingora_load_balancing=warn";
/// The longest time that a line waits for others.
const GATHER: Duration = Duration::from_millis(20);
/// From this many bytes on they are written at once.
const GATHERED_BYTES_MAX: usize = 256 * 1024;
/// Room for a usual line.
const LINE_BYTES: usize = 512;

/// Sends log lines to standard error until the guard is dropped.
pub(super) fn start(format: LogFormat) -> Logging {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !io::stderr().is_terminal(),
    };
    let lines = Arc::new(Lines::default());
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(Sink(lines.clone()));
    if json {
        registry.with(layer.event_format(JsonLine)).init();
    } else {
        let colour = io::stderr().is_terminal();
        registry
            .with(layer.with_ansi(colour).with_target(false))
            .init();
    }
    let thread = std::thread::Builder::new().name("log".into());
    let writer = thread.spawn({
        let lines = lines.clone();
        move || lines.write_out()
    });
    Logging {
        lines,
        writer: writer.ok(),
    }
}

/// Writes out what is left when it is dropped.
pub(super) struct Logging {
    lines: Arc<Lines>,
    writer: Option<JoinHandle<()>>,
}

impl Logging {
    /// Writes out what is left, for an end without drops.
    pub(super) fn flush(&self) {
        self.lines.flush();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        self.lines.lock().has_ended = true;
        self.lines.some.notify_one();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

/// Lines that wait to be written.
#[derive(Default)]
struct Lines {
    gathered: Mutex<Gathered>,
    some: Condvar,
    /// Held while writing, so that lines keep their order. It has room that was used before: new room
    /// for each time would be cleared by the system first.
    output: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    has_ended: bool,
}

impl Lines {
    /// A panic elsewhere leaves whole lines: they are still good.
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut gathered = self.lock();
        let was_empty = gathered.bytes.is_empty();
        gathered.bytes.extend_from_slice(line);
        let write_now = gathered.has_ended || gathered.bytes.len() > GATHERED_BYTES_MAX;
        drop(gathered);
        if write_now {
            self.flush();
        } else if was_empty {
            self.some.notify_one();
        }
    }

    fn flush(&self) {
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut *output, &mut self.lock().bytes);
        // A log that cannot be written has nowhere to say so.
        let _ = io::stderr().write_all(&output);
        output.clear();
        output.shrink_to(2 * GATHERED_BYTES_MAX);
    }

    fn write_out(&self) {
        loop {
            let mut gathered = self.lock();
            while gathered.bytes.is_empty() && !gathered.has_ended {
                gathered = self
                    .some
                    .wait(gathered)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let has_ended = gathered.has_ended;
            drop(gathered);
            if has_ended {
                return self.flush();
            }
            std::thread::sleep(GATHER);
            self.flush();
        }
    }
}

/// One JSON object for each event: when, how loud, its fields, and where it comes from.
///
/// The formatter that comes with the subscriber looks at each piece of a line three times, which
/// costs more than all of a signature.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut fields = JsonFields(Vec::with_capacity(LINE_BYTES));
        let now = SystemClock.now();
        // The subscriber's own names come first and last, as they always did.
        let _ = write!(fields.0, r#"{{"timestamp":"{now:.6}""#);
        fields.put("level", metadata.level().as_str());
        event.record(&mut fields);
        fields.put("target", metadata.target());
        fields.0.extend_from_slice(b"}\n");
        writer.write_str(str::from_utf8(&fields.0).map_err(|_| fmt::Error)?)
    }
}

/// The fields of a JSON object that is not closed.
struct JsonFields(Vec<u8>);

impl JsonFields {
    fn put(&mut self, name: &str, value: impl Serialize) {
        self.0.push(b',');
        // Memory can be written, and nothing that is logged fails to be serialised.
        let _ = serde_json::to_writer(&mut self.0, name);
        self.0.push(b':');
        let _ = serde_json::to_writer(&mut self.0, &value);
    }
}

impl Visit for JsonFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format_args!("{value:?}"));
    }
}

/// What the subscriber writes to, a line at a time.
struct Sink(Arc<Lines>);

impl<'a> MakeWriter<'a> for Sink {
    type Writer = &'a Sink;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

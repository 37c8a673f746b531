//! Log lines on their way to standard error: gathered, and written many at once.
//!
//! A system call for each line costs more than checking a signature. A line waits for
//! [`GATHER`] at most; when a lot has gathered, whoever logs writes it out, so that memory stays
//! bounded by the speed of what reads the log.

use std::io::{self, IsTerminal, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::raw::server::LogFormat;

/// What is logged when RUST_LOG does not say otherwise. Pingora reports every broken connection as
/// an error; what matters of them stands in our own lines.
const LOG_FILTER: &str = "info,pingora_core=off,pingora_load_balancing=warn";
/// The longest time that a line waits for others.
const GATHER: Duration = Duration::from_millis(20);
/// From this many bytes on they are written at once.
const GATHERED_BYTES_MAX: usize = 256 * 1024;

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
        registry.with(layer.json().flatten_event(true)).init();
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
    /// Held while writing, so that lines keep their order.
    output: Mutex<()>,
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
        let _output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = mem::take(&mut self.lock().bytes);
        // A log that cannot be written has nowhere to say so.
        let _ = io::stderr().write_all(&bytes);
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

//! `hookgate serve`

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Outcome, style};
use crate::app::{App, Progress};
use crate::clock::SystemClock;
use crate::config::ConfigFile;
use crate::config::raw::server::LogFormat;

/// What is logged when RUST_LOG does not say otherwise. Pingora reports every broken connection as
/// an error; what matters of them stands in our own lines.
const LOG_FILTER: &str = "info,pingora_core=off,pingora_load_balancing=warn";

/// Run the gateway.
#[derive(Args)]
pub(super) struct Serve {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
}

impl Serve {
    pub(super) fn run(self) -> Outcome {
        let file = ConfigFile::new(&self.config);
        let config = match file.load() {
            Ok(config) => config,
            Err(failure) => {
                style::load_error(&failure);
                return Ok(ExitCode::FAILURE);
            }
        };
        start_logging(config.log.format);
        App::new(config, Some(file), Arc::new(SystemClock))?.run(|progress| match progress {
            Progress::Listening(address) => style::note(format!("listening on {address}")),
            Progress::Admin(address) => style::note(format!("admin on {address}")),
            Progress::Ready => style::note("ready"),
        });
        Ok(ExitCode::SUCCESS)
    }
}

/// Sends log lines to standard error.
pub(super) fn start_logging(format: LogFormat) {
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if json {
        registry.with(layer.json().flatten_event(true)).init();
    } else {
        let colour = std::io::stderr().is_terminal();
        registry
            .with(layer.with_ansi(colour).with_target(false))
            .init();
    }
}

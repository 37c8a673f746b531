//! `hookgate serve`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use super::{Outcome, logging, style};
use crate::app::{App, Progress};
use crate::clock::SystemClock;
use crate::config::ConfigFile;

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
        let logging = logging::start(config.log.format);
        App::new(config, Some(file), Arc::new(SystemClock))?.run(move |progress| match progress {
            Progress::Listening(address) => style::note(format!("listening on {address}")),
            Progress::Admin(address) => style::note(format!("admin on {address}")),
            Progress::Ready => style::note("ready"),
            Progress::Stopped => logging.flush(),
        });
        Ok(ExitCode::SUCCESS)
    }
}

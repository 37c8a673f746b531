//! `hookgate schema`

use std::process::ExitCode;

use clap::Args;

use super::{Outcome, style};
use crate::admin::openapi;

/// Print the JSON Schema of the configuration file, for editors
#[derive(Args)]
pub(super) struct Schema {
    /// The OpenAPI document of the admin API instead
    #[arg(long)]
    api: bool,
}

impl Schema {
    pub(super) fn run(self) -> Outcome {
        let document = match self.api {
            true => openapi::document(),
            false => crate::config::schema(),
        };
        style::print(serde_json::to_string_pretty(&document)?);
        Ok(ExitCode::SUCCESS)
    }
}

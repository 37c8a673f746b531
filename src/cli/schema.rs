//! `hookgate schema`

use std::process::ExitCode;

use super::{Outcome, style};

pub(super) fn run() -> Outcome {
    style::print(serde_json::to_string_pretty(&crate::config::schema())?);
    Ok(ExitCode::SUCCESS)
}

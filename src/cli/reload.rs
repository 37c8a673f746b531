//! `hookgate reload`

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use serde_json::Value;

use super::operator::admin_url;
use super::style::{self, Paint};
use super::{Outcome, send};
use crate::admin::ADMIN_HEADER;
use crate::event::{Head, Headers};

/// Make the running gateway read its file again.
#[derive(Args)]
pub(super) struct Reload {
    /// The configuration file of the running gateway; says where its admin listener is
    #[arg(short, long, value_name = "FILE", required_unless_present = "url")]
    config: Option<PathBuf>,
    /// The admin listener, instead of what the file says (http://127.0.0.1:9464)
    #[arg(long)]
    url: Option<String>,
}

impl Reload {
    pub(super) fn run(self) -> Outcome {
        let otherwise =
            "the admin listener of this file is not an address; send the process SIGHUP";
        let base = admin_url(self.url.as_deref(), self.config.as_deref(), otherwise)?;
        let mut headers = Headers::default();
        let host = base.trim_start_matches("http://").to_owned();
        headers.push("Host", host);
        headers.push(ADMIN_HEADER, "1");
        headers.push("Content-Length", "0");
        let head = Head {
            method: "POST".into(),
            target: Bytes::from_static(b"/reload"),
            host: None,
            headers,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let received = runtime.block_on(send::read_all(&base, &head))?;
        let answer: Value = serde_json::from_slice(&received.body).unwrap_or_default();
        if received.status == 200 {
            style::print(format!(
                "{}: the new configuration is in use",
                Paint::Green.on("applied")
            ));
            for key in answer
                .get("needs_restart")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
            {
                let key = key.as_str().unwrap_or_default();
                let warning = Paint::Yellow.on("warning");
                style::note(format!(
                    "{warning}: `{key}` has changed and needs a restart"
                ));
            }
            return Ok(ExitCode::SUCCESS);
        }
        match answer.get("report").and_then(Value::as_str) {
            Some(report) => style::note(report),
            None => style::note(String::from_utf8_lossy(&received.body).trim_end()),
        }
        style::error("nothing has changed");
        Ok(ExitCode::FAILURE)
    }
}

//! `hookgate explain`

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::Outcome;
use super::events::{clean, or_dash};
use super::operator::{Gateway, Where, block_on, segment};
use super::style::{self, Paint};
use crate::admin::explain::Explanation;

/// Say why a signature is wrong, and what would have made it right
#[derive(Args)]
pub(super) struct Explain {
    /// The id of the refused request: the X-Request-Id of its log line
    id: String,
    /// One JSON document for machines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: Where,
}

impl Explain {
    pub(super) fn run(self) -> Outcome {
        block_on(async {
            let client = self.at.running().await?;
            let gateway = Gateway::Running(client);
            let id = gateway.id(&self.id).await?;
            let Gateway::Running(client) = &gateway else {
                bail!("only a running gateway explains");
            };
            let path = format!("/events/{}/explain", segment(&id));
            let explained: Value = client.get(&path, &[]).await?;
            if self.json {
                style::print(&explained);
                return Ok(ExitCode::SUCCESS);
            }
            let explained: Explanation = serde_json::from_value(explained)?;
            style::print(format!(
                "{}  route {}",
                Paint::Bold.on(&explained.event),
                or_dash(&explained.route)
            ));
            if let (Some(reason), Some(detail)) = (&explained.reason, &explained.detail) {
                style::print(format!(
                    "refused: {} ({})",
                    clean(detail),
                    Paint::Red.on(reason)
                ));
            }
            for finding in &explained.findings {
                let about = serde_json::to_value(finding.about)?;
                let about = about.as_str().unwrap_or_default().to_owned();
                style::print(format!(
                    "{}  {}",
                    Paint::Cyan.on(format!("{about:6}")),
                    finding.text
                ));
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

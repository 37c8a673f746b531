//! The page of providers, PROVIDERS.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::ways;
use crate::signature::handshake::Require;
use crate::signature::preset::Proof;
use crate::signature::{Preset, Presets};

const HEAD: &str = "\
# Providers

Write `verify: {provider: NAME, secrets: [\"${{ secret.NAME }}\"]}` in a route. `hookgate providers NAME` says more \
about each: what is signed and what is not, which secret it is, how the provider retries. The vectors in \
`conf/providers/NAME.yaml` prove each of them: signed by the provider's SDK, printed in its documentation, or \
made by the rule that is named there.

This page is printed by `hookgate providers --markdown`; change the files in `conf/providers` instead.
";

/// Writes the page.
pub(super) fn write(presets: &Presets) -> String {
    let mut categories: BTreeMap<&str, Vec<&Preset>> = BTreeMap::new();
    for preset in presets.iter() {
        categories.entry(&preset.category).or_default().push(preset);
    }
    let mut page = HEAD.to_owned();
    let count = presets.iter().count();
    let _ = writeln!(
        page,
        "\n{count} providers in {} categories.",
        categories.len()
    );
    for (category, presets) in categories {
        let _ = writeln!(page, "\n## {category}\n");
        page.push_str(
            "| provider | name | how a request is known to be genuine | event id | besides |\n",
        );
        page.push_str("|---|---|---|---|---|\n");
        for preset in presets {
            let _ = writeln!(
                page,
                "| [{}]({}) | `{}` | {} | {} | {} |",
                cell(&preset.title),
                preset.docs,
                preset.name,
                cell(&ways(preset).join("; or ")),
                cell(&event_id(preset)),
                cell(&besides(preset)),
            );
        }
    }
    page
}

fn event_id(preset: &Preset) -> String {
    let places: Vec<_> = preset
        .event_id
        .iter()
        .map(|place| place.describe())
        .collect();
    match places.as_slice() {
        [] => "none".to_owned(),
        places => places.join(", else "),
    }
}

/// What a route with this provider does by itself.
fn besides(preset: &Preset) -> String {
    let mut words = Vec::new();
    for handshake in &preset.handshakes {
        let how = match handshake.require {
            Require::Signature => "signed",
            Require::VerifyToken(_) => "with a token",
            Require::Nothing => "unsigned",
        };
        words.push(format!(
            "answers its {} handshake ({how})",
            handshake.method
        ));
    }
    if let Some(reply) = &preset.accepted {
        words.push(format!("answers {}", reply.status));
    }
    if let Some(reply) = &preset.refused {
        words.push(format!("refuses with {}", reply.status));
    }
    if let Some(deadline) = preset.deadline {
        words.push(format!("waits {}", humantime::format_duration(deadline)));
    }
    if !preset.addresses.is_empty() && preset.proof != Proof::Address {
        words.push("its addresses are known (`allow: provider`)".to_owned());
    }
    if preset.feed.is_some() {
        words.push("its addresses are fetched (`allow: provider`)".to_owned());
    }
    words.dedup();
    words.join(", ")
}

/// A text within a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

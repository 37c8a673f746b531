//! Which events are meant: by the keys of a query, or as a document.

use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire::{State, Verdict, state};
use crate::store;

/// What a replay is of: the filters of the list of events. What is absent excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// The route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// `accepted` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The word for why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The backend of a delivery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The state of that delivery, or of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Received at or after: a time (RFC 3339), or how long ago (`2h`, `3d`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "moment_or_null_schema")]
    pub since: Option<String>,
    /// Received before: a time, or how long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "moment_or_null_schema")]
    pub until: Option<String>,
    /// The provider's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_event_id: Option<String>,
    /// The provider's type.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The address of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What stands somewhere in head or body, byte for byte but for the case of ASCII.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Filter {
    /// Every key, with what it is for.
    pub const KEYS: [(&'static str, &'static str); 11] = [
        ("route", "The route."),
        ("verdict", "`accepted` or `refused`."),
        ("reason", "The word for why it was refused."),
        ("backend", "The backend of a delivery."),
        (
            "state",
            "The state of that delivery, or of any: `pending`, `leased`, `delivered` or `dead`.",
        ),
        (
            "since",
            "Received at or after: a time (RFC 3339), or how long ago (`2h`).",
        ),
        ("until", "Received before: a time, or how long ago."),
        ("provider_event_id", "The provider's id."),
        ("type", "The provider's type."),
        ("client", "The address of the client."),
        (
            "text",
            "What stands somewhere in head or body, byte for byte but for the case of ASCII.",
        ),
    ];

    /// The filter of a query, as far as its keys go.
    pub fn from_pairs(mut pair: impl FnMut(&str) -> Option<String>) -> Result<Self, String> {
        let state = pair("state").map(|text| {
            state(&text)
                .map(State::from)
                .ok_or("`state` is `pending`, `leased`, `delivered` or `dead`")
        });
        let verdict = pair("verdict").map(|text| match text.as_str() {
            "accepted" => Ok(Verdict::Accepted),
            "refused" => Ok(Verdict::Refused),
            _ => Err("`verdict` is `accepted` or `refused`"),
        });
        Ok(Self {
            route: pair("route"),
            verdict: verdict.transpose()?,
            reason: pair("reason"),
            backend: pair("backend"),
            state: state.transpose()?,
            since: pair("since"),
            until: pair("until"),
            provider_event_id: pair("provider_event_id"),
            event_type: pair("type"),
            client: pair("client"),
            text: pair("text"),
        })
    }

    /// The filter for the store, with times that are counted back from `now`.
    ///
    /// # Errors
    /// A sentence about the value that is none.
    pub fn at(&self, now: jiff::Timestamp) -> Result<store::Filter, String> {
        let moment = |key: &str, text: &Option<String>| -> Result<Option<_>, String> {
            let Some(text) = text else { return Ok(None) };
            moment(text, now).map(Some).ok_or_else(|| {
                format!("`{key}` is a time (2026-01-31T12:00:00Z) or how long ago (2h, 3d)")
            })
        };
        Ok(store::Filter {
            route: self.route.clone(),
            verdict: self.verdict.map(|verdict| match verdict {
                Verdict::Accepted => store::LogVerdict::Accepted,
                Verdict::Refused => store::LogVerdict::Refused,
            }),
            reason: self.reason.clone(),
            backend: self.backend.clone(),
            state: self.state.and_then(|known| state(known.label())),
            since: moment("since", &self.since)?,
            until: moment("until", &self.until)?,
            provider_event_id: self.provider_event_id.clone(),
            event_type: self.event_type.clone(),
            client: self.client.clone(),
            text: self.text.clone().filter(|text| !text.is_empty()),
        })
    }
}

/// How a moment is written. More is taken than is promised (`3d 12h`).
pub(super) fn moment_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {"type": "string", "pattern": "^[0-9]{1,3}[smhdw]$"},
        ],
    })
}

fn moment_or_null_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let moment = moment_schema(generator);
    schemars::json_schema!({"anyOf": [moment, {"type": "null"}]})
}

fn moment(text: &str, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
    if let Ok(at) = jiff::Timestamp::from_str(text) {
        return Some(at);
    }
    let ago = jiff::Span::from_str(text).ok()?;
    let utc = now.to_zoned(jiff::tz::TimeZone::UTC);
    utc.checked_sub(ago).ok().map(|at| at.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now: jiff::Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(moment(text, now), expected, "{text}");
        };
        check("2026-11-25T00:00:00Z", Some("2026-11-25T00:00:00Z"));
        check("2h", Some("2026-11-26T10:00:00Z"));
        check("3d 12h", Some("2026-11-23T00:00:00Z"));
        check("1w", Some("2026-11-19T12:00:00Z"));
        check("yesterday", None);
        check("", None);
    }
}

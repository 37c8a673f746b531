//! What a body says: ranges, all of them good, or nothing.
//!
//! Pure. Whoever publishes a list says who may send, so what he may say is bounded: no range and no
//! list is wide enough to open the door to everybody.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;

use super::pointer::{Missing, Pointer};
use crate::ingress::ranges::Ranges;

/// The most ranges of a list.
pub const RANGES_MAX: usize = 100_000;
/// The shortest prefix of a range of version 4.
const PREFIX_V4_MIN: u8 = 7;
/// The shortest prefix of a range of version 6.
const PREFIX_V6_MIN: u8 = 16;
/// The most addresses of version 4 of a whole list: an eighth of all. The largest clouds have a third
/// of that.
const ADDRESSES_V4_MAX: u64 = 1 << 29;
/// The most networks /64 of version 6 of a whole list: as many as a /12 has.
const NETWORKS_V6_MAX: u128 = 1 << 52;
/// The most of a bad entry that is shown, in characters.
const ENTRY_CHARS_MAX: usize = 64;

/// A good list: not empty, and every entry of it understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    nets: BTreeSet<IpNet>,
    ranges: Arc<Ranges>,
}

/// Why a body is no good list. None of it is used then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The body is no text.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// The body is no JSON.
    #[error("the body is not JSON")]
    NotJson,
    /// Nothing is where the pointer points.
    #[error("nothing is at `{pointer}`")]
    Nothing {
        /// The pointer.
        pointer: String,
    },
    /// Something else is where the pointer points.
    #[error("`{pointer}` is neither a text nor a list of texts")]
    NoText {
        /// The pointer.
        pointer: String,
    },
    /// An entry is no range.
    #[error("{entry} is neither an address nor a range of addresses")]
    Malformed {
        /// The entry, and where it stands.
        entry: Entry,
    },
    /// A range is too wide.
    #[error(
        "{entry} is wider than a list may say (/{PREFIX_V4_MIN} of version 4, /{PREFIX_V6_MIN} of version 6): write it into `allow` if it is meant"
    )]
    Wide {
        /// The entry, and where it stands.
        entry: Entry,
    },
    /// All ranges together are too wide.
    #[error(
        "the ranges together hold more than an eighth of version 4, or than a /12 of version 6"
    )]
    WideTogether,
    /// There are too many.
    #[error("there are more than {RANGES_MAX} ranges")]
    TooMany,
    /// There are none.
    #[error("the list is empty")]
    Empty,
}

/// A bad entry, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    number: usize,
    text: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}, {:?},", self.number, self.text)
    }
}

impl ListError {
    /// The word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotUtf8 | Self::NotJson | Self::Malformed { .. } => "malformed",
            Self::Nothing { .. } | Self::NoText { .. } => "pointer",
            Self::Wide { .. } | Self::WideTogether => "too_wide",
            Self::TooMany => "too_many",
            Self::Empty => "empty",
        }
    }
}

impl List {
    /// Reads a body: what the pointers point to, or plain lines if there are none.
    ///
    /// # Errors
    /// [`ListError`] with the first reason why it is no good list.
    pub fn read(body: &[u8], pointers: &[Pointer]) -> Result<Self, ListError> {
        let text = str::from_utf8(body).map_err(|_| ListError::NotUtf8)?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if pointers.is_empty() {
            return Self::new(lines(text));
        }
        let document: Value = serde_json::from_str(text).map_err(|_| ListError::NotJson)?;
        let mut entries = Vec::new();
        for pointer in pointers {
            let texts = pointer.texts(&document).map_err(|missing| {
                let pointer = pointer.to_string();
                match missing {
                    Missing::Nothing => ListError::Nothing { pointer },
                    Missing::NoText => ListError::NoText { pointer },
                }
            })?;
            entries.extend(texts);
        }
        Self::new(entries)
    }

    /// Takes entries, each an address or a range.
    ///
    /// # Errors
    /// [`ListError`], see [`List::read`].
    pub fn new<'t>(entries: impl IntoIterator<Item = &'t str>) -> Result<Self, ListError> {
        let mut nets = BTreeSet::new();
        for (index, text) in entries.into_iter().enumerate() {
            let text = text.trim();
            let entry = || Entry {
                number: index + 1,
                text: text.chars().take(ENTRY_CHARS_MAX).collect(),
            };
            let net = range(text).ok_or_else(|| ListError::Malformed { entry: entry() })?;
            let prefix_min = match net {
                IpNet::V4(_) => PREFIX_V4_MIN,
                IpNet::V6(_) => PREFIX_V6_MIN,
            };
            if net.prefix_len() < prefix_min {
                return Err(ListError::Wide { entry: entry() });
            }
            nets.insert(net);
            if nets.len() > RANGES_MAX {
                return Err(ListError::TooMany);
            }
        }
        if nets.is_empty() {
            return Err(ListError::Empty);
        }
        let ranges = Ranges::new(nets.iter().copied());
        if ranges.addresses_v4() > ADDRESSES_V4_MAX || ranges.networks_v6() > NETWORKS_V6_MAX {
            return Err(ListError::WideTogether);
        }
        let ranges = Arc::new(ranges);
        Ok(Self { nets, ranges })
    }

    /// How many ranges it names.
    pub fn len(&self) -> usize {
        self.nets.len()
    }

    /// Whether it names none, which no list does.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = &IpNet> {
        self.nets.iter()
    }

    /// What the door looks into.
    pub fn ranges(&self) -> &Arc<Ranges> {
        &self.ranges
    }
}

/// What stands on the lines before `#`, where there is something.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let written = text.lines().map(|line| match line.split_once('#') {
        Some((before, _)) => before.trim(),
        None => line.trim(),
    });
    written.filter(|line| !line.is_empty())
}

/// A range, or an address as a range of one. Mapped addresses become what they are, version 4.
fn range(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net.trunc(),
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let IpNet::V6(v6) = net else { return Some(net) };
    let mapped = v6.network().to_ipv4_mapped();
    match (mapped, v6.prefix_len().checked_sub(96)) {
        (Some(ip), Some(prefix)) => Some(IpNet::V4(Ipv4Net::new(ip, prefix).ok()?)),
        _ => Some(net),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, pointers: &[&str]) -> Result<Vec<String>, String> {
        let pointers: Vec<Pointer> = pointers.iter().map(|text| text.parse().unwrap()).collect();
        let list = List::read(body.as_bytes(), &pointers).map_err(|error| error.to_string())?;
        assert_eq!(list.len(), list.entries().count());
        Ok(list.entries().map(ToString::to_string).collect())
    }

    #[test]
    fn lines_are_addresses_and_ranges_with_comments() {
        let body = "\u{feff}# published by nobody\r\n\r\n 192.0.2.7 \r\n10.1.2.3/8 # all of it\n\
                    2001:db8::/32\n2001:db8::1\n192.0.2.7\n::ffff:198.51.100.0/120\n";
        let expected = [
            "10.0.0.0/8",
            "192.0.2.7/32",
            "198.51.100.0/24",
            "2001:db8::/32",
            "2001:db8::1/128",
        ];
        assert_eq!(read(body, &[]).unwrap(), expected);
    }

    #[test]
    fn a_document_is_read_where_the_pointers_point() {
        let aws = r#"{"prefixes": [{"ip_prefix": "3.5.140.0/22"}, {"ip_prefix": "15.230.39.0/31"}],
                      "ipv6_prefixes": [{"ipv6_prefix": "2600:1f14::/35"}]}"#;
        let both = ["/prefixes/*/ip_prefix", "/ipv6_prefixes/*/ipv6_prefix"];
        assert_eq!(read(aws, &both[..1]).unwrap().len(), 2);
        assert_eq!(read(aws, &both).unwrap().len(), 3);
        assert_eq!(
            read(r#"{"hooks": ["192.30.252.0/22"]}"#, &["/hooks"]).unwrap(),
            ["192.30.252.0/22"]
        );
    }

    #[test]
    fn one_bad_entry_spoils_the_list() {
        let check = |body: &str, pointers: &[&str], expected: &str| {
            let error = read(body, pointers).unwrap_err();
            assert!(error.contains(expected), "{body}: {error}");
        };
        check("", &[], "the list is empty");
        check("# nothing\n\n", &[], "the list is empty");
        check(
            "10.0.0.0/8\n10.0.0.0/33\n",
            &[],
            "entry 2, \"10.0.0.0/33\", is neither",
        );
        check("<html>\nhello", &[], "entry 1, \"<html>\", is neither");
        check("a.example", &[], "neither an address nor a range");
        check("0.0.0.0/0", &[], "wider than a list may say");
        check("::/0", &[], "wider than a list may say");
        check("8.0.0.0/6", &[], "wider than a list may say");
        check("2000::/15", &[], "wider than a list may say");
        check("::ffff:0:0/96", &[], "wider than a list may say");
        check(r#"{"hooks": []}"#, &["/hooks"], "the list is empty");
        check(r#"{"hooks": [1]}"#, &["/hooks"], "`/hooks` is neither");
        check(r#"{"hooks": {}}"#, &["/hooks"], "`/hooks` is neither");
        check(
            r#"{"hooks": ["10.0.0.0/8"]}"#,
            &["/hooks", "/web"],
            "nothing is at `/web`",
        );
        check(r#"{"hooks": ["10.0.0.0/8"#, &["/hooks"], "not JSON");
        check(&"[".repeat(100_000), &["/hooks"], "the body is not JSON");
        assert_eq!(List::read(b"\xff", &[]), Err(ListError::NotUtf8));
    }

    #[test]
    fn ranges_that_are_wide_together_are_as_bad_as_a_wide_one() {
        let v4 = |count: u32| -> String {
            let first = (0..count).map(|n| format!("{}.0.0.0/7\n", n * 2));
            first.collect()
        };
        assert_eq!(read(&v4(16), &[]).unwrap().len(), 16);
        assert!(read(&v4(17), &[]).unwrap_err().contains("together"));
        let v6 = |count: u32| -> String {
            let first = (0..count).map(|n| format!("{:x}::/16\n", 0x2000 + n));
            first.collect()
        };
        assert_eq!(read(&v6(16), &[]).unwrap().len(), 16);
        assert!(read(&v6(17), &[]).unwrap_err().contains("together"));
    }

    #[test]
    fn a_list_has_an_end() {
        let body: String = (0..=RANGES_MAX)
            .map(|n| format!("10.{}.{}.{}\n", n >> 16, n >> 8 & 255, n & 255))
            .collect();
        assert!(read(&body, &[]).unwrap_err().contains("more than 100000"));
    }

    #[test]
    fn a_long_entry_is_shown_in_part() {
        let error = read(&"x".repeat(10_000), &[]).unwrap_err();
        assert!(error.len() < 200, "{error}");
    }
}

//! What stands in a request in the places that a scheme names: signatures, their time, an id.

use std::borrow::Cow;

use base64::Engine as _;

use super::key::{BASE64, BASE64_URL};
use super::place::Place;
use super::reason::Reason;
use super::request::Request;
use super::scheme::{
    Encoding, ListForm, Parse, SIGNATURES_MAX, Scheme, TimestampPlace, TimestampRule,
};

/// Signatures that were made at one time.
pub(super) struct Found<'r> {
    pub(super) place: &'r Place,
    pub(super) signatures: Vec<Signature<'r>>,
    pub(super) timestamp: Option<Cow<'r, [u8]>>,
    pub(super) id: Option<Cow<'r, [u8]>>,
}

/// A signature as it is written.
pub(super) struct Signature<'r> {
    pub(super) text: Cow<'r, [u8]>,
    /// The name of the key that it says it was made with.
    pub(super) key_id: Option<String>,
}

/// A signature's bytes, and the name of the key that it says it was made with.
pub(super) struct Tag {
    pub(super) bytes: Vec<u8>,
    pub(super) key_id: Option<String>,
}

impl<'r> Found<'r> {
    /// What stands in the request; more than one only where each has a time of its own.
    pub(super) fn all(scheme: &'r Scheme, request: &'r Request<'_>) -> Result<Vec<Self>, Reason> {
        let parts = scheme.parts();
        let values = parts.place.read_all(request);
        if values.iter().all(|value| value.is_empty()) {
            return Err(Reason::SignatureMissing {
                place: parts.place.describe(),
            });
        }
        let id = match &parts.id {
            None => None,
            Some(place) => Some(
                read_one(place, request)?.ok_or_else(|| Reason::InputMissing {
                    what: place.describe(),
                })?,
            ),
        };
        let sets = match &parts.parse {
            Parse::Sets { set_sep, list } => sets(&values, set_sep, list),
            _ => vec![(signatures(&parts.parse, &values), values)],
        };
        let mut all = Vec::new();
        for (signatures, values) in sets.into_iter().take(SIGNATURES_MAX) {
            if signatures.is_empty() {
                let problem = match &parts.parse {
                    Parse::Prefix(_) => "the prefix is missing",
                    _ => "no item holds a signature",
                };
                return Err(malformed(&parts.place, problem));
            }
            let timestamp = match &parts.timestamp {
                None => None,
                Some(rule) => timestamp(rule, &parts.parse, &values, request)?,
            };
            all.push(Self {
                place: &parts.place,
                signatures,
                timestamp,
                id: id.clone(),
            });
        }
        Ok(all)
    }

    pub(super) fn decode(&self, encoding: Encoding) -> Result<Vec<Tag>, Reason> {
        let decode = |signature: &Signature<'_>| {
            let bytes = match encoding {
                Encoding::Hex => hex::decode(&signature.text).ok(),
                Encoding::Base64 => BASE64.decode(&signature.text).ok(),
                Encoding::Base64Url => BASE64_URL.decode(&signature.text).ok(),
            };
            Some(Tag {
                bytes: bytes?,
                key_id: signature.key_id.clone(),
            })
        };
        let tags: Vec<_> = self.signatures.iter().filter_map(decode).collect();
        if tags.is_empty() {
            let problem = match encoding {
                Encoding::Hex => "not hex",
                Encoding::Base64 | Encoding::Base64Url => "not base64",
            };
            return Err(malformed(self.place, problem));
        }
        Ok(tags)
    }
}

pub(super) fn malformed(place: &Place, problem: &'static str) -> Reason {
    Reason::SignatureMalformed {
        place: place.describe(),
        problem,
    }
}

type Values<'r> = Vec<Cow<'r, [u8]>>;

/// Each list of signatures by itself.
fn sets<'r>(
    values: &[Cow<'r, [u8]>],
    set_sep: &str,
    list: &ListForm,
) -> Vec<(Vec<Signature<'r>>, Values<'r>)> {
    let texts = values
        .iter()
        .filter_map(|value| std::str::from_utf8(value).ok());
    let sets = texts.flat_map(|text| text.split(set_sep));
    let sets = sets.map(str::trim).filter(|set| !set.is_empty());
    sets.map(|set| {
        let values = vec![Cow::Owned(set.as_bytes().to_vec())];
        (signatures(&Parse::List(list.clone()), &values), values)
    })
    .collect()
}

/// Every signature in the values, [`SIGNATURES_MAX`] at most.
fn signatures<'r>(parse: &Parse, values: &[Cow<'r, [u8]>]) -> Vec<Signature<'r>> {
    let plain = |text| Signature { text, key_id: None };
    let found: Vec<Signature<'r>> = match parse {
        Parse::Whole => values.iter().cloned().map(plain).collect(),
        Parse::Prefix(prefix) => values
            .iter()
            .filter_map(|value| Some(value.strip_prefix(prefix.as_bytes())?.to_vec().into()))
            .map(plain)
            .collect(),
        Parse::List(list) | Parse::Sets { list, .. } => values
            .iter()
            .flat_map(|value| pairs(value, list))
            .filter(|(name, _)| list.key.as_ref().is_none_or(|key| key == name))
            .map(|(name, text)| Signature {
                text: Cow::Owned(text.into_bytes()),
                key_id: list.key.is_none().then_some(name),
            })
            .collect(),
        Parse::Positional { sep } => values
            .iter()
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|text| text.split(sep.as_str()).skip(1))
            .map(|text| plain(Cow::Owned(text.trim().as_bytes().to_vec())))
            .collect(),
    };
    found.into_iter().take(SIGNATURES_MAX).collect()
}

/// The keys and values of a list such as `t=1,v1=a,v1=b`.
fn pairs(value: &[u8], list: &ListForm) -> Vec<(String, String)> {
    let Ok(text) = std::str::from_utf8(value) else {
        return Vec::new();
    };
    text.split(list.item_sep.as_str())
        .filter_map(|item| item.trim().split_once(list.kv_sep.as_str()))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn timestamp<'r>(
    rule: &'r TimestampRule,
    parse: &Parse,
    values: &[Cow<'r, [u8]>],
    request: &'r Request<'_>,
) -> Result<Option<Cow<'r, [u8]>>, Reason> {
    let key = match &rule.place {
        // A token is opened before its claims are read.
        TimestampPlace::Claim(_) => return Ok(None),
        TimestampPlace::Request(place) => {
            let found = read_one(place, request)?;
            return found.map(Some).ok_or_else(|| Reason::TimestampMissing {
                place: place.describe(),
            });
        }
        TimestampPlace::Signature(key) => key,
    };
    let found: Vec<String> = match parse {
        Parse::List(list) | Parse::Sets { list, .. } => values
            .iter()
            .flat_map(|value| pairs(value, list))
            .filter(|(name, _)| name == key)
            .map(|(_, text)| text)
            .collect(),
        Parse::Positional { sep } => values
            .iter()
            .filter_map(|value| std::str::from_utf8(value).ok()?.split(sep.as_str()).next())
            .map(|text| text.trim().to_owned())
            .collect(),
        Parse::Whole | Parse::Prefix(_) => Vec::new(),
    };
    let mut found = found.into_iter();
    let first = found.next();
    if found.next().is_some() {
        return Err(Reason::InputAmbiguous {
            what: format!("timestamp `{key}`"),
        });
    }
    let first = first.ok_or_else(|| Reason::TimestampMissing {
        place: format!("`{key}` in the signature"),
    })?;
    Ok(Some(Cow::Owned(first.into_bytes())))
}

/// A value that must stand there once: a second one could be the one the backend reads.
pub(super) fn read_one<'r>(
    place: &'r Place,
    request: &'r Request<'_>,
) -> Result<Option<Cow<'r, [u8]>>, Reason> {
    let mut values = place.read_all(request).into_iter();
    let first = values.next().filter(|value| !value.is_empty());
    if values.next().is_some() {
        return Err(Reason::InputAmbiguous {
            what: place.describe(),
        });
    }
    Ok(first)
}

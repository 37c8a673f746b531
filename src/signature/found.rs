//! What stands in a request in the places that a scheme names: signatures, their time, an id.

use std::borrow::Cow;
use std::iter;

use base64::Engine as _;
use bstr::ByteSlice as _;
use smallvec::{SmallVec, smallvec};

use super::algorithm::TagBytes;
use super::key::{BASE64, BASE64_URL};
use super::place::Place;
use super::reason::Reason;
use super::request::Request;
use super::scheme::{
    Encoding, ListForm, Parse, SIGNATURES_MAX, Scheme, TimestampPlace, TimestampRule,
};

/// Signatures that were made at one time.
pub(super) struct Found<'v> {
    pub(super) place: &'v Place,
    pub(super) signatures: Signatures<'v>,
    pub(super) timestamp: Option<Cow<'v, [u8]>>,
    pub(super) id: Option<Cow<'v, [u8]>>,
}

/// Nearly always one.
type Signatures<'v> = SmallVec<[Signature<'v>; 1]>;

/// A signature as it is written.
#[derive(Clone, Copy)]
pub(super) struct Signature<'v> {
    pub(super) text: &'v [u8],
    /// The name of the key that it says it was made with.
    key_id: Option<&'v [u8]>,
}

/// A signature's bytes, and the name of the key that it says it was made with.
pub(super) struct Tag<'v> {
    pub(super) bytes: TagBytes,
    pub(super) key_id: Option<&'v [u8]>,
}

impl<'v> Found<'v> {
    /// What the values in the scheme's place say; more than one only where each has a time of its own.
    pub(super) fn all(
        scheme: &'v Scheme,
        request: &'v Request<'_>,
        values: &'v [Cow<'_, [u8]>],
    ) -> Result<SmallVec<[Self; 1]>, Reason> {
        let parts = scheme.parts();
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
        let texts = values.iter().map(|value| &**value);
        let Parse::Sets { set_sep, .. } = &parts.parse else {
            return Ok(smallvec![Self::read(scheme, texts, id, request)?]);
        };
        let sets = texts.flat_map(|text| text.split_str(set_sep));
        let sets = sets.map(<[u8]>::trim_ascii).filter(|set| !set.is_empty());
        sets.take(SIGNATURES_MAX)
            .map(|set| Self::read(scheme, iter::once(set), id.clone(), request))
            .collect()
    }

    /// Signatures of one time.
    fn read(
        scheme: &'v Scheme,
        texts: impl Iterator<Item = &'v [u8]> + Clone,
        id: Option<Cow<'v, [u8]>>,
        request: &'v Request<'_>,
    ) -> Result<Self, Reason> {
        let parts = scheme.parts();
        let signatures = signatures(&parts.parse, texts.clone());
        if signatures.is_empty() {
            let problem = match &parts.parse {
                Parse::Prefix(_) => "the prefix is missing",
                _ => "no item holds a signature",
            };
            return Err(malformed(&parts.place, problem));
        }
        let timestamp = match &parts.timestamp {
            None => None,
            Some(rule) => timestamp(rule, &parts.parse, texts, request)?,
        };
        Ok(Self {
            place: &parts.place,
            signatures,
            timestamp,
            id,
        })
    }

    pub(super) fn decode(&self, encoding: Encoding) -> Result<SmallVec<[Tag<'v>; 1]>, Reason> {
        let decode = |signature: &Signature<'v>| {
            Some(Tag {
                bytes: decode(encoding, signature.text)?,
                key_id: signature.key_id,
            })
        };
        let tags: SmallVec<_> = self.signatures.iter().filter_map(decode).collect();
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

/// The bytes of a signature; `None` = it is not written in this encoding.
fn decode(encoding: Encoding, text: &[u8]) -> Option<TagBytes> {
    let base64 = match encoding {
        Encoding::Hex => {
            let mut bytes = TagBytes::from_elem(0, text.len() / 2);
            base16ct::mixed::decode(text, &mut bytes).ok()?;
            return Some(bytes);
        }
        Encoding::Base64 => BASE64,
        Encoding::Base64Url => BASE64_URL,
    };
    let mut bytes = TagBytes::from_elem(0, base64::decoded_len_estimate(text.len()));
    let length = base64.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

pub(super) fn malformed(place: &Place, problem: &'static str) -> Reason {
    Reason::SignatureMalformed {
        place: place.describe(),
        problem,
    }
}

/// Every signature in the texts, [`SIGNATURES_MAX`] at most.
fn signatures<'v>(parse: &Parse, texts: impl Iterator<Item = &'v [u8]>) -> Signatures<'v> {
    let plain = |text| Signature { text, key_id: None };
    let texts = texts.map(plain);
    match parse {
        Parse::Whole => texts.take(SIGNATURES_MAX).collect(),
        Parse::Prefix(prefix) => texts
            .filter_map(|one| one.text.strip_prefix(prefix.as_bytes()))
            .map(plain)
            .take(SIGNATURES_MAX)
            .collect(),
        Parse::List(list) | Parse::Sets { list, .. } => texts
            .flat_map(|one| pairs(one.text, list))
            .filter(|(name, _)| list.key.as_ref().is_none_or(|key| key.as_bytes() == *name))
            .map(|(name, text)| Signature {
                text,
                key_id: list.key.is_none().then_some(name),
            })
            .take(SIGNATURES_MAX)
            .collect(),
        Parse::Positional { sep } => texts
            .flat_map(|one| one.text.split_str(sep).skip(1))
            .map(|text| plain(text.trim_ascii()))
            .take(SIGNATURES_MAX)
            .collect(),
    }
}

/// The keys and values of a list such as `t=1,v1=a,v1=b`.
fn pairs<'v>(text: &'v [u8], list: &ListForm) -> impl Iterator<Item = (&'v [u8], &'v [u8])> {
    text.split_str(&list.item_sep)
        .filter_map(|item| item.trim_ascii().split_once_str(&list.kv_sep))
}

fn timestamp<'v>(
    rule: &'v TimestampRule,
    parse: &Parse,
    texts: impl Iterator<Item = &'v [u8]>,
    request: &'v Request<'_>,
) -> Result<Option<Cow<'v, [u8]>>, Reason> {
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
    let found: SmallVec<[&[u8]; 2]> = match parse {
        Parse::List(list) | Parse::Sets { list, .. } => texts
            .flat_map(|text| pairs(text, list))
            .filter(|(name, _)| *name == key.as_bytes())
            .map(|(_, text)| text)
            .collect(),
        Parse::Positional { sep } => texts
            .filter_map(|text| text.split_str(sep).next())
            .map(<[u8]>::trim_ascii)
            .collect(),
        Parse::Whole | Parse::Prefix(_) => SmallVec::new(),
    };
    match found[..] {
        [] => Err(Reason::TimestampMissing {
            place: format!("`{key}` in the signature"),
        }),
        [text] => Ok(Some(Cow::Borrowed(text))),
        _ => Err(Reason::InputAmbiguous {
            what: format!("timestamp `{key}`"),
        }),
    }
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

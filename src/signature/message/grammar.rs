//! Reads the text of a message: literals, pieces in braces, groups in brackets.

use serde_json_path::JsonPath;

use super::{Challenge, MessageError, Response, Segment, Written};
use crate::signature::algorithm::Hash;
use crate::signature::place::Place;

/// The pieces, for people who wrote another one.
pub(super) const KNOWN: &str = "{body}, {sha256:body}, {crc32:body}, {sorted_form}, {sorted_json}, \
                                {sorted_query}, {query_string}, {ts}, {id}, {secret}, {key_id}, {method}, \
                                {path}, {url}, {option:NAME}, {header:NAME}, {headers_in:NAME}, \
                                {query:NAME}, {form:NAME}, {form_like:PREFIX}, {json:PATH} and \
                                {form_json:NAME:PATH}";

/// The segments of a text.
pub(super) fn parse(text: &str) -> Result<Vec<Segment>, MessageError> {
    let mut outer = Vec::new();
    let mut group: Option<Vec<Segment>> = None;
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}', '[', ']']) {
        let (before, from) = rest.split_at(at);
        literal.push_str(before);
        if let Some((doubled, after)) = doubled(from) {
            literal.push(doubled);
            rest = after;
            continue;
        }
        push_literal(group.as_mut().unwrap_or(&mut outer), &mut literal);
        if let Some(after) = from.strip_prefix('[') {
            if group.replace(Vec::new()).is_some() {
                return Err(MessageError::Bracket);
            }
            rest = after;
        } else if let Some(after) = from.strip_prefix(']') {
            outer.push(Segment::Group(group.take().ok_or(MessageError::Bracket)?));
            rest = after;
        } else {
            let (name, after) = from
                .strip_prefix('{')
                .and_then(|from| from.split_once('}'))
                .ok_or(MessageError::Brace)?;
            group.as_mut().unwrap_or(&mut outer).push(segment(name)?);
            rest = after;
        }
    }
    if group.is_some() {
        return Err(MessageError::Bracket);
    }
    literal.push_str(rest);
    push_literal(&mut outer, &mut literal);
    Ok(outer)
}

/// A character that is written twice to stand for itself, and what follows it.
fn doubled(text: &str) -> Option<(char, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    (chars.next()? == first).then_some((first, chars.as_str()))
}

fn push_literal(segments: &mut Vec<Segment>, literal: &mut String) {
    if !literal.is_empty() {
        segments.push(Segment::Literal(std::mem::take(literal).into_bytes()));
    }
}

fn segment(name: &str) -> Result<Segment, MessageError> {
    let unknown = || MessageError::Unknown {
        name: name.to_owned(),
    };
    let Some((kind, rest)) = name.split_once(':') else {
        return Ok(match name {
            "body" => Segment::Body,
            "sorted_form" => Segment::SortedForm,
            "sorted_json" => Segment::SortedJson(None),
            "sorted_query" => Segment::SortedQuery,
            "query_string" => Segment::QueryString,
            "ts" => Segment::Timestamp,
            "id" => Segment::Id,
            "secret" => Segment::Secret,
            "key_id" => Segment::KeyId,
            "method" => Segment::Method,
            "path" => Segment::Path,
            "url" => Segment::Url,
            _ => return Err(unknown()),
        });
    };
    if rest.is_empty() {
        return Err(unknown());
    }
    Ok(match (kind, rest) {
        ("sha256", "body") => Segment::BodySha256,
        ("crc32", "body") => Segment::BodyCrc32,
        ("sorted_json", field) => Segment::SortedJson(Some(field.to_owned())),
        ("form_like", prefix) => Segment::FormLike(prefix.to_owned()),
        ("headers_in", header) => Segment::HeadersIn(header.to_owned()),
        ("option", option) => Segment::Option(option.to_owned()),
        _ => match mac(kind) {
            Some((hash, written)) => {
                let (challenge, rest) = match rest.strip_prefix("hex:") {
                    Some(rest) => (Challenge::Hex, rest),
                    None => (Challenge::Word, rest),
                };
                Segment::Mac(Box::new(Response {
                    hash,
                    written,
                    challenge,
                    place: place(rest)?.ok_or_else(unknown)?,
                }))
            }
            None => Segment::Value(place(name)?.ok_or_else(unknown)?),
        },
    })
}

/// `hmac-sha256-hex` and its like.
fn mac(kind: &str) -> Option<(Hash, Written)> {
    let (hash, written) = kind.strip_prefix("hmac-")?.split_once('-')?;
    let hash = match hash {
        "sha1" => Hash::Sha1,
        "sha256" => Hash::Sha256,
        _ => return None,
    };
    let written = match written {
        "hex" => Written::Hex,
        "base64" => Written::Base64,
        _ => return None,
    };
    Some((hash, written))
}

/// A place such as `header:X-Id`; `None` when the word is not one of a place.
fn place(name: &str) -> Result<Option<Place>, MessageError> {
    Ok(match name.split_once(':') {
        Some(("header", header)) if !header.is_empty() => Some(Place::Header(header.to_owned())),
        Some(("query", parameter)) if !parameter.is_empty() => {
            Some(Place::Query(parameter.to_owned()))
        }
        Some(("form", parameter)) if !parameter.is_empty() => {
            Some(Place::Form(parameter.to_owned()))
        }
        Some(("json", path)) => Some(Place::Json(json_path(path)?)),
        Some(("form_json", rest)) => match rest.split_once(':') {
            Some((parameter, path)) if !parameter.is_empty() => {
                Some(Place::FormJson(parameter.to_owned(), json_path(path)?))
            }
            _ => None,
        },
        _ => None,
    })
}

fn json_path(path: &str) -> Result<JsonPath, MessageError> {
    JsonPath::parse(path).map_err(|error| MessageError::JsonPath {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

//! Compiles `poll.partitions`.

use std::collections::HashSet;

use serde_json::Value;

use super::{SourceCompiler, value};
use crate::config::decode::{Entries, Field, OneOrMany, TextOr, Tree};
use crate::config::raw::poll::Poll;
use crate::config::yaml::Span;
use crate::event::keys::digest;
use crate::expr::scoped::{Name, Names};
use crate::poll::canonical;
use crate::poll::decode::table;
use crate::poll::source::Partition;

/// The values as the file has them.
type List = OneOrMany<TextOr<Entries<Tree>>>;

/// The longest text that a partition is known by, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// The most partitions of one source.
const PARTITIONS_MAX: usize = 10_000;
/// How many letters of a hash a mapping without `id` is known by.
const HASH_LETTERS: usize = 16;
/// What is known when the file is read.
const IN_PARTITIONS: Names = Names::new(&[Name::Env, Name::Secret]);

impl SourceCompiler<'_, '_> {
    /// What the source is asked for: one partition without a value, unless the file has some.
    pub(super) fn partitions(&mut self, poll: &Poll) -> Option<Vec<Partition>> {
        let Some(field) = &poll.partitions else {
            return Some(vec![Partition {
                key: "".into(),
                value: None,
            }]);
        };
        let raw = field.get()?;
        let faults = self.faults.len();
        let (span, found) = match (&raw.list, &raw.file) {
            (Some(list), None) => (list.span, self.listed(list)?),
            (None, Some(file)) => (file.span, self.read_from(file)?),
            (list, _) => {
                let message = match list {
                    Some(_) => "`list` and `file` exclude each other",
                    None => "there is neither `list` nor `file`",
                };
                self.fault_with_help(field.span, message, "write one of them");
                return None;
            }
        };
        if found.is_empty() && self.faults.len() == faults {
            let message = "there is no value: nothing would ever be asked";
            self.fault_with_help(span, message, "write values, or take `partitions` away");
        }
        if found.len() > PARTITIONS_MAX {
            let message = format!("a source has {PARTITIONS_MAX} partitions at most");
            self.fault_with_help(span, message, "make several sources of it");
        }
        let mut keys = HashSet::new();
        for (span, partition) in &found {
            if !keys.insert(partition.key.clone()) {
                let message = format!("`{}` stands here twice", partition.key);
                self.fault_with_help(*span, message, "take one of them away");
            }
        }
        Some(found.into_iter().map(|(_, partition)| partition).collect())
    }

    fn listed(&mut self, list: &Field<List>) -> Option<Vec<(Span, Partition)>> {
        let mut listed = Vec::new();
        for field in list.get()? {
            let found = self.partition(field).map(|found| (field.span, found));
            listed.extend(found);
        }
        Some(listed)
    }

    /// The values of a file: rows of a `.csv`, otherwise lines.
    fn read_from(&mut self, field: &Field<String>) -> Option<Vec<(Span, Partition)>> {
        let name = field.get()?;
        let path = self.base.join(name);
        let is_table = path
            .extension()
            .is_some_and(|end| end.eq_ignore_ascii_case("csv"));
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let values = read.and_then(|text| match is_table {
            true => table::rows(&text).map_err(|error| error.to_string()),
            false => Ok(lines(&text)),
        });
        let values = match values {
            Ok(values) => values,
            Err(error) => {
                let message = format!("cannot read {}: {error}", path.display());
                let help = "write the path of a file, relative to this one: values in lines, or a \
                            `.csv` with names in its first line";
                self.fault_with_help(field.span, message, help);
                return None;
            }
        };
        let mut found = Vec::new();
        for value in values {
            let key = match &value {
                Value::String(text) => text.clone(),
                values => key_of(values),
            };
            self.partition_key(field.span, &key);
            let partition = Partition {
                key: key.into(),
                value: Some(value),
            };
            found.push((field.span, partition));
        }
        Some(found)
    }

    fn partition(&mut self, field: &Field<TextOr<Entries<Tree>>>) -> Option<Partition> {
        let (key, value) = match field.get()? {
            TextOr::Text(text) => (text.clone(), Value::from(text.as_str())),
            TextOr::Full(entries) => {
                let values = Value::Object(self.constants(entries, IN_PARTITIONS)?);
                (key_of(&values), values)
            }
        };
        self.partition_key(field.span, &key);
        Some(Partition {
            key: key.into(),
            value: Some(value),
        })
    }

    fn partition_key(&mut self, span: Span, key: &str) {
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
            let message = format!("a partition is known by a text of 1 to {KEY_BYTES_MAX} bytes");
            let help = "write a shorter text, or a mapping with a short `id`";
            self.fault_with_help(span, message, help);
        }
    }

    /// Finds partitions that all requests are the same for.
    pub(super) fn partitions_are_asked_for(&mut self, poll: &Poll) {
        let Some(field) = poll
            .partitions
            .as_ref()
            .filter(|_| self.uses.partition.is_empty())
        else {
            return;
        };
        let items = value(&poll.items).and_then(|items| match items {
            TextOr::Text(_) => None,
            TextOr::Full(items) => Some(items),
        });
        let conditions = items.map(|items| [&items.condition, &items.deleted]);
        let mut conditions = conditions.into_iter().flatten().filter_map(value);
        if !conditions.any(|condition| condition.0.contains(Name::Partition.as_str())) {
            let message = "every partition would be asked the same";
            let help = "write `${{ partition }}` into `request`";
            self.fault_with_help(field.span, message, help);
        }
    }
}

/// What a mapping is known by.
fn key_of(values: &Value) -> String {
    let id = values.get("id").and_then(canonical::scalar);
    id.unwrap_or_else(|| hashed(values))
}

/// A value in each line.
fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(Value::from)
        .collect()
}

fn hashed(values: &Value) -> String {
    let hash = hex::encode(digest([canonical::text(values)]));
    hash.chars().take(HASH_LETTERS).collect()
}

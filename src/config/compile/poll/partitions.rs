//! Compiles `poll.partitions`.

use serde_json::Value;

use super::{SourceCompiler, value};
use crate::config::decode::{Entries, Field, TextOr, Tree};
use crate::config::raw::poll::Poll;
use crate::config::yaml::Span;
use crate::event::keys::digest;
use crate::expr::scoped::{Name, Names};
use crate::poll::canonical;
use crate::poll::source::Partition;

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
        let list = &field.get()?.list;
        let values = list.get()?;
        if values.is_empty() {
            let message = "`list` is empty: nothing would ever be asked";
            self.fault_with_help(
                list.span,
                message,
                "write values, or take `partitions` away",
            );
        }
        if values.len() > PARTITIONS_MAX {
            let message = format!("a source has {PARTITIONS_MAX} partitions at most");
            self.fault_with_help(list.span, message, "make several sources of it");
        }
        let mut partitions: Vec<Partition> = Vec::new();
        for field in values {
            let Some(partition) = self.partition(field) else {
                continue;
            };
            if partitions.iter().any(|known| known.key == partition.key) {
                let message = format!("`{}` stands here twice", partition.key);
                self.fault_with_help(field.span, message, "take one of them away");
            }
            partitions.push(partition);
        }
        Some(partitions)
    }

    fn partition(&mut self, field: &Field<TextOr<Entries<Tree>>>) -> Option<Partition> {
        let (key, value) = match field.get()? {
            TextOr::Text(text) => (text.clone(), Value::from(text.as_str())),
            TextOr::Full(entries) => {
                let values = Value::Object(self.constants(entries, IN_PARTITIONS)?);
                let id = values.get("id").and_then(canonical::scalar);
                (id.unwrap_or_else(|| hashed(&values)), values)
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

fn hashed(values: &Value) -> String {
    let hash = hex::encode(digest([canonical::text(values)]));
    hash.chars().take(HASH_LETTERS).collect()
}

//! What an item is known by: its dedup key, the stable part of its event's id, its lane.
//!
//! All are hashes over pieces, each with its length in front: `ab`, `c` is not `a`, `bc`. They are
//! stored and outlive the process: none of them may ever change.

use super::items::id::ItemId;
pub(super) use crate::event::keys::digest;
use crate::event::keys::{front, key_of_pieces};

/// What a dedup key is made of: a scope and the parts of an id.
///
/// Without partition, version and tombstone the scope is the namespace, and the pieces are those of
/// a webhook whose key is the same id: events of both are duplicates of each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParts {
    scope: String,
    id: Vec<String>,
}

impl KeyParts {
    /// The id alone.
    pub fn new(namespace: &str, id: &ItemId) -> Self {
        Self {
            scope: namespace.to_owned(),
            id: id.parts().to_vec(),
        }
    }

    /// Within one partition of the source.
    #[must_use]
    pub fn in_partition(self, partition: Option<&str>) -> Self {
        self.within('p', partition)
    }

    /// In one version.
    #[must_use]
    pub fn of_version(self, version: Option<&str>) -> Self {
        self.within('v', version)
    }

    /// As a tombstone: its deletion is not a duplicate of what is deleted.
    #[must_use]
    pub fn as_tombstone(self) -> Self {
        self.within('d', Some(""))
    }

    /// The pieces in order, for the one constructor of dedup keys: scope, then parts of the id.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let scope = std::iter::once(self.scope.as_bytes());
        scope.chain(self.id.iter().map(String::as_bytes))
    }

    /// The dedup key: 128 bits.
    pub fn key(&self) -> [u8; 16] {
        key_of_pieces(self.pieces())
    }

    /// The part of an event's id that is not its time: the same for the same item.
    pub fn event_suffix(&self) -> [u8; 10] {
        // Not bytes of the key: whoever is shown an event's id does not learn its key.
        let label = std::iter::once(EVENT_LABEL);
        front(&digest(label.chain(self.pieces())))
    }

    /// No namespace has a NUL, and each value comes with its length: no two scopes are the same.
    fn within(mut self, kind: char, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.scope = format!("{}\0{kind}{}:{value}", self.scope, value.len());
        }
        self
    }
}

const EVENT_LABEL: &[u8] = b"\0event";

/// A lane: events of one lane are delivered one after the other. The last piece is the value of the
/// order key, those before it say whose lane it is.
pub fn lane<P: AsRef<[u8]>>(pieces: impl IntoIterator<Item = P>) -> u64 {
    u64::from_be_bytes(front(&digest(pieces)))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn id(parts: &[&str]) -> ItemId {
        ItemId::compound(parts.iter().map(|&part| part.to_owned()).collect())
    }

    #[test]
    fn a_plain_id_has_the_key_of_a_webhook() {
        // As ingress/dedup.rs makes it: length and bytes of the namespace, then of the value.
        let mut hash = Sha256::new();
        hash.update(6_u64.to_be_bytes());
        hash.update(b"stripe");
        hash.update(5_u64.to_be_bytes());
        hash.update(b"evt_1");
        let digest: [u8; 32] = hash.finalize().into();
        let key = KeyParts::new("stripe", &id(&["evt_1"])).in_partition(None);
        assert_eq!(key.of_version(None).key()[..], digest[..16]);
    }

    #[test]
    fn keys_never_change() {
        // They are stored, and outlive the process.
        let parts = KeyParts::new("stripe", &id(&["evt_1"]));
        let shown = (hex::encode(parts.key()), hex::encode(parts.event_suffix()));
        let expected = ("a76766efae211dfc642367bf60988197", "15868f209b9f06f316e0");
        assert_eq!((&*shown.0, &*shown.1), expected);
    }

    #[test]
    fn whatever_tells_items_apart_tells_their_keys_apart() {
        let plain = || KeyParts::new("n", &id(&["ab", "c"]));
        let all = [
            plain(),
            KeyParts::new("n", &id(&["a", "bc"])),
            KeyParts::new("n", &id(&["abc"])),
            KeyParts::new("na", &id(&["b", "c"])),
            plain().in_partition(Some("")),
            plain().in_partition(Some("x")),
            plain().of_version(Some("x")),
            plain().in_partition(Some("x")).of_version(Some("y")),
            plain().in_partition(Some("x\0v1:y")),
            plain().as_tombstone(),
            plain().of_version(Some("x")).as_tombstone(),
        ];
        for (index, one) in all.iter().enumerate() {
            for other in &all[index + 1..] {
                assert_ne!(one.key(), other.key(), "{one:?} {other:?}");
                assert_ne!(one.event_suffix(), other.event_suffix());
            }
            assert_ne!(one.key()[..10], one.event_suffix());
        }
    }

    #[test]
    fn a_lane_depends_on_every_piece() {
        assert_eq!(lane(["s", "7"]), lane(["s", "7"]));
        assert_ne!(lane(["s", "7"]), lane(["s", "77"]));
        assert_ne!(lane(["s", "7"]), lane(["s7"]));
    }
}

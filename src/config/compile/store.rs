//! Compiles `store`, and what only makes sense with one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Compiler, value};
use crate::config::decode::{Field, OneOrMany};
use crate::config::raw::File;
use crate::config::raw::store::{KeepBytes, Store};
use crate::config::units::{Period, Size};
use crate::config::{Keep, StoreSettings};
use crate::ingress::Route;
use crate::store::ClassBytes;
use crate::store::cipher::Cipher;

const FOLDER: &str = "data";
const DEPTH_MAX: u64 = 1_000_000;
const SIZE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// The store's own tables take a part of this already.
const SIZE_BYTES_FLOOR: u64 = 1024 * 1024;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// A shorter key could be guessed.
const KEY_CHARS_MIN: usize = 16;
const KEEP: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Compiler<'_> {
    /// The store; `None` when the file has none and no route queues.
    pub(super) fn store(&mut self, file: &File, routes: &[Arc<Route>]) -> Option<StoreSettings> {
        let raw = match &file.store {
            Some(field) => field.get(),
            None => {
                routes.iter().find(|route| route.queues())?;
                None
            }
        };
        if let Some(raw) = raw {
            self.usable(raw);
        }
        let size = |pick: fn(&Store) -> Option<u64>, default| raw.and_then(pick).unwrap_or(default);
        let folder = raw
            .and_then(|raw| value(&raw.path))
            .map_or(FOLDER, |path| path.as_str());
        Some(StoreSettings {
            folder: self.base.join(folder),
            depth_max: size(|raw| value(&raw.depth_max).map(|max| max.get()), DEPTH_MAX),
            bytes_max: size(
                |raw| value(&raw.size_max).map(|size| size.as_u64()),
                SIZE_BYTES_MAX,
            ),
            cache_bytes: size(
                |raw| value(&raw.cache).map(|size| size.as_u64()),
                CACHE_BYTES,
            ),
            keep: self.keep(raw),
            cipher: self.cipher(raw),
        })
    }

    fn cipher(&mut self, raw: Option<&Store>) -> Cipher {
        let Some(field) = raw.and_then(|raw| raw.encryption.as_ref()) else {
            return Cipher::default();
        };
        let mut secrets = Vec::new();
        for field in field.get().into_iter().flatten() {
            let Some(secret) = field.get() else { continue };
            if secret.expose().len() < KEY_CHARS_MIN {
                let help = "make one with `openssl rand -hex 32`";
                self.fault_with_help(field.span, "this key can be guessed", help);
            }
            secrets.push(secret.clone());
        }
        if field.get().is_some_and(OneOrMany::is_empty) {
            let help = "leave `encryption` out if nothing is to be sealed";
            self.fault_with_help(field.span, "an empty list seals nothing", help);
        }
        Cipher::new(&secrets)
    }

    fn keep(&mut self, raw: Option<&Store>) -> Keep {
        let delivered = raw.map_or(KEEP, |raw| self.period(&raw.keep, KEEP));
        let mut or_as_long = |pick: fn(&Store) -> &Option<Field<Period>>| {
            raw.map_or(delivered, |raw| self.period(pick(raw), delivered))
        };
        Keep {
            delivered,
            dead: or_as_long(|raw| &raw.keep_dead),
            refused: or_as_long(|raw| &raw.keep_refused),
            attempts: or_as_long(|raw| &raw.keep_attempts),
            bytes: raw
                .and_then(|raw| value(&raw.keep_bytes))
                .map_or_else(ClassBytes::default, class_bytes),
        }
    }

    /// Reports what would make a store that keeps nothing.
    fn usable(&mut self, raw: &Store) {
        if let Some(field) = &raw.path
            && field.get().is_some_and(|path| path.is_empty())
        {
            let help = format!("leave `path` out for the default, {FOLDER}");
            self.fault_with_help(field.span, "the store has no folder", help);
        }
        if let Some(field) = &raw.size_max
            && field
                .get()
                .is_some_and(|size| size.as_u64() < SIZE_BYTES_FLOOR)
        {
            let message = "a store of this size would be full before its first event";
            self.fault_with_help(field.span, message, "write at least 1MiB");
        }
    }

    /// A queued event is known again by the store and a proxied one by memory: a namespace of both
    /// would let duplicates through.
    pub(super) fn namespaces(&mut self, file: &File, routes: &[Arc<Route>]) {
        let mut first: HashMap<&str, &Arc<Route>> = HashMap::new();
        for route in routes {
            let Some(rule) = &route.dedup else { continue };
            let other = first.entry(&rule.namespace).or_insert(route);
            if other.live().is_some() == route.live().is_some() {
                continue;
            }
            let field = file
                .routes
                .get()
                .and_then(|routes| routes.get(&route.name))
                .and_then(|field| field.get())
                .and_then(|raw| raw.dedup.as_ref());
            let Some(field) = field else { continue };
            let message = format!(
                "routes `{}` and `{}` share the dedup namespace `{}`, but only one of them queues \
                 its events",
                other.name, route.name, rule.namespace
            );
            let help = "give them the same `mode`, or a `namespace` each";
            self.fault_with_help(field.span, message, help);
        }
    }
}

fn class_bytes(raw: &KeepBytes) -> ClassBytes {
    let bytes = |field: &Option<Field<Size>>| value(field).map(|size| size.as_u64());
    ClassBytes {
        delivered: bytes(&raw.delivered),
        dead: bytes(&raw.dead),
        refused: bytes(&raw.refused),
        attempts: bytes(&raw.attempts),
    }
}

//! Reads a store, beside its writer or while nobody writes it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::reader::{self, Readers};
use super::{Options, load, schema, search, sources, store_error};
use crate::store::cipher::Cipher;
use crate::store::{Acts, EventId, Filter, Log, Page, Shelf, Shown, SourceRow, StoreError};

/// Page cache of a store that is only read.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a store.
pub struct Reading {
    readers: Arc<Readers>,
    options: Arc<Options>,
    is_leased: Arc<dyn Fn((i64, u16)) -> bool + Send + Sync>,
}

impl Reading {
    /// Opens a store that nobody writes at the moment.
    ///
    /// # Errors
    /// [`StoreError`] when there is none, or it is of another version.
    pub fn open(folder: &Path, cipher: Cipher) -> Result<Self, StoreError> {
        let options = Arc::new(Options {
            folder: folder.to_owned(),
            depth_max: 0,
            bytes_max: 0,
            cache_bytes: CACHE_BYTES,
            cipher,
            vfs: None,
        });
        let reading = Self::new(options.clone(), Arc::new(|_| false));
        let found = reading.readers.read(schema::version);
        let found = found.map_err(|error| match store_error(&options, &error) {
            corrupt @ StoreError::Corrupt { .. } => corrupt,
            other => StoreError::Open {
                path: folder.display().to_string(),
                detail: other.to_string(),
            },
        })?;
        match found {
            schema::VERSION => Ok(reading),
            newer if newer > schema::VERSION => Err(StoreError::Newer {
                path: load::file(&options).display().to_string(),
                found,
                known: schema::VERSION,
            }),
            _ => Err(StoreError::Open {
                path: folder.display().to_string(),
                detail: "an older version made it; start the gateway once to bring it up to date"
                    .to_owned(),
            }),
        }
    }

    pub(super) fn new(
        options: Arc<Options>,
        is_leased: Arc<dyn Fn((i64, u16)) -> bool + Send + Sync>,
    ) -> Self {
        Self {
            readers: Arc::new(Readers::new(options.clone())),
            options,
            is_leased,
        }
    }

    /// Reads beside the runtime, which must not wait for a disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = self.readers.clone();
        let read = tokio::task::spawn_blocking(move || readers.read(read)).await;
        match read {
            Ok(read) => read.map_err(|error| store_error(&self.options, &error)),
            Err(_) => Err(StoreError::Unavailable("reading broke off".into())),
        }
    }
}

#[async_trait]
impl Log for Reading {
    async fn list(
        &self,
        filter: Filter,
        page: Option<String>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let is_leased = self.is_leased.clone();
        self.read(move |connection| {
            let page = search::list(connection, &filter, page.as_deref(), limit, &*is_leased);
            page.map_or_else(|error| Ok(Err(error)), |page| page.map(Ok))
        })
        .await?
    }

    async fn count(&self, filter: Filter) -> Result<u64, StoreError> {
        self.read(move |connection| search::count(connection, &filter))
            .await
    }

    async fn event(&self, id: EventId) -> Result<Option<Shown>, StoreError> {
        let is_leased = self.is_leased.clone();
        self.read(move |connection| reader::event(connection, &id, &*is_leased))
            .await
    }

    async fn acts(&self, page: Option<String>, limit: usize) -> Result<Acts, StoreError> {
        let before = page.map_or(Ok(i64::MAX), |page| page.parse());
        let before = before.map_err(|_| StoreError::Page)?;
        self.read(move |connection| reader::acts(connection, before, limit))
            .await
    }

    async fn shelf(&self, shelf: Shelf) -> Result<Vec<(String, String)>, StoreError> {
        self.read(move |connection| reader::shelf(connection, shelf))
            .await
    }

    async fn source(&self, source: &str) -> Result<Vec<SourceRow>, StoreError> {
        let source = source.to_owned();
        self.read(move |connection| sources::of_source(connection, &source))
            .await
    }
}

//! The last good list on disk, so that a restart without the network keeps it.
//!
//! One file a feed in the folder `feeds` beside the store, written aside and moved into its place. It
//! is read by the same rules as a body, and ignored where it belongs to another URL.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::Feed;
use super::list::{List, ListError};

/// The folder in the folder of the store.
const FOLDER: &str = "feeds";
/// The most bytes of a file: as many ranges as a list has, of 50 bytes.
const FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A list, and what its publisher said of it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) list: List,
    /// When it was last fetched, or said to be unchanged.
    pub(super) confirmed_at: Timestamp,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// A file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// The SHA-256 of what the list depends on.
    feed: String,
    confirmed_at: Timestamp,
    etag: Option<String>,
    last_modified: Option<String>,
    ranges: Vec<String>,
}

/// Why a list cannot be read from disk, or written.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error("{}: {reason}", .path.display())]
    Io { path: PathBuf, reason: io::Error },
    #[error("{} is longer than {FILE_BYTES_MAX} bytes", .path.display())]
    TooLong { path: PathBuf },
    #[error("{}: {reason}", .path.display())]
    Shape {
        path: PathBuf,
        reason: serde_json::Error,
    },
    #[error("{}: {reason}", .path.display())]
    List { path: PathBuf, reason: ListError },
}

/// Lets a feed have the list that is kept in the store's folder, for who judges without a gateway. A
/// file that cannot be read is as none.
pub fn recall(feed: &Feed, store: &Path) {
    if let Ok(Some(known)) = read(feed, store) {
        feed.ranges.replace(known.list.ranges().clone());
    }
}

/// The list that is kept of a feed; `None` when there is none, or one of another URL.
pub(super) fn read(feed: &Feed, store: &Path) -> Result<Option<Known>, KeptError> {
    let path = path(feed.name(), store);
    let failed = |reason| KeptError::Io {
        path: path.clone(),
        reason,
    };
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    let mut file = file.take(FILE_BYTES_MAX + 1);
    file.read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(KeptError::TooLong { path });
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(|reason| KeptError::Shape {
        path: path.clone(),
        reason,
    })?;
    if document.feed != feed.digest() {
        return Ok(None);
    }
    let list = List::new(document.ranges.iter().map(String::as_str))
        .map_err(|reason| KeptError::List { path, reason })?;
    Ok(Some(Known {
        list,
        confirmed_at: document.confirmed_at,
        etag: document.etag,
        last_modified: document.last_modified,
    }))
}

/// Keeps a list: whoever reads finds the old one or the new one, whole.
pub(super) fn write(feed: &Feed, known: &Known, store: &Path) -> Result<(), KeptError> {
    let path = path(feed.name(), store);
    let document = Document {
        feed: feed.digest(),
        confirmed_at: known.confirmed_at,
        etag: known.etag.clone(),
        last_modified: known.last_modified.clone(),
        ranges: known.list.entries().map(ToString::to_string).collect(),
    };
    let text = serde_json::to_vec(&document).map_err(|reason| KeptError::Shape {
        path: path.clone(),
        reason,
    })?;
    replace(&store.join(FOLDER), &path, &text).map_err(|reason| KeptError::Io { path, reason })
}

fn replace(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut aside = NamedTempFile::new_in(folder)?;
    aside.write_all(text)?;
    aside.as_file().sync_all()?;
    aside.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

fn path(name: &str, store: &Path) -> PathBuf {
    store.join(FOLDER).join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ingress::ranges::OnMissing;

    fn feed(url: &str) -> Feed {
        let refresh = Duration::from_secs(3_600);
        Feed::new("partner", url, Vec::new(), refresh, OnMissing::Refuse).unwrap()
    }

    fn known() -> Known {
        Known {
            list: List::new(["192.0.2.0/24", "2001:db8::1"]).unwrap(),
            confirmed_at: Timestamp::from_second(1_700_000_000).unwrap(),
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
        }
    }

    #[test]
    fn a_list_that_was_kept_is_found_again() {
        let store = tempfile::tempdir().unwrap();
        let feed = feed("https://a.example/list");
        assert!(read(&feed, store.path()).unwrap().is_none());
        write(&feed, &known(), store.path()).unwrap();
        let found = read(&feed, store.path()).unwrap().unwrap();
        assert_eq!(found.list, known().list);
        assert_eq!(found.confirmed_at, known().confirmed_at);
        assert_eq!(found.etag.as_deref(), Some("\"1\""));
        recall(&feed, store.path());
        assert!(feed.ranges.contains("192.0.2.9".parse().unwrap()));
        let files = std::fs::read_dir(store.path().join(FOLDER)).unwrap();
        assert_eq!(files.count(), 1, "nothing is left aside");
    }

    #[test]
    fn a_list_of_another_url_is_not_taken() {
        let store = tempfile::tempdir().unwrap();
        write(&feed("https://a.example/list"), &known(), store.path()).unwrap();
        let other = feed("https://b.example/list");
        assert!(read(&other, store.path()).unwrap().is_none());
    }

    #[test]
    fn a_file_that_somebody_has_changed_opens_no_door() {
        let store = tempfile::tempdir().unwrap();
        let feed = feed("https://a.example/list");
        write(&feed, &known(), store.path()).unwrap();
        let path = path("partner", store.path());
        let text = std::fs::read_to_string(&path).unwrap();
        for (new, expected) in [
            (text.replace("192.0.2.0/24", "0.0.0.0/0"), "wider than"),
            (
                text.replace("192.0.2.0/24", "garbage"),
                "neither an address",
            ),
            (text.replace('}', ""), "EOF"),
            (" ".repeat(9 * 1024 * 1024), "longer than"),
        ] {
            std::fs::write(&path, new).unwrap();
            let error = read(&feed, store.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            recall(&feed, store.path());
            assert!(!feed.ranges.contains("192.0.2.9".parse().unwrap()));
        }
    }
}

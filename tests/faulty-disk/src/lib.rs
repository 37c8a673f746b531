//! A disk for SQLite that fails, fills up or forgets when a test says so.
//!
//! It wraps the system's virtual file system. Writes, truncations, deletions and syncs are counted
//! from 1, and the fault comes at a given one. What was not synced is remembered as it was before,
//! so that [`FaultyDisk::forget_unsynced`] leaves what a power cut would leave at worst.

#[allow(clippy::undocumented_unsafe_blocks)] // Each function says what it relies on.
mod vfs;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A disk under a name of its own. It is never freed: connections may outlive the test.
#[derive(Clone, Copy)]
pub struct FaultyDisk {
    state: &'static State,
}

/// What is to go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// This operation fails, those after it do not.
    FailAt(u64),
    /// From this operation on there is no room to write to.
    FullFrom(u64),
    /// From this operation on the disk is gone.
    CutAt(u64),
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Write,
    Truncate,
    Delete,
    Sync,
}

/// Why an operation is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Broken,
    Full,
}

struct State {
    name: String,
    disk: Mutex<Disk>,
}

struct Disk {
    fault: Fault,
    operations: u64,
    is_gone: bool,
    /// What was there before each change since the last sync, by file, oldest first.
    unsynced: HashMap<PathBuf, Vec<Before>>,
}

/// A place in a file before it was changed.
struct Before {
    offset: u64,
    bytes: Vec<u8>,
    file_len: u64,
}

impl FaultyDisk {
    /// A disk without faults.
    ///
    /// # Panics
    /// When SQLite refuses it.
    pub fn new() -> Self {
        let disk = Disk {
            fault: Fault::None,
            operations: 0,
            is_gone: false,
            unsynced: HashMap::new(),
        };
        Self {
            state: vfs::register(disk),
        }
    }

    /// The name to open a connection with.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        self.state.disk().fault = fault;
    }

    /// How many operations there were.
    pub fn operations(&self) -> u64 {
        self.state.disk().operations
    }

    /// Brings files back to what was synced last. Only when nobody has them open: closing a file
    /// ends all locks that its process has on it.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn forget_unsynced(&self) -> io::Result<()> {
        for (path, changes) in self.state.disk().unsynced.drain() {
            if !path.exists() {
                continue;
            }
            let file = File::options().write(true).open(path)?;
            for before in changes.into_iter().rev() {
                file.set_len(before.file_len)?;
                file.write_all_at(&before.bytes, before.offset)?;
                file.set_len(before.file_len)?;
            }
        }
        Ok(())
    }
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts an operation and decides whether it is done.
    fn pass(&mut self, operation: Operation) -> Result<(), Refused> {
        if self.is_gone {
            return Err(Refused::Broken);
        }
        self.operations += 1;
        match self.fault {
            Fault::FailAt(n) if self.operations == n => Err(Refused::Broken),
            Fault::FullFrom(n) if self.operations >= n && operation == Operation::Write => {
                Err(Refused::Full)
            }
            Fault::CutAt(n) if self.operations >= n => {
                self.is_gone = true;
                Err(Refused::Broken)
            }
            _ => Ok(()),
        }
    }

    /// Remembers what a change of a file will overwrite.
    fn remember(&mut self, path: &Path, before: Before) {
        self.unsynced
            .entry(path.to_owned())
            .or_default()
            .push(before);
    }

    fn synced(&mut self, path: &Path) {
        self.unsynced.remove(path);
    }
}

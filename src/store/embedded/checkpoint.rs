//! Moves what is in the log ahead into the file, so that the log stays short.
//!
//! The bulk is done beside the writer, which waits for none of it; the writer itself only does the
//! rest when the log must be begun anew.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::{Options, Shared, load, schema};

/// From this length of the log on, the helper moves what it can.
const HELP_BYTES: u64 = 16 * 1024 * 1024;
/// From this length on, the writer begins the log anew.
const RESTART_BYTES: u64 = 256 * 1024 * 1024;
/// From this length on, an idle writer begins it anew.
const IDLE_BYTES: u64 = 4 * 1024 * 1024;

/// Asks for help, and asks whether there is any to give.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<Rung>,
    some: Condvar,
}

#[derive(Default)]
struct Rung {
    is_wanted: bool,
    is_over: bool,
}

impl Bell {
    pub(super) fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.is_wanted = true;
        drop(rung);
        self.some.notify_one();
    }

    pub(super) fn end(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        rung.is_over = true;
        drop(rung);
        self.some.notify_one();
    }

    /// Waits to be wanted; `false` = never again.
    fn wait(&self) -> bool {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        while !rung.is_wanted && !rung.is_over {
            rung = self.some.wait(rung).unwrap_or_else(PoisonError::into_inner);
        }
        rung.is_wanted = false;
        !rung.is_over
    }
}

/// The helper: a connection of its own, which holds up nobody.
pub(super) fn help(options: &Options, bell: &Arc<Bell>) {
    while bell.wait() {
        let moved = load::open_writer(options).and_then(|connection| {
            connection.busy_timeout(Duration::ZERO)?;
            run(&connection, "PASSIVE")
        });
        if let Err(error) = moved {
            tracing::debug!(%error, "checkpoint");
        }
    }
}

pub(super) fn after_commit(shared: &Shared, connection: &Connection) {
    let bytes = shared.measure();
    if bytes >= RESTART_BYTES {
        let _ = truncate(connection);
    } else if bytes >= HELP_BYTES {
        shared.bell.ring();
    }
}

pub(super) fn when_idle(shared: &Shared, connection: &Connection) {
    if shared.measure() >= IDLE_BYTES {
        let _ = truncate(connection);
    }
}

/// Begins the log anew, unless somebody reads from it: who writes does not wait for who reads.
pub(super) fn truncate(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::ZERO)?;
    let truncated = run(connection, "TRUNCATE");
    connection.busy_timeout(schema::BUSY_TIMEOUT)?;
    truncated
}

fn run(connection: &Connection, how: &str) -> rusqlite::Result<()> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(()))
}

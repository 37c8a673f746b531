//! The tables, how they are made, and how a file of an older version is brought up to date.
//!
//! What lives long is in tables by time partition, so that retention drops a table instead of
//! deleting rows. `queue` holds what is live, `dedup_*` the keys by the day on which they end.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

/// The version of the schema; `PRAGMA user_version` of the file.
pub(super) const VERSION: u32 = 3;

/// How long another process may hold the file, when a backup is made for instance.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// One step for each version. What they do to partitions is in [`bring_up`].
const MIGRATIONS: [&str; VERSION as usize] = [
    "
CREATE TABLE queue(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, part INTEGER NOT NULL, due INTEGER NOT NULL,
    route TEXT NOT NULL, backend TEXT NOT NULL, lane INTEGER NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY(seq, slot)) WITHOUT ROWID;
CREATE TABLE parked(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, backend TEXT NOT NULL, lane INTEGER NOT NULL,
    PRIMARY KEY(seq, slot)) WITHOUT ROWID;
CREATE TABLE probe(id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO probe VALUES(1, 0);
",
    "
ALTER TABLE queue ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
CREATE TABLE act(
    id INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,
    detail TEXT NOT NULL);
CREATE TABLE document(
    shelf TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL,
    PRIMARY KEY(shelf, key)) WITHOUT ROWID;
",
    "
CREATE TABLE source(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, partition TEXT NOT NULL,
    version INTEGER NOT NULL, epoch INTEGER NOT NULL, held_at INTEGER NOT NULL,
    document BLOB, snapshot BLOB, UNIQUE(name, partition));
",
];

/// Prepares a connection that writes.
pub(super) fn prepare_writer(connection: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    connection.pragma_update(None, "page_size", 4096)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    sync_commits(connection, true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "journal_size_limit", 8 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    prepare(connection, cache_bytes)
}

/// Says whether a commit waits until it is on the disk.
pub(super) fn sync_commits(connection: &Connection, is_waiting: bool) -> rusqlite::Result<()> {
    let level = if is_waiting { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", level)
}

/// Prepares any connection.
pub(super) fn prepare(connection: &Connection, cache_bytes: u64) -> rusqlite::Result<()> {
    let kibibytes = i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(())
}

/// The version of a file.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings the schema up to date, each step as one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let from = version(connection)?;
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(from as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        if step == 1 {
            for part in partitions(&transaction)? {
                bring_up(&transaction, part)?;
            }
        }
        transaction.pragma_update(None, "user_version", step + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Adds to a partition of version 1 what later ones have from the beginning.
fn bring_up(transaction: &Transaction<'_>, part: u32) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "ALTER TABLE event_{part} ADD COLUMN type TEXT;
         ALTER TABLE event_{part} ADD COLUMN client TEXT NOT NULL DEFAULT '';
         UPDATE event_{part} SET type = facts ->> '$.event_type', client = facts ->> '$.client';"
    ))?;
    create_partition(transaction, part)
}

/// The statements of one partition.
pub(super) struct Partition {
    pub insert_event: String,
    pub find_event: String,
    pub insert_payload: String,
    pub insert_done: String,
    pub delete_done: String,
    pub insert_attempt: String,
    pub select_claimed: String,
    pub insert_refused: String,
    pub delete_refused: String,
}

impl Partition {
    pub(super) fn new(part: u32) -> Self {
        Self {
            insert_event: format!(
                "INSERT INTO event_{part}(seq, id, at, route, provider_id, type, client, facts) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT(id) DO NOTHING"
            ),
            find_event: format!("SELECT 1 FROM event_{part} WHERE id = ?1"),
            insert_payload: format!(
                "INSERT INTO payload_{part}(seq, head, body) VALUES(?1, ?2, ?3)"
            ),
            insert_done: format!(
                "INSERT OR REPLACE INTO done_{part}(seq, slot, backend, state, attempts, at, reason) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            ),
            delete_done: format!("DELETE FROM done_{part} WHERE seq = ?1 AND slot = ?2"),
            insert_attempt: format!(
                "INSERT OR REPLACE INTO attempt_{part}(seq, slot, at, number, took, status, outcome, answer) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
            ),
            select_claimed: format!(
                "SELECT e.id, e.at, e.route, e.facts, opened(p.head, e.id), opened(p.body, e.id) \
                 FROM event_{part} e JOIN payload_{part} p ON p.seq = e.seq WHERE e.seq = ?1"
            ),
            insert_refused: format!(
                "INSERT INTO refused_{part}(seq, id, at, route, reason, detail, status, is_whole, \
                 provider_id, type, client, facts, head, body) \
                 VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
                 ON CONFLICT(id) DO NOTHING"
            ),
            delete_refused: format!("DELETE FROM refused_{part} WHERE id = ?1"),
        }
    }
}

/// Makes the tables of a partition.
pub(super) fn create_partition(transaction: &Transaction<'_>, part: u32) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS event_{part}(
            seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL,
            route TEXT NOT NULL, provider_id TEXT, type TEXT, client TEXT NOT NULL,
            facts TEXT NOT NULL);
         CREATE INDEX IF NOT EXISTS event_{part}_type ON event_{part}(type, seq)
            WHERE type IS NOT NULL;
         CREATE INDEX IF NOT EXISTS event_{part}_client ON event_{part}(client, seq);
         CREATE INDEX IF NOT EXISTS event_{part}_route ON event_{part}(route, seq);
         CREATE INDEX IF NOT EXISTS event_{part}_provider ON event_{part}(provider_id)
            WHERE provider_id IS NOT NULL;
         CREATE TABLE IF NOT EXISTS payload_{part}(
            seq INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL);
         CREATE TABLE IF NOT EXISTS done_{part}(
            seq INTEGER NOT NULL, slot INTEGER NOT NULL, backend TEXT NOT NULL,
            state TEXT NOT NULL, attempts INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT,
            PRIMARY KEY(seq, slot)) WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS done_{part}_dead ON done_{part}(seq) WHERE state = 'dead';
         CREATE INDEX IF NOT EXISTS done_{part}_backend ON done_{part}(backend, seq);
         CREATE TABLE IF NOT EXISTS attempt_{part}(
            seq INTEGER NOT NULL, slot INTEGER NOT NULL, at INTEGER NOT NULL,
            number INTEGER NOT NULL, took INTEGER NOT NULL, status INTEGER, outcome TEXT NOT NULL,
            answer BLOB NOT NULL, PRIMARY KEY(seq, slot, at, number)) WITHOUT ROWID;
         CREATE TABLE IF NOT EXISTS refused_{part}(
            seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL,
            route TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
            status INTEGER NOT NULL, is_whole INTEGER NOT NULL, provider_id TEXT, type TEXT,
            client TEXT NOT NULL, facts TEXT NOT NULL, head BLOB NOT NULL, body BLOB NOT NULL);
         CREATE INDEX IF NOT EXISTS refused_{part}_reason ON refused_{part}(reason, seq);
         CREATE INDEX IF NOT EXISTS refused_{part}_route ON refused_{part}(route, seq);
         CREATE INDEX IF NOT EXISTS refused_{part}_client ON refused_{part}(client, seq);"
    ))
}

/// Drops the tables of a partition.
pub(super) fn drop_partition(transaction: &Transaction<'_>, part: u32) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "DROP TABLE IF EXISTS event_{part}; DROP TABLE IF EXISTS payload_{part};
         DROP TABLE IF EXISTS done_{part}; DROP TABLE IF EXISTS attempt_{part};
         DROP TABLE IF EXISTS refused_{part};"
    ))
}

/// Whether a table has a row.
pub(super) fn has_rows(connection: &Connection, table: &str) -> rusqlite::Result<bool> {
    let sql = format!("SELECT EXISTS(SELECT 1 FROM {table})");
    connection.query_row(&sql, [], |row| row.get(0))
}

/// The partitions that exist, oldest first.
pub(super) fn partitions(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
    numbered(connection, "event_")
}

/// The statements of one day of keys.
pub(super) struct Bucket {
    pub insert: String,
    pub find: String,
}

impl Bucket {
    pub(super) fn new(day: u32) -> Self {
        Self {
            insert: format!(
                "INSERT OR REPLACE INTO dedup_{day}(scope, key, id, until, answer) \
                 VALUES(?1, ?2, ?3, ?4, ?5)"
            ),
            find: format!(
                "SELECT id, opened_or_null(answer, id), until FROM dedup_{day} \
                 WHERE scope = ?1 AND key = ?2 AND until > ?3"
            ),
        }
    }
}

/// Makes the table of the keys that end on a day.
pub(super) fn create_bucket(transaction: &Transaction<'_>, day: u32) -> rusqlite::Result<()> {
    transaction.execute_batch(&format!(
        "CREATE TABLE IF NOT EXISTS dedup_{day}(
            scope INTEGER NOT NULL, key BLOB NOT NULL, id BLOB NOT NULL, until INTEGER NOT NULL,
            answer BLOB, PRIMARY KEY(scope, key)) WITHOUT ROWID"
    ))
}

/// The days that have keys, earliest first.
pub(super) fn buckets(connection: &Connection) -> rusqlite::Result<Vec<u32>> {
    numbered(connection, "dedup_")
}

fn numbered(connection: &Connection, prefix: &str) -> rusqlite::Result<Vec<u32>> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND substr(name, 1, length(?1)) = ?1",
    )?;
    let names = statement.query_map([prefix], |row| row.get::<_, String>(0))?;
    let mut numbers = Vec::new();
    for name in names {
        let name = name?;
        numbers.extend(
            name.strip_prefix(prefix)
                .and_then(|rest| rest.parse::<u32>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

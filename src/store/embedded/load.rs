//! Opens the file, and makes memory from what is in it.

use std::borrow::Cow;
use std::path::PathBuf;

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::{Connection, OpenFlags, params};

use super::Options;
use super::queue::{Live, Names, Queue};
use super::schema;
use super::steps::Tables;
use crate::store::cipher::{CannotOpen, Cipher};

/// The file with the tables.
pub(super) fn file(options: &Options) -> PathBuf {
    options.folder.join("hookgate.db")
}

/// The log ahead of it.
pub(super) fn wal_file(options: &Options) -> PathBuf {
    options.folder.join("hookgate.db-wal")
}

pub(super) fn open_writer(options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(options, flags)?;
    schema::prepare_writer(&connection, options.cache_bytes)?;
    Ok(connection)
}

pub(super) fn open_reader(options: &Options) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = open(options, flags)?;
    schema::prepare(&connection, options.cache_bytes / 4)?;
    Ok(connection)
}

fn open(options: &Options, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file(options), flags, vfs.as_str()),
        None => Connection::open_with_flags(file(options), flags),
    }?;
    // What is sealed is opened where it is read, with what it belongs to. Without an answer a
    // duplicate is still a duplicate, so one that cannot be opened is none.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let cipher = options.cipher.clone();
    connection.create_scalar_function("opened", 2, flags, move |context| {
        opened(&cipher, context)?
            .transpose()
            .map_err(|error| rusqlite::Error::UserFunctionError(error.into()))
    })?;
    let cipher = options.cipher.clone();
    connection.create_scalar_function("opened_or_null", 2, flags, move |context| {
        Ok(opened(&cipher, context)?.and_then(Result::ok))
    })?;
    Ok(connection)
}

/// The first value of a call, opened with the second; `None` when there is nothing.
fn opened(
    cipher: &Cipher,
    context: &Context<'_>,
) -> rusqlite::Result<Option<Result<Vec<u8>, CannotOpen>>> {
    let of = context.get_raw(1).as_blob()?;
    let written = context.get_raw(0).as_blob_or_null()?;
    Ok(written.map(|written| cipher.open(written, of).map(Cow::into_owned)))
}

/// Notes which key seals from now on; gives the id of one that is still needed and not known.
pub(super) fn keys(
    connection: &Connection,
    cipher: &Cipher,
    today: u32,
) -> rusqlite::Result<Option<String>> {
    let first = cipher.first().map(|id| id.to_string()).unwrap_or_default();
    connection.execute(
        "UPDATE document SET text = ?1 WHERE shelf = 'key' AND text = '' AND key <> ?2",
        params![today.to_string(), first],
    )?;
    if !first.is_empty() {
        connection.execute(
            "INSERT OR REPLACE INTO document(shelf, key, text) VALUES('key', ?1, '')",
            [&first],
        )?;
    }
    let oldest = schema::partitions(connection)?.first().copied();
    let mut used = connection.prepare("SELECT key, text FROM document WHERE shelf = 'key'")?;
    let mut rows = used.query([])?;
    while let Some(row) = rows.next()? {
        let (id, last_day): (String, String) = (row.get(0)?, row.get(1)?);
        // What it sealed was received on the day it was last used, or before.
        let is_needed = last_day
            .parse::<u32>()
            .is_ok_and(|last| oldest.is_some_and(|oldest| oldest <= last));
        if is_needed && !cipher.knows(&id) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

pub(super) fn tables(connection: &Connection) -> rusqlite::Result<Tables> {
    Ok(Tables::new(
        schema::partitions(connection)?,
        schema::buckets(connection)?,
    ))
}

/// Everything that is live, by one scan in the order of acceptance.
/// Names keep the numbers that they have.
pub(super) fn queue(connection: &Connection, names: Names) -> rusqlite::Result<Queue> {
    let mut queue = Queue::with_names(names);
    let mut parked = connection.prepare("SELECT backend, lane FROM parked")?;
    let mut rows = parked.query([])?;
    while let Some(row) = rows.next()? {
        let backend = queue.names.number(row.get_ref(0)?.as_str()?);
        queue.park(backend, row.get::<_, i64>(1)?.cast_unsigned());
    }
    let mut live = connection.prepare(
        "SELECT seq, slot, part, due, route, backend, lane, attempts, since FROM queue ORDER BY seq, slot",
    )?;
    let mut rows = live.query([])?;
    let (mut route, mut backend) = (LastName::default(), LastName::default());
    while let Some(row) = rows.next()? {
        let live = Live {
            seq: row.get(0)?,
            slot: row.get(1)?,
            part: row.get(2)?,
            due: row.get(3)?,
            route: route.number(row.get_ref(4)?.as_str()?, &mut queue.names),
            backend: backend.number(row.get_ref(5)?.as_str()?, &mut queue.names),
            lane: row.get::<_, i64>(6)?.cast_unsigned(),
            attempts: u16::try_from(row.get::<_, u32>(7)?).unwrap_or(u16::MAX),
            since: row.get(8)?,
        };
        queue.add(live);
    }
    queue.shrink();
    Ok(queue)
}

/// Most deliveries have the names of the one before.
#[derive(Default)]
struct LastName {
    name: String,
    number: Option<u16>,
}

impl LastName {
    fn number(&mut self, name: &str, names: &mut Names) -> u16 {
        match self.number {
            Some(number) if self.name == name => number,
            Some(_) | None => {
                let number = names.number(name);
                name.clone_into(&mut self.name);
                self.number = Some(number);
                number
            }
        }
    }
}

/// The place of the last event in the order of acceptance.
pub(super) fn last_seq(connection: &Connection) -> rusqlite::Result<i64> {
    let mut last = 0;
    for part in schema::partitions(connection)? {
        let sql = format!("SELECT max(seq) FROM event_{part}");
        let of_part: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
        last = last.max(of_part.unwrap_or_default());
    }
    Ok(last)
}

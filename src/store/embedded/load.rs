//! Opens the file, and makes memory from what is in it.

use std::path::PathBuf;

use rusqlite::{Connection, OpenFlags};

use super::Options;
use super::queue::{Live, Names, Queue};
use super::schema;
use super::steps::Tables;

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
    match &options.vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(file(options), flags, vfs.as_str()),
        None => Connection::open_with_flags(file(options), flags),
    }
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

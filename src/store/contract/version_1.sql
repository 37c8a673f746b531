-- The tables that version 1 made, one day among them.
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
CREATE TABLE queue(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, part INTEGER NOT NULL, due INTEGER NOT NULL,
    route TEXT NOT NULL, backend TEXT NOT NULL, lane INTEGER NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY(seq, slot)) WITHOUT ROWID;
CREATE TABLE parked(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, backend TEXT NOT NULL, lane INTEGER NOT NULL,
    PRIMARY KEY(seq, slot)) WITHOUT ROWID;
CREATE TABLE probe(id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO probe VALUES(1, 0);
CREATE TABLE event_20783(
    seq INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at INTEGER NOT NULL,
    route TEXT NOT NULL, provider_id TEXT, facts TEXT NOT NULL);
CREATE INDEX event_20783_route ON event_20783(route, seq);
CREATE INDEX event_20783_provider ON event_20783(provider_id) WHERE provider_id IS NOT NULL;
CREATE TABLE payload_20783(seq INTEGER PRIMARY KEY, head BLOB NOT NULL, body BLOB NOT NULL);
CREATE TABLE done_20783(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, backend TEXT NOT NULL,
    state TEXT NOT NULL, attempts INTEGER NOT NULL, at INTEGER NOT NULL, reason TEXT,
    PRIMARY KEY(seq, slot)) WITHOUT ROWID;
CREATE INDEX done_20783_dead ON done_20783(seq) WHERE state = 'dead';
CREATE TABLE attempt_20783(
    seq INTEGER NOT NULL, slot INTEGER NOT NULL, at INTEGER NOT NULL,
    number INTEGER NOT NULL, took INTEGER NOT NULL, status INTEGER, outcome TEXT NOT NULL,
    answer BLOB NOT NULL, PRIMARY KEY(seq, slot, at, number)) WITHOUT ROWID;
PRAGMA user_version = 1;

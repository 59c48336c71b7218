pub(super) const FORMAT: i64 = 3;

/// The tables. `withdrawn` lists the releases that upstream removed: its name is part of the format.
pub(super) const SCHEMA: &str = "
CREATE TABLE crates (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE releases (
    crate_id INTEGER NOT NULL REFERENCES crates(id),
    version TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    size INTEGER NOT NULL,
    loose INTEGER NOT NULL,
    bundle INTEGER,
    frame_offset INTEGER,
    frame_len INTEGER,
    seen INTEGER NOT NULL DEFAULT 0,
    elsewhere INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (crate_id, version)
) WITHOUT ROWID;
CREATE TABLE bundles (number INTEGER PRIMARY KEY, end INTEGER NOT NULL);
CREATE TABLE dirs (
    path TEXT PRIMARY KEY, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL, listed_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
    crate TEXT NOT NULL, version TEXT NOT NULL, cksum TEXT, url TEXT NOT NULL, kind TEXT NOT NULL,
    error TEXT NOT NULL, http_status INTEGER, attempts INTEGER NOT NULL,
    first_seen TEXT NOT NULL, last_seen TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
CREATE TABLE withdrawn (
    crate TEXT NOT NULL, version TEXT NOT NULL, kind TEXT NOT NULL, first_seen TEXT NOT NULL,
    PRIMARY KEY (crate, version)
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW held AS
    SELECT crates.name AS crate, version, lower(hex(sha256)) AS sha256, size, loose, bundle, frame_offset, frame_len
    FROM releases JOIN crates ON crates.id = crate_id;
PRAGMA user_version = 3;
";

-- Names are TEXT in BINARY collation: kept and ordered exactly as given.

CREATE TABLE state (              -- one row: where this catalogue stands, and its counters
    id INTEGER PRIMARY KEY CHECK (id = 1),
    catalog_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    next_version INTEGER NOT NULL,
    next_generation INTEGER NOT NULL,
    next_node INTEGER NOT NULL,
    revocation_epoch INTEGER NOT NULL,
    restored INTEGER NOT NULL,
    files INTEGER NOT NULL,
    file_bytes INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    lease_key BLOB NOT NULL
) STRICT;

CREATE TABLE strangers (          -- other catalogues' ids that nodes showed and the operator confirmed
    catalog_id TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES entries(id),   -- NULL: the root alone
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,                   -- 0 file, 1 directory, 2 datastore
    version INTEGER REFERENCES versions(id), -- current version of a file
    modified_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX entries_by_name ON entries(parent, name);
CREATE INDEX entries_by_version ON entries(version) WHERE version IS NOT NULL;

CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number INTEGER NOT NULL,      -- monotone over the catalogue, given at commit; 0 while open
    state INTEGER NOT NULL,       -- 0 open (an upload fills it), 1 current, 2 retired, 3 being collected
    size INTEGER NOT NULL,
    recorded INTEGER NOT NULL,    -- bytes that extents cover
    chunk_count INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    metadata TEXT NOT NULL,       -- JSON object
    digest BLOB NOT NULL,
    retired_ms INTEGER
) STRICT;
CREATE INDEX versions_retired ON versions(retired_ms) WHERE state >= 2;

CREATE TABLE chunks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL UNIQUE,
    stored_length INTEGER NOT NULL,
    wanted INTEGER NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0   -- copies in state 1; kept by triggers
) STRICT;
CREATE INDEX chunks_short ON chunks(stored) WHERE stored < wanted;

CREATE TABLE extents (
    version INTEGER NOT NULL REFERENCES versions(id),
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    format INTEGER NOT NULL,
    plain_id BLOB NOT NULL,
    PRIMARY KEY (version, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX extents_by_chunk ON extents(chunk);

CREATE TABLE nodes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    store_uuid TEXT,
    capacity INTEGER NOT NULL,
    used INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL,
    addresses TEXT NOT NULL,      -- JSON array
    last_seen_ms INTEGER NOT NULL,
    draining INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    serial TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE copies (             -- never two copies of a chunk on one node: the primary key
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    state INTEGER NOT NULL,       -- 0 intent, 1 stored, 2 missing (said to be, by the node)
    scheme INTEGER NOT NULL DEFAULT 0,
    position INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chunk, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX copies_by_node ON copies(node, chunk);

CREATE TRIGGER copies_added AFTER INSERT ON copies WHEN NEW.state = 1
BEGIN UPDATE chunks SET stored = stored + 1 WHERE id = NEW.chunk; END;
CREATE TRIGGER copies_changed AFTER UPDATE OF state ON copies WHEN (NEW.state = 1) <> (OLD.state = 1)
BEGIN UPDATE chunks SET stored = stored + iif(NEW.state = 1, 1, -1) WHERE id = NEW.chunk; END;
CREATE TRIGGER copies_gone AFTER DELETE ON copies WHEN OLD.state = 1
BEGIN UPDATE chunks SET stored = stored - 1 WHERE id = OLD.chunk; END;

CREATE TABLE doomed (             -- copies being deleted: no longer counted, copied from or deduplicated to
    node INTEGER NOT NULL REFERENCES nodes(id),
    hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    stored_length INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    retry_ms INTEGER NOT NULL,    -- not handed out again before this time
    PRIMARY KEY (node, hash, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX doomed_by_retry ON doomed(retry_ms);

CREATE TABLE candidates (         -- chunks that lost a reference: collection looks at these alone
    chunk INTEGER PRIMARY KEY REFERENCES chunks(id),
    since_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX candidates_by_age ON candidates(since_ms);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY,
    principal TEXT NOT NULL,
    path TEXT NOT NULL,
    version INTEGER NOT NULL,     -- no reference: what it made may be replaced and collected
    state INTEGER NOT NULL,       -- 0 open, 1 committed, 2 ended, 3 committed; 2 and 3: rows below to be cleared
    copies INTEGER NOT NULL,
    if_version INTEGER NOT NULL,
    if_absent INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    result TEXT                   -- JSON of the entry made, for a commit that is repeated
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_expiry ON uploads(expires_ms);
CREATE INDEX uploads_ending ON uploads(state) WHERE state >= 2;

CREATE TABLE pins (               -- chunks an open upload uses
    upload TEXT NOT NULL REFERENCES uploads(id),
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    authorised INTEGER NOT NULL,  -- 1: an authorised deduplication; its stored copies count
    PRIMARY KEY (upload, chunk)
) STRICT, WITHOUT ROWID;
CREATE INDEX pins_by_chunk ON pins(chunk);

CREATE TABLE sent (               -- copies an upload was told to make, and whose receipts it has shown
    upload TEXT NOT NULL REFERENCES uploads(id),
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (upload, chunk, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_by_copy ON sent(chunk, node);

CREATE TABLE repairs (
    id TEXT PRIMARY KEY,
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    replaces INTEGER,             -- the node whose copy this one stands in for, once made
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX repairs_by_chunk ON repairs(chunk);

CREATE TABLE codes (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    verifier BLOB NOT NULL,
    uses_left INTEGER NOT NULL,
    uses_total INTEGER NOT NULL,
    expires_s REAL NOT NULL,
    created_by TEXT NOT NULL,
    description TEXT NOT NULL,
    grants TEXT NOT NULL,         -- JSON array of [path, rights]
    revoked INTEGER NOT NULL,
    created_s REAL NOT NULL
) STRICT;

CREATE TABLE redemptions (
    code TEXT NOT NULL REFERENCES codes(id),
    key_digest BLOB NOT NULL,
    identity TEXT NOT NULL,
    certificate BLOB NOT NULL,
    PRIMARY KEY (code, key_digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE issued (
    serial TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE revocations (
    what TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    id TEXT PRIMARY KEY,
    path TEXT NOT NULL,
    rights INTEGER NOT NULL,
    principal TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    expires_s REAL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit(at_ms);

INSERT INTO entries (id, parent, name, kind, version, modified_ms) VALUES (1, NULL, '', 1, NULL, 0);

-- 32
-- The schema after so many scripts, for a new catalogue.  Made by python -m tools.schema.
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
, copies INTEGER NOT NULL DEFAULT 0, trust_epoch INTEGER NOT NULL DEFAULT 0, founding_until_ms INTEGER, instance TEXT NOT NULL DEFAULT '', first_generation INTEGER NOT NULL DEFAULT 1) STRICT;
CREATE TABLE strangers (          -- other catalogues' ids that nodes showed and the operator confirmed
    catalog_id TEXT PRIMARY KEY
, adopted INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE entries (
    id INTEGER PRIMARY KEY,
    parent INTEGER REFERENCES entries(id),   -- NULL: the root alone
    name TEXT NOT NULL,
    kind INTEGER NOT NULL,                   -- 0 file, 1 directory, 2 datastore
    version INTEGER REFERENCES versions(id), -- current version of a file
    modified_ms INTEGER NOT NULL
, modified_ns INTEGER NOT NULL DEFAULT 0, mode INTEGER NOT NULL DEFAULT -1) STRICT;
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
, place TEXT, datastore INTEGER, modified_ns INTEGER NOT NULL DEFAULT 0, target BLOB, hole_count INTEGER NOT NULL DEFAULT 0, hole_bytes INTEGER NOT NULL DEFAULT 0, home INTEGER NOT NULL DEFAULT -1, next_home INTEGER NOT NULL DEFAULT 0, homed_to INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE extents (
    version INTEGER NOT NULL REFERENCES versions(id),
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    format INTEGER NOT NULL,
    plain_id BLOB NOT NULL,
    PRIMARY KEY (version, offset)
) STRICT, WITHOUT ROWID;
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
, standing TEXT NOT NULL DEFAULT 'approved', standing_reason TEXT NOT NULL DEFAULT '', refused TEXT NOT NULL DEFAULT '', removing INTEGER NOT NULL DEFAULT 0, is_new INTEGER NOT NULL DEFAULT 0, is_founder INTEGER NOT NULL DEFAULT 0, before_doubt TEXT NOT NULL DEFAULT '', quarantined_bytes INTEGER NOT NULL DEFAULT 0, quarantined_copies INTEGER NOT NULL DEFAULT 0, adopted_ms INTEGER NOT NULL DEFAULT 0, discard_before_ms INTEGER NOT NULL DEFAULT 0, unlisted_bytes INTEGER NOT NULL DEFAULT 0, stored INTEGER NOT NULL DEFAULT 0, doomed INTEGER NOT NULL DEFAULT 0, guarded INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE copies (             -- never two copies of a chunk on one node: the primary key
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    state INTEGER NOT NULL,       -- 0 intent, 1 stored, 2 missing (said to be, by the node)
    scheme INTEGER NOT NULL DEFAULT 0,
    position INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (chunk, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE doomed (             -- copies being deleted: no longer counted, copied from or deduplicated to
    node INTEGER NOT NULL REFERENCES nodes(id),
    hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    stored_length INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    retry_ms INTEGER NOT NULL, guard INTEGER NOT NULL DEFAULT 0,    -- not handed out again before this time
    PRIMARY KEY (node, hash, generation)
) STRICT, WITHOUT ROWID;
CREATE TABLE candidates (         -- chunks that lost a reference: collection looks at these alone
    chunk INTEGER PRIMARY KEY REFERENCES chunks(id),
    since_ms INTEGER NOT NULL
) STRICT;
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
, datastore INTEGER, reserved INTEGER NOT NULL DEFAULT 0, touched_ms INTEGER NOT NULL DEFAULT 0, pinned INTEGER NOT NULL DEFAULT 0, credit INTEGER NOT NULL DEFAULT 0, checked_epoch INTEGER NOT NULL DEFAULT 0, checking_epoch INTEGER NOT NULL DEFAULT 0, checked_to INTEGER NOT NULL DEFAULT 0, reach INTEGER NOT NULL DEFAULT 0, pin_count INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE pins (               -- chunks an open upload uses
    upload TEXT NOT NULL REFERENCES uploads(id),
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    authorised INTEGER NOT NULL,  -- 1: an authorised deduplication; its stored copies count
    PRIMARY KEY (upload, chunk)
) STRICT, WITHOUT ROWID;
CREATE TABLE sent (               -- copies an upload was told to make, and whose receipts it has shown
    upload TEXT NOT NULL REFERENCES uploads(id),
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (upload, chunk, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE repairs (
    id TEXT PRIMARY KEY,
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    node INTEGER NOT NULL REFERENCES nodes(id),
    generation INTEGER NOT NULL,
    replaces INTEGER,             -- the node whose copy this one stands in for, once made
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
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
, sources TEXT NOT NULL DEFAULT '[]', bound TEXT, grants_expire_s REAL, created_key BLOB, weight INTEGER NOT NULL DEFAULT 0, ended_s REAL, approves INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE redemptions (
    code TEXT NOT NULL REFERENCES codes(id),
    key_digest BLOB NOT NULL,
    identity TEXT NOT NULL,
    certificate BLOB NOT NULL, at_ms INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (code, key_digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE issued (
    serial TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    expires_ms INTEGER NOT NULL
, key_digest BLOB, certificate BLOB) STRICT, WITHOUT ROWID;
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
, sources TEXT NOT NULL DEFAULT '[]') STRICT, WITHOUT ROWID;
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    detail TEXT NOT NULL,
    request_id TEXT NOT NULL
, refusals INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE identities (
    principal TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    invited_by TEXT NOT NULL,
    joined_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE identity_keys (      -- the keys that an identity is bound to
    principal TEXT NOT NULL REFERENCES identities(principal),
    key_digest BLOB NOT NULL,
    code TEXT NOT NULL,
    added_ms INTEGER NOT NULL, vouched INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (principal, key_digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE datastores (
    entry INTEGER PRIMARY KEY REFERENCES entries(id) ON DELETE CASCADE,
    owner TEXT,                   -- NULL: the member
    owner_grant TEXT,             -- the grant that its owner has by owning it
    copies INTEGER NOT NULL,      -- 0: the coordinator's setting
    quota INTEGER NOT NULL) STRICT;
CREATE TABLE unsettled (          -- files and folders whose chunks may want another number of copies
    entry INTEGER PRIMARY KEY REFERENCES entries(id) ON DELETE CASCADE,
    after_name TEXT NOT NULL DEFAULT '',      -- a folder: names up to here are gone through
    from_offset INTEGER NOT NULL DEFAULT 0    -- a file: extents before this one are gone through
) STRICT;
CREATE TABLE "chunks" (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL,
    stored_length INTEGER NOT NULL,     -- never changes
    wanted INTEGER NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0, in_extents INTEGER NOT NULL DEFAULT 0, in_pins INTEGER NOT NULL DEFAULT 0, spread TEXT NOT NULL DEFAULT '', use INTEGER GENERATED ALWAYS AS
    (iif(in_extents = 0, iif(in_pins = 0, 0, 1), iif(in_pins = 0, 3, 2))) VIRTUAL,  -- copies in state 1; kept by triggers
    UNIQUE (hash, stored_length)
) STRICT;
CREATE TABLE foreign_generations ( -- that a lost future of this catalogue may have given out
    first INTEGER PRIMARY KEY,
    past INTEGER NOT NULL          -- the first one after them
) STRICT;
CREATE TABLE quarantine (          -- copies on our nodes that this catalogue never gave out
    node INTEGER NOT NULL REFERENCES nodes(id),
    hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    stored_length INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (node, hash, generation)
) STRICT, WITHOUT ROWID;
CREATE TABLE holes (              -- pieces of a version that are zeros, beside its extents
    version INTEGER NOT NULL REFERENCES versions(id),
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (version, offset)
) STRICT, WITHOUT ROWID;
CREATE TABLE health (
    datastore INTEGER NOT NULL,   -- 0: of the whole catalogue
    use INTEGER NOT NULL,         -- above 0
    wanted INTEGER NOT NULL,
    spread TEXT NOT NULL,
    chunks INTEGER NOT NULL,      -- above 0 between statements
    PRIMARY KEY (datastore, use, wanted, spread)
) STRICT, WITHOUT ROWID;
CREATE TABLE held (               -- how many extents of a datastore's files name a chunk; by triggers
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    datastore INTEGER NOT NULL,   -- no reference: what a removed one held stays until it is collected
    extents INTEGER NOT NULL,
    PRIMARY KEY (chunk, datastore)
) STRICT, WITHOUT ROWID;
CREATE TABLE folders (            -- what lies below a folder, a datastore or the root; see catalog/sqlite/folders.py
    entry INTEGER PRIMARY KEY REFERENCES entries(id) ON DELETE CASCADE,
    names INTEGER NOT NULL,       -- entries below it
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,       -- of current files, as they read
    data INTEGER NOT NULL,        -- of these, what is stored
    overhead INTEGER NOT NULL,    -- what names, extents, holes and attributes below count for
    depth INTEGER NOT NULL,       -- at least the levels below; never lowered by a removal
    reach INTEGER NOT NULL,       -- at least the bytes of the longest path below; the same
    added INTEGER NOT NULL        -- entries that ever came below: whether a measure of both still holds
) STRICT;
CREATE TABLE former_lives (   -- those that ended, the newest 10,000; the present one is state.instance
    number INTEGER PRIMARY KEY,   -- in their order
    life TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,       -- where it ended
    sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE lost_lives (     -- of futures that this catalogue lost, and was restored for; the newest 10,000
    number INTEGER PRIMARY KEY,
    life TEXT NOT NULL UNIQUE     -- also a former one, of what it did beyond its end here
) STRICT;
CREATE TABLE touched (            -- chunks whose kept columns may be out of date; empty between changes
    chunk INTEGER PRIMARY KEY     -- no reference: it may be gone by the end of the change
) STRICT;
CREATE TABLE peers (
    domain TEXT PRIMARY KEY,
    member TEXT NOT NULL,
    state TEXT NOT NULL,              -- waiting, active, removed
    authority_digest BLOB NOT NULL,   -- SHA-256 of the CA's key
    sequence INTEGER NOT NULL,
    body BLOB NOT NULL,               -- the newest bundle taken
    signature BLOB NOT NULL,
    since_ms INTEGER NOT NULL,
    came_by TEXT NOT NULL,            -- a code; empty: accepted or introduced
    seen INTEGER NOT NULL
, taken_ms INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE own_bundle (             -- one row
    id INTEGER PRIMARY KEY CHECK (id = 0),
    digest BLOB NOT NULL,             -- SHA-256 of what it says, its number left out
    sequence INTEGER NOT NULL
) STRICT;
CREATE TABLE brought_back (
    node TEXT PRIMARY KEY,
    held TEXT NOT NULL   -- exactly what it held: epoch, sequence and life; the newest such word for each node
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    number INTEGER PRIMARY KEY,  -- in their order, without gaps; the newest stays, so none is given twice
    at_ms INTEGER NOT NULL,
    path TEXT NOT NULL,          -- as it was called then
    below INTEGER NOT NULL,      -- 1: anything below it may have changed too
    end_bytes INTEGER NOT NULL   -- size of all changes up to this one since the first
) STRICT;
INSERT INTO state (id, catalog_id, epoch, sequence, next_version, next_generation, next_node, revocation_epoch, restored, files, file_bytes, chunks, lease_key, copies, trust_epoch, founding_until_ms, instance, first_generation)
VALUES (1, :catalog_id, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, :lease_key, 0, 1, NULL, '', 1);
INSERT INTO entries (id, parent, name, kind, version, modified_ms, modified_ns, mode)
VALUES (1, NULL, '', 1, NULL, 0, 0, -1);
INSERT INTO folders (entry, names, files, bytes, data, overhead, depth, reach, added)
VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0);
INSERT INTO own_bundle (id, digest, sequence)
VALUES (0, X'', 0);
CREATE UNIQUE INDEX entries_by_name ON entries(parent, name);
CREATE INDEX entries_by_version ON entries(version) WHERE version IS NOT NULL;
CREATE INDEX extents_by_chunk ON extents(chunk);
CREATE INDEX copies_by_node ON copies(node, chunk);
CREATE INDEX candidates_by_age ON candidates(since_ms);
CREATE INDEX pins_by_chunk ON pins(chunk);
CREATE INDEX sent_by_copy ON sent(chunk, node);
CREATE UNIQUE INDEX repairs_by_chunk ON repairs(chunk);
CREATE INDEX audit_by_time ON audit(at_ms);
CREATE INDEX issued_by_identity ON issued(identity);
CREATE INDEX uploads_by_datastore ON uploads(datastore) WHERE state = 0;
CREATE INDEX issued_by_key ON issued(key_digest);
CREATE INDEX versions_kept ON versions(datastore) WHERE state = 2;
CREATE INDEX uploads_by_principal ON uploads(principal, touched_ms) WHERE state = 0;
CREATE INDEX audit_refusals ON audit(actor, id) WHERE refusals > 0;
CREATE INDEX codes_by_maker ON codes(created_by, created_s, weight);
CREATE INDEX codes_by_kind ON codes(kind, created_s);
CREATE INDEX codes_by_age ON codes(created_s, weight);
CREATE INDEX codes_by_end ON codes(ended_s);
CREATE INDEX issued_by_end ON issued(expires_ms);
CREATE INDEX audit_files ON audit(actor, id)
    WHERE refusals = 0 AND action IN ('write', 'mkdir', 'move', 'remove');
CREATE INDEX audit_renewals ON audit(actor, id) WHERE refusals = 0 AND action = 'issue';
CREATE INDEX audit_rights ON audit(actor, id)
    WHERE refusals = 0 AND action NOT IN ('write', 'mkdir', 'move', 'remove', 'issue');
CREATE INDEX chunks_short ON chunks(stored) WHERE stored < wanted;
CREATE INDEX doomed_by_chunk ON doomed(hash) WHERE guard > 0;
CREATE INDEX copies_doubted ON copies(node, chunk) WHERE state = 3;
CREATE INDEX chunks_surplus ON chunks(id) WHERE stored > wanted;
CREATE INDEX versions_retired ON versions(retired_ms) WHERE state = 2;
CREATE INDEX versions_smallest ON versions(chunk_count) WHERE state = 3;
CREATE INDEX versions_oldest ON versions(id) WHERE state = 3;
CREATE INDEX uploads_ended ON uploads(id) WHERE state >= 2;
CREATE INDEX doomed_to_delete ON doomed(node, retry_ms, since_ms) WHERE guard = 0;
CREATE INDEX quarantine_by_age ON quarantine(node, since_ms);
CREATE INDEX doomed_guarded ON doomed(node, retry_ms) WHERE guard > 0;
CREATE INDEX uploads_open ON uploads(expires_ms) WHERE state = 0;
CREATE INDEX uploads_answered ON uploads(expires_ms) WHERE state = 1;
CREATE INDEX identity_keys_by_key ON identity_keys(key_digest);
CREATE TRIGGER doomed_added AFTER INSERT ON doomed
BEGIN UPDATE nodes SET doomed = doomed + 1, guarded = guarded + (NEW.guard > 0) WHERE id = NEW.node; END;
CREATE TRIGGER doomed_changed AFTER UPDATE OF guard ON doomed WHEN (NEW.guard > 0) <> (OLD.guard > 0)
BEGIN UPDATE nodes SET guarded = guarded + iif(NEW.guard > 0, 1, -1) WHERE id = NEW.node; END;
CREATE TRIGGER doomed_gone AFTER DELETE ON doomed
BEGIN UPDATE nodes SET doomed = doomed - 1, guarded = guarded - (OLD.guard > 0) WHERE id = OLD.node; END;
CREATE TRIGGER chunks_counted AFTER UPDATE OF wanted, in_extents, in_pins, spread ON chunks
    WHEN OLD.use <> NEW.use OR (NEW.use > 0 AND (OLD.wanted <> NEW.wanted OR OLD.spread <> NEW.spread))
BEGIN
    UPDATE health SET chunks = chunks - 1 WHERE OLD.use > 0
        AND datastore IN (SELECT 0 UNION ALL SELECT datastore FROM held WHERE chunk = OLD.id)
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread;
    DELETE FROM health WHERE OLD.use > 0
        AND datastore IN (SELECT 0 UNION ALL SELECT datastore FROM held WHERE chunk = OLD.id)
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread AND chunks = 0;
    INSERT INTO health (datastore, use, wanted, spread, chunks)
        SELECT d.datastore, NEW.use, NEW.wanted, NEW.spread, 1
        FROM (SELECT 0 AS datastore UNION ALL SELECT datastore FROM held WHERE chunk = NEW.id) d
        WHERE NEW.use > 0 ON CONFLICT DO UPDATE SET chunks = chunks + 1;
END;
CREATE TRIGGER copies_added AFTER INSERT ON copies WHEN NEW.state > 0
BEGIN
    INSERT INTO touched VALUES (NEW.chunk) ON CONFLICT DO NOTHING;
    UPDATE nodes SET stored = stored + 1 WHERE id = NEW.node AND NEW.state = 1;
END;
CREATE TRIGGER copies_changed AFTER UPDATE OF state ON copies WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO touched VALUES (NEW.chunk) ON CONFLICT DO NOTHING;
    UPDATE nodes SET stored = stored + (NEW.state = 1) - (OLD.state = 1)
        WHERE id = NEW.node AND (NEW.state = 1) <> (OLD.state = 1);
END;
CREATE TRIGGER copies_gone AFTER DELETE ON copies WHEN OLD.state > 0
BEGIN
    INSERT INTO touched VALUES (OLD.chunk) ON CONFLICT DO NOTHING;
    UPDATE nodes SET stored = stored - 1 WHERE id = OLD.node AND OLD.state = 1;
END;
CREATE TRIGGER pins_added AFTER INSERT ON pins
    WHEN EXISTS (SELECT 1 FROM chunks WHERE id = NEW.chunk AND (in_extents OR spread <> ''))
BEGIN INSERT INTO touched VALUES (NEW.chunk) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER pins_gone AFTER DELETE ON pins
BEGIN INSERT INTO touched VALUES (OLD.chunk) ON CONFLICT DO NOTHING; END;
CREATE TRIGGER extents_added AFTER INSERT ON extents
BEGIN
    INSERT INTO touched VALUES (NEW.chunk) ON CONFLICT DO NOTHING;
    INSERT INTO held (chunk, datastore, extents)
        SELECT NEW.chunk, iif(NEW.offset < v.homed_to, v.next_home, v.home), 1 FROM versions v WHERE v.id = NEW.version
        ON CONFLICT DO UPDATE SET extents = extents + 1;
END;
CREATE TRIGGER extents_changed AFTER UPDATE OF chunk ON extents WHEN NEW.chunk <> OLD.chunk
BEGIN
    INSERT INTO touched VALUES (OLD.chunk), (NEW.chunk) ON CONFLICT DO NOTHING;
    UPDATE held SET extents = extents - 1 WHERE chunk = OLD.chunk AND datastore =
        (SELECT iif(OLD.offset < v.homed_to, v.next_home, v.home) FROM versions v WHERE v.id = OLD.version);
    DELETE FROM held WHERE chunk = OLD.chunk AND extents = 0;
    INSERT INTO held (chunk, datastore, extents)
        SELECT NEW.chunk, iif(NEW.offset < v.homed_to, v.next_home, v.home), 1 FROM versions v WHERE v.id = NEW.version
        ON CONFLICT DO UPDATE SET extents = extents + 1;
END;
CREATE TRIGGER extents_gone AFTER DELETE ON extents
BEGIN
    INSERT INTO touched VALUES (OLD.chunk) ON CONFLICT DO NOTHING;
    UPDATE held SET extents = extents - 1 WHERE chunk = OLD.chunk AND datastore =
        (SELECT iif(OLD.offset < v.homed_to, v.next_home, v.home) FROM versions v WHERE v.id = OLD.version);
    DELETE FROM held WHERE chunk = OLD.chunk AND extents = 0;
END;
CREATE TRIGGER held_added AFTER INSERT ON held
BEGIN
    INSERT INTO health (datastore, use, wanted, spread, chunks)
        SELECT NEW.datastore, k.use, k.wanted, k.spread, 1 FROM chunks k WHERE k.id = NEW.chunk AND k.use > 0
        ON CONFLICT DO UPDATE SET chunks = chunks + 1;
END;
CREATE TRIGGER held_gone AFTER DELETE ON held
BEGIN
    UPDATE health SET chunks = chunks - 1 WHERE (datastore, use, wanted, spread) =
        (SELECT OLD.datastore, k.use, k.wanted, k.spread FROM chunks k WHERE k.id = OLD.chunk AND k.use > 0);
    DELETE FROM health WHERE (datastore, use, wanted, spread) =
        (SELECT OLD.datastore, k.use, k.wanted, k.spread FROM chunks k WHERE k.id = OLD.chunk AND k.use > 0)
        AND chunks = 0;
END;
CREATE TRIGGER chunks_gone AFTER DELETE ON chunks WHEN OLD.use > 0
BEGIN
    UPDATE health SET chunks = chunks - 1 WHERE datastore = 0
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread;
    DELETE FROM health WHERE datastore = 0
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread AND chunks = 0;
END;

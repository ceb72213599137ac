-- People: who joined with which keys, chains of grants, and datastores with owner and policy.

ALTER TABLE codes ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';  -- JSON: for each grant, ids of the maker's
ALTER TABLE codes ADD COLUMN bound TEXT;                          -- identity that a device code is for
ALTER TABLE codes ADD COLUMN grants_expire_s REAL;
CREATE INDEX codes_by_maker ON codes(created_by);

ALTER TABLE redemptions ADD COLUMN at_ms INTEGER NOT NULL DEFAULT 0;

ALTER TABLE grants ADD COLUMN sources TEXT NOT NULL DEFAULT '[]'; -- JSON: ids of the giver's grants

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
    added_ms INTEGER NOT NULL,
    PRIMARY KEY (principal, key_digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX issued_by_identity ON issued(identity);

CREATE TABLE datastores (
    entry INTEGER PRIMARY KEY REFERENCES entries(id) ON DELETE CASCADE,
    owner TEXT,                   -- NULL: the member
    owner_grant TEXT,             -- the grant that its owner has by owning it
    copies INTEGER NOT NULL,      -- 0: the coordinator's setting
    quota INTEGER NOT NULL,       -- bytes; 0: none
    used INTEGER NOT NULL,        -- bytes of current files below it
    files INTEGER NOT NULL
) STRICT;

INSERT INTO datastores
    WITH RECURSIVE tree(top, id, version) AS (
        SELECT id, id, version FROM entries WHERE kind = 2
        UNION ALL SELECT tree.top, e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id)
    SELECT top, NULL, NULL, 0, 0, coalesce(sum(v.size), 0), count(v.id)
    FROM tree LEFT JOIN versions v ON v.id = tree.version GROUP BY top;

ALTER TABLE uploads ADD COLUMN datastore INTEGER;                   -- where it was opened
ALTER TABLE uploads ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0; -- bytes up to which it has allocated
ALTER TABLE uploads ADD COLUMN touched_ms INTEGER NOT NULL DEFAULT 0;
CREATE INDEX uploads_by_datastore ON uploads(datastore) WHERE state = 0;

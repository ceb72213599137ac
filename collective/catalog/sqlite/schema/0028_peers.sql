-- Other members with whom trust was exchanged, and what this member last said of itself to them.

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
) STRICT;

CREATE TABLE own_bundle (             -- one row
    id INTEGER PRIMARY KEY CHECK (id = 0),
    digest BLOB NOT NULL,             -- SHA-256 of what it says, its number left out
    sequence INTEGER NOT NULL
) STRICT;
INSERT INTO own_bundle VALUES (0, x'', 0);

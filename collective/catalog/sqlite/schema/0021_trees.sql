-- Trees come back as they went: nanoseconds, modes of directories, symbolic links, holes.
-- A time is modified_ms, and modified_ns nanoseconds (0 to 999,999) after it.  A mode of -1: none was given.

ALTER TABLE entries ADD COLUMN modified_ns INTEGER NOT NULL DEFAULT 0;
ALTER TABLE entries ADD COLUMN mode INTEGER NOT NULL DEFAULT -1;       -- of a folder; leaves have their version's

ALTER TABLE versions ADD COLUMN modified_ns INTEGER NOT NULL DEFAULT 0; -- -1: the time of the commit (while open)
ALTER TABLE versions ADD COLUMN target BLOB;                            -- of a link (entries.kind 3); NULL: a file
ALTER TABLE versions ADD COLUMN hole_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE versions ADD COLUMN hole_bytes INTEGER NOT NULL DEFAULT 0;  -- of size; recorded is without them
UPDATE versions SET modified_ns = -1 WHERE state = 0 AND modified_ms = 0;
UPDATE versions SET mode = -1 WHERE mode = 0;                           -- so far, 0 said that

CREATE TABLE holes (              -- pieces of a version that are zeros, beside its extents
    version INTEGER NOT NULL REFERENCES versions(id),
    offset INTEGER NOT NULL,
    length INTEGER NOT NULL,
    PRIMARY KEY (version, offset)
) STRICT, WITHOUT ROWID;

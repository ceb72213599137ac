-- How many copies a chunk gets follows the datastores that hold it, also after moves and new policies.

CREATE TABLE unsettled (          -- files and folders whose chunks may want another number of copies
    entry INTEGER PRIMARY KEY REFERENCES entries(id) ON DELETE CASCADE,
    after_name TEXT NOT NULL DEFAULT '',      -- a folder: names up to here are gone through
    from_offset INTEGER NOT NULL DEFAULT 0    -- a file: extents before this one are gone through
) STRICT;

ALTER TABLE state ADD COLUMN copies INTEGER NOT NULL DEFAULT 0; -- the setting that was last held for

-- Running totals of every folder: what lies below it counts there, so that nothing walks a tree to know.

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
INSERT INTO folders (entry, names, files, bytes, data, overhead, depth, reach, added)
    WITH RECURSIVE up(leaf, at, depth, reach) AS (
        SELECT id, parent, 1, octet_length(name) FROM entries WHERE parent IS NOT NULL
        UNION ALL SELECT up.leaf, e.parent, up.depth + 1, up.reach + 1 + octet_length(e.name)
            FROM up JOIN entries e ON e.id = up.at WHERE e.parent IS NOT NULL)
    SELECT f.id, count(up.leaf), count(v.id) FILTER (WHERE v.target IS NULL),
        coalesce(sum(v.size), 0), coalesce(sum(v.size - v.hole_bytes), 0),
        1024 * count(up.leaf) + coalesce(sum(512 * v.chunk_count + 64 * v.hole_count + octet_length(v.metadata)
            + octet_length(v.content_type) + coalesce(octet_length(v.target), 0)), 0),
        coalesce(max(up.depth), 0), coalesce(max(up.reach), 0), count(up.leaf)
    FROM entries f LEFT JOIN up ON up.at = f.id LEFT JOIN entries l ON l.id = up.leaf LEFT JOIN versions v ON v.id = l.version
    WHERE f.kind IN (1, 2) GROUP BY f.id;

ALTER TABLE datastores DROP COLUMN used;     -- in folders
ALTER TABLE datastores DROP COLUMN files;
ALTER TABLE datastores DROP COLUMN overhead;

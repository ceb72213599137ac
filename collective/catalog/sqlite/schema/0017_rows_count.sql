-- Quotas count rows of the catalogue: see catalog/decisions/charges.py for the numbers.

ALTER TABLE datastores ADD COLUMN overhead INTEGER NOT NULL DEFAULT 0; -- bytes that names, extents and attributes count for
UPDATE datastores SET overhead = coalesce((
    WITH RECURSIVE tree(id, version) AS (
        SELECT id, version FROM entries WHERE parent = datastores.entry
        UNION ALL SELECT e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id)
    SELECT sum(1024 + coalesce(512 * v.chunk_count + length(CAST(v.metadata AS BLOB))
        + length(CAST(v.content_type AS BLOB)), 0))
    FROM tree LEFT JOIN versions v ON v.id = tree.version), 0);

ALTER TABLE uploads ADD COLUMN reach INTEGER NOT NULL DEFAULT 0;     -- bytes of the file that it has allocated
ALTER TABLE uploads ADD COLUMN pin_count INTEGER NOT NULL DEFAULT 0; -- chunks that it has pinned
UPDATE uploads SET reach = reserved,
    pin_count = (SELECT count(*) FROM pins p WHERE p.upload = uploads.id) WHERE state = 0;
UPDATE uploads SET reserved = reach + 1024 + 512 * pin_count WHERE state = 0;
-- From now on reserved and credit are in all that the file counts for.

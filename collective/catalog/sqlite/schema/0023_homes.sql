-- Chunk health by datastore, for those who may read all of one.

ALTER TABLE versions ADD COLUMN home INTEGER NOT NULL DEFAULT -1;     -- datastore in which its extents are counted; -1: none
ALTER TABLE versions ADD COLUMN next_home INTEGER NOT NULL DEFAULT 0; -- the one to which they are being carried; 0: none
ALTER TABLE versions ADD COLUMN homed_to INTEGER NOT NULL DEFAULT 0;  -- extents before this offset are counted in next_home
UPDATE versions SET home = u.datastore FROM uploads u
    WHERE u.version = versions.id AND u.state IN (0, 2) AND coalesce(u.datastore, 0) > 0;
UPDATE versions SET home = datastore WHERE coalesce(datastore, 0) > 0;
WITH RECURSIVE tree(top, id, version) AS (
    SELECT id, id, version FROM entries WHERE kind = 2
    UNION ALL SELECT tree.top, e.id, e.version FROM tree JOIN entries e ON e.parent = tree.id)
UPDATE versions SET home = tree.top FROM tree WHERE tree.version = versions.id;

CREATE TABLE held (               -- how many extents of a datastore's files name a chunk; by triggers
    chunk INTEGER NOT NULL REFERENCES chunks(id),
    datastore INTEGER NOT NULL,   -- no reference: what a removed one held stays until it is collected
    extents INTEGER NOT NULL,
    PRIMARY KEY (chunk, datastore)
) STRICT, WITHOUT ROWID;
INSERT INTO held SELECT x.chunk, v.home, count(*) FROM extents x JOIN versions v ON v.id = x.version
    GROUP BY 1, 2 ORDER BY 1, 2;
INSERT INTO health SELECT h.datastore, k.use, k.wanted, k.spread, count(*) FROM held h
    JOIN chunks k ON k.id = h.chunk GROUP BY 1, 2, 3, 4;

DROP TRIGGER extents_added;
DROP TRIGGER extents_changed;
DROP TRIGGER extents_gone;
DROP TRIGGER chunks_counted;
CREATE TRIGGER extents_added AFTER INSERT ON extents
BEGIN
    UPDATE chunks SET extents = extents + 1 WHERE id = NEW.chunk;
    INSERT INTO held (chunk, datastore, extents)
        SELECT NEW.chunk, iif(NEW.offset < v.homed_to, v.next_home, v.home), 1 FROM versions v WHERE v.id = NEW.version
        ON CONFLICT DO UPDATE SET extents = extents + 1;
END;
CREATE TRIGGER extents_changed AFTER UPDATE OF chunk ON extents WHEN NEW.chunk <> OLD.chunk
BEGIN
    UPDATE held SET extents = extents - 1 WHERE chunk = OLD.chunk AND datastore =
        (SELECT iif(OLD.offset < v.homed_to, v.next_home, v.home) FROM versions v WHERE v.id = OLD.version);
    DELETE FROM held WHERE chunk = OLD.chunk AND extents = 0;
    UPDATE chunks SET extents = extents - 1 WHERE id = OLD.chunk;
    UPDATE chunks SET extents = extents + 1 WHERE id = NEW.chunk;
    INSERT INTO held (chunk, datastore, extents)
        SELECT NEW.chunk, iif(NEW.offset < v.homed_to, v.next_home, v.home), 1 FROM versions v WHERE v.id = NEW.version
        ON CONFLICT DO UPDATE SET extents = extents + 1;
END;
CREATE TRIGGER extents_gone AFTER DELETE ON extents
BEGIN
    UPDATE held SET extents = extents - 1 WHERE chunk = OLD.chunk AND datastore =
        (SELECT iif(OLD.offset < v.homed_to, v.next_home, v.home) FROM versions v WHERE v.id = OLD.version);
    DELETE FROM held WHERE chunk = OLD.chunk AND extents = 0;
    UPDATE chunks SET extents = extents - 1 WHERE id = OLD.chunk;
END;
CREATE TRIGGER held_added AFTER INSERT ON held
BEGIN
    INSERT INTO health (datastore, use, wanted, spread, chunks)
        SELECT NEW.datastore, k.use, k.wanted, k.spread, 1 FROM chunks k WHERE k.id = NEW.chunk
        ON CONFLICT DO UPDATE SET chunks = chunks + 1;
END;
CREATE TRIGGER held_gone AFTER DELETE ON held
BEGIN
    UPDATE health SET chunks = chunks - 1 WHERE (datastore, use, wanted, spread) =
        (SELECT OLD.datastore, k.use, k.wanted, k.spread FROM chunks k WHERE k.id = OLD.chunk);
    DELETE FROM health WHERE (datastore, use, wanted, spread) =
        (SELECT OLD.datastore, k.use, k.wanted, k.spread FROM chunks k WHERE k.id = OLD.chunk) AND chunks = 0;
END;
CREATE TRIGGER chunks_counted AFTER UPDATE OF wanted, extents, pins, spread ON chunks
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

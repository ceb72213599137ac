-- Chunks in use, counted by what matters to whether they are safe: see catalog/sqlite/store/counting.py.  A figure
-- for any set of nodes follows from some hundreds of rows, however many chunks there are.

ALTER TABLE chunks ADD COLUMN extents INTEGER NOT NULL DEFAULT 0; -- rows of extents that name it; by triggers
ALTER TABLE chunks ADD COLUMN pins INTEGER NOT NULL DEFAULT 0;    -- rows of pins that name it; by triggers
ALTER TABLE chunks ADD COLUMN spread TEXT NOT NULL DEFAULT '';    -- its copies by number of node: '3' stored, '3-' missing, '3?' doubted; by triggers
ALTER TABLE chunks ADD COLUMN use INTEGER GENERATED ALWAYS AS
    (iif(extents = 0, iif(pins = 0, 0, 1), iif(pins = 0, 3, 2))) VIRTUAL; -- 0 none, 1 pinned, 2 in extents and pinned, 3 in extents

CREATE TABLE health (
    datastore INTEGER NOT NULL,   -- 0: of the whole catalogue
    use INTEGER NOT NULL,         -- above 0
    wanted INTEGER NOT NULL,
    spread TEXT NOT NULL,
    chunks INTEGER NOT NULL,      -- above 0 between statements
    PRIMARY KEY (datastore, use, wanted, spread)
) STRICT, WITHOUT ROWID;

ALTER TABLE nodes ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;  -- copies in state 1; by triggers
ALTER TABLE nodes ADD COLUMN doomed INTEGER NOT NULL DEFAULT 0;  -- rows of doomed; by triggers
ALTER TABLE nodes ADD COLUMN guarded INTEGER NOT NULL DEFAULT 0; -- those with a guard; by triggers

DROP TRIGGER copies_added;
DROP TRIGGER copies_changed;
DROP TRIGGER copies_gone;

UPDATE chunks SET
    extents = (SELECT count(*) FROM extents x WHERE x.chunk = chunks.id),
    pins = (SELECT count(*) FROM pins p WHERE p.chunk = chunks.id),
    spread = coalesce((SELECT
        group_concat(node || iif(state = 1, '', iif(state = 2, '-', '?')), ' ' ORDER BY node)
        FROM copies WHERE chunk = chunks.id AND state > 0), '');
UPDATE nodes SET
    stored = (SELECT count(*) FROM copies c WHERE c.node = nodes.id AND c.state = 1),
    doomed = (SELECT count(*) FROM doomed d WHERE d.node = nodes.id),
    guarded = (SELECT count(*) FROM doomed d WHERE d.node = nodes.id AND d.guard > 0);
INSERT INTO health SELECT 0, use, wanted, spread, count(*) FROM chunks WHERE use > 0 GROUP BY 2, 3, 4;

CREATE TRIGGER copies_added AFTER INSERT ON copies WHEN NEW.state > 0
BEGIN
    UPDATE chunks SET stored = stored + (NEW.state = 1), spread = coalesce((SELECT
        group_concat(node || iif(state = 1, '', iif(state = 2, '-', '?')), ' ' ORDER BY node)
        FROM copies WHERE chunk = NEW.chunk AND state > 0), '')
        WHERE id = NEW.chunk;
    UPDATE nodes SET stored = stored + 1 WHERE id = NEW.node AND NEW.state = 1;
END;
CREATE TRIGGER copies_changed AFTER UPDATE OF state ON copies WHEN NEW.state <> OLD.state
BEGIN
    UPDATE chunks SET stored = stored + (NEW.state = 1) - (OLD.state = 1), spread = coalesce((SELECT
        group_concat(node || iif(state = 1, '', iif(state = 2, '-', '?')), ' ' ORDER BY node)
        FROM copies WHERE chunk = NEW.chunk AND state > 0), '')
        WHERE id = NEW.chunk;
    UPDATE nodes SET stored = stored + (NEW.state = 1) - (OLD.state = 1)
        WHERE id = NEW.node AND (NEW.state = 1) <> (OLD.state = 1);
END;
CREATE TRIGGER copies_gone AFTER DELETE ON copies WHEN OLD.state > 0
BEGIN
    UPDATE chunks SET stored = stored - (OLD.state = 1), spread = coalesce((SELECT
        group_concat(node || iif(state = 1, '', iif(state = 2, '-', '?')), ' ' ORDER BY node)
        FROM copies WHERE chunk = OLD.chunk AND state > 0), '')
        WHERE id = OLD.chunk;
    UPDATE nodes SET stored = stored - 1 WHERE id = OLD.node AND OLD.state = 1;
END;
CREATE TRIGGER pins_added AFTER INSERT ON pins
BEGIN UPDATE chunks SET pins = pins + 1 WHERE id = NEW.chunk; END;
CREATE TRIGGER pins_gone AFTER DELETE ON pins
BEGIN UPDATE chunks SET pins = pins - 1 WHERE id = OLD.chunk; END;
CREATE TRIGGER doomed_added AFTER INSERT ON doomed
BEGIN UPDATE nodes SET doomed = doomed + 1, guarded = guarded + (NEW.guard > 0) WHERE id = NEW.node; END;
CREATE TRIGGER doomed_changed AFTER UPDATE OF guard ON doomed WHEN (NEW.guard > 0) <> (OLD.guard > 0)
BEGIN UPDATE nodes SET guarded = guarded + iif(NEW.guard > 0, 1, -1) WHERE id = NEW.node; END;
CREATE TRIGGER doomed_gone AFTER DELETE ON doomed
BEGIN UPDATE nodes SET doomed = doomed - 1, guarded = guarded - (OLD.guard > 0) WHERE id = OLD.node; END;
CREATE TRIGGER extents_added AFTER INSERT ON extents
BEGIN UPDATE chunks SET extents = extents + 1 WHERE id = NEW.chunk; END;
CREATE TRIGGER extents_changed AFTER UPDATE OF chunk ON extents WHEN NEW.chunk <> OLD.chunk
BEGIN
    UPDATE chunks SET extents = extents - 1 WHERE id = OLD.chunk;
    UPDATE chunks SET extents = extents + 1 WHERE id = NEW.chunk;
END;
CREATE TRIGGER extents_gone AFTER DELETE ON extents
BEGIN UPDATE chunks SET extents = extents - 1 WHERE id = OLD.chunk; END;
CREATE TRIGGER chunks_counted AFTER UPDATE OF wanted, extents, pins, spread ON chunks
    WHEN OLD.use <> NEW.use OR (NEW.use > 0 AND (OLD.wanted <> NEW.wanted OR OLD.spread <> NEW.spread))
BEGIN
    UPDATE health SET chunks = chunks - 1 WHERE datastore = 0
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread;
    DELETE FROM health WHERE datastore = 0
        AND use = OLD.use AND wanted = OLD.wanted AND spread = OLD.spread AND chunks = 0;
    INSERT INTO health (datastore, use, wanted, spread, chunks)
        SELECT 0, NEW.use, NEW.wanted, NEW.spread, 1 WHERE NEW.use > 0
        ON CONFLICT DO UPDATE SET chunks = chunks + 1;
END;

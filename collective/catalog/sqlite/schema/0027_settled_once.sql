-- What a chunk's row keeps of other rows is worked out once a change, at its end (sqlite/counting.py), and not
-- with each row that changes: a small file that comes in changed it six times.

CREATE TABLE touched (            -- chunks whose kept columns may be out of date; empty between changes
    chunk INTEGER PRIMARY KEY     -- no reference: it may be gone by the end of the change
) STRICT;

DROP TRIGGER copies_added;
DROP TRIGGER copies_changed;
DROP TRIGGER copies_gone;
DROP TRIGGER pins_added;
DROP TRIGGER pins_gone;
DROP TRIGGER extents_added;
DROP TRIGGER extents_changed;
DROP TRIGGER extents_gone;

ALTER TABLE chunks RENAME COLUMN extents TO in_extents; -- 1: rows of extents name it
ALTER TABLE chunks RENAME COLUMN pins TO in_pins;       -- 1: rows of pins do, and extents or copies are there
UPDATE chunks SET in_extents = in_extents > 0, in_pins = in_pins > 0 AND (in_extents > 0 OR spread <> '')
    WHERE in_extents > 1 OR in_pins > 0;

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

-- What health counts is what the chunks' rows say, also while they are out of date.
-- (chunks_counted stays: it follows the columns' new names.)
DROP TRIGGER held_added;
DROP TRIGGER held_gone;
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

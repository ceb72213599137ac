-- A chunk is an id and a stored length: a claim of another length is another row, which no honest
-- node will ever fill.  The table is rebuilt under its name, with foreign keys off.

DROP TRIGGER copies_added;
DROP TRIGGER copies_changed;
DROP TRIGGER copies_gone;

CREATE TABLE chunks_rebuilt (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    hash BLOB NOT NULL,
    stored_length INTEGER NOT NULL,     -- never changes
    wanted INTEGER NOT NULL,
    stored INTEGER NOT NULL DEFAULT 0,  -- copies in state 1; kept by triggers
    UNIQUE (hash, stored_length)
) STRICT;
INSERT INTO chunks_rebuilt (id, hash, stored_length, wanted, stored)
    SELECT id, hash, stored_length, wanted, stored FROM chunks;
DELETE FROM sqlite_sequence WHERE name = 'chunks_rebuilt';  -- an id that was used is never given again
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'chunks_rebuilt', seq FROM sqlite_sequence WHERE name = 'chunks';
DROP TABLE chunks;
ALTER TABLE chunks_rebuilt RENAME TO chunks;
CREATE INDEX chunks_short ON chunks(stored) WHERE stored < wanted;

CREATE TRIGGER copies_added AFTER INSERT ON copies WHEN NEW.state = 1
BEGIN UPDATE chunks SET stored = stored + 1 WHERE id = NEW.chunk; END;
CREATE TRIGGER copies_changed AFTER UPDATE OF state ON copies WHEN (NEW.state = 1) <> (OLD.state = 1)
BEGIN UPDATE chunks SET stored = stored + iif(NEW.state = 1, 1, -1) WHERE id = NEW.chunk; END;
CREATE TRIGGER copies_gone AFTER DELETE ON copies WHEN OLD.state = 1
BEGIN UPDATE chunks SET stored = stored - 1 WHERE id = OLD.chunk; END;

-- Copies of another life of this catalogue, or of another one, stay until an operator discards them.

ALTER TABLE state ADD COLUMN first_generation INTEGER NOT NULL DEFAULT 1; -- that this catalogue gave out
CREATE TABLE foreign_generations ( -- that a lost future of this catalogue may have given out
    first INTEGER PRIMARY KEY,
    past INTEGER NOT NULL          -- the first one after them
) STRICT;

CREATE TABLE quarantine (          -- copies on our nodes that this catalogue never gave out
    node INTEGER NOT NULL REFERENCES nodes(id),
    hash BLOB NOT NULL,
    generation INTEGER NOT NULL,
    stored_length INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (node, hash, generation)
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_by_age ON quarantine(node, since_ms);

ALTER TABLE nodes ADD COLUMN quarantined_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN quarantined_copies INTEGER NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN adopted_ms INTEGER NOT NULL DEFAULT 0;        -- when it was adopted last
ALTER TABLE nodes ADD COLUMN discard_before_ms INTEGER NOT NULL DEFAULT 0; -- quarantined until then: to go; 0: none

ALTER TABLE strangers ADD COLUMN adopted INTEGER NOT NULL DEFAULT 0; -- 1: this catalogue takes its place
UPDATE strangers SET adopted = 1 WHERE (SELECT restored FROM state) = 0;

-- A catalogue that is restored, and not confirmed yet, skipped 2^32 numbers after the last that it knows.
INSERT INTO foreign_generations
    SELECT 1 + known.newest, 1 + known.newest + 4294967296 FROM (
        SELECT coalesce(max(c.generation), 0) AS newest FROM (
            SELECT generation FROM copies UNION ALL SELECT d.generation FROM doomed d
            WHERE EXISTS (SELECT 1 FROM chunks k WHERE k.hash = d.hash)) c
        WHERE c.generation <= (SELECT next_generation - 4294967296 FROM state)) known
    WHERE (SELECT restored FROM state) = 1;
INSERT INTO quarantine SELECT d.node, d.hash, d.generation, d.stored_length, d.since_ms FROM doomed d
    JOIN foreign_generations f ON d.generation >= f.first AND d.generation < f.past;
DELETE FROM doomed WHERE (node, hash, generation) IN (SELECT node, hash, generation FROM quarantine);
UPDATE nodes SET
    quarantined_bytes = (SELECT coalesce(sum(stored_length), 0) FROM quarantine q WHERE q.node = nodes.id),
    quarantined_copies = (SELECT count(*) FROM quarantine q WHERE q.node = nodes.id);

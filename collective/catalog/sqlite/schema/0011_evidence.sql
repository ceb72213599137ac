-- Copies are given up when others are confirmed, see catalog/sqlite/collection/dooming.py.  States of copies: 0
-- intent, 1 stored, 2 missing (its own node says so), 3 doubted (not counted until it is challenged).

ALTER TABLE doomed ADD COLUMN guard INTEGER NOT NULL DEFAULT 0; -- 0: to be deleted; 1: waits until others are confirmed; 2: so, and corrupt
UPDATE doomed SET guard = 1 WHERE EXISTS (
    SELECT 1 FROM chunks k WHERE k.hash = doomed.hash AND k.stored_length = doomed.stored_length);
DROP INDEX doomed_by_retry;
CREATE INDEX doomed_to_delete ON doomed(retry_ms) WHERE guard = 0;
CREATE INDEX doomed_guarded ON doomed(retry_ms) WHERE guard > 0;
CREATE INDEX doomed_by_chunk ON doomed(hash) WHERE guard > 0;

CREATE INDEX copies_doubted ON copies(node, chunk) WHERE state = 3;
CREATE INDEX chunks_surplus ON chunks(id) WHERE stored > wanted;

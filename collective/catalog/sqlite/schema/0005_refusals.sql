-- The audit tells changes from refusals, so that it can be bounded without losing one to the other.

ALTER TABLE audit ADD COLUMN refusals INTEGER NOT NULL DEFAULT 0;  -- refusals that a row counts; 0: a change
UPDATE audit SET refusals = 1 WHERE detail = 'denied';
CREATE INDEX audit_refusals ON audit(actor, id) WHERE refusals > 0;
CREATE INDEX audit_changes ON audit(actor, id) WHERE refusals = 0;

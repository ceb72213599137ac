-- When the bundle of a peer was taken; of those from before, when it was peered with at the latest.

ALTER TABLE peers ADD COLUMN taken_ms INTEGER NOT NULL DEFAULT 0;
UPDATE peers SET taken_ms = since_ms;

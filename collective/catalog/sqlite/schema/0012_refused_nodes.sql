-- Whose copies count: also not those of a node that is refused, or about to be removed.

ALTER TABLE nodes ADD COLUMN refused TEXT NOT NULL DEFAULT '';     -- why its heartbeats are refused; '': they are not
ALTER TABLE nodes ADD COLUMN removing INTEGER NOT NULL DEFAULT 0;  -- 1: what it holds is being gone through

-- An upload that ended gives its version to collection (state 3), which clears versions in turns.
UPDATE versions SET state = 3, retired_ms = 0 WHERE id IN
    (SELECT version FROM uploads WHERE state = 2) AND state = 0;

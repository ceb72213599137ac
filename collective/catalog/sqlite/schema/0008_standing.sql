-- What a node's word is worth: see placement/quorum.py.

ALTER TABLE nodes ADD COLUMN standing TEXT NOT NULL DEFAULT 'approved'; -- approved, probation, doubted
ALTER TABLE nodes ADD COLUMN standing_reason TEXT NOT NULL DEFAULT '';  -- why it is not approved

-- Which enrolments are approved by themselves, and which were not seen by an operator yet.

ALTER TABLE state ADD COLUMN founding_until_ms INTEGER;  -- NULL: founding has not begun; 0: it is over
UPDATE state SET founding_until_ms = 0 WHERE sequence > 0;
ALTER TABLE nodes ADD COLUMN is_new INTEGER NOT NULL DEFAULT 0;     -- 1: no operator has seen it yet
ALTER TABLE nodes ADD COLUMN is_founder INTEGER NOT NULL DEFAULT 0; -- 1: it was there when the member was founded
ALTER TABLE nodes ADD COLUMN before_doubt TEXT NOT NULL DEFAULT ''; -- what it was before it was doubted
ALTER TABLE codes ADD COLUMN approves INTEGER NOT NULL DEFAULT 0;   -- 1: the one node that it lets in is approved

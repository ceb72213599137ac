-- What changed in the tree of names, for those who watch a folder: the newest changes, of a bounded number, size and age.

CREATE TABLE changes (
    number INTEGER PRIMARY KEY,  -- in their order, without gaps; the newest stays, so none is given twice
    at_ms INTEGER NOT NULL,
    path TEXT NOT NULL,          -- as it was called then
    below INTEGER NOT NULL,      -- 1: anything below it may have changed too
    end_bytes INTEGER NOT NULL   -- size of all changes up to this one since the first
) STRICT;

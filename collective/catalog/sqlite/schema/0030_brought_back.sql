-- Positions of this catalogue that nodes give up by the operator's word: nothing proved them, and they were higher than its own.

CREATE TABLE brought_back (
    node TEXT PRIMARY KEY,
    held TEXT NOT NULL   -- exactly what it held: epoch, sequence and life; the newest such word for each node
) STRICT, WITHOUT ROWID;

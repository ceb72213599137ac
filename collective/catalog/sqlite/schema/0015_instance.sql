-- Which process took this database last: the record beside it has the same stamp (see custody).

ALTER TABLE state ADD COLUMN instance TEXT NOT NULL DEFAULT '';

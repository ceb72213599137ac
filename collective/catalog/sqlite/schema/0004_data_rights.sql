-- Where old versions lay, for the rights of their readers; what open uploads really take.

ALTER TABLE versions ADD COLUMN place TEXT;       -- the path where it lay when it was retired
ALTER TABLE versions ADD COLUMN datastore INTEGER;-- and the datastore; both NULL before that
CREATE INDEX versions_kept ON versions(datastore) WHERE state = 2;

ALTER TABLE uploads ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0; -- bytes of the chunks that it pinned
ALTER TABLE uploads ADD COLUMN credit INTEGER NOT NULL DEFAULT 0; -- bytes of the file that it replaces
CREATE INDEX uploads_by_principal ON uploads(principal, touched_ms) WHERE state = 0;

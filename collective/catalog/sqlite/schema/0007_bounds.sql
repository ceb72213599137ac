-- What bounds codes, certificates and the audit, and finds what has ended.

ALTER TABLE codes ADD COLUMN weight INTEGER NOT NULL DEFAULT 0;  -- bytes that it counts for
UPDATE codes SET weight = 1024 + length(grants) + length(sources) + length(description);
ALTER TABLE codes ADD COLUMN ended_s REAL;                       -- when its end was seen; NULL: open
DROP INDEX codes_by_maker;
CREATE INDEX codes_by_maker ON codes(created_by, created_s, weight);
CREATE INDEX codes_by_kind ON codes(kind, created_s);
CREATE INDEX codes_by_age ON codes(created_s, weight);
CREATE INDEX codes_by_end ON codes(ended_s);

ALTER TABLE issued ADD COLUMN certificate BLOB;                  -- DER, of the newest renewal of its key
CREATE INDEX issued_by_end ON issued(expires_ms);

DROP INDEX audit_changes;                                        -- see retention: a bound for each sort
CREATE INDEX audit_files ON audit(actor, id)
    WHERE refusals = 0 AND action IN ('write', 'mkdir', 'move', 'remove');
CREATE INDEX audit_renewals ON audit(actor, id) WHERE refusals = 0 AND action = 'issue';
CREATE INDEX audit_rights ON audit(actor, id)
    WHERE refusals = 0 AND action NOT IN ('write', 'mkdir', 'move', 'remove', 'issue');

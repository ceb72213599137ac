-- What a change looks for is found among those alone that may be it: not behind uploads that ended, or keys of others.

DROP INDEX uploads_by_expiry;
CREATE INDEX uploads_open ON uploads(expires_ms) WHERE state = 0;
CREATE INDEX uploads_answered ON uploads(expires_ms) WHERE state = 1;
CREATE INDEX identity_keys_by_key ON identity_keys(key_digest);

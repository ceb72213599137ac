-- Keys: revocation by key, and which certificates and codes are of which key.

ALTER TABLE issued ADD COLUMN key_digest BLOB;          -- NULL: issued before this was kept, and not seen since
CREATE INDEX issued_by_key ON issued(key_digest);

ALTER TABLE codes ADD COLUMN created_key BLOB;          -- the key by which its maker made it; NULL: not known

-- 1: this key goes back to a certificate that the operator signed offline, 0: to an invite.
ALTER TABLE identity_keys ADD COLUMN vouched INTEGER NOT NULL DEFAULT 0;
UPDATE identity_keys SET vouched = 1 WHERE principal NOT IN (
    SELECT k.principal FROM identity_keys k JOIN codes c ON c.id = k.code WHERE c.kind = 'user');

-- Invites: good once, for a capability token. grants: JSON, what the token says. issuer: the
-- operator who made it. holder to expires_s: whose key it was exchanged for, and the token as it
-- was made, which is made again from these for the same holder. mac: over every other column.
CREATE TABLE invites (
    invite_id    TEXT PRIMARY KEY NOT NULL,
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    grants       TEXT NOT NULL,
    issuer       BLOB NOT NULL,
    salt         BLOB NOT NULL,
    hash         BLOB NOT NULL,
    created_ms   INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    revoked_ms   INTEGER,
    holder       BLOB,
    audience     TEXT,
    token_id     BLOB,
    issued_s     INTEGER,
    expires_s    INTEGER,
    mac          BLOB NOT NULL
) STRICT;
CREATE INDEX invites_by_tenant ON invites (tenant, not_after_ms);

-- Approvals: what somebody asked a person for, and what became of it. subject: hash of the
-- caller. scope: keyed hash of what a grant covers. credentials, decisions, released: JSON.
-- decided_ms: when the last decision that was needed was given. claimed_ms: when a gateway
-- used it. mac: over every other column.
CREATE TABLE approvals (
    approval_id    BLOB PRIMARY KEY NOT NULL,
    tenant         TEXT NOT NULL REFERENCES tenants (tenant),
    subject        BLOB NOT NULL,
    requester      TEXT NOT NULL,
    agent          TEXT NOT NULL,
    organisation   TEXT NOT NULL,
    digest         BLOB NOT NULL,
    scope          BLOB NOT NULL,
    credentials    TEXT NOT NULL,
    needed         INTEGER NOT NULL,
    passkey        INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    expires_ms     INTEGER NOT NULL,
    decisions      TEXT NOT NULL,
    decided_ms     INTEGER,
    grant_until_ms INTEGER,
    claimed_ms     INTEGER,
    released       TEXT NOT NULL,
    mac            BLOB NOT NULL
) STRICT;
CREATE INDEX approvals_by_time ON approvals (tenant, created_ms);
CREATE INDEX approvals_by_request ON approvals (tenant, digest);
CREATE INDEX approvals_by_scope ON approvals (tenant, scope, grant_until_ms);

-- What a person is shown, sealed under the tenant's data key. In a table of its own, since it
-- is deleted when the agent has its decision, and belongs into no backup.
CREATE TABLE approval_previews (
    approval_id BLOB PRIMARY KEY NOT NULL REFERENCES approvals (approval_id) ON DELETE CASCADE,
    sealed      BLOB NOT NULL
) STRICT;

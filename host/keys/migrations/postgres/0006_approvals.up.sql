-- Approvals: what somebody asked a person for, and what became of it. subject: hash of the
-- caller. scope: keyed hash of what a grant covers. credentials, decisions, released: JSON.
-- decided_ms: when the last decision that was needed was given. claimed_ms: when a gateway
-- used it. mac: over every other column.
CREATE TABLE approvals (
    approval_id    BYTEA PRIMARY KEY NOT NULL,
    tenant         TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    subject        BYTEA NOT NULL,
    requester      TEXT NOT NULL,
    agent          TEXT NOT NULL,
    organisation   TEXT NOT NULL,
    digest         BYTEA NOT NULL,
    scope          BYTEA NOT NULL,
    credentials    TEXT NOT NULL,
    needed         BIGINT NOT NULL,
    passkey        BIGINT NOT NULL,
    created_ms     BIGINT NOT NULL,
    expires_ms     BIGINT NOT NULL,
    decisions      TEXT NOT NULL,
    decided_ms     BIGINT,
    grant_until_ms BIGINT,
    claimed_ms     BIGINT,
    released       TEXT NOT NULL,
    mac            BYTEA NOT NULL
);
SELECT confine('approvals');
CREATE INDEX approvals_by_time ON approvals (tenant, created_ms);
CREATE INDEX approvals_by_request ON approvals (tenant, digest);
CREATE INDEX approvals_by_scope ON approvals (tenant, scope, grant_until_ms);

-- What a person is shown, sealed under the tenant's data key. In a table of its own, since it
-- is deleted when the agent has its decision; unlogged, so that it is in no write-ahead log, no
-- standby and no archive of them.
CREATE UNLOGGED TABLE approval_previews (
    approval_id BYTEA PRIMARY KEY NOT NULL REFERENCES approvals (approval_id) ON DELETE CASCADE,
    sealed      BYTEA NOT NULL
);
ALTER TABLE approval_previews ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON approval_previews
    USING (EXISTS (SELECT 1 FROM approvals a WHERE a.approval_id = approval_previews.approval_id));

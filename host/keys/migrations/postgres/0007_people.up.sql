-- People of a tenant who may decide about requests, by the name that the directory knows them by.
-- handle: what their authenticators know them by, random. mac: over every other column of the row.
CREATE TABLE people (
    handle       BYTEA PRIMARY KEY NOT NULL,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    person       TEXT COLLATE "C" NOT NULL,
    organisation TEXT NOT NULL,
    role         TEXT NOT NULL,
    created_ms   BIGINT NOT NULL,
    mac          BYTEA NOT NULL,
    UNIQUE (tenant, person)
);
SELECT confine('people');

-- fixed: public key and what else stays; state: counter and flags, as of the last use.
CREATE TABLE passkeys (
    credential BYTEA PRIMARY KEY NOT NULL,
    handle     BYTEA NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    label      TEXT NOT NULL,
    fixed      BYTEA NOT NULL,
    state      BYTEA NOT NULL,
    created_ms BIGINT NOT NULL,
    used_ms    BIGINT,
    mac        BYTEA NOT NULL
);
CREATE INDEX passkeys_by_person ON passkeys (handle);
ALTER TABLE passkeys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON passkeys
    USING (EXISTS (SELECT 1 FROM people p WHERE p.handle = passkeys.handle));

-- Links by which a person registers a passkey: the hash of the code. Deleted by use.
CREATE TABLE person_links (
    hash       BYTEA PRIMARY KEY NOT NULL,
    handle     BYTEA NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    expires_ms BIGINT NOT NULL,
    mac        BYTEA NOT NULL
);
ALTER TABLE person_links ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON person_links
    USING (EXISTS (SELECT 1 FROM people p WHERE p.handle = person_links.handle));

-- Who is signed in: the hash of what the browser holds.
CREATE TABLE page_sessions (
    hash         BYTEA PRIMARY KEY NOT NULL,
    handle       BYTEA NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    signed_in_ms BIGINT NOT NULL,
    seen_ms      BIGINT NOT NULL,
    expires_ms   BIGINT NOT NULL,
    mac          BYTEA NOT NULL
);
CREATE INDEX page_sessions_by_person ON page_sessions (handle);
ALTER TABLE page_sessions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON page_sessions
    USING (EXISTS (SELECT 1 FROM people p WHERE p.handle = page_sessions.handle));

-- What people are told of, by channel (keys.yaml). attempts: how often it was tried; next_ms: not
-- before then. Nothing depends on it but who hears of what.
CREATE TABLE notices (
    approval_id BYTEA NOT NULL REFERENCES approvals (approval_id) ON DELETE CASCADE,
    channel     TEXT COLLATE "C" NOT NULL,
    attempts    BIGINT NOT NULL,
    next_ms     BIGINT NOT NULL,
    done        BIGINT NOT NULL,
    PRIMARY KEY (approval_id, channel)
);
ALTER TABLE notices ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON notices
    USING (EXISTS (SELECT 1 FROM approvals a WHERE a.approval_id = notices.approval_id));

-- People of a tenant who may decide about requests, by the name that the directory knows them by.
-- handle: what their authenticators know them by, random. mac: over every other column of the row.
CREATE TABLE people (
    handle       BLOB PRIMARY KEY NOT NULL,
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    person       TEXT NOT NULL,
    organisation TEXT NOT NULL,
    role         TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    mac          BLOB NOT NULL,
    UNIQUE (tenant, person)
) STRICT, WITHOUT ROWID;

-- fixed: public key and what else stays; state: counter and flags, as of the last use.
CREATE TABLE passkeys (
    credential BLOB PRIMARY KEY NOT NULL,
    handle     BLOB NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    label      TEXT NOT NULL,
    fixed      BLOB NOT NULL,
    state      BLOB NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms    INTEGER,
    mac        BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX passkeys_by_person ON passkeys (handle);

-- Links by which a person registers a passkey: the hash of the code. Deleted by use.
CREATE TABLE person_links (
    hash       BLOB PRIMARY KEY NOT NULL,
    handle     BLOB NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    expires_ms INTEGER NOT NULL,
    mac        BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Who is signed in: the hash of what the browser holds.
CREATE TABLE page_sessions (
    hash         BLOB PRIMARY KEY NOT NULL,
    handle       BLOB NOT NULL REFERENCES people (handle) ON DELETE CASCADE,
    signed_in_ms INTEGER NOT NULL,
    seen_ms      INTEGER NOT NULL,
    expires_ms   INTEGER NOT NULL,
    mac          BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX page_sessions_by_person ON page_sessions (handle);

-- What people are told of, by channel (keys.yaml). attempts: how often it was tried; next_ms: not
-- before then. Nothing depends on it but who hears of what.
CREATE TABLE notices (
    approval_id BLOB NOT NULL REFERENCES approvals (approval_id) ON DELETE CASCADE,
    channel     TEXT NOT NULL,
    attempts    INTEGER NOT NULL,
    next_ms     INTEGER NOT NULL,
    done        INTEGER NOT NULL,
    PRIMARY KEY (approval_id, channel)
) STRICT, WITHOUT ROWID;

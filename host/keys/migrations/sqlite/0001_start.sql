-- Every time is milliseconds since 1970 (UTC). Every id is raw bytes unless it is text by nature.
-- Invariant: no column holds a credential value, an API key or a join token in clear.
-- mac: over every other column of the row but last_used_ms, under a key that is not in here.

CREATE TABLE tenants (
    tenant     TEXT PRIMARY KEY NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    user         TEXT NOT NULL,
    organisation TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    PRIMARY KEY (tenant, user)
) STRICT;

-- Data keys, wrapped by the key-encryption key. scope: 'system' or 'tenant:NAME'.
CREATE TABLE deks (
    dek_id     BLOB PRIMARY KEY NOT NULL,
    scope      TEXT NOT NULL UNIQUE,
    kek_id     TEXT NOT NULL,
    wrapped    BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

-- Seeds of the service's own keys, sealed by the system data key.
CREATE TABLE service_keys (
    name       TEXT PRIMARY KEY NOT NULL,
    sealed     BLOB NOT NULL,
    created_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE epochs (
    epoch  INTEGER PRIMARY KEY NOT NULL,
    sealed BLOB NOT NULL,
    exp_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    key_id       TEXT PRIMARY KEY NOT NULL,
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    user         TEXT NOT NULL,
    organisation TEXT NOT NULL,
    agent        TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    roles        TEXT NOT NULL,
    trust        TEXT NOT NULL,
    clearance    TEXT,
    platform     TEXT,
    not_after_ms INTEGER,
    revoked_ms   INTEGER,
    salt         BLOB NOT NULL,
    hash         BLOB NOT NULL,
    created_ms   INTEGER NOT NULL,
    last_used_ms INTEGER,
    replaced_by  TEXT,
    mac          BLOB NOT NULL
) STRICT;
CREATE INDEX api_keys_by_user ON api_keys (tenant, user);

-- Gateway identities (gate, credential, audit) and operators.
CREATE TABLE identities (
    gateway      BLOB NOT NULL,
    role         TEXT NOT NULL,
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    public_key   BLOB NOT NULL,
    label        TEXT NOT NULL,
    created_ms   INTEGER NOT NULL,
    not_after_ms INTEGER NOT NULL,
    revoked_ms   INTEGER,
    mac          BLOB NOT NULL,
    PRIMARY KEY (gateway, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE join_tokens (
    hash       BLOB PRIMARY KEY NOT NULL,
    tenant     TEXT NOT NULL REFERENCES tenants (tenant),
    role       TEXT NOT NULL,
    gateway    BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    used_ms    INTEGER,
    mac        BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE credentials (
    cred_id      BLOB PRIMARY KEY NOT NULL,
    tenant       TEXT NOT NULL REFERENCES tenants (tenant),
    name         TEXT NOT NULL,
    description  TEXT NOT NULL,
    policy       BLOB NOT NULL,
    version      INTEGER NOT NULL,
    not_after_ms INTEGER,
    created_ms   INTEGER NOT NULL,
    updated_ms   INTEGER NOT NULL,
    UNIQUE (tenant, name)
) STRICT;

CREATE TABLE credential_versions (
    cred_id     BLOB NOT NULL REFERENCES credentials (cred_id) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    dek_id      BLOB NOT NULL,
    policy_hash BLOB NOT NULL,
    value_ct    BLOB NOT NULL,
    created_ms  INTEGER NOT NULL,
    PRIMARY KEY (cred_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE nonces (
    gateway    BLOB NOT NULL,
    nonce      BLOB NOT NULL,
    expires_ms INTEGER NOT NULL,
    replayed   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, nonce)
) STRICT, WITHOUT ROWID;
CREATE INDEX nonces_by_expiry ON nonces (expires_ms);

-- The service chain. bytes are exactly what was hashed and signed.
CREATE TABLE audit_events (
    n      INTEGER PRIMARY KEY NOT NULL,
    at_ms  INTEGER NOT NULL,
    tenant TEXT,
    prev   BLOB NOT NULL,
    hash   BLOB NOT NULL,
    sig    BLOB NOT NULL,
    bytes  BLOB NOT NULL
) STRICT;

CREATE TABLE edge_chains (
    gateway BLOB NOT NULL,
    boot    BLOB NOT NULL,
    vm      BLOB NOT NULL,
    next    INTEGER NOT NULL,
    head    BLOB NOT NULL,
    mac     BLOB NOT NULL,
    PRIMARY KEY (gateway, boot, vm)
) STRICT, WITHOUT ROWID;

CREATE TABLE checkpoints (
    count INTEGER PRIMARY KEY NOT NULL,
    at_ms INTEGER NOT NULL,
    note  TEXT NOT NULL
) STRICT;

-- The schema as SQLite has it after its migrations 1 to 5; from 6 on each number is in both
-- folders. Every time is milliseconds since 1970 (UTC). Every id is raw bytes unless it is text
-- by nature; text sorts by its bytes, as in SQLite.
-- Invariant: no column holds a credential value, an API key or a join token in clear.
-- mac: over every other column of the row but last_used_ms, under a key that is not in here.
-- Invariant: a row is seen and written only by a transaction that says whose rows it is for
-- (app.tenant; '*' for what is done before it is known who asks, and for all at once).

CREATE FUNCTION reaches(tenant text) RETURNS boolean LANGUAGE sql STABLE AS
$$ SELECT current_setting('app.tenant', true) IN (tenant, '*') $$;

-- Confines the table to the tenant that its column tenant names.
CREATE FUNCTION confine(kind regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', kind);
    EXECUTE format('CREATE POLICY tenant ON %s USING (reaches(tenant)) WITH CHECK (reaches(tenant))', kind);
END $$;

CREATE TABLE tenants (
    tenant     TEXT COLLATE "C" PRIMARY KEY,
    created_ms BIGINT NOT NULL
);
SELECT confine('tenants');

CREATE TABLE users (
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    "user"       TEXT COLLATE "C" NOT NULL,
    organisation TEXT NOT NULL,
    created_ms   BIGINT NOT NULL,
    PRIMARY KEY (tenant, "user")
);
SELECT confine('users');

-- Data keys, wrapped by the key-encryption key. scope: 'system' or 'tenant:NAME'.
CREATE TABLE deks (
    dek_id     BYTEA PRIMARY KEY,
    scope      TEXT COLLATE "C" NOT NULL UNIQUE,
    kek_id     TEXT NOT NULL,
    wrapped    BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);
ALTER TABLE deks ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON deks
    USING (reaches(CASE WHEN scope LIKE 'tenant:%' THEN substr(scope, 8) END));

-- Seeds of the service's own keys, sealed by the system data key, and of tenants' keys
-- (PURPOSE/VERSION/TENANT), sealed by theirs.
CREATE TABLE service_keys (
    name       TEXT COLLATE "C" PRIMARY KEY,
    sealed     BYTEA NOT NULL,
    created_ms BIGINT NOT NULL
);
ALTER TABLE service_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON service_keys USING (reaches(nullif(split_part(name, '/', 3), '')));

-- Unlogged: a seed is in no write-ahead log, no archive of it and no standby, and so in no
-- backup. A crash of the server empties the table, and the epoch begins again under new keys.
CREATE UNLOGGED TABLE epochs (
    epoch  BIGINT PRIMARY KEY,
    sealed BYTEA NOT NULL,
    exp_ms BIGINT NOT NULL
);

CREATE TABLE api_keys (
    key_id       TEXT COLLATE "C" PRIMARY KEY,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    "user"       TEXT COLLATE "C" NOT NULL,
    organisation TEXT NOT NULL,
    agent        TEXT NOT NULL,
    scopes       TEXT NOT NULL,
    roles        TEXT NOT NULL,
    trust        TEXT NOT NULL,
    clearance    TEXT,
    platform     TEXT,
    not_after_ms BIGINT,
    revoked_ms   BIGINT,
    salt         BYTEA NOT NULL,
    hash         BYTEA NOT NULL,
    created_ms   BIGINT NOT NULL,
    last_used_ms BIGINT,
    replaced_by  TEXT,
    mac          BYTEA NOT NULL
);
CREATE INDEX api_keys_by_user ON api_keys (tenant, "user");
SELECT confine('api_keys');

-- Gateway identities (gate, credential, audit) and operators.
CREATE TABLE identities (
    gateway      BYTEA NOT NULL,
    role         TEXT COLLATE "C" NOT NULL,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    public_key   BYTEA NOT NULL,
    label        TEXT NOT NULL,
    created_ms   BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    revoked_ms   BIGINT,
    mac          BYTEA NOT NULL,
    PRIMARY KEY (gateway, role)
);
SELECT confine('identities');

CREATE TABLE join_tokens (
    hash       BYTEA PRIMARY KEY,
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    role       TEXT NOT NULL,
    gateway    BYTEA NOT NULL,
    expires_ms BIGINT NOT NULL,
    used_ms    BIGINT,
    mac        BYTEA NOT NULL
);
SELECT confine('join_tokens');

-- minted_by: of a minted credential the hash of the caller whose request minted it.
CREATE TABLE credentials (
    cred_id      BYTEA PRIMARY KEY,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    name         TEXT COLLATE "C" NOT NULL,
    description  TEXT NOT NULL,
    policy       BYTEA NOT NULL,
    version      BIGINT NOT NULL,
    not_after_ms BIGINT,
    created_ms   BIGINT NOT NULL,
    updated_ms   BIGINT NOT NULL,
    minted_by    BYTEA,
    UNIQUE (tenant, name)
);
CREATE INDEX credentials_minted ON credentials (tenant, minted_by) WHERE minted_by IS NOT NULL;
SELECT confine('credentials');

CREATE TABLE credential_versions (
    cred_id     BYTEA NOT NULL REFERENCES credentials (cred_id) ON DELETE CASCADE,
    version     BIGINT NOT NULL,
    dek_id      BYTEA NOT NULL,
    policy_hash BYTEA NOT NULL,
    value_ct    BYTEA NOT NULL,
    created_ms  BIGINT NOT NULL,
    PRIMARY KEY (cred_id, version)
);
ALTER TABLE credential_versions ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON credential_versions
    USING (EXISTS (SELECT 1 FROM credentials c WHERE c.cred_id = credential_versions.cred_id));

CREATE TABLE nonces (
    gateway    BYTEA NOT NULL,
    nonce      BYTEA NOT NULL,
    expires_ms BIGINT NOT NULL,
    replayed   BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (gateway, nonce)
);
CREATE INDEX nonces_by_expiry ON nonces (expires_ms);

-- What is revoked: see SQLite's 0002.
CREATE TABLE revocations (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    kind     BIGINT NOT NULL,
    id       BYTEA NOT NULL,
    from_ms  BIGINT NOT NULL,
    until_ms BIGINT,
    listed   BIGINT NOT NULL,
    mac      BYTEA NOT NULL,
    PRIMARY KEY (tenant, kind, id)
);
CREATE INDEX revocations_by_listing ON revocations (listed);
SELECT confine('revocations');

-- One row. epoch counts changes of the list; forget counts how often gateways had to forget.
CREATE TABLE revocation_state (
    one    BIGINT PRIMARY KEY CHECK (one = 1),
    epoch  BIGINT NOT NULL,
    forget BIGINT NOT NULL,
    mac    BYTEA NOT NULL
);

CREATE TABLE invites (
    invite_id    TEXT COLLATE "C" PRIMARY KEY,
    tenant       TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    grants       TEXT NOT NULL,
    issuer       BYTEA NOT NULL,
    salt         BYTEA NOT NULL,
    hash         BYTEA NOT NULL,
    created_ms   BIGINT NOT NULL,
    not_after_ms BIGINT NOT NULL,
    revoked_ms   BIGINT,
    holder       BYTEA,
    audience     TEXT,
    token_id     BYTEA,
    issued_s     BIGINT,
    expires_s    BIGINT,
    mac          BYTEA NOT NULL
);
CREATE INDEX invites_by_tenant ON invites (tenant, not_after_ms);
SELECT confine('invites');

-- The service chain. bytes are exactly what was hashed and signed.
CREATE TABLE audit_events (
    n      BIGINT PRIMARY KEY,
    at_ms  BIGINT NOT NULL,
    tenant TEXT COLLATE "C",
    prev   BYTEA NOT NULL,
    hash   BYTEA NOT NULL,
    sig    BYTEA NOT NULL,
    bytes  BYTEA NOT NULL
);
SELECT confine('audit_events');

CREATE TABLE edge_chains (
    gateway BYTEA NOT NULL,
    boot    BYTEA NOT NULL,
    vm      BYTEA NOT NULL,
    next    BIGINT NOT NULL,
    head    BYTEA NOT NULL,
    mac     BYTEA NOT NULL,
    PRIMARY KEY (gateway, boot, vm)
);

CREATE TABLE checkpoints (
    count BIGINT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    note  TEXT NOT NULL
);

-- The log only grows. The service's role may not change or delete its rows at all (grants); the
-- triggers stop the owner's mistakes, and whoever can take them away is found by the checkpoints.
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '%: append only', TG_TABLE_NAME; END $$;

CREATE FUNCTION next_event() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.n <> (SELECT coalesce(max(n), 0) + 1 FROM audit_events) THEN
        RAISE EXCEPTION 'audit_events: only the next number is appended';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION next_checkpoint() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.count <= (SELECT coalesce(max(count), 0) FROM checkpoints) THEN
        RAISE EXCEPTION 'checkpoints: append only';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_events_append BEFORE INSERT ON audit_events
    FOR EACH ROW EXECUTE FUNCTION next_event();
CREATE TRIGGER audit_events_change BEFORE UPDATE OR DELETE ON audit_events
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER audit_events_empty BEFORE TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();
CREATE TRIGGER checkpoints_append BEFORE INSERT ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION next_checkpoint();
CREATE TRIGGER checkpoints_change BEFORE UPDATE OR DELETE ON checkpoints
    FOR EACH ROW EXECUTE FUNCTION append_only();
CREATE TRIGGER checkpoints_empty BEFORE TRUNCATE ON checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION append_only();

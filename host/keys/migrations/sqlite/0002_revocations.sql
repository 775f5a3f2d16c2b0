-- What is revoked. from_ms may lie ahead (the end of a rotation's overlap); until_ms NULL: until
-- it is taken back. listed: 0 not begun, 1 in the list that gateways get, 2 begun but without
-- room there, so that gateways were made to forget instead. mac: over all but listed.
CREATE TABLE revocations (
    tenant   TEXT NOT NULL REFERENCES tenants (tenant),
    kind     INTEGER NOT NULL,
    id       BLOB NOT NULL,
    from_ms  INTEGER NOT NULL,
    until_ms INTEGER,
    listed   INTEGER NOT NULL,
    mac      BLOB NOT NULL,
    PRIMARY KEY (tenant, kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX revocations_by_listing ON revocations (listed);

-- One row. epoch counts changes of the list; forget counts how often gateways had to forget.
CREATE TABLE revocation_state (
    one    INTEGER PRIMARY KEY NOT NULL CHECK (one = 1),
    epoch  INTEGER NOT NULL,
    forget INTEGER NOT NULL,
    mac    BLOB NOT NULL
) STRICT;

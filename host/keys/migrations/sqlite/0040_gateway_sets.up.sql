-- What gateways of a tenant may run, by the name that an operator gave it. gateway: empty for
-- every one that has no rows of its own. modules, policy: empty where it is not compared; bindings:
-- hashes of 32 bytes, one behind the other. mac: over every other column of the row.
CREATE TABLE gateway_sets (
    tenant   TEXT NOT NULL REFERENCES tenants (tenant),
    gateway  BLOB NOT NULL,
    name     TEXT NOT NULL,
    modules  BLOB NOT NULL,
    policy   BLOB NOT NULL,
    bindings BLOB NOT NULL,
    added_ms INTEGER NOT NULL,
    mac      BLOB NOT NULL,
    PRIMARY KEY (tenant, gateway, name)
) STRICT, WITHOUT ROWID;

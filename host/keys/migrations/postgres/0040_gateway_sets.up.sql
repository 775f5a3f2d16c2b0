-- What gateways of a tenant may run, by the name that an operator gave it. gateway: empty for
-- every one that has no rows of its own. modules, policy: empty where it is not compared; bindings:
-- hashes of 32 bytes, one behind the other. mac: over every other column of the row.
CREATE TABLE gateway_sets (
    tenant   TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    gateway  BYTEA NOT NULL,
    name     TEXT COLLATE "C" NOT NULL,
    modules  BYTEA NOT NULL,
    policy   BYTEA NOT NULL,
    bindings BYTEA NOT NULL,
    added_ms BIGINT NOT NULL,
    mac      BYTEA NOT NULL,
    PRIMARY KEY (tenant, gateway, name)
);
SELECT confine('gateway_sets');

-- Classification frameworks. levels: a JSON array of names, lowest first. mac: over every other
-- column of the row, here and below.
CREATE TABLE frameworks (
    tenant     TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    framework  TEXT COLLATE "C" NOT NULL,
    levels     TEXT NOT NULL,
    created_ms BIGINT NOT NULL,
    mac        BYTEA NOT NULL,
    PRIMARY KEY (tenant, framework)
);
SELECT confine('frameworks');

-- Which level a section of a document has.
CREATE TABLE classifications (
    tenant    TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    framework TEXT COLLATE "C" NOT NULL,
    document  TEXT COLLATE "C" NOT NULL,
    section   TEXT COLLATE "C" NOT NULL,
    level     TEXT NOT NULL,
    set_ms    BIGINT NOT NULL,
    mac       BYTEA NOT NULL,
    PRIMARY KEY (tenant, framework, document, section)
);
SELECT confine('classifications');

-- What an agent is cleared for: one level of one framework.
CREATE TABLE clearances (
    tenant    TEXT COLLATE "C" NOT NULL REFERENCES tenants (tenant),
    agent     TEXT COLLATE "C" NOT NULL,
    framework TEXT COLLATE "C" NOT NULL,
    level     TEXT NOT NULL,
    set_ms    BIGINT NOT NULL,
    mac       BYTEA NOT NULL,
    PRIMARY KEY (tenant, agent)
);
SELECT confine('clearances');

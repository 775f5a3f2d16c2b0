-- Classification frameworks. levels: a JSON array of names, lowest first. mac: over every other
-- column of the row, here and below.
CREATE TABLE frameworks (
    tenant     TEXT NOT NULL REFERENCES tenants (tenant),
    framework  TEXT NOT NULL,
    levels     TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    mac        BLOB NOT NULL,
    PRIMARY KEY (tenant, framework)
) STRICT, WITHOUT ROWID;

-- Which level a section of a document has.
CREATE TABLE classifications (
    tenant    TEXT NOT NULL REFERENCES tenants (tenant),
    framework TEXT NOT NULL,
    document  TEXT NOT NULL,
    section   TEXT NOT NULL,
    level     TEXT NOT NULL,
    set_ms    INTEGER NOT NULL,
    mac       BLOB NOT NULL,
    PRIMARY KEY (tenant, framework, document, section)
) STRICT, WITHOUT ROWID;

-- What an agent is cleared for: one level of one framework.
CREATE TABLE clearances (
    tenant    TEXT NOT NULL REFERENCES tenants (tenant),
    agent     TEXT NOT NULL,
    framework TEXT NOT NULL,
    level     TEXT NOT NULL,
    set_ms    INTEGER NOT NULL,
    mac       BLOB NOT NULL,
    PRIMARY KEY (tenant, agent)
) STRICT, WITHOUT ROWID;

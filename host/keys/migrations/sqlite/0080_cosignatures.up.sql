-- What witnesses have signed of which checkpoint (AUDIT.md, Witnesses): lines of its note.
CREATE TABLE cosignatures (
    count   INTEGER NOT NULL,
    witness TEXT NOT NULL,
    line    TEXT NOT NULL,
    PRIMARY KEY (count, witness)
) STRICT, WITHOUT ROWID;

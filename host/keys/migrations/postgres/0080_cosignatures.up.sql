-- What witnesses have signed of which checkpoint (AUDIT.md, Witnesses): lines of its note.
CREATE TABLE cosignatures (
    count   BIGINT NOT NULL,
    witness TEXT COLLATE "C" NOT NULL,
    line    TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (count, witness)
);

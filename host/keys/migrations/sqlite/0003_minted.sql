-- Of a minted credential the hash of the caller whose request minted it; NULL for an operator's.
-- It counts and finds what has ended. Whose a credential is stands in its policy, which the seal
-- of the value covers.
ALTER TABLE credentials ADD COLUMN minted_by BLOB;
CREATE INDEX credentials_minted ON credentials (tenant, minted_by) WHERE minted_by IS NOT NULL;

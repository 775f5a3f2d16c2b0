-- The key that an identity had before it was renewed, and until when it is still taken. Both are
-- under the row's mac when they are there.
ALTER TABLE identities ADD COLUMN previous_key BLOB;
ALTER TABLE identities ADD COLUMN previous_until_ms INTEGER;

-- Run once by whoever administers the server (psql -f roles.example.sql): two roles and a
-- database of PostgreSQL 15 or later. Give both roles passwords or certificates, and let
-- pg_hba.conf admit them to this database alone, over TLS (hostssl).

-- Owns the schema; used by `postern keys migrate` alone.
CREATE ROLE postern_owner LOGIN;
-- The service's. It has what `postern keys migrate` grants: no right to change what was logged
-- (but to take content out for a tombstone, AUDIT.md) or the schema, and no way past row-level security.
CREATE ROLE postern_service LOGIN;

CREATE DATABASE postern OWNER postern_owner ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE postern FROM PUBLIC;
GRANT CONNECT ON DATABASE postern TO postern_service;

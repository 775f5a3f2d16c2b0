DROP VIEW kek_in_use;
DROP VIEW revocations_listed;
DROP VIEW audit_head;

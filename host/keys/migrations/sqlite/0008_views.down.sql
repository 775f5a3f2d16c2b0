DROP VIEW revocations_listed;
DROP VIEW audit_head;

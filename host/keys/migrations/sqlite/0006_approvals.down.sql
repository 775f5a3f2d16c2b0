-- loses: SELECT count(*) FROM approvals
DROP TABLE approval_previews;
DROP TABLE approvals;

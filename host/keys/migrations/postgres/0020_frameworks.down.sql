-- loses: SELECT (SELECT count(*) FROM frameworks) + (SELECT count(*) FROM clearances)
DROP TABLE clearances;
DROP TABLE classifications;
DROP TABLE frameworks;

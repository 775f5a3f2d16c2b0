-- loses: SELECT count(*) FROM cosignatures
DROP TABLE cosignatures;

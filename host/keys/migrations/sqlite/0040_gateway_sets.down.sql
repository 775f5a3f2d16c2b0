-- loses: SELECT count(*) FROM gateway_sets
DROP TABLE gateway_sets;

-- loses: SELECT count(*) FROM invites
DROP TABLE invites;

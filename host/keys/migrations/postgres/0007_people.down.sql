-- loses: SELECT (SELECT count(*) FROM people) + (SELECT count(*) FROM notices)
DROP TABLE notices;
DROP TABLE page_sessions;
DROP TABLE person_links;
DROP TABLE passkeys;
DROP TABLE people;

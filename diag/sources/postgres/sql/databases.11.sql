-- The only table read for this fact; asked apart, since somebody may hold a lock on it.
SELECT oid::bigint AS oid, datname AS name, age(datfrozenxid) AS frozen_xid_age_transactions,
       mxid_age(datminmxid) AS multixact_age, pg_stat_get_db_deadlocks(oid) AS deadlocks
FROM pg_catalog.pg_database

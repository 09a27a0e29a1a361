-- What the snapshot's header says. The database's oid comes from our own backend: pg_database may be locked.
SELECT date_part('epoch', clock_timestamp()) AS observed_at, datid::bigint AS database
FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())

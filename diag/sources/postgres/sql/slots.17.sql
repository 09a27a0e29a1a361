-- The function, not the view: the view joins pg_database. On a standby WAL is counted from what was replayed.
SELECT slot_name AS slot, slot_type, active, datoid::bigint AS database, age(xmin) AS xmin_age_transactions,
       age(catalog_xmin) AS catalog_xmin_age_transactions, wal_status AS wal_status, date_part('epoch', inactive_since) AS inactive_since,
       pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint AS retained_bytes
FROM pg_catalog.pg_get_replication_slots()

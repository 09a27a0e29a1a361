-- Every backend with its transaction. Times as seconds since 1970, exact to the microsecond: a role may have any DateStyle, and text takes the server long.
-- Our own row says which database this is. The function, not the view: the view joins pg_database and pg_authid, and hangs when one of them is locked.
-- Hidden columns (no pg_monitor) come as NULL, the query as '<insufficient privilege>'; xid and xmin are never hidden.
SELECT pid = pg_catalog.pg_backend_pid() AS ours, pid, NULL::integer AS leader_pid, datid::bigint AS database, backend_type, state, wait_event_type, wait_event,
       application_name, host(client_addr) AS client_address, query, date_part('epoch', backend_start) AS backend_started_at,
       date_part('epoch', xact_start) AS transaction_started_at, date_part('epoch', state_change) AS state_changed_at,
       age(backend_xid) AS xid_age_transactions, age(backend_xmin) AS xmin_age_transactions
FROM pg_catalog.pg_stat_get_activity(NULL)

-- Times as seconds since 1970, exact to the microsecond: a role may have any DateStyle, and text takes the server long.
-- Our own row says which database this is. The function, not the view: the view joins pg_database and pg_authid, and hangs when one of them is locked.
-- Up to 12 there is no leader_pid. Hidden columns (no pg_monitor) come as NULL, the query as '<insufficient privilege>'.
SELECT pid = pg_catalog.pg_backend_pid() AS ours, pid, NULL::integer AS leader_pid, datid::bigint AS database, backend_type, state, wait_event_type, wait_event,
       application_name, host(client_addr) AS client_address, query, date_part('epoch', backend_start) AS backend_started_at,
       date_part('epoch', xact_start) AS transaction_started_at, date_part('epoch', state_change) AS state_changed_at
FROM pg_catalog.pg_stat_get_activity(NULL)

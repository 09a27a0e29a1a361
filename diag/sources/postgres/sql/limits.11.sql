-- What the server allows. Up to 15 only superusers have reserved connections.
SELECT current_setting('max_connections')::integer AS max_connections,
       current_setting('superuser_reserved_connections')::integer
       + coalesce(current_setting('reserved_connections', true), '0')::integer AS reserved_connections,
       current_setting('autovacuum_freeze_max_age')::integer AS autovacuum_freeze_max_age,
       pg_is_in_recovery() AS standby

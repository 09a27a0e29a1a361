-- The server's own time, as seconds since 1970.
SELECT date_part('epoch', clock_timestamp()) AS observed_at

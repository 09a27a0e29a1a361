-- As `locks`, for when somebody locks pg_class or pg_namespace: every lock on an object that somebody waits for, and
-- the transactionid locks of prepared transactions. No catalog is read.
-- From 14: waitstart. The wait is measured on the server's clock.
WITH every AS MATERIALIZED (
    SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks WHERE NOT fastpath
)
SELECT locktype, database::bigint, relation::bigint, page::bigint, tuple::integer AS tuple_, virtualxid,
       transactionid::text::bigint AS transactionid, classid::bigint, objid::bigint, objsubid::integer,
       pid, virtualtransaction, mode, granted, date_part('epoch', clock_timestamp() - waitstart) AS waited_s
FROM every
WHERE (pid IS NULL AND locktype = 'transactionid') OR tag IN (SELECT tag FROM every WHERE NOT granted)

-- As `locks`, for when somebody locks pg_class or pg_namespace: every lock on an object that somebody waits for, and
-- the transactionid locks of prepared transactions. No catalog is read.
-- Up to 13 there is no waitstart: a request waits at most as long as its statement runs.
WITH every AS (
    SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks WHERE NOT fastpath
)
SELECT every.locktype, every.database::bigint, every.relation::bigint, every.page::bigint, every.tuple::integer AS tuple_,
       every.virtualxid, every.transactionid::text::bigint AS transactionid, every.classid::bigint, every.objid::bigint,
       every.objsubid::integer, every.pid, every.virtualtransaction, every.mode, every.granted,
       CASE WHEN NOT every.granted THEN date_part('epoch', clock_timestamp() - backend.query_start) END AS waited_s
FROM every
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS backend ON backend.pid = every.pid
WHERE (every.pid IS NULL AND every.locktype = 'transactionid') OR tag IN (SELECT tag FROM every WHERE NOT granted)

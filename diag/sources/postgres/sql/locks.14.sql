-- Every lock on an object that somebody waits for, and the transactionid locks of prepared
-- transactions (their only link to a gid). pg_locks is read once; absent columns compare as 0.
-- From 14: waitstart. The wait is measured on the server's clock.
WITH every AS MATERIALIZED (
    SELECT locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid,
           virtualtransaction, pid, mode, granted, waitstart
    FROM pg_catalog.pg_locks
),
wanted AS (
    SELECT DISTINCT locktype, coalesce(database, 0::oid) AS database, coalesce(relation, 0::oid) AS relation,
           coalesce(page, -1) AS page, coalesce(tuple, -1::smallint) AS tuple, coalesce(virtualxid, '') AS virtualxid,
           coalesce(transactionid::text, '') AS transactionid, coalesce(classid, 0::oid) AS classid,
           coalesce(objid, 0::oid) AS objid, coalesce(objsubid, -1::smallint) AS objsubid
    FROM every WHERE NOT granted
)
SELECT every.locktype, every.database::bigint, every.relation::bigint, every.page::bigint, every.tuple::integer AS tuple_,
       every.virtualxid, every.transactionid::text::bigint AS transactionid, every.classid::bigint, every.objid::bigint,
       every.objsubid::integer, every.pid, every.virtualtransaction, every.mode, every.granted,
       extract(epoch FROM clock_timestamp() - every.waitstart)::float8 AS waited_s
FROM every
WHERE (every.pid IS NULL AND every.locktype = 'transactionid')
   OR (every.locktype, coalesce(every.database, 0::oid), coalesce(every.relation, 0::oid), coalesce(every.page, -1),
       coalesce(every.tuple, -1::smallint), coalesce(every.virtualxid, ''), coalesce(every.transactionid::text, ''),
       coalesce(every.classid, 0::oid), coalesce(every.objid, 0::oid), coalesce(every.objsubid, -1::smallint))
      IN (SELECT locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid FROM wanted)

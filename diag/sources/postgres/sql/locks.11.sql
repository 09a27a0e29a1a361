-- Every lock on an object that somebody waits for, and the transactionid locks of prepared
-- transactions (their only link to a gid). pg_locks is read once; absent columns compare as 0.
-- Up to 13 there is no waitstart: a request waits at most as long as its statement runs.
WITH every AS (  -- read twice below, hence materialised by every version
    SELECT locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid,
           virtualtransaction, pid, mode, granted
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
       CASE WHEN NOT every.granted THEN extract(epoch FROM clock_timestamp() - backend.query_start)::float8 END AS waited_s
FROM every
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS backend ON backend.pid = every.pid
WHERE (every.pid IS NULL AND every.locktype = 'transactionid')
   OR (every.locktype, coalesce(every.database, 0::oid), coalesce(every.relation, 0::oid), coalesce(every.page, -1),
       coalesce(every.tuple, -1::smallint), coalesce(every.virtualxid, ''), coalesce(every.transactionid::text, ''),
       coalesce(every.classid, 0::oid), coalesce(every.objid, 0::oid), coalesce(every.objsubid, -1::smallint))
      IN (SELECT locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid FROM wanted)

-- Every lock on an object that somebody waits for, with the name of its relation, and the transactionid locks of
-- prepared transactions (their only link to a gid). pg_locks is read once, for the names, too; these are of the
-- connected database, where an oid of another one may be somebody else's.
-- A lock on the fast path is in nobody's way: whoever would have to wait for it first moves it to the main table.
-- Up to 13 there is no waitstart: a request waits at most as long as its statement runs.
WITH every AS (  -- read several times below, hence materialised by every version; which columns are set depends on locktype alone
    SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks WHERE NOT fastpath
), names AS (
    SELECT class.oid, quote_ident(space.nspname) || '.' || quote_ident(class.relname) AS name
    FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
    WHERE class.oid IN (SELECT relation FROM every WHERE NOT granted)
    OFFSET 0  -- before 12 a fence by itself
)
SELECT every.locktype, every.database::bigint, every.relation::bigint, every.page::bigint, every.tuple::integer AS tuple_,
       every.virtualxid, every.transactionid::text::bigint AS transactionid, every.classid::bigint, every.objid::bigint,
       every.objsubid::integer, every.pid, every.virtualtransaction, every.mode, every.granted,
       CASE WHEN NOT every.granted THEN date_part('epoch', clock_timestamp() - backend.query_start) END AS waited_s, names.name
FROM every
LEFT JOIN names ON names.oid = every.relation
LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS backend ON backend.pid = every.pid
WHERE (every.pid IS NULL AND every.locktype = 'transactionid') OR tag IN (SELECT tag FROM every WHERE NOT granted)

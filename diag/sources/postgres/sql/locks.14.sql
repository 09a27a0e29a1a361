-- Every lock on an object that somebody waits for, with the name of its relation, and the transactionid locks of
-- prepared transactions (their only link to a gid). pg_locks is read once, for the names, too; these are of the
-- connected database, where an oid of another one may be somebody else's.
-- A lock on the fast path is in nobody's way: whoever would have to wait for it first moves it to the main table.
-- From 14: waitstart. The wait is measured on the server's clock.
WITH every AS MATERIALIZED (  -- an object as one text: which columns are set depends on locktype alone, so none is mistaken
    SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks WHERE NOT fastpath
), names AS MATERIALIZED (
    SELECT class.oid, quote_ident(space.nspname) || '.' || quote_ident(class.relname) AS name
    FROM pg_catalog.pg_class AS class JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
    WHERE class.oid IN (SELECT relation FROM every WHERE NOT granted)
)
SELECT locktype, database::bigint, relation::bigint, page::bigint, tuple::integer AS tuple_, virtualxid,
       transactionid::text::bigint AS transactionid, classid::bigint, objid::bigint, objsubid::integer,
       pid, virtualtransaction, mode, granted, date_part('epoch', clock_timestamp() - waitstart) AS waited_s, names.name
FROM every LEFT JOIN names ON names.oid = relation
WHERE (pid IS NULL AND locktype = 'transactionid') OR tag IN (SELECT tag FROM every WHERE NOT granted)

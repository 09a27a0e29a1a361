-- Every lock on an object that somebody waits for, and the transactionid locks of prepared
-- transactions (their only link to a gid). pg_locks is read once.
-- From 14: waitstart. The wait is measured on the server's clock.
WITH every AS MATERIALIZED (  -- an object as one text: which columns are set depends on locktype alone, so none is mistaken
    SELECT *, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks
)
SELECT locktype, database::bigint, relation::bigint, page::bigint, tuple::integer AS tuple_, virtualxid,
       transactionid::text::bigint AS transactionid, classid::bigint, objid::bigint, objsubid::integer,
       pid, virtualtransaction, mode, granted, date_part('epoch', clock_timestamp() - waitstart) AS waited_s
FROM every
WHERE (pid IS NULL AND locktype = 'transactionid') OR tag IN (SELECT tag FROM every WHERE NOT granted)

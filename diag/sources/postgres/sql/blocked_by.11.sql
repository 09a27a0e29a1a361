-- Up to 13, where no waitstart says who came first: who blocks whom, by the server's own word, asked only for
-- backends in a queue of several. Each call takes all partitions of the lock table, hence not for everybody.
WITH waiting AS (
    SELECT pid, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid, objsubid) AS tag
    FROM pg_catalog.pg_locks WHERE NOT granted
)
SELECT pid, pg_blocking_pids(pid) AS blocked_by
FROM waiting WHERE tag IN (SELECT tag FROM waiting GROUP BY tag HAVING count(*) > 1)

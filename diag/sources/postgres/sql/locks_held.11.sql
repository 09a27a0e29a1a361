-- How many locks each backend has been granted, beside the one on its own virtual transaction.
SELECT pid, count(*)::integer AS locks
FROM pg_catalog.pg_locks
WHERE granted AND pid IS NOT NULL AND locktype <> 'virtualxid'
GROUP BY pid

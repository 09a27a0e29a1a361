-- The relations most was asked of; asked apart, since somebody may hold a lock on pg_class.
SELECT class.oid::bigint AS oid, quote_ident(space.nspname) || '.' || quote_ident(class.relname) AS name,
       pg_stat_get_blocks_hit(class.oid) AS hits,
       pg_stat_get_blocks_fetched(class.oid) - pg_stat_get_blocks_hit(class.oid) AS reads,
       pg_stat_get_numscans(class.oid) AS scans, entry.indrelid::bigint AS "table",
       coalesce(entry.indisvalid, true) AS valid, greatest(class.relpages, 0) AS pages
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
LEFT JOIN pg_catalog.pg_index AS entry ON entry.indexrelid = class.oid
WHERE class.relkind IN ('r', 'm', 't', 'i') AND (pg_stat_get_blocks_fetched(class.oid) > 0 OR NOT entry.indisvalid)
ORDER BY NOT coalesce(entry.indisvalid, true) DESC, pg_stat_get_blocks_fetched(class.oid) DESC
LIMIT 2000

-- From 16: reads and hits by context. A bulkread goes through a small ring of buffers: a large sequential scan.
SELECT context, sum(hits)::bigint AS hits, sum(reads)::bigint AS reads, sum(read_time)::float8 / 1000.0 AS read_time_s
FROM pg_catalog.pg_stat_get_io() WHERE object = 'relation' AND hits IS NOT NULL
GROUP BY context

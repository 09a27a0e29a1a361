-- From 18 reads count operations of several blocks, so blocks are counted by bytes.
SELECT context, sum(hits)::bigint AS hits, (sum(read_bytes) / current_setting('block_size')::integer)::bigint AS reads,
       sum(read_time)::float8 / 1000.0 AS read_time_s
FROM pg_catalog.pg_stat_get_io() WHERE object = 'relation' AND hits IS NOT NULL
GROUP BY context

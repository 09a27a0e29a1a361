-- Names by oid, for the connected database only: an oid of another database may be somebody else's here.
SELECT class.oid::bigint AS oid, space.nspname AS schema, class.relname AS name
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE class.oid = ANY(%(oids)s::oid[])

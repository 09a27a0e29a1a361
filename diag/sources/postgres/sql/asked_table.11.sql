-- The relations that the name on the command line may mean, with or without schema and quotes, in the connected
-- database only. Quoted as SQL needs them, so that "Orders" and orders stay two.
SELECT class.oid::bigint AS oid, quote_ident(space.nspname) || '.' || quote_ident(class.relname) AS name
FROM pg_catalog.pg_class AS class
JOIN pg_catalog.pg_namespace AS space ON space.oid = class.relnamespace
WHERE class.relname = ANY(%(names)s::text[])
  AND %(table)s::text IN (class.relname, space.nspname || '.' || class.relname,
                          quote_ident(space.nspname) || '.' || quote_ident(class.relname))

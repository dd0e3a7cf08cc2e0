-- A role that may delete personal data and move its keys to another epoch, and may do nothing else. A gateway whose own
-- role may not (application-role.sql) uses it beside that one: database.eraser_url. Run by the owner of the tables, after
-- each `handrail db upgrade`:
--
--   psql --set ON_ERROR_STOP=1 --file deploy/postgres/eraser-role.sql postgresql://OWNER@HOST/DATABASE
--
-- then \password handrail_eraser, and postgresql+psycopg://handrail_eraser:...@... as database.eraser_url.
BEGIN;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'handrail_eraser') THEN
    CREATE ROLE handrail_eraser LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM handrail_eraser;
GRANT USAGE ON SCHEMA public TO handrail_eraser;

GRANT SELECT, DELETE ON payloads, payload_keys, data_keys, key_buckets TO handrail_eraser;
GRANT UPDATE (subject, bucket, wrapped) ON data_keys TO handrail_eraser;
GRANT UPDATE (epoch, wrapped) ON key_buckets TO handrail_eraser;
GRANT SELECT, UPDATE (subject, epoch, wrapped) ON holds TO handrail_eraser;
GRANT SELECT, UPDATE (payloads) ON erasures TO handrail_eraser;
GRANT SELECT ON erased_keys TO handrail_eraser;

COMMIT;

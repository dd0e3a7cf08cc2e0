-- A role for the gateway that can neither change the log nor drop the triggers that guard it. Run by the owner of the
-- tables, after each `handrail db upgrade` (which the gateway does itself only while it connects as the owner):
--
--   psql --set ON_ERROR_STOP=1 --file deploy/postgres/application-role.sql postgresql://OWNER@HOST/DATABASE
--
-- then \password handrail_app, and postgresql+psycopg://handrail_app:...@... as the gateway's database URL.
BEGIN;

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'handrail_app') THEN
    CREATE ROLE handrail_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
  END IF;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- A temporary table is found before one of the same name: it would take the log's place in a session.
DO $$
BEGIN
  EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC, handrail_app', current_database());
END
$$;
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM handrail_app;
GRANT USAGE ON SCHEMA public TO handrail_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO handrail_app;

-- The log grows and is read; its head moves. The fate of a step, of its offer to a remote hand, of a dead letter, of a proposal and of each
-- asking of an approval request is decided once, and bundles and their activations are kept. The version of the tables is the owner's.
REVOKE UPDATE, DELETE ON entries, checkpoints, cosignatures, posting_blocks, postings, fates, approval_ends,
  offer_moves, dead_letter_ends, run_turns, client_moves, client_calls, proposal_acts, proposal_signatures, policy_bundles, policy_activations, policy_shadows
  FROM handrail_app;
-- What retention drops is the owner's to say ('handrail retention apply --database-url').
REVOKE INSERT, UPDATE, DELETE ON dropped_partitions, retained_hashes FROM handrail_app;
REVOKE DELETE ON head FROM handrail_app;

-- What personal data is sealed by, and what is sealed, only grows for the gateway: to erase it takes eraser-role.sql. Marks
-- of what was erased, and the epochs, nobody takes back.
REVOKE UPDATE, DELETE ON payloads, payload_keys, data_keys, key_buckets, key_epochs, erased_keys FROM handrail_app;
REVOKE DELETE ON erasures FROM handrail_app;
REVOKE UPDATE ON holds FROM handrail_app;
REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM handrail_app;
-- A key of the gateway is replaced by its next state and never taken away: what it signed must go on verifying.
REVOKE DELETE ON signing_keys FROM handrail_app;
-- A secret that is removed leaves its row behind, without a value, so that versions go on counting.
REVOKE DELETE ON secrets FROM handrail_app;

COMMIT;

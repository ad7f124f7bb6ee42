-- What was changed in the tables that are audited, written by their triggers alone, so that a change by hand leaves a row too.
-- One row per changed row: `before` and `after` hold the columns that changed; where the row is gone `after` is null, and
-- `before` holds all of it. A secret column stands there with null on both sides: that it changed, never what it held.
-- That a row was inserted is not here: the row itself and its event say it.
-- `reference_id` is the id of what the row belongs to, by which a trail is found; zero: nothing. `charity_id` is zero where the
-- row is nobody's. Kept for ever, so no part of the key is a time; the key holds the charity, so that the table may be split.
CREATE TABLE audit (
  id bigint GENERATED ALWAYS AS IDENTITY,
  charity_id uuid NOT NULL,
  reference_id uuid NOT NULL,
  object text NOT NULL,
  object_id text NOT NULL,
  before jsonb,
  after jsonb,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  reason text NOT NULL,
  database_role text NOT NULL DEFAULT session_user,
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  -- Of the change, not of its transaction: entries of one row have their times in the order of their ids.
  create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT audit_pkey PRIMARY KEY (reference_id, id, charity_id)
);
GRANT SELECT ON audit TO {service}, {batch};

CREATE FUNCTION refuse_statement() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'restrict_violation', TABLE = TG_TABLE_NAME, CONSTRAINT = TG_NAME,
    MESSAGE = format('%s of %s is refused to everybody: %s', TG_OP, TG_TABLE_NAME, TG_ARGV[0]);
END $$;

-- Whoever owns the table, too, adds nothing by hand and takes nothing away. What a trigger writes is at depth 1.
CREATE TRIGGER audit_written_by_triggers BEFORE INSERT ON audit FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0)
EXECUTE FUNCTION refuse_statement('its rows are written by triggers');
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT
EXECUTE FUNCTION refuse_statement('what was written stays');
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_written_by_triggers;
ALTER TABLE audit ENABLE ALWAYS TRIGGER audit_append_only;

-- Has every UPDATE and DELETE of a table written to `audit`, whoever makes it, also in a session that says it replicates: one
-- INSERT a statement, for all its rows at once.
-- `reference`: the column with the id that a trail is found by; `tenant`: the one with the charity, empty where there is none;
-- `scheduling`: columns that are no news by themselves where the service changes them, as version and update_time never are;
-- `secret`: columns whose values are never written down.
-- The trigger names the columns that there are now, which is far cheaper than to turn each row into JSON: whoever adds a column
-- calls this again. TRUNCATE is refused to everybody: it shows no trigger what it takes, and "all is gone" is no trail.
--
-- The trigger runs as the owner, because the service has no right to write here. The service's statements say who acts, so its
-- rows are believed. Anybody else is believed only where his statement changed who acts: otherwise the row still names who
-- changed it before, who must not be blamed. Such a person says why by `SET audit.reason = '…'`.
-- A row whose key was changed has no other half: it is gone under the one key and appears under the other, whole.
CREATE FUNCTION audit_changes(
  audited regclass, reference text, tenant text DEFAULT 'charity_id', scheduling text[] DEFAULT '{}', secret text[] DEFAULT '{}'
) RETURNS void LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  named CONSTANT text[] := array_remove(ARRAY[reference, tenant] || scheduling || secret, '');
  either CONSTANT text := 'coalesce(o.%1$I, n.%1$I)';
  differs CONSTANT text := 'o.%1$I IS DISTINCT FROM n.%1$I';
  value CONSTANT text := 'CASE WHEN ' || differs || ' THEN jsonb_build_object(%1$L, %2$s) ELSE ''{}'' END';
  stamp CONSTANT text := 'CASE WHEN believed OR n.%1$I <> o.%1$I THEN coalesce(n.%1$I, '''') ELSE '''' END';
  nothing CONSTANT text := quote_literal('');
  columns CONSTANT text[] := (
    SELECT array_agg(attname ORDER BY attnum) FROM pg_attribute
    WHERE attrelid = audited AND attnum > 0 AND NOT attisdropped);
  keys CONSTANT text[] := (
    SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_index i
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
    WHERE i.indrelid = audited AND i.indisprimary);
  writer CONSTANT text := 'audit_' || (SELECT relname FROM pg_class WHERE oid = audited);
  changes text;
BEGIN
  -- A secret whose name is misspelt would be written down.
  IF NOT named <@ columns THEN
    RAISE EXCEPTION '% has no such columns as %', audited, (SELECT array_agg(c) FROM unnest(named) c WHERE c <> ALL (columns));
  END IF;

  changes := format(
    $select$INSERT INTO audit (charity_id, reference_id, object, object_id, before, after, actor, correlation_id, reason)
        SELECT %1$s, coalesce(%2$s, nobody), TG_TABLE_NAME, concat_ws('/', %3$s),
               CASE WHEN n.%4$I IS NULL THEN to_jsonb(o) || %5$L WHEN o.%4$I IS NOT NULL THEN %6$s END,
               CASE WHEN o.%4$I IS NULL THEN to_jsonb(n) || %5$L WHEN n.%4$I IS NOT NULL THEN %7$s END,
               %8$s, %9$s, coalesce(current_setting('audit.reason', true), '')$select$,
    CASE WHEN tenant = '' THEN 'nobody' ELSE format(either, tenant) END,
    format(either, reference),
    (SELECT string_agg(format(either, k), ', ') FROM unnest(keys) k WHERE k <> 'charity_id'),
    keys[1],
    (SELECT coalesce(jsonb_object_agg(c, NULL), '{}') FROM unnest(secret) c),
    (SELECT string_agg(format(value, c, CASE WHEN c = ANY (secret) THEN 'NULL' ELSE 'o.' || quote_ident(c) END), ' || ')
     FROM unnest(columns) c),
    (SELECT string_agg(format(value, c, CASE WHEN c = ANY (secret) THEN 'NULL' ELSE 'n.' || quote_ident(c) END), ' || ')
     FROM unnest(columns) c),
    CASE WHEN 'actor' = ANY (columns) THEN format(stamp, 'actor') ELSE nothing END,
    CASE WHEN 'correlation_id' = ANY (columns) THEN format(stamp, 'correlation_id') ELSE nothing END);

  EXECUTE format(
    $define$
    CREATE OR REPLACE FUNCTION %1$I() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $body$
    DECLARE
      nobody CONSTANT uuid := '00000000-0000-0000-0000-000000000000';
      believed CONSTANT boolean := session_user = '{service}';
    BEGIN
      IF TG_OP = 'DELETE' THEN
        %2$s
        FROM old_row o LEFT JOIN %3$s n ON false;
      ELSE
        %2$s
        FROM old_row o FULL JOIN new_row n ON %4$s
        WHERE %5$s OR (NOT believed AND o IS DISTINCT FROM n);
      END IF;
      RETURN NULL;
    END $body$;
    -- Whoever may make a table could otherwise put this on one of his own, and forge what he likes.
    REVOKE EXECUTE ON FUNCTION %1$I() FROM PUBLIC;
    CREATE OR REPLACE TRIGGER audit_update AFTER UPDATE ON %3$s REFERENCING OLD TABLE AS old_row NEW TABLE AS new_row
    FOR EACH STATEMENT EXECUTE FUNCTION %1$I();
    CREATE OR REPLACE TRIGGER audit_delete AFTER DELETE ON %3$s REFERENCING OLD TABLE AS old_row
    FOR EACH STATEMENT EXECUTE FUNCTION %1$I();
    CREATE OR REPLACE TRIGGER audit_truncate BEFORE TRUNCATE ON %3$s
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_statement('it would leave no trail');
    ALTER TABLE %3$s ENABLE ALWAYS TRIGGER audit_update, ENABLE ALWAYS TRIGGER audit_delete,
      ENABLE ALWAYS TRIGGER audit_truncate;
    $define$,
    writer, changes, audited,
    (SELECT string_agg(format('o.%1$I = n.%1$I', k), ' AND ') FROM unnest(keys) k),
    (SELECT string_agg(format(differs, c), ' OR ') FROM unnest(columns) c
     WHERE c <> ALL (scheduling || '{version,update_time}')));
END $$;
REVOKE EXECUTE ON FUNCTION audit_changes(regclass, text, text, text[], text[]) FROM PUBLIC;

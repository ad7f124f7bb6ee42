-- As before. What another transaction has just made may not be seen yet by whoever waited for it: a name that was not found is
-- remembered, and an advisory lock does not make anybody forget it.
CREATE OR REPLACE FUNCTION make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  partition text := parent || '_' || to_char(day, 'YYYY_MM_DD');
BEGIN
  IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('{schema}.' || partition));
  BEGIN
    -- Made aside and attached: CREATE TABLE … PARTITION OF would lock every writer of the parent out.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', partition, parent);
  EXCEPTION WHEN duplicate_table THEN
    RETURN;
  END;
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, day, day + 1);
END $$;

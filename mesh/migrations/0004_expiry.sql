-- Drops one day of the log. Its fence is older than any event that a consumer would still apply, and the relay reads no day
-- below its position's less one. Only the owner may: services have no right to remove anything.
CREATE FUNCTION drop_event_day(dropped date) RETURNS void
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF dropped >= (now() AT TIME ZONE 'utc')::date - 9 THEN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation',
      MESSAGE = format('%s is too young: a redelivery of its events would count them again', dropped);
  END IF;
  -- The row stays locked: no relay goes back meanwhile.
  PERFORM FROM relay WHERE day - 1 > dropped AND epoch = (SELECT max(epoch) FROM epoch) FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'restrict_violation', MESSAGE = format('%s is not published yet', dropped);
  END IF;
  EXECUTE format('DROP TABLE %I', 'event_' || to_char(dropped, 'YYYY_MM_DD'));
END $$;
REVOKE EXECUTE ON FUNCTION drop_event_day(date) FROM PUBLIC;

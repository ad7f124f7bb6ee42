-- What is not proven to have ended is listed by id; `payment_manual` served only half of that list.
CREATE INDEX payment_open ON payment (id) WHERE next_attempt_time IS NOT NULL OR manual_reason <> '';
DROP INDEX payment_manual;

-- As before. A join of postings and entries would be planned for all days at once, and read the whole ledger for one payment; a
-- scalar subquery is never turned into a join, so each posting is one look-up in one day.
CREATE OR REPLACE FUNCTION demand_bounded_reversal() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  captured bigint;
  owed bigint;
BEGIN
  SELECT -coalesce(sum(posted.amount) FILTER (WHERE posted.kind = 'captured'), 0), -coalesce(sum(posted.amount), 0)
  INTO captured, owed
  FROM (SELECT p.kind, (SELECT sum(e.amount) FROM entry e
                        WHERE e.day = p.day AND e.posting_id = p.id
                          AND e.account IN ('campaign_payable', 'refunds', 'disputes_held')) AS amount
        FROM posting p WHERE p.payment_id = NEW.payment_id) AS posted;
  IF owed < 0 OR owed > captured THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'posting', CONSTRAINT = 'posting_reversal_bounded',
      MESSAGE = format('posting %s leaves %s of %s owed for its payment', NEW.id, owed, captured);
  END IF;
  RETURN NULL;
END $$;

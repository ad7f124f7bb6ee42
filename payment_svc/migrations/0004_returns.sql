-- Money that goes back: refunds, asked for by us or made at the provider, and disputes.

-- A refund is an attempt too: a call of ours, an object at the provider, or both.
ALTER TABLE attempt RENAME COLUMN charge_id TO object_id;
ALTER TABLE attempt
  -- What a capture or refund moves, why, and the wish that it comes from.
  ADD COLUMN amount bigint NOT NULL DEFAULT 0,
  ADD COLUMN reason text NOT NULL DEFAULT '',
  ADD COLUMN request_key uuid,
  -- How often the provider refused what may be asked again, since when that makes the idempotency key, and since when the
  -- outcome is unproven.
  ADD COLUMN refusals integer NOT NULL DEFAULT 0,
  ADD COLUMN key_time timestamptz,
  ADD COLUMN doubt_time timestamptz,
  DROP CONSTRAINT attempt_kind_known,
  ADD CONSTRAINT attempt_kind_known CHECK (kind BETWEEN 1 AND 5),
  DROP CONSTRAINT attempt_charge_named,
  -- A charge has the provider's id, a refund has it when the provider shows it, no other call has one.
  ADD CONSTRAINT attempt_object_named
    CHECK (CASE kind WHEN 2 THEN object_id IS NOT NULL WHEN 5 THEN true ELSE object_id IS NULL END),
  ADD CONSTRAINT attempt_amount_of_moves CHECK ((kind IN (4, 5)) = (amount > 0) AND amount >= 0),
  ADD CONSTRAINT attempt_request_key UNIQUE (charity_id, request_key);
ALTER TABLE attempt RENAME CONSTRAINT attempt_charge_key TO attempt_object_key;
UPDATE attempt SET doubt_time = coalesce(last_call_time, create_time) WHERE outcome = 4;
-- What is held is taken once.
CREATE UNIQUE INDEX attempt_one_capture ON attempt (payment_id, charity_id) WHERE kind = 4 AND outcome <> 3;
CREATE INDEX attempt_of_object ON attempt (object_id) WHERE object_id IS NOT NULL;

ALTER TABLE payment
  -- What is asked to go back and not shown yet; what banks keep of what is disputed; why an operator has to look.
  ADD COLUMN refunding bigint NOT NULL DEFAULT 0,
  ADD COLUMN lost bigint NOT NULL DEFAULT 0,
  ADD COLUMN manual_reason text NOT NULL DEFAULT '',
  -- What the charge itself said of its refunds and disputes, in the newest second that we saw.
  ADD COLUMN said_second bigint,
  ADD COLUMN said_refunded bigint,
  ADD COLUMN said_disputed boolean,
  DROP CONSTRAINT payment_returns_bounded,
  -- Decides two refunds at once: what is asked for counts from the moment at which it is asked for.
  ADD CONSTRAINT payment_returns_bounded
    CHECK (refunded >= 0 AND refunding >= 0 AND disputed >= 0 AND refunded + refunding + disputed <= captured),
  ADD CONSTRAINT payment_lost_bounded CHECK (lost BETWEEN 0 AND disputed),
  ADD CONSTRAINT payment_said_whole
    CHECK ((said_second IS NULL) = (said_refunded IS NULL) AND (said_second IS NULL) = (said_disputed IS NULL));
CREATE INDEX payment_manual ON payment (id) WHERE manual_reason <> '';

-- A dispute as the provider shows it; `state` as in the contract. How often the bank took the money, and gave it back.
CREATE TABLE dispute (
  provider_id text NOT NULL,
  charity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  state smallint NOT NULL CONSTRAINT dispute_state_known CHECK (state BETWEEN 1 AND 5),
  amount bigint NOT NULL CONSTRAINT dispute_amount_positive CHECK (amount > 0),
  withdrawals integer NOT NULL,
  reinstatements integer NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT dispute_pkey PRIMARY KEY (provider_id, charity_id),
  CONSTRAINT dispute_payment FOREIGN KEY (payment_id, charity_id) REFERENCES payment (id, charity_id),
  CONSTRAINT dispute_moves_not_negative CHECK (withdrawals >= 0 AND reinstatements >= 0)
);
CREATE INDEX dispute_of_payment ON dispute (payment_id);

-- Reversals are linked to what they take back, and never take back more.
ALTER TABLE posting ADD COLUMN reverses uuid;
ALTER TABLE posting DROP CONSTRAINT posting_kind_known;
ALTER TABLE posting ADD CONSTRAINT posting_kind_known
  CHECK (kind IN ('recorded', 'recorded_reversal', 'captured', 'refunded', 'refund_returned', 'dispute_held',
                  'dispute_returned', 'dispute_lost', 'dispute_regained'));
ALTER TABLE posting DROP CONSTRAINT posting_of_payment;
ALTER TABLE posting ADD CONSTRAINT posting_of_payment
  CHECK ((kind NOT IN ('recorded', 'recorded_reversal')) = (payment_id IS NOT NULL));
ALTER TABLE posting ADD CONSTRAINT posting_reversal_linked
  CHECK ((kind IN ('refunded', 'refund_returned', 'dispute_held', 'dispute_returned', 'dispute_lost', 'dispute_regained'))
         = (reverses IS NOT NULL));

-- Checked when a reversal's transaction commits: over all postings of its payment, what the campaign is owed is neither more
-- than what was captured nor less than nothing.
CREATE FUNCTION demand_bounded_reversal() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  captured bigint;
  owed bigint;
BEGIN
  SELECT -coalesce(sum(e.amount) FILTER (WHERE p.kind = 'captured'), 0), -coalesce(sum(e.amount), 0)
  INTO captured, owed
  FROM posting p JOIN entry e ON e.day = p.day AND e.posting_id = p.id
  WHERE p.payment_id = NEW.payment_id AND e.account IN ('campaign_payable', 'refunds', 'disputes_held');
  IF owed < 0 OR owed > captured THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'posting', CONSTRAINT = 'posting_reversal_bounded',
      MESSAGE = format('posting %s leaves %s of %s owed for its payment', NEW.id, owed, captured);
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER posting_reversal_bounded AFTER INSERT ON posting
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.reverses IS NOT NULL) EXECUTE FUNCTION demand_bounded_reversal();

UPDATE account SET description = 'Given back to donors, by us or by their banks: campaigns are owed so much less'
WHERE code = 'refunds';

GRANT SELECT, INSERT, UPDATE ON dispute TO {service};
GRANT SELECT ON dispute TO {batch};
GRANT INSERT (reverses) ON posting TO {service};

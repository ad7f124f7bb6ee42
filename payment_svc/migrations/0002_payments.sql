-- The bucket that an id carries in its last ten bits; everything of a charity carries the charity's.
CREATE FUNCTION bucket_of(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((get_byte(uuid_send(id), 14) & 3) << 8) | get_byte(uuid_send(id), 15);

-- The movement of money behind a donation: what the provider has shown of it so far. Amounts in minor units; `state` as in
-- the contract, computed from the other columns. The donation is the fence: one payment per charity and donation, for ever.
-- Columns actor and correlation_id: who made the last change, and in which call.
CREATE TABLE payment (
  id uuid NOT NULL,
  charity_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  donation_id uuid NOT NULL,
  request_digest bigint NOT NULL,
  state smallint NOT NULL CONSTRAINT payment_state_known CHECK (state BETWEEN 1 AND 13),
  currency text NOT NULL CONSTRAINT payment_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  amount bigint NOT NULL CONSTRAINT payment_amount_range CHECK (amount BETWEEN 1 AND 99999999),
  captured bigint NOT NULL DEFAULT 0,
  refunded bigint NOT NULL DEFAULT 0,
  disputed bigint NOT NULL DEFAULT 0,
  manual_capture boolean NOT NULL,
  -- The provider's intent, and what the donor's browser confirms it with.
  provider_id text,
  client_secret text NOT NULL DEFAULT '',
  -- Where the intent stood in the newest second of the provider's clock that we saw.
  progress_second bigint,
  progress_status smallint,
  progress_code text NOT NULL DEFAULT '',
  canceled boolean NOT NULL,
  refused boolean NOT NULL DEFAULT false,
  -- Nobody waits for it: it is to be called off.
  unwanted boolean NOT NULL DEFAULT false,
  -- When the provider is asked next; null: nothing is due. Whoever asks holds the payment until leased_until.
  next_attempt_time timestamptz,
  leased_until timestamptz,
  version bigint NOT NULL CONSTRAINT payment_version_positive CHECK (version > 0),
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT payment_pkey PRIMARY KEY (id, charity_id),
  CONSTRAINT payment_donation_key UNIQUE (donation_id, charity_id),
  CONSTRAINT payment_provider_key UNIQUE (provider_id, charity_id),
  CONSTRAINT payment_bucket CHECK (bucket_of(id) = bucket_of(charity_id)),
  CONSTRAINT payment_captured_bounded CHECK (captured BETWEEN 0 AND amount),
  CONSTRAINT payment_returns_bounded CHECK (refunded >= 0 AND disputed >= 0 AND refunded + disputed <= captured),
  CONSTRAINT payment_captured_at_provider CHECK (captured = 0 OR provider_id IS NOT NULL),
  CONSTRAINT payment_progress_whole
    CHECK ((progress_second IS NULL) = (progress_status IS NULL) AND progress_status BETWEEN 1 AND 8)
);
CREATE INDEX payment_due ON payment (next_attempt_time) WHERE next_attempt_time IS NOT NULL;
CREATE INDEX payment_of_charity ON payment (charity_id, id DESC);

-- One call of ours that changes something at the provider, or one charge there; `kind` and `outcome` as in the contract.
CREATE TABLE attempt (
  id uuid NOT NULL,
  charity_id uuid NOT NULL,
  payment_id uuid NOT NULL,
  kind smallint NOT NULL CONSTRAINT attempt_kind_known CHECK (kind BETWEEN 1 AND 3),
  outcome smallint NOT NULL CONSTRAINT attempt_outcome_known CHECK (outcome BETWEEN 1 AND 4),
  -- The provider's id of a charge, what it captured, and the second of the provider's clock in which it was made.
  charge_id text,
  captured bigint NOT NULL DEFAULT 0 CONSTRAINT attempt_captured_not_negative CHECK (captured >= 0),
  second bigint NOT NULL DEFAULT 0,
  code text NOT NULL DEFAULT '',
  -- How often we asked, when last, and whether the provider keeps a failure under the call's idempotency key.
  calls integer NOT NULL DEFAULT 0,
  last_call_time timestamptz,
  saved boolean NOT NULL DEFAULT false,
  create_time timestamptz NOT NULL,
  end_time timestamptz,
  CONSTRAINT attempt_pkey PRIMARY KEY (id, charity_id),
  CONSTRAINT attempt_payment FOREIGN KEY (payment_id, charity_id) REFERENCES payment (id, charity_id),
  CONSTRAINT attempt_charge_key UNIQUE (payment_id, charity_id, charge_id),
  CONSTRAINT attempt_charge_named CHECK ((kind = 2) = (charge_id IS NOT NULL))
);
-- Two charges that succeeded on one intent would be a donor who paid twice.
CREATE UNIQUE INDEX attempt_one_success ON attempt (payment_id, charity_id) WHERE kind = 2 AND outcome = 2;
-- The provider's idempotency key comes from the call's id: a second one could make a second intent.
CREATE UNIQUE INDEX attempt_one_intent ON attempt (payment_id, charity_id) WHERE kind = 1;
CREATE UNIQUE INDEX attempt_one_cancel ON attempt (payment_id, charity_id) WHERE kind = 3;

-- Webhooks that were verified, raw and sealed, each id once for ever. States as in the contract: 1 applied, 2 parked,
-- 3 quarantined, 4 skipped. `intent_id` is what it is about.
CREATE TABLE provider_event (
  event_id text NOT NULL,
  type text NOT NULL,
  intent_id text NOT NULL,
  state smallint NOT NULL CONSTRAINT provider_event_state_known CHECK (state BETWEEN 1 AND 4),
  reason text NOT NULL DEFAULT '',
  attempts integer NOT NULL DEFAULT 1,
  next_attempt_time timestamptz,
  body bytea NOT NULL,
  signature text NOT NULL,
  provider_time timestamptz NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT provider_event_pkey PRIMARY KEY (event_id),
  CONSTRAINT provider_event_parked_is_due CHECK ((state = 2) = (next_attempt_time IS NOT NULL))
);
CREATE INDEX provider_event_due ON provider_event (next_attempt_time) WHERE state = 2;
CREATE INDEX provider_event_waiting ON provider_event (intent_id) WHERE state = 2;
CREATE INDEX provider_event_newest ON provider_event (create_time DESC, event_id);

-- Postings of a payment are linked to it.
ALTER TABLE posting ADD COLUMN payment_id uuid;
ALTER TABLE posting DROP CONSTRAINT posting_kind_known;
ALTER TABLE posting ADD CONSTRAINT posting_kind_known CHECK (kind IN ('recorded', 'recorded_reversal', 'captured'));
ALTER TABLE posting ADD CONSTRAINT posting_of_payment CHECK ((kind = 'captured') = (payment_id IS NOT NULL));
CREATE INDEX posting_of_payment_id ON posting (payment_id) WHERE payment_id IS NOT NULL;

GRANT SELECT, INSERT, UPDATE ON payment, attempt, provider_event TO {service};
GRANT SELECT ON payment, attempt TO {batch};
GRANT INSERT (payment_id) ON posting TO {service};

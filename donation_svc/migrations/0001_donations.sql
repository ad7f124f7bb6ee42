-- The bucket that an id carries in its last ten bits; everything of a charity carries the charity's.
CREATE FUNCTION bucket_of(id uuid) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN ((get_byte(uuid_send(id), 14) & 3) << 8) | get_byte(uuid_send(id), 15);

-- A text with its length before it, so that the parts of a fence never run into each other.
CREATE FUNCTION framed(part text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN int4send(octet_length(part)) || convert_to(part, 'UTF8');

-- The fence of a call: the first 128 bits of SHA-256 over its scope and key, as mesh/idempotency.py makes it.
CREATE FUNCTION fence(caller text, method text, charity_id uuid, key text) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(substring(
  sha256(framed(caller) || framed(method) || framed(charity_id::text) || framed(key)) FOR 16), 'hex')::uuid;

-- Columns actor and correlation_id: who made the last change, and in which call. `state` and `mode` as in the contract.
CREATE TABLE charity (
  id uuid NOT NULL,
  display_name text NOT NULL,
  state smallint NOT NULL CONSTRAINT charity_state_known CHECK (state BETWEEN 1 AND 2),
  mode smallint NOT NULL CONSTRAINT charity_mode_known CHECK (mode BETWEEN 1 AND 2),
  default_currency text NOT NULL CONSTRAINT charity_currency_form CHECK (default_currency ~ '^[A-Z]{3}$'),
  time_zone text NOT NULL,
  provider_account text NOT NULL DEFAULT '',
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  version bigint NOT NULL CONSTRAINT charity_version_positive CHECK (version > 0),
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT charity_pkey PRIMARY KEY (id),
  -- A charity has no tenant above it: its creation is fenced by caller and method alone.
  CONSTRAINT charity_request_key UNIQUE (request_key)
);

CREATE TABLE campaign (
  id uuid NOT NULL,
  charity_id uuid NOT NULL CONSTRAINT campaign_charity REFERENCES charity (id),
  display_name text NOT NULL,
  description text NOT NULL,
  state smallint NOT NULL CONSTRAINT campaign_state_known CHECK (state BETWEEN 1 AND 5),
  start_time timestamptz,
  end_time timestamptz,
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  version bigint NOT NULL CONSTRAINT campaign_version_positive CHECK (version > 0),
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT campaign_pkey PRIMARY KEY (id, charity_id),
  CONSTRAINT campaign_request_key UNIQUE (charity_id, request_key),
  CONSTRAINT campaign_bucket CHECK (bucket_of(id) = bucket_of(charity_id))
);
CREATE INDEX campaign_of_charity ON campaign (charity_id, id DESC);

-- What a campaign takes in one currency, in minor units.
CREATE TABLE campaign_currency (
  campaign_id uuid NOT NULL,
  charity_id uuid NOT NULL,
  currency text NOT NULL CONSTRAINT campaign_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  minor_units_min bigint NOT NULL,
  minor_units_max bigint NOT NULL,
  presets bigint[] NOT NULL,
  goal bigint CONSTRAINT campaign_currency_goal_positive CHECK (goal > 0),
  CONSTRAINT campaign_currency_pkey PRIMARY KEY (campaign_id, charity_id, currency),
  CONSTRAINT campaign_currency_campaign FOREIGN KEY (campaign_id, charity_id) REFERENCES campaign (id, charity_id),
  CONSTRAINT campaign_currency_bounds
    CHECK (minor_units_min BETWEEN 1 AND minor_units_max AND minor_units_max <= 99999999)
);

-- The promise and its outcome. Unique keys carry charity_id, so that the table may be split by charity.
-- No foreign key to campaign: it would lock the campaign's row in every donation; the insert reads it instead.
CREATE TABLE donation (
  id uuid NOT NULL,
  charity_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  donor_id uuid,
  origin smallint NOT NULL CONSTRAINT donation_origin_known CHECK (origin BETWEEN 1 AND 2),
  state smallint NOT NULL CONSTRAINT donation_state_known CHECK (state BETWEEN 1 AND 9),
  currency text NOT NULL CONSTRAINT donation_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  amount bigint NOT NULL CONSTRAINT donation_amount_range CHECK (amount BETWEEN 1 AND 99999999),
  gross bigint NOT NULL,
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  anonymous boolean NOT NULL,
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  caller text NOT NULL,
  payment_ref text,
  payment_id uuid,
  possible_duplicate_of uuid,
  failure_code text NOT NULL DEFAULT '',
  metadata jsonb NOT NULL DEFAULT '{}',
  version bigint NOT NULL CONSTRAINT donation_version_positive CHECK (version > 0),
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  settle_time timestamptz,
  CONSTRAINT donation_pkey PRIMARY KEY (id, charity_id),
  CONSTRAINT donation_request_key UNIQUE (charity_id, request_key),
  CONSTRAINT donation_bucket CHECK (bucket_of(id) = bucket_of(charity_id)),
  CONSTRAINT donation_gross_bounded CHECK (gross BETWEEN 0 AND amount),
  CONSTRAINT donation_returns_bounded CHECK (refunded >= 0 AND disputed >= 0 AND refunded + disputed <= gross),
  -- For a recorded donation the payment reference is the fence: one row per charity, caller and reference, for ever.
  CONSTRAINT donation_recorded_fence CHECK (
    origin <> 2
    OR (payment_ref IS NOT NULL AND request_key = fence(caller, 'RecordDonation', charity_id, payment_ref)))
);
CREATE INDEX donation_of_donor ON donation (donor_id, id DESC) WHERE donor_id IS NOT NULL;
CREATE INDEX donation_of_campaign ON donation (campaign_id, id DESC);

-- One taking-back of a recorded donation; never changed.
CREATE TABLE reversal (
  id uuid NOT NULL,
  charity_id uuid NOT NULL,
  donation_id uuid NOT NULL,
  amount bigint NOT NULL CONSTRAINT reversal_amount_positive CHECK (amount > 0),
  currency text NOT NULL CONSTRAINT reversal_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  caller text NOT NULL,
  refund_ref text NOT NULL,
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  CONSTRAINT reversal_pkey PRIMARY KEY (id, charity_id),
  CONSTRAINT reversal_request_key UNIQUE (charity_id, request_key),
  CONSTRAINT reversal_donation FOREIGN KEY (donation_id, charity_id) REFERENCES donation (id, charity_id),
  CONSTRAINT reversal_fence
    CHECK (request_key = fence(caller, 'ReverseRecordedDonation', charity_id, refund_ref))
);
CREATE INDEX reversal_of_donation ON reversal (donation_id);

-- The fence and record of commands that change something but create nothing.
CREATE TABLE command (
  charity_id uuid NOT NULL,
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  method text NOT NULL,
  subject_id uuid NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  CONSTRAINT command_pkey PRIMARY KEY (charity_id, request_key)
);

GRANT SELECT, INSERT, UPDATE ON charity, campaign, donation TO {service};
GRANT SELECT, INSERT ON campaign_currency, reversal, command TO {service};
GRANT SELECT ON charity, campaign, campaign_currency, donation, reversal, command TO {batch};

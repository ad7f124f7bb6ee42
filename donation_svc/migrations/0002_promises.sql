-- Promises: donations whose payment we take ourselves, and who made them.
ALTER TABLE donation
  ADD COLUMN fee_cover bigint NOT NULL DEFAULT 0,
  ADD COLUMN retryable boolean NOT NULL DEFAULT false,
  -- The newest version of its payment that was applied.
  ADD COLUMN payment_version bigint NOT NULL DEFAULT 0,
  -- When the service itself looks at it next, how often it has, and what for; nothing is due for what is not open.
  ADD COLUMN next_attempt_time timestamptz,
  ADD COLUMN attempts integer NOT NULL DEFAULT 0,
  ADD COLUMN waiting_for text NOT NULL DEFAULT '',
  ADD CONSTRAINT donation_fee_cover_bounded CHECK (fee_cover BETWEEN 0 AND amount),
  ADD CONSTRAINT donation_retryable_failed CHECK (NOT retryable OR state = 4),
  -- No open donation is forgotten, and none that has ended is looked at.
  ADD CONSTRAINT donation_open_has_next_attempt
    CHECK ((next_attempt_time IS NOT NULL) = (state IN (1, 2) OR (state = 4 AND retryable))),
  -- A promise counts for nothing until its payment succeeded.
  ADD CONSTRAINT donation_unsettled_counts_nothing CHECK (state IN (3, 6, 7, 8, 9) OR (gross = 0 AND settle_time IS NULL));
CREATE INDEX donation_due ON donation (next_attempt_time) WHERE next_attempt_time IS NOT NULL;
CREATE INDEX donation_open ON donation (id) WHERE next_attempt_time IS NOT NULL;

-- One key per donor, sealed under the master key: without it everything personal of the donor is gone. A guest's gift is an
-- owner of its own.
CREATE TABLE donor_key (
  owner_id uuid NOT NULL,
  sealed_key bytea NOT NULL,
  create_time timestamptz NOT NULL,
  CONSTRAINT donor_key_pkey PRIMARY KEY (owner_id)
);

-- Name, address, message and language of who gave, sealed under the owner's key. Nothing personal stands elsewhere.
CREATE TABLE personal (
  donation_id uuid NOT NULL,
  charity_id uuid NOT NULL,
  owner_id uuid NOT NULL,
  sealed bytea NOT NULL,
  CONSTRAINT personal_pkey PRIMARY KEY (donation_id, charity_id),
  CONSTRAINT personal_donation FOREIGN KEY (donation_id, charity_id) REFERENCES donation (id, charity_id)
);
CREATE INDEX personal_of_owner ON personal (owner_id);

GRANT SELECT, INSERT ON donor_key, personal TO {service};

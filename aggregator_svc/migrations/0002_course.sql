-- What happened to a campaign in each quarter of an hour, UTC, by the time of the events. Every zone's offset of today is a
-- multiple of that, so hours, days and months anywhere are sums of whole rows. All rows of a campaign and currency sum to
-- its total.
CREATE TABLE course (
  campaign_id uuid NOT NULL,
  slot_time timestamptz NOT NULL
    CONSTRAINT course_slot_whole CHECK (slot_time = date_bin('15 minutes', slot_time, '2000-01-01 00:00:00+00')),
  currency text NOT NULL CONSTRAINT course_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  gross bigint NOT NULL CONSTRAINT course_gross_not_negative CHECK (gross >= 0),
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  donations bigint NOT NULL CONSTRAINT course_donations_not_negative CHECK (donations >= 0),
  CONSTRAINT course_pkey PRIMARY KEY (campaign_id, slot_time, currency)
);

-- Where an event belongs. NULL in rows that were written before there was a course.
ALTER TABLE applied ADD COLUMN donation_id uuid, ADD COLUMN donor_id uuid, ADD COLUMN time timestamptz;
-- Those of the last minutes are looked for by transaction; it is as good as the order in which they were written.
CREATE INDEX applied_tx ON applied USING brin (tx, epoch) WITH (pages_per_range = 16, autosummarize = on);

-- Ids of events begin with the milliseconds at which they were made.
INSERT INTO course (campaign_id, slot_time, currency, gross, refunded, disputed, donations)
SELECT campaign_id,
       date_bin('15 minutes', to_timestamp(('x' || left(replace(event_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0),
                '2000-01-01 00:00:00+00'),
       currency, sum(gross), sum(refunded), sum(disputed), sum(donations)
FROM applied GROUP BY 1, 2, 3;

-- A rebuild that was asked for: its fence, and what it found. NULL: not at its end.
CREATE TABLE rebuild (
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  campaign_id uuid,
  reason text NOT NULL,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  done bigint,
  repaired integer,
  end_time timestamptz,
  CONSTRAINT rebuild_pkey PRIMARY KEY (request_key),
  CONSTRAINT rebuild_end_whole CHECK (num_nonnulls(done, repaired, end_time) IN (0, 3))
);

-- What a rebuild began with: a snapshot of the donation service's log. Never changed. What the snapshot sees is in the
-- figures of `base_totals`, whenever its event arrives.
CREATE TABLE base (
  id uuid NOT NULL,
  epoch integer NOT NULL,
  snapshot pg_snapshot NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT base_pkey PRIMARY KEY (id)
);
CREATE TABLE base_totals (
  campaign_id uuid NOT NULL,
  currency text NOT NULL,
  gross bigint NOT NULL,
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  donations bigint NOT NULL,
  CONSTRAINT base_totals_pkey PRIMARY KEY (campaign_id, currency)
);
-- `base_id` NULL: the campaign's total is the sum of everything applied.
ALTER TABLE campaign
  ADD COLUMN charity_id uuid,
  ADD COLUMN base_id uuid CONSTRAINT campaign_base REFERENCES base (id);
CREATE INDEX campaign_of_charity ON campaign (charity_id, id);
CREATE INDEX totals_by_net ON totals (currency, (gross - refunded - disputed) DESC, campaign_id DESC);

-- Whether a base holds an event already: every event of an earlier epoch was in the database that the base was read from, or
-- is in no database any more.
CREATE FUNCTION in_base(tx bigint, epoch integer, base_epoch integer, base_snapshot pg_snapshot) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN epoch < base_epoch OR (epoch = base_epoch AND pg_visible_in_snapshot(tx::text::xid8, base_snapshot));

-- What a rebuild has read so far. After a crash of the server it is empty, and the rebuild begins again.
CREATE UNLOGGED TABLE staged_course (
  base_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  slot_time timestamptz NOT NULL,
  currency text NOT NULL,
  gross bigint NOT NULL,
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  donations bigint NOT NULL,
  CONSTRAINT staged_course_pkey PRIMARY KEY (base_id, campaign_id, slot_time, currency)
);
CREATE UNLOGGED TABLE staged_donor (
  base_id uuid NOT NULL,
  campaign_id uuid NOT NULL,
  currency text NOT NULL,
  donor_id uuid NOT NULL,
  CONSTRAINT staged_donor_pkey PRIMARY KEY (base_id, campaign_id, currency, donor_id)
);

-- What the verifier found wrong, and when that was right again; NULL: not yet.
CREATE TABLE drift (
  id uuid NOT NULL,
  cause text NOT NULL CONSTRAINT drift_cause_known CHECK (cause IN ('total', 'display', 'event')),
  -- The campaign; of a missing event its id.
  subject_id uuid NOT NULL,
  found text NOT NULL,
  find_time timestamptz NOT NULL,
  repair_time timestamptz,
  CONSTRAINT drift_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX drift_open ON drift (cause, subject_id) WHERE repair_time IS NULL;

-- One verifier works at a time; how far it has followed the donation service's log, as `LogPosition`.
CREATE TABLE verification (
  only_row boolean NOT NULL DEFAULT true CONSTRAINT verification_only_row CHECK (only_row),
  holder text NOT NULL DEFAULT '',
  expire_time timestamptz NOT NULL DEFAULT '-infinity',
  position bytea NOT NULL DEFAULT '',
  CONSTRAINT verification_pkey PRIMARY KEY (only_row)
);
INSERT INTO verification DEFAULT VALUES;

GRANT SELECT, INSERT, UPDATE, DELETE ON course, base_totals, staged_course, staged_donor TO {service};
GRANT DELETE ON campaign_donor TO {service};
GRANT SELECT, INSERT ON base TO {service};
GRANT SELECT, INSERT, UPDATE ON rebuild, drift TO {service};
GRANT SELECT, UPDATE ON verification TO {service};
GRANT SELECT ON course, rebuild, base, base_totals, drift, verification TO {batch};

-- A campaign as far as totals need it. `version` grows with every change of any of its totals; `campaign_version` is the
-- donation service's, 0 while only its donations are known.
CREATE TABLE campaign (
  id uuid NOT NULL,
  currencies text[] NOT NULL DEFAULT '{}',
  campaign_version bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL CONSTRAINT campaign_version_positive CHECK (version > 0),
  as_of timestamptz NOT NULL,
  CONSTRAINT campaign_pkey PRIMARY KEY (id)
);
CREATE INDEX campaign_changed ON campaign (as_of, id);

-- Totals in minor units. Refunds may be applied before the gift that they belong to: the stream promises no order, so
-- only what never goes down is bounded here.
CREATE TABLE totals (
  campaign_id uuid NOT NULL,
  currency text NOT NULL CONSTRAINT totals_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  gross bigint NOT NULL CONSTRAINT totals_gross_not_negative CHECK (gross >= 0),
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  donations bigint NOT NULL CONSTRAINT totals_donations_not_negative CHECK (donations >= 0),
  donors bigint NOT NULL CONSTRAINT totals_donors_not_negative CHECK (donors >= 0),
  CONSTRAINT totals_pkey PRIMARY KEY (campaign_id, currency)
);

-- Donors with at least one gift that arrived.
CREATE TABLE campaign_donor (
  campaign_id uuid NOT NULL,
  currency text NOT NULL,
  donor_id uuid NOT NULL,
  CONSTRAINT campaign_donor_pkey PRIMARY KEY (campaign_id, currency, donor_id)
);

-- What each event added: the fence against counting it twice, and the proof of every total. By the event's day, and kept
-- as long as the log that it came from.
CREATE TABLE applied (
  day date NOT NULL,
  event_id uuid NOT NULL,
  tx bigint NOT NULL,
  epoch integer NOT NULL,
  campaign_id uuid NOT NULL,
  currency text NOT NULL,
  gross bigint NOT NULL,
  refunded bigint NOT NULL,
  disputed bigint NOT NULL,
  donations bigint NOT NULL,
  CONSTRAINT applied_pkey PRIMARY KEY (day, event_id)
) PARTITION BY RANGE (day);
SELECT make_partition('applied', (now() AT TIME ZONE 'utc')::date + ahead) FROM generate_series(-1, 7) AS ahead;

GRANT SELECT, INSERT, UPDATE ON campaign, totals TO {service};
GRANT SELECT, INSERT ON campaign_donor, applied TO {service};
GRANT SELECT ON campaign, totals, campaign_donor, applied TO {batch};

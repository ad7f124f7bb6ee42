-- name: apply_deltas
-- Counts events that were not counted before, all or none: their ids, the donors, the totals, the version of each campaign
-- that changed. Rows are taken in one order, so that two consumers do not lock each other out.
WITH input AS (
  SELECT DISTINCT ON (event_id) *
  FROM unnest($1::date[], $2::uuid[], $3::bigint[], $4::integer[], $5::uuid[], $6::text[], $7::uuid[], $8::bigint[],
              $9::bigint[], $10::bigint[], $11::bigint[])
    AS i (day, event_id, tx, epoch, campaign_id, currency, donor_id, gross, refunded, disputed, donations)
), fresh AS (
  INSERT INTO applied (day, event_id, tx, epoch, campaign_id, currency, gross, refunded, disputed, donations)
  SELECT day, event_id, tx, epoch, campaign_id, currency, gross, refunded, disputed, donations
  FROM input ORDER BY day, event_id
  ON CONFLICT (day, event_id) DO NOTHING
  RETURNING event_id
), delta AS (
  SELECT input.* FROM input JOIN fresh USING (event_id)
), new_donor AS (
  INSERT INTO campaign_donor (campaign_id, currency, donor_id)
  SELECT DISTINCT campaign_id, currency, donor_id FROM delta
  WHERE donor_id IS NOT NULL AND donations > 0
  ORDER BY campaign_id, currency, donor_id
  ON CONFLICT (campaign_id, currency, donor_id) DO NOTHING
  RETURNING campaign_id, currency
), summed AS (
  SELECT campaign_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
         sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations,
         (SELECT count(*) FROM new_donor n WHERE n.campaign_id = delta.campaign_id AND n.currency = delta.currency)
           AS donors
  FROM delta GROUP BY campaign_id, currency
), moved AS (
  INSERT INTO totals AS t (campaign_id, currency, gross, refunded, disputed, donations, donors)
  SELECT campaign_id, currency, gross, refunded, disputed, donations, donors FROM summed ORDER BY campaign_id, currency
  ON CONFLICT (campaign_id, currency) DO UPDATE
  SET gross = t.gross + excluded.gross, refunded = t.refunded + excluded.refunded,
      disputed = t.disputed + excluded.disputed, donations = t.donations + excluded.donations,
      donors = t.donors + excluded.donors
  RETURNING campaign_id
)
INSERT INTO campaign AS c (id, version, as_of)
SELECT DISTINCT campaign_id, 1, now() FROM moved ORDER BY campaign_id
ON CONFLICT (id) DO UPDATE SET version = c.version + 1, as_of = now();

-- name: learn_campaigns
-- Takes over what the donation service says of campaigns; an older word changes nothing.
INSERT INTO campaign AS c (id, currencies, campaign_version, version, as_of)
SELECT id, string_to_array(currencies, ','), campaign_version, 1, now()
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS i (id, currencies, campaign_version)
ORDER BY id
ON CONFLICT (id) DO UPDATE
SET currencies = excluded.currencies, campaign_version = excluded.campaign_version, version = c.version + 1, as_of = now()
WHERE c.campaign_version < excluded.campaign_version;

-- name: totals
-- Campaigns with their totals, a row per currency that moved; campaigns without any have one row of NULLs.
SELECT c.id, c.currencies, c.version, c.as_of, t.currency, t.gross, t.refunded, t.disputed, t.donations, t.donors
FROM campaign c LEFT JOIN totals t ON t.campaign_id = c.id
WHERE c.id = ANY ($1) ORDER BY c.id, t.currency;

-- name: changed_since
-- A page of campaigns that changed since a moment, the oldest change first, after a campaign of the same moment.
SELECT id, as_of FROM campaign WHERE (as_of, id) > ($1, $2) ORDER BY as_of, id LIMIT $3;

-- name: campaigns_after
-- A page of all campaigns by id.
SELECT id FROM campaign WHERE id > $1 ORDER BY id LIMIT 500;

-- name: join_writers
-- Taken before anything is counted: whoever replaces totals waits for those who count, and they for him.
SELECT pg_advisory_xact_lock_shared(hashtext(current_schema || '.totals'));

-- name: stop_writers
-- Taken before totals are replaced: what is counted afterwards sees what they were replaced with.
SELECT pg_advisory_xact_lock(hashtext(current_schema || '.totals'));

-- name: apply_deltas
-- Counts events that were not counted before, all or none: their ids, the donors, the course, the totals, the version of each
-- campaign that changed. What a rebuild's base holds already is only noted. Rows are taken in one order, so that two consumers
-- do not lock each other out.
WITH input AS (
  SELECT DISTINCT ON (event_id) *
  FROM unnest($1::date[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::integer[], $6::uuid[], $7::uuid[], $8::uuid[],
              $9::text[], $10::uuid[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[])
    AS i (day, event_id, time, tx, epoch, donation_id, charity_id, campaign_id, currency, donor_id, gross, refunded, disputed,
          donations)
), fresh AS (
  INSERT INTO applied (day, event_id, time, tx, epoch, donation_id, campaign_id, currency, donor_id, gross, refunded,
                       disputed, donations)
  SELECT day, event_id, time, tx, epoch, donation_id, campaign_id, currency, donor_id, gross, refunded, disputed, donations
  FROM input ORDER BY day, event_id
  ON CONFLICT (day, event_id) DO NOTHING
  RETURNING event_id
), based AS (
  SELECT c.id, b.epoch, b.snapshot FROM campaign c JOIN base b ON b.id = c.base_id
  WHERE c.id IN (SELECT campaign_id FROM input)
), delta AS (
  SELECT input.* FROM input JOIN fresh USING (event_id) LEFT JOIN based ON based.id = input.campaign_id
  WHERE based.id IS NULL OR NOT in_base(input.tx, input.epoch, based.epoch, based.snapshot)
), new_donor AS (
  INSERT INTO campaign_donor (campaign_id, currency, donor_id)
  SELECT DISTINCT campaign_id, currency, donor_id FROM delta
  WHERE donor_id IS NOT NULL AND donations > 0
  ORDER BY campaign_id, currency, donor_id
  ON CONFLICT (campaign_id, currency, donor_id) DO NOTHING
  RETURNING campaign_id, currency
), coursed AS (
  INSERT INTO course AS c (campaign_id, slot_time, currency, gross, refunded, disputed, donations)
  SELECT campaign_id, date_bin('15 minutes', time, '2000-01-01 00:00:00+00') AS slot_time, currency, sum(gross),
         sum(refunded), sum(disputed), sum(donations)
  FROM delta GROUP BY campaign_id, slot_time, currency ORDER BY campaign_id, slot_time, currency
  ON CONFLICT (campaign_id, slot_time, currency) DO UPDATE
  SET gross = c.gross + excluded.gross, refunded = c.refunded + excluded.refunded,
      disputed = c.disputed + excluded.disputed, donations = c.donations + excluded.donations
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
INSERT INTO campaign AS c (id, charity_id, version, as_of)
SELECT DISTINCT ON (campaign_id) campaign_id, (SELECT charity_id FROM delta d WHERE d.campaign_id = moved.campaign_id LIMIT 1),
       1, now()
FROM moved ORDER BY campaign_id
ON CONFLICT (id) DO UPDATE
SET version = c.version + 1, as_of = now(), charity_id = coalesce(c.charity_id, excluded.charity_id);

-- name: learn_campaigns
-- Takes over what the donation service says of campaigns; an older word changes nothing.
INSERT INTO campaign AS c (id, charity_id, currencies, campaign_version, version, as_of)
SELECT id, charity_id, string_to_array(currencies, ','), campaign_version, 1, now()
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) AS i (id, charity_id, currencies, campaign_version)
ORDER BY id
ON CONFLICT (id) DO UPDATE
SET currencies = excluded.currencies, campaign_version = excluded.campaign_version, version = c.version + 1, as_of = now(),
    charity_id = excluded.charity_id
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

-- name: course
-- What happened to a campaign between the bounds $2, which are in order, by the number of the bucket and currency.
SELECT width_bucket(slot_time, $2::timestamptz[]) - 1 AS bucket, currency, sum(gross)::bigint AS gross,
       sum(refunded)::bigint AS refunded, sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM course
WHERE campaign_id = $1 AND slot_time >= ($2::timestamptz[])[1] AND slot_time < ($2::timestamptz[])[cardinality($2)]
GROUP BY 1, 2 ORDER BY 1, 2;

-- name: campaign_known
-- Whether a campaign is known.
SELECT EXISTS (SELECT FROM campaign WHERE id = $1);

-- name: leaders
-- A page of campaigns by net in a currency, largest first, after a net and an id.
SELECT campaign_id, currency, gross, refunded, disputed, donations, donors
FROM totals
WHERE currency = $1 AND (gross - refunded - disputed, campaign_id) < ($2, $3)
ORDER BY gross - refunded - disputed DESC, campaign_id DESC LIMIT $4;

-- name: leaders_of_charity
-- The same of one charity's campaigns.
SELECT t.campaign_id, t.currency, t.gross, t.refunded, t.disputed, t.donations, t.donors
FROM campaign c JOIN totals t ON t.campaign_id = c.id
WHERE c.charity_id = $5 AND t.currency = $1 AND (t.gross - t.refunded - t.disputed, t.campaign_id) < ($2, $3)
ORDER BY t.gross - t.refunded - t.disputed DESC, t.campaign_id DESC LIMIT $4;

-- name: begin_rebuild
-- Notes a rebuild that is asked for. No row: it was asked for before.
INSERT INTO rebuild (request_key, request_digest, campaign_id, reason, actor, correlation_id, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (request_key) DO NOTHING
RETURNING request_key;

-- name: rebuild
-- A rebuild that was asked for before, and what it found where it came to its end.
SELECT request_digest, done, repaired FROM rebuild WHERE request_key = $1;

-- name: end_rebuild
-- Notes what a rebuild found.
UPDATE rebuild SET done = $2, repaired = $3, end_time = $4 WHERE request_key = $1;

-- name: begin_base
-- Keeps what a rebuild begins with.
INSERT INTO base (id, epoch, snapshot) VALUES ($1, $2, $3::text::pg_snapshot);

-- name: stage_course
-- Adds to what a rebuild has read.
INSERT INTO staged_course AS s (base_id, campaign_id, slot_time, currency, gross, refunded, disputed, donations)
SELECT $1, * FROM unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
ON CONFLICT (base_id, campaign_id, slot_time, currency) DO UPDATE
SET gross = s.gross + excluded.gross, refunded = s.refunded + excluded.refunded,
    disputed = s.disputed + excluded.disputed, donations = s.donations + excluded.donations;

-- name: stage_donors
-- Adds donors to what a rebuild has read.
INSERT INTO staged_donor (base_id, campaign_id, currency, donor_id)
SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::uuid[])
ON CONFLICT (base_id, campaign_id, currency, donor_id) DO NOTHING;

-- name: campaign_ids
-- All campaigns.
SELECT id FROM campaign;

-- name: drop_base_totals
-- Takes away what earlier rebuilds began with.
DELETE FROM base_totals WHERE campaign_id = ANY ($1);

-- name: keep_base_totals
-- Keeps the figures that a rebuild begins with.
INSERT INTO base_totals (campaign_id, currency, gross, refunded, disputed, donations)
SELECT campaign_id, currency, sum(gross), sum(refunded), sum(disputed), sum(donations)
FROM staged_course WHERE base_id = $1 AND campaign_id = ANY ($2) GROUP BY campaign_id, currency;

-- name: stage_later_events
-- Adds the applied events that the base $1 does not hold. They were written after the snapshot, which is some hours old at
-- most: days and transactions before it are not read.
INSERT INTO staged_course AS s (base_id, campaign_id, slot_time, currency, gross, refunded, disputed, donations)
SELECT $1, campaign_id, date_bin('15 minutes', time, '2000-01-01 00:00:00+00') AS slot_time, currency, sum(gross),
       sum(refunded), sum(disputed), sum(donations)
FROM applied
WHERE campaign_id = ANY ($2) AND day >= (now() AT TIME ZONE 'utc')::date - 2 AND (tx >= pg_snapshot_xmin($4::text::pg_snapshot)::text::bigint OR epoch > $3)
  AND NOT in_base(tx, epoch, $3, $4::text::pg_snapshot)
GROUP BY campaign_id, slot_time, currency
ON CONFLICT (base_id, campaign_id, slot_time, currency) DO UPDATE
SET gross = s.gross + excluded.gross, refunded = s.refunded + excluded.refunded,
    disputed = s.disputed + excluded.disputed, donations = s.donations + excluded.donations;

-- name: stage_later_donors
-- The same of donors.
INSERT INTO staged_donor (base_id, campaign_id, currency, donor_id)
SELECT DISTINCT $1::uuid, campaign_id, currency, donor_id
FROM applied
WHERE campaign_id = ANY ($2) AND day >= (now() AT TIME ZONE 'utc')::date - 2 AND (tx >= pg_snapshot_xmin($4::text::pg_snapshot)::text::bigint OR epoch > $3)
  AND NOT in_base(tx, epoch, $3, $4::text::pg_snapshot) AND donor_id IS NOT NULL AND donations > 0
ON CONFLICT (base_id, campaign_id, currency, donor_id) DO NOTHING;

-- name: drop_course
-- Takes away what a rebuild did not find.
DELETE FROM course c
WHERE campaign_id = ANY ($2) AND NOT EXISTS (
  SELECT FROM staged_course s
  WHERE s.base_id = $1 AND s.campaign_id = c.campaign_id AND s.slot_time = c.slot_time AND s.currency = c.currency);

-- name: replace_course
-- Replaces what a rebuild found otherwise.
INSERT INTO course AS c (campaign_id, slot_time, currency, gross, refunded, disputed, donations)
SELECT campaign_id, slot_time, currency, gross, refunded, disputed, donations
FROM staged_course WHERE base_id = $1 AND campaign_id = ANY ($2)
ON CONFLICT (campaign_id, slot_time, currency) DO UPDATE
SET gross = excluded.gross, refunded = excluded.refunded, disputed = excluded.disputed, donations = excluded.donations
WHERE (c.gross, c.refunded, c.disputed, c.donations)
  <> (excluded.gross, excluded.refunded, excluded.disputed, excluded.donations);

-- name: drop_donors
-- Takes away donors that a rebuild did not find.
DELETE FROM campaign_donor d
WHERE campaign_id = ANY ($2) AND NOT EXISTS (
  SELECT FROM staged_donor s
  WHERE s.base_id = $1 AND s.campaign_id = d.campaign_id AND s.currency = d.currency AND s.donor_id = d.donor_id);

-- name: add_donors
-- Adds donors that were missing.
INSERT INTO campaign_donor (campaign_id, currency, donor_id)
SELECT campaign_id, currency, donor_id FROM staged_donor WHERE base_id = $1 AND campaign_id = ANY ($2)
ON CONFLICT (campaign_id, currency, donor_id) DO NOTHING;

-- name: replace_totals
-- Replaces totals that differ from what a rebuild found, and returns which. What it did not find is zero.
WITH found AS (
  SELECT campaign_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
         sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
  FROM staged_course WHERE base_id = $1 AND campaign_id = ANY ($2) GROUP BY campaign_id, currency
), listed AS (
  SELECT campaign_id, currency, count(*) AS donors
  FROM campaign_donor WHERE campaign_id = ANY ($2) GROUP BY campaign_id, currency
)
INSERT INTO totals AS t (campaign_id, currency, gross, refunded, disputed, donations, donors)
SELECT campaign_id, currency, coalesce(gross, 0), coalesce(refunded, 0), coalesce(disputed, 0), coalesce(donations, 0),
       coalesce(donors, 0)
FROM (SELECT campaign_id, currency FROM totals WHERE campaign_id = ANY ($2)) AS held
FULL JOIN found USING (campaign_id, currency) LEFT JOIN listed USING (campaign_id, currency)
ON CONFLICT (campaign_id, currency) DO UPDATE
SET gross = excluded.gross, refunded = excluded.refunded, disputed = excluded.disputed, donations = excluded.donations,
    donors = excluded.donors
WHERE (t.gross, t.refunded, t.disputed, t.donations, t.donors)
  <> (excluded.gross, excluded.refunded, excluded.disputed, excluded.donations, excluded.donors)
RETURNING campaign_id, currency;

-- name: put_on_base
-- Campaigns stand on the base $1 from now on; the version of those among $4 grows.
INSERT INTO campaign AS c (id, charity_id, version, as_of, base_id)
SELECT id, charity_id, 1, now(), $1 FROM unnest($2::uuid[], $3::uuid[]) AS i (id, charity_id) ORDER BY id
ON CONFLICT (id) DO UPDATE
SET base_id = $1, charity_id = coalesce(c.charity_id, excluded.charity_id),
    version = c.version + (c.id = ANY ($4::uuid[]))::int,
    as_of = CASE WHEN c.id = ANY ($4::uuid[]) THEN now() ELSE c.as_of END;

-- name: unstage_course
-- Removes what a rebuild has read of campaigns.
DELETE FROM staged_course WHERE base_id = $1 AND campaign_id = ANY ($2);

-- name: unstage_donors
-- The same of donors.
DELETE FROM staged_donor WHERE base_id = $1 AND campaign_id = ANY ($2);

-- name: unstage_course_of_the_dead
-- Removes what was left by rebuilds that began a day ago: none takes as long.
DELETE FROM staged_course WHERE base_id IN (SELECT id FROM base WHERE create_time < now() - interval '1 day');

-- name: unstage_donors_of_the_dead
-- The same of donors.
DELETE FROM staged_donor WHERE base_id IN (SELECT id FROM base WHERE create_time < now() - interval '1 day');

-- name: later_sums
-- What the applied events that a snapshot does not see add to campaigns; to the campaign $3 only where it is not NULL.
SELECT campaign_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM applied
WHERE day >= (now() AT TIME ZONE 'utc')::date - 2 AND (tx >= pg_snapshot_xmin($2::text::pg_snapshot)::text::bigint OR epoch > $1)
  AND NOT in_base(tx, epoch, $1, $2::text::pg_snapshot) AND ($3::uuid IS NULL OR campaign_id = $3)
GROUP BY campaign_id, currency;

-- name: totals_shown
-- All totals, or those of the campaign $1.
SELECT campaign_id, currency, gross, refunded, disputed, donations FROM totals
WHERE $1::uuid IS NULL OR campaign_id = $1;

-- name: counted_parts
-- What the applied events of a campaign that a snapshot sees and its base does not sum to, by currency and the end of their
-- donations' ids.
SELECT currency, right(donation_id::text, 2) AS part, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM applied
WHERE campaign_id = $1 AND donation_id IS NOT NULL AND in_base(tx, epoch, $2, $3::text::pg_snapshot)
  AND NOT coalesce((SELECT in_base(applied.tx, applied.epoch, b.epoch, b.snapshot)
                    FROM campaign c JOIN base b ON b.id = c.base_id WHERE c.id = $1), false)
GROUP BY 1, 2;

-- name: counted_donations
-- The same of some parts, by donation.
SELECT donation_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM applied
WHERE campaign_id = $1 AND in_base(tx, epoch, $2, $3::text::pg_snapshot) AND right(donation_id::text, 2) = ANY ($4)
  AND NOT coalesce((SELECT in_base(applied.tx, applied.epoch, b.epoch, b.snapshot)
                    FROM campaign c JOIN base b ON b.id = c.base_id WHERE c.id = $1), false)
GROUP BY 1, 2;

-- name: base_time
-- When the base of a campaign was read; no row: it stands on none.
SELECT b.create_time FROM campaign c JOIN base b ON b.id = c.base_id WHERE c.id = $1;

-- name: take_verification
-- Takes the verification where nobody has it, or prolongs it, and returns how far it is. No row: somebody else has it.
UPDATE verification SET holder = $1, expire_time = now() + $2::interval
WHERE holder = $1 OR expire_time < now()
RETURNING position;

-- name: store_verified
-- Stores how far the log was verified, where the verification is still ours.
UPDATE verification SET position = $2 WHERE holder = $1;

-- name: not_applied
-- Which of some events were not applied, and are no dead letters of the consumer $3 that are kept for an operator.
SELECT i.event_id
FROM unnest($1::date[], $2::uuid[]) AS i (day, event_id)
WHERE NOT EXISTS (SELECT FROM applied a WHERE a.day = i.day AND a.event_id = i.event_id)
  AND NOT EXISTS (SELECT FROM dead_letter l WHERE l.consumer = $3 AND l.event_id = i.event_id AND l.state <> 3);

-- name: totals_unlike_course
-- Of a page of campaigns those whose totals are not the sums of their course, or do not count the donors that are listed.
WITH course_sums AS (
  SELECT campaign_id, currency, sum(gross) AS gross, sum(refunded) AS refunded, sum(disputed) AS disputed,
         sum(donations) AS donations
  FROM course WHERE campaign_id = ANY ($1) GROUP BY campaign_id, currency
), listed AS (
  SELECT campaign_id, currency, count(*) AS donors
  FROM campaign_donor WHERE campaign_id = ANY ($1) GROUP BY campaign_id, currency
)
SELECT campaign_id AS id, string_agg(
  format('%s: total %s, course %s', currency,
         concat_ws('/', t.gross, t.refunded, t.disputed, t.donations, t.donors),
         concat_ws('/', s.gross, s.refunded, s.disputed, s.donations, l.donors)), '; ' ORDER BY currency) AS words
FROM (SELECT campaign_id, currency, gross, refunded, disputed, donations, donors FROM totals WHERE campaign_id = ANY ($1)) AS t
FULL JOIN course_sums s USING (campaign_id, currency) FULL JOIN listed l USING (campaign_id, currency)
WHERE (coalesce(t.gross, 0), coalesce(t.refunded, 0), coalesce(t.disputed, 0), coalesce(t.donations, 0), coalesce(t.donors, 0))
  <> (coalesce(s.gross, 0), coalesce(s.refunded, 0), coalesce(s.disputed, 0), coalesce(s.donations, 0), coalesce(l.donors, 0))
GROUP BY campaign_id;

-- name: outrank
-- Raises the version of a campaign above one that was never given, so that the truth replaces what is shown under it.
UPDATE campaign SET version = $2 + 1, as_of = now() WHERE id = $1 AND version <= $2;

-- name: note_drift
-- Notes what was found, unless it is noted and not repaired yet.
INSERT INTO drift (id, cause, subject_id, found, find_time) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (cause, subject_id) WHERE repair_time IS NULL DO NOTHING;

-- name: note_repair
-- Notes that it is right again.
UPDATE drift SET repair_time = $3 WHERE cause = $1 AND subject_id = $2 AND repair_time IS NULL;

-- name: close_drifts
-- Notes that everything of a cause is right again but what is named.
UPDATE drift SET repair_time = $3 WHERE cause = $1 AND subject_id <> ALL ($2) AND repair_time IS NULL;

-- name: open_drifts
-- How many are not repaired, by cause.
SELECT cause, count(*) AS drifts FROM drift WHERE repair_time IS NULL GROUP BY cause;

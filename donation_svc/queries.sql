-- name: insert_charity
-- Creates a charity unless its fence exists. No row: it does.
INSERT INTO charity (id, display_name, state, mode, default_currency, time_zone, request_key, request_digest, version,
                     actor, correlation_id, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 1, $9, $10, $11, $11)
ON CONFLICT (request_key) DO NOTHING
RETURNING id;

-- name: charity_by_request
-- The charity that a request created, and the digest of that request.
SELECT id, display_name, state, mode, default_currency, time_zone, provider_account, version, create_time, update_time,
       request_digest
FROM charity WHERE request_key = $1;

-- name: charity
-- One charity.
SELECT id, display_name, state, mode, default_currency, time_zone, provider_account, version, create_time, update_time
FROM charity WHERE id = $1;

-- name: charity_for_update
-- One charity, locked until its change is committed.
SELECT id, display_name, state, mode, default_currency, time_zone, provider_account, version, create_time, update_time
FROM charity WHERE id = $1 FOR UPDATE;

-- name: set_charity_state
-- Moves a charity to a state.
UPDATE charity SET state = $2, version = version + 1, actor = $3, correlation_id = $4, update_time = $5
WHERE id = $1;

-- name: insert_campaign
-- Creates a campaign unless its fence exists. No row: it does.
INSERT INTO campaign (id, charity_id, display_name, description, state, start_time, end_time, request_key, request_digest,
                      version, actor, correlation_id, create_time, update_time, accepts_deferred)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1, $10, $11, $12, $12, $13)
ON CONFLICT (charity_id, request_key) DO NOTHING
RETURNING id;

-- name: insert_currency_rules
-- What a new campaign takes, one row a currency.
INSERT INTO campaign_currency (campaign_id, charity_id, currency, minor_units_min, minor_units_max, presets, goal)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: campaign_by_request
-- The campaign that a request created, and the digest of that request.
SELECT id, request_digest FROM campaign WHERE charity_id = $1 AND request_key = $2;

-- name: campaigns
-- Campaigns by id with their currencies, each currency a row; charity_state says whether their charity takes money.
SELECT c.id, c.charity_id, c.display_name, c.description, c.state, c.start_time, c.end_time, c.version, c.create_time,
       c.update_time, c.accepts_deferred, r.currency, r.minor_units_min, r.minor_units_max, r.presets, r.goal,
       charity.state AS charity_state, charity.display_name AS charity_display_name, charity.mode AS charity_mode
FROM campaign c
JOIN campaign_currency r ON r.campaign_id = c.id AND r.charity_id = c.charity_id
JOIN charity ON charity.id = c.charity_id
WHERE c.id = ANY ($1);

-- name: lock_campaign
-- Locks a campaign's row until its change is committed.
SELECT id FROM campaign WHERE id = $1 FOR UPDATE;

-- name: set_campaign_state
-- Moves a campaign to a state.
UPDATE campaign SET state = $2, version = version + 1, actor = $3, correlation_id = $4, update_time = $5
WHERE id = $1;

-- name: campaign_ids_of_charity
-- A page of a charity's campaigns, newest first, before an id.
SELECT id FROM campaign WHERE charity_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: insert_command
-- Fences a command that creates nothing. No row: it was given before.
INSERT INTO command (charity_id, request_key, request_digest, method, subject_id, reason, actor, correlation_id, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (charity_id, request_key) DO NOTHING
RETURNING request_digest;

-- name: command_digest
-- The digest of a command that was given before.
SELECT request_digest FROM command WHERE charity_id = $1 AND request_key = $2;

-- name: record_donations
-- Inserts recorded donations that are new and announces them, all or none; returns which were new. The hint to a possible
-- duplicate is an equal gift by the same donor whose id is not older than `recent_id`.
WITH input AS (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[], $7::boolean[],
                       $8::uuid[], $9::bigint[], $10::text[], $11::jsonb[], $12::uuid[], $13::bytea[])
    WITH ORDINALITY AS i (id, charity_id, campaign_id, donor_id, currency, amount, anonymous, request_key, request_digest,
                          payment_ref, metadata, event_id, payload, position)
), recorded AS (
  INSERT INTO donation (id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed,
                        anonymous, request_key, request_digest, caller, payment_ref, metadata, possible_duplicate_of,
                        version, actor, correlation_id, create_time, update_time, settle_time)
  SELECT i.id, i.charity_id, i.campaign_id, i.donor_id, 2, 3, i.currency, i.amount, i.amount, 0, 0,
         i.anonymous, i.request_key, i.request_digest, $14, i.payment_ref, i.metadata,
         (SELECT d.id FROM donation d
          WHERE d.donor_id = i.donor_id AND d.id > $15 AND d.campaign_id = i.campaign_id AND d.currency = i.currency
            AND d.amount = i.amount
          ORDER BY d.id DESC LIMIT 1),
         1, $14, $16, $17, $17, $17
  FROM input i ORDER BY i.charity_id, i.request_key
  ON CONFLICT (charity_id, request_key) DO NOTHING
  RETURNING id, possible_duplicate_of
), announced AS (
  INSERT INTO event (epoch, id, bucket, payload)
  SELECT (SELECT max(epoch) FROM epoch), i.event_id, bucket_of(i.id), i.payload
  FROM recorded JOIN input i USING (id) ORDER BY i.position
)
SELECT id, possible_duplicate_of FROM recorded;

-- name: donations_by_request
-- Donations by the fences of one charity each, with the digests of the requests that made them.
SELECT d.id, d.charity_id, d.campaign_id, d.donor_id, d.origin, d.state, d.currency, d.amount, d.gross, d.refunded,
       d.disputed, d.anonymous, d.payment_ref, d.payment_id, d.possible_duplicate_of, d.failure_code, d.metadata, d.version,
       d.create_time, d.update_time, d.settle_time, d.fee_cover, d.retryable, d.payment_version, d.next_attempt_time,
       d.attempts, d.waiting_for, d.manual_capture, d.hold_end_time, d.request_key, d.request_digest
FROM unnest($1::uuid[], $2::uuid[]) AS f (charity_id, request_key)
JOIN donation d USING (charity_id, request_key);

-- name: donation
-- One donation by its id, in whichever charity.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE id = $1;

-- name: donation_for_update
-- One donation by its fence, locked until its change is committed.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE charity_id = $1 AND request_key = $2 FOR UPDATE;

-- name: donations_of_donor
-- A page of a donor's donations, newest first, before an id; $4 restricts them to one charity.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE donor_id = $1 AND id < $2 AND ($4::uuid IS NULL OR charity_id = $4) ORDER BY id DESC LIMIT $3;

-- name: donations_of_campaign
-- A page of a campaign's donations, newest first, before an id; $4 restricts them to one charity.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE campaign_id = $1 AND id < $2 AND ($4::uuid IS NULL OR charity_id = $4) ORDER BY id DESC LIMIT $3;

-- name: update_tally
-- Stores what a donation counts for after a change.
UPDATE donation
SET state = $3, gross = $4, refunded = $5, disputed = $6, version = $7, update_time = $8, actor = $9, correlation_id = $10
WHERE id = $1 AND charity_id = $2;

-- name: insert_reversal
-- Stores a reversal unless its fence exists. No row: another donation's reversal has it.
INSERT INTO reversal (id, charity_id, donation_id, amount, currency, caller, refund_ref, request_key, request_digest,
                      correlation_id, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (charity_id, request_key) DO NOTHING
RETURNING id;

-- name: reversal_by_request
-- The reversal that a request made, and the digest of that request.
SELECT id, charity_id, donation_id, amount, currency, refund_ref, create_time, request_digest
FROM reversal WHERE charity_id = $1 AND request_key = $2;

-- name: insert_promise
-- Records a promise unless its fence exists. No row: it does. The hint to a possible duplicate is an equal gift by the same
-- donor whose id is not older than $19.
INSERT INTO donation (id, charity_id, campaign_id, donor_id, origin, state, currency, amount, fee_cover, gross, refunded,
                      disputed, anonymous, request_key, request_digest, caller, metadata, next_attempt_time,
                      possible_duplicate_of, version, actor, correlation_id, create_time, update_time, manual_capture)
SELECT $1::uuid, $2::uuid, $3::uuid, $4::uuid, $5::smallint, $6::smallint, $7::text, $8::bigint, $9::bigint, 0, 0,
       0, $10::boolean, $11::uuid, $12::bigint, $13::text, $14::jsonb, $15::timestamptz,
       (SELECT d.id FROM donation d
        WHERE d.donor_id = $4 AND d.id > $19 AND d.campaign_id = $3 AND d.currency = $7 AND d.amount = $8
        ORDER BY d.id DESC LIMIT 1),
       $16::bigint, $13, $17::text, $18::timestamptz, $18, $20::boolean
ON CONFLICT (charity_id, request_key) DO NOTHING
RETURNING possible_duplicate_of;

-- name: insert_donor_key
-- Keeps a donor's sealed key unless there is one.
INSERT INTO donor_key (owner_id, sealed_key, create_time) VALUES ($1, $2, $3)
ON CONFLICT (owner_id) DO NOTHING;

-- name: donor_key
-- A donor's sealed key.
SELECT sealed_key FROM donor_key WHERE owner_id = $1;

-- name: insert_personal
-- Keeps what is personal of a donation, sealed.
INSERT INTO personal (donation_id, charity_id, owner_id, sealed) VALUES ($1, $2, $3, $4);

-- name: lock_donations
-- Donations by id, locked in one order until their change is committed.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE id = ANY ($1) ORDER BY id FOR UPDATE;

-- name: update_promises
-- Stores promises after their payments' news.
UPDATE donation d
SET state = n.state, gross = n.gross, refunded = n.refunded, disputed = n.disputed, failure_code = n.failure_code,
    retryable = n.retryable, payment_id = n.payment_id, payment_version = n.payment_version,
    next_attempt_time = n.next_attempt_time, attempts = n.attempts, waiting_for = n.waiting_for, version = n.version,
    update_time = n.update_time, settle_time = n.settle_time, hold_end_time = n.hold_end_time, actor = $18,
    correlation_id = n.correlation_id
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::boolean[],
            $9::uuid[], $10::bigint[], $11::timestamptz[], $12::integer[], $13::text[], $14::bigint[], $15::timestamptz[],
            $16::timestamptz[], $17::timestamptz[], $19::text[])
  AS n (id, charity_id, state, gross, refunded, disputed, failure_code, retryable, payment_id, payment_version,
        next_attempt_time, attempts, waiting_for, version, update_time, settle_time, hold_end_time, correlation_id)
WHERE d.id = n.id AND d.charity_id = n.charity_id;

-- name: claim_due
-- Takes open donations whose time has come, those that wait longest first, and lets no other replica look at them until $2. An
-- array is made once and looked up by key; a join would be planned for a tenth of the table, whatever the limit is, and read
-- all of it.
UPDATE donation d SET next_attempt_time = $2, attempts = d.attempts + 1
WHERE d.id = ANY (ARRAY(
  SELECT id FROM donation WHERE next_attempt_time <= $1
  ORDER BY next_attempt_time LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING d.id, d.charity_id, d.campaign_id, d.donor_id, d.origin, d.state, d.currency, d.amount, d.gross, d.refunded,
          d.disputed, d.anonymous, d.payment_ref, d.payment_id, d.possible_duplicate_of, d.failure_code, d.metadata,
          d.version, d.create_time, d.update_time, d.settle_time, d.fee_cover, d.retryable, d.payment_version,
          d.next_attempt_time, d.attempts, d.waiting_for, d.manual_capture, d.hold_end_time;

-- name: postpone
-- Says when an open donation is looked at next and what it waits for, unless it has changed since version $3.
UPDATE donation SET next_attempt_time = $4, waiting_for = $5
WHERE id = $1 AND charity_id = $2 AND version = $3 AND next_attempt_time IS NOT NULL;

-- name: donation_versions
-- The versions of donations that somebody watches.
SELECT id, version FROM donation WHERE id = ANY ($1);

-- name: donations_by_id
-- Donations by id, in whichever charity.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE id = ANY ($1);

-- name: open_donations
-- A page of donations that are still open and were recorded at a moment or before, oldest first, after an id.
SELECT id, charity_id, campaign_id, donor_id, origin, state, currency, amount, gross, refunded, disputed, anonymous,
       payment_ref, payment_id, possible_duplicate_of, failure_code, metadata, version, create_time, update_time,
       settle_time, fee_cover, retryable, payment_version, next_attempt_time, attempts, waiting_for, manual_capture,
       hold_end_time, request_key, request_digest
FROM donation WHERE next_attempt_time IS NOT NULL AND create_time <= $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: audit_trail
-- At most $3 entries of the audit trail of a donation, or of whatever else has the id, oldest first, after an id. Why: what was
-- said by hand, otherwise the reason of the command that the same call gave.
SELECT a.id, a.object, a.object_id, a.before, a.after, a.actor, a.correlation_id, a.database_role, a.create_time,
       coalesce(nullif(a.reason, ''), given.reason, '') AS reason
FROM audit a
LEFT JOIN LATERAL (
  SELECT c.reason FROM command c
  WHERE c.subject_id = a.reference_id AND c.correlation_id = a.correlation_id AND a.correlation_id <> ''
  ORDER BY c.create_time DESC LIMIT 1
) AS given ON true
WHERE a.reference_id = $1 AND a.id > $2
ORDER BY a.id LIMIT $3;

-- name: traced_donations
-- At most $3 donations that a reference names, newest first: the one with this id, those that a checkout recorded under this
-- payment reference, and those that this call made or changed, or that a command of it was about. A call that moved more than
-- 1,000 donations names some of them.
SELECT found.id
FROM (SELECT d.id, 1 AS rank FROM donation d WHERE d.id = $2
      UNION ALL (SELECT d.id, 2 FROM donation d WHERE d.payment_ref = $1 LIMIT 1000)
      UNION ALL (SELECT d.id, 2 FROM donation d
                 WHERE hashtextextended(d.correlation_id, 0) = hashtextextended($1, 0) AND d.correlation_id = $1
                 LIMIT 1000)
      UNION ALL (SELECT d.id, 2 FROM audit a JOIN donation d ON d.id = a.reference_id
                 WHERE a.object = 'donation' AND a.before ? 'correlation_id'
                   AND hashtextextended(a.before ->> 'correlation_id', 0) = hashtextextended($1, 0)
                   AND a.before ->> 'correlation_id' = $1
                 LIMIT 1000)
      UNION ALL (SELECT d.id, 2 FROM command c JOIN donation d ON d.id = c.subject_id WHERE c.correlation_id = $1 LIMIT 1000)
     ) AS found
GROUP BY found.id ORDER BY min(found.rank), found.id DESC LIMIT $3;

-- name: traced_origin
-- Who had a donation recorded, and in which call: the row says it until it is changed, then its first change says it.
SELECT d.caller AS actor,
       coalesce((SELECT a.before ->> 'correlation_id' FROM audit a
                 WHERE a.reference_id = d.id AND a.object = 'donation' AND a.before ? 'correlation_id' ORDER BY a.id LIMIT 1),
                d.correlation_id) AS correlation_id
FROM donation d WHERE d.id = $1;

-- name: traced_commands
-- The newest $2 commands about a donation.
SELECT method, reason, actor, correlation_id, create_time
FROM command WHERE subject_id = $1 ORDER BY create_time DESC LIMIT $2;

-- name: traced_reversals
-- The newest $2 reversals of a donation.
SELECT id, charity_id, donation_id, amount, currency, caller, refund_ref, correlation_id, create_time
FROM reversal WHERE donation_id = $1 ORDER BY create_time DESC, id DESC LIMIT $2;

-- name: traced_changes
-- The newest $2 changes of a donation that a timeline tells: where it went, what it counts for, and whatever was done by hand to
-- it and what belongs to it. `time`: by the service's clock, as the change or, where that clock stood still, an earlier one has
-- it; of what was done by hand it is the database's.
SELECT c.object, c.object_id, c.before, c.after, c.actor, c.correlation_id, c.reason, c.database_role, c.by_hand, c.time
FROM (SELECT a.id, a.object, a.object_id, a.before, a.after, a.actor, a.correlation_id, a.reason, a.database_role, w.by_hand,
             CASE WHEN w.by_hand THEN a.create_time
                  ELSE coalesce(max((a.after ->> 'update_time')::timestamptz)
                                FILTER (WHERE a.object = 'donation' AND NOT w.by_hand) OVER (ORDER BY a.id), d.create_time)
             END AS time
      FROM donation d JOIN audit a ON a.reference_id = d.id,
           LATERAL (SELECT a.database_role <> session_user AS by_hand) AS w
      WHERE d.id = $1) AS c
WHERE c.by_hand
   OR c.after ?| ARRAY['state', 'gross', 'refunded', 'disputed', 'failure_code', 'retryable', 'hold_end_time']
ORDER BY c.id DESC LIMIT $2;

-- name: tally_snapshot
-- What the log is at this moment, and how many donations there are, estimated by the last ANALYZE; of a campaign counted, up to
-- a bound.
SELECT pg_current_snapshot()::text AS snapshot, (SELECT max(epoch) FROM epoch) AS epoch,
       CASE WHEN $1::uuid IS NULL
            THEN (SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'donation'::regclass)
            ELSE (SELECT count(*) FROM (SELECT FROM donation WHERE campaign_id = $1 LIMIT 100000) AS bounded) END AS estimated;

-- name: tallies
-- Every donation that counts.
SELECT id, charity_id, campaign_id, donor_id, currency, gross, refunded, disputed, settle_time
FROM donation WHERE settle_time IS NOT NULL;

-- name: tallies_of_campaign
-- Those of a campaign.
SELECT id, charity_id, campaign_id, donor_id, currency, gross, refunded, disputed, settle_time
FROM donation WHERE settle_time IS NOT NULL AND campaign_id = $1;

-- name: returns
-- What went back of donations that count, and came back, change by change as the audit trail has it.
SELECT d.id, d.campaign_id, d.currency, coalesce((a.after ->> 'update_time')::timestamptz, a.create_time) AS time,
       coalesce((a.after ->> 'refunded')::bigint - (a.before ->> 'refunded')::bigint, 0) AS refunded,
       coalesce((a.after ->> 'disputed')::bigint - (a.before ->> 'disputed')::bigint, 0) AS disputed
FROM audit a JOIN donation d ON d.id = a.reference_id AND d.charity_id = a.charity_id
WHERE a.object = 'donation' AND (a.before ? 'refunded' OR a.before ? 'disputed') AND a.after IS NOT NULL
  AND d.settle_time IS NOT NULL;

-- name: returns_of_campaign
-- Those of a campaign.
SELECT d.id, d.campaign_id, d.currency, coalesce((a.after ->> 'update_time')::timestamptz, a.create_time) AS time,
       coalesce((a.after ->> 'refunded')::bigint - (a.before ->> 'refunded')::bigint, 0) AS refunded,
       coalesce((a.after ->> 'disputed')::bigint - (a.before ->> 'disputed')::bigint, 0) AS disputed
FROM audit a JOIN donation d ON d.id = a.reference_id AND d.charity_id = a.charity_id
WHERE a.object = 'donation' AND (a.before ? 'refunded' OR a.before ? 'disputed') AND a.after IS NOT NULL
  AND d.settle_time IS NOT NULL AND d.campaign_id = $1;

-- name: published
-- Up to where the broker has acknowledged the log; what is listed as the day is that of the position.
SELECT r.epoch, r.from_snapshot::text AS snapshot, r.day, (e.create_time AT TIME ZONE 'utc')::date AS epoch_day
FROM relay r JOIN epoch e ON e.epoch = r.epoch;

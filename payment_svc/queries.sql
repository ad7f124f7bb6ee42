-- name: apply
-- Takes events for posted, each id once for ever; returns those that were new. Sorted, so that two consumers that hold the
-- same events wait for each other instead of blocking each other.
INSERT INTO applied (day, event_id, tx, epoch, donation_id, posting_id, delta)
SELECT i.day, i.event_id, i.tx, i.epoch, i.donation_id, i.posting_id, i.delta
FROM unnest($1::date[], $2::uuid[], $3::bigint[], $4::integer[], $5::uuid[], $6::uuid[], $7::bigint[])
  AS i (day, event_id, tx, epoch, donation_id, posting_id, delta)
ORDER BY i.day, i.event_id
ON CONFLICT (day, event_id) DO NOTHING
RETURNING event_id;

-- name: insert_postings
-- Headers of postings; their entries follow in the same transaction.
INSERT INTO posting (id, charity_id, campaign_id, kind, payment_id, reverses, source)
SELECT i.id, i.charity_id, i.campaign_id, i.kind, i.payment_id, i.reverses, $7
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[])
  AS i (id, charity_id, campaign_id, kind, payment_id, reverses);

-- name: captured_posting
-- The posting of what a payment took. Materialised: for the first by day the ledger would be read day by day from its beginning.
WITH taken AS MATERIALIZED (SELECT day, id FROM posting WHERE payment_id = $1 AND kind = 'captured')
SELECT id FROM taken ORDER BY day, id LIMIT 1;

-- name: insert_entries
-- All lines of all postings at once: a statement carries whole postings.
INSERT INTO entry (posting_id, line, account, campaign_id, currency, amount)
SELECT i.posting_id, i.line, i.account, i.campaign_id, i.currency, i.amount
FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::uuid[], $5::text[], $6::bigint[])
  AS i (posting_id, line, account, campaign_id, currency, amount);

-- name: violations
-- Postings whose entries do not sum to zero in a currency, postings without entries, entries without posting.
SELECT coalesce(s.posting_id, p.id) AS posting_id, s.currency, s.total
FROM (SELECT day, posting_id, currency, sum(amount) AS total FROM entry GROUP BY day, posting_id, currency) AS s
FULL JOIN posting p ON p.day = s.day AND p.id = s.posting_id
WHERE s.total <> 0 OR s.posting_id IS NULL OR p.id IS NULL
ORDER BY 1, 2
LIMIT $1;

-- name: sizes
-- How much there is.
SELECT (SELECT count(*) FROM posting) AS postings, (SELECT count(*) FROM entry) AS entries;

-- name: account_exists
-- Whether there is such an account.
SELECT EXISTS (SELECT FROM account WHERE code = $1);

-- name: balance
-- The balance of an account per currency over all campaigns, of what was posted before a time or of everything.
SELECT currency, sum(amount)::bigint AS balance
FROM entry
WHERE account = $1 AND ($2::timestamptz IS NULL OR (day <= ($2 AT TIME ZONE 'utc')::date AND create_time < $2))
GROUP BY currency
ORDER BY currency;

-- name: balance_of_campaign
-- The same of one campaign.
SELECT currency, sum(amount)::bigint AS balance
FROM entry
WHERE account = $1 AND ($2::timestamptz IS NULL OR (day <= ($2 AT TIME ZONE 'utc')::date AND create_time < $2))
  AND campaign_id = $3
GROUP BY currency
ORDER BY currency;

-- name: entries_of_reference
-- The entries of a donation or payment, oldest first: of the batch postings that contain a recorded donation, and of the
-- postings of a payment. With OFFSET each posting is a look-up by key; a join would be planned for all days at once, and read
-- the whole ledger.
SELECT e.posting_id, e.account, e.campaign_id, e.currency, e.amount, e.create_time, h.kind, h.reverses
FROM (SELECT a.posting_day AS day, a.posting_id AS id FROM applied a WHERE a.donation_id = $1
      UNION
      SELECT p.day, p.id FROM posting p
      WHERE p.payment_id = ANY (ARRAY(SELECT id FROM payment WHERE id = $1
                                      UNION ALL SELECT id FROM payment WHERE donation_id = $1))
     ) AS linked
JOIN LATERAL (SELECT p.kind, p.reverses FROM posting p WHERE p.day = linked.day AND p.id = linked.id OFFSET 0) AS h ON true
JOIN LATERAL (SELECT posting_id, line, account, campaign_id, currency, amount, create_time FROM entry
              WHERE entry.day = linked.day AND entry.posting_id = linked.id OFFSET 0) AS e ON true
ORDER BY e.create_time, e.posting_id, e.line;

-- name: read_at_length
-- Verification and balances sum everything that was ever posted, which outlasts the role's 3 s; their methods end at 60 s.
SET LOCAL statement_timeout = '55s';

-- name: insert_payment
-- Records a payment with its first attempt unless its donation has one. No row: it has. $5: a payment that ends before it
-- began, which leaves nothing to be done at the provider.
WITH recorded AS (
  INSERT INTO payment (id, charity_id, campaign_id, donation_id, request_digest, state, currency, amount, manual_capture,
                       canceled, next_attempt_time, leased_until, version, actor, correlation_id, create_time, update_time)
  VALUES ($1, $2, $3, $4, $6, $7, $8, $9, $10, $5, $11, $12, 1, $13, $14, $15, $15)
  ON CONFLICT (donation_id, charity_id) DO NOTHING
  RETURNING id
), attempted AS (
  INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, actor, correlation_id, create_time)
  SELECT $16, $2, recorded.id, 1, 1, $13, $14, $15 FROM recorded WHERE NOT $5
)
SELECT id FROM recorded;

-- name: payment
-- One payment.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment WHERE id = $1;

-- name: payment_for_update
-- One payment, locked until its change is committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment WHERE id = $1 FOR UPDATE;

-- name: payment_of_donation
-- The payment of a donation.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment WHERE donation_id = $1 AND charity_id = $2;

-- name: payment_of_intent
-- The payment of the provider's intent, locked until its change is committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment WHERE provider_id = $1 FOR UPDATE;

-- name: unproven_payment_of_donation
-- The payment of a donation whose intent may have been made without our learning its id, locked until its change is
-- committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment
WHERE donation_id = $1 AND provider_id IS NULL
  AND EXISTS (SELECT FROM attempt
              WHERE attempt.payment_id = payment.id AND attempt.charity_id = payment.charity_id AND attempt.kind = 1
                AND attempt.outcome = 4)
FOR UPDATE;

-- name: payments_of_charity
-- A page of a charity's payments, newest first, before an id.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment WHERE charity_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: attempts
-- The attempts of payments.
SELECT payment_id, id, kind, outcome, object_id, captured, second, code, amount, reason, request_key, calls, refusals,
       last_call_time, saved, doubt_time, key_time, create_time, end_time
FROM attempt WHERE payment_id = ANY ($1);

-- name: disputes
-- The disputes of payments.
SELECT payment_id, provider_id, amount, state, withdrawals, reinstatements, reason, create_time, update_time
FROM dispute WHERE payment_id = ANY ($1) ORDER BY provider_id;

-- name: update_payment
-- Stores what is known of a payment after a change, and lets go of it.
UPDATE payment
SET state = $3, captured = $4, refunded = $5, refunding = $6, disputed = $7, lost = $8, provider_id = $9,
    client_secret = $10, progress_second = $11, progress_status = $12, progress_code = $13, said_second = $14,
    said_refunded = $15, said_disputed = $16, canceled = $17, refused = $18, unwanted = $19, manual_reason = $20,
    next_attempt_time = $21, leased_until = NULL, version = $22, actor = $23,
    correlation_id = coalesce(nullif($24, ''), correlation_id), update_time = $25
WHERE id = $1 AND charity_id = $2;

-- name: schedule_payment
-- Says when the provider is asked next and whether an operator has to look, where nothing else is new, and lets go of the
-- payment. Only the latter is a change of the payment that somebody makes.
UPDATE payment
SET next_attempt_time = $3, manual_reason = $4, leased_until = NULL,
    actor = CASE WHEN manual_reason = $4 THEN actor ELSE $5 END
WHERE id = $1 AND charity_id = $2;

-- name: insert_attempt
-- A charge or refund that was not known, or a call that is about to be made; in the call in which its payment was changed just
-- now.
INSERT INTO attempt (id, charity_id, payment_id, kind, outcome, object_id, captured, second, code, amount, reason, request_key,
                     create_time, end_time, actor, correlation_id)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, p.correlation_id
FROM payment p WHERE p.id = $3 AND p.charity_id = $2;

-- name: update_attempt
-- What became of an attempt.
UPDATE attempt
SET outcome = $3, object_id = $4, captured = $5, second = $6, code = $7, refusals = $8, saved = $9, doubt_time = $10,
    key_time = $11, end_time = $12, actor = $13, correlation_id = coalesce(nullif($14, ''), correlation_id)
WHERE id = $1 AND charity_id = $2;

-- name: upsert_dispute
-- A dispute as it is known now; in the call in which its payment was changed just now.
INSERT INTO dispute (provider_id, charity_id, payment_id, state, amount, withdrawals, reinstatements, reason, actor,
                     correlation_id, create_time, update_time)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, p.correlation_id, $10, $10
FROM payment p WHERE p.id = $3 AND p.charity_id = $2
ON CONFLICT (provider_id, charity_id) DO UPDATE
SET state = excluded.state, amount = excluded.amount, withdrawals = excluded.withdrawals,
    reinstatements = excluded.reinstatements, actor = excluded.actor, correlation_id = excluded.correlation_id,
    update_time = excluded.update_time;

-- name: open_payments
-- Payments that are not proven to have ended, oldest first, after an id; $4: only those that an operator has to look at.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, manual_reason, next_attempt_time, version, create_time,
       update_time
FROM payment
WHERE id > $1 AND create_time <= $2 AND (next_attempt_time IS NOT NULL OR manual_reason <> '') AND (NOT $4 OR manual_reason <> '')
ORDER BY id LIMIT $3;

-- name: claim_payment
-- Takes a payment for one asking of the provider. No row: somebody else holds it.
UPDATE payment SET leased_until = $3
WHERE id = $1 AND (leased_until IS NULL OR leased_until <= $2)
RETURNING id;

-- name: prolong_lease
-- Keeps a payment for whoever holds it.
UPDATE payment SET leased_until = $2 WHERE id = $1 AND leased_until IS NOT NULL;

-- name: claim_due
-- Takes payments that are due, oldest first, for one asking of the provider each. An array is made once and looked up by key; a
-- join would be planned for a tenth of the table, whatever the limit is, and read all of it.
UPDATE payment SET leased_until = $2
WHERE id = ANY (ARRAY(
  SELECT id FROM payment
  WHERE next_attempt_time <= $1 AND (leased_until IS NULL OR leased_until <= $1)
  ORDER BY next_attempt_time LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: count_call
-- Notes that the provider is about to be asked.
UPDATE attempt SET calls = calls + 1, last_call_time = $3, actor = $4 WHERE id = $1 AND charity_id = $2;

-- name: insert_provider_event
-- Stores a webhook that was verified or asked for, each id once for ever. No row: it came before.
INSERT INTO provider_event (event_id, type, intent_id, state, reason, next_attempt_time, body, signature, polled,
                            provider_time, create_time, update_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
ON CONFLICT (event_id) DO NOTHING
RETURNING event_id;

-- name: settle_provider_event
-- Says where a stored webhook stands after so many looks.
UPDATE provider_event
SET state = $2, reason = $3, next_attempt_time = $4, attempts = $5, update_time = $6
WHERE event_id = $1;

-- name: parked_provider_event
-- One parked webhook that is due, locked until its change is committed.
SELECT event_id, type, body, attempts, create_time
FROM provider_event WHERE state = 2 AND next_attempt_time <= $1
ORDER BY next_attempt_time LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: unapplied_provider_event
-- A webhook in one of some states, which are others than applied, locked until its change is committed.
SELECT event_id, type, body, attempts, create_time
FROM provider_event WHERE event_id = $1 AND state = ANY ($2) FOR UPDATE;

-- name: known_provider_events
-- Which of these came before.
SELECT event_id FROM provider_event WHERE event_id = ANY ($1);

-- name: provider_event
-- One webhook with its sealed body.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time, body
FROM provider_event WHERE event_id = $1;

-- name: provider_event_for_update
-- One webhook, locked until its change is committed.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event WHERE event_id = $1 FOR UPDATE;

-- name: provider_events_named
-- Webhooks by id, oldest first.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event WHERE event_id = ANY ($1) ORDER BY create_time, event_id;

-- name: provider_events_of_command
-- Webhooks that an operator's command was about, oldest first.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event WHERE request_key = $1 ORDER BY create_time, event_id;

-- name: waiting_provider_events
-- What is parked or quarantined, of a type or any, that came in a time, oldest first.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event
WHERE state <> 1 AND state IN (2, 3) AND ($1 = '' OR type = $1)
  AND ($2::timestamptz IS NULL OR create_time >= $2) AND ($3::timestamptz IS NULL OR create_time < $3)
ORDER BY create_time, event_id LIMIT $4;

-- name: provider_events_page
-- A page of webhooks, in one state or any (0), newest first, before a position.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event
WHERE (create_time, event_id) < ($1, $2) AND ($3::smallint = 0 OR state = $3)
ORDER BY create_time DESC, event_id DESC LIMIT $4;

-- name: unapplied_provider_events_page
-- The same in a state other than applied, which is rare: it has an index of its own.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event
WHERE (create_time, event_id) < ($1, $2) AND state <> 1 AND state = $3
ORDER BY create_time DESC, event_id DESC LIMIT $4;

-- name: count_waiting_provider_events
-- How many webhooks are parked, and how many quarantined.
SELECT count(*) FILTER (WHERE state = 2) AS parked, count(*) FILTER (WHERE state = 3) AS quarantined
FROM provider_event WHERE state <> 1;

-- name: stamp_provider_events
-- Says that an operator's command is about these; what is applied stays as it is.
UPDATE provider_event SET operator_reason = $2, actor = $3, request_key = $4, update_time = $5
WHERE event_id = ANY ($1) AND state <> 1;

-- name: skip_provider_event
-- Gives a webhook up.
UPDATE provider_event
SET state = 4, reason = '', next_attempt_time = NULL, operator_reason = $2, actor = $3, request_key = $4, update_time = $5
WHERE event_id = $1;

-- name: hasten_parked
-- What waited for an intent that is known now is due at once, but for what is being looked at this moment.
UPDATE provider_event SET next_attempt_time = $2
WHERE event_id IN (SELECT event_id FROM provider_event WHERE state = 2 AND intent_id = $1 FOR UPDATE SKIP LOCKED);

-- name: insert_command
-- Fences a command. No row: it was given before.
INSERT INTO command (charity_id, request_key, request_digest, method, subject, reason, actor, correlation_id, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (charity_id, request_key) DO NOTHING
RETURNING request_digest;

-- name: command_digest
-- The digest of a command that was given before.
SELECT request_digest FROM command WHERE charity_id = $1 AND request_key = $2;

-- name: claim_checkpoint
-- Takes a list that is due for one round of a walk. No row: it is not due, or somebody else holds it.
UPDATE checkpoint SET holder = $2, leased_until = $4
WHERE name = $1 AND (next_time IS NULL OR next_time <= $3) AND (leased_until IS NULL OR leased_until <= $3)
RETURNING position, cursor, target;

-- name: prolong_checkpoint
-- Keeps a list for whoever holds it.
UPDATE checkpoint SET leased_until = $3 WHERE name = $1 AND holder = $2;

-- name: store_checkpoint
-- Says how far the list has been walked and when it is due next, and lets go of it. Only its holder may.
UPDATE checkpoint
SET position = $3, cursor = $4, target = $5, next_time = $6, update_time = $7, holder = '', leased_until = NULL
WHERE name = $1 AND holder = $2
RETURNING name;

-- name: oldest_payment_time
-- When the oldest payment was recorded: ids grow with time.
SELECT create_time FROM payment ORDER BY id LIMIT 1;

-- name: audit_trail
-- At most $3 entries of the audit trail of a payment, or of the payment of a donation, also of one whose row is gone; oldest
-- first, after an id. Why: what was said by hand, otherwise the reason of the command that the same call gave.
SELECT a.id, a.object, a.object_id, a.before, a.after, a.actor, a.correlation_id, a.database_role, a.create_time,
       coalesce(nullif(a.reason, ''), given.reason, '') AS reason
FROM audit a
LEFT JOIN LATERAL (
  SELECT c.reason FROM command c
  WHERE c.subject = ANY (ARRAY[a.object_id, a.reference_id::text]) AND c.correlation_id = a.correlation_id
    AND a.correlation_id <> ''
  ORDER BY c.create_time DESC LIMIT 1
) AS given ON true
WHERE a.reference_id IN (
    SELECT $1::uuid
    UNION SELECT p.id FROM payment p WHERE p.donation_id = $1
    UNION SELECT f.reference_id FROM audit f
          WHERE f.object = 'payment' AND f.before ? 'donation_id' AND f.before ->> 'donation_id' = $1::text)
  AND a.id > $2
ORDER BY a.id LIMIT $3;

-- name: breaker
-- What an operator decided last about the circuit breaker.
SELECT held, reason, version, actor FROM breaker;

-- name: set_breaker
-- An operator's decision about the circuit breaker.
UPDATE breaker SET held = $1, reason = $2, version = version + 1, actor = $3, correlation_id = $4, update_time = $5
RETURNING held, reason, version, actor;

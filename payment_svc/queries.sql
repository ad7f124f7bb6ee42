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
INSERT INTO posting (id, charity_id, campaign_id, kind, payment_id, reverses, settlement_id, source)
SELECT i.id, i.charity_id, i.campaign_id, i.kind, i.payment_id, i.reverses, i.settlement_id, $8
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::text[])
  AS i (id, charity_id, campaign_id, kind, payment_id, reverses, settlement_id);

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
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
FROM payment WHERE id = $1;

-- name: payment_for_update
-- One payment, locked until its change is committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
FROM payment WHERE id = $1 FOR UPDATE;

-- name: payment_of_donation
-- The payment of a donation.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
FROM payment WHERE donation_id = $1 AND charity_id = $2;

-- name: payment_of_intent
-- The payment of the provider's intent, locked until its change is committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
FROM payment WHERE provider_id = $1 FOR UPDATE;

-- name: unproven_payment_of_donation
-- The payment of a donation whose intent may have been made without our learning its id, locked until its change is
-- committed.
SELECT id, charity_id, campaign_id, donation_id, request_digest, currency, amount, captured, refunded, refunding, disputed,
       lost, manual_capture, provider_id, client_secret, progress_second, progress_status, progress_code, said_second,
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
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
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
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
-- Stores what is known of a payment after a change; $26: whoever holds it lets go of it.
UPDATE payment
SET state = $3, captured = $4, refunded = $5, refunding = $6, disputed = $7, lost = $8, provider_id = $9,
    client_secret = $10, progress_second = $11, progress_status = $12, progress_code = $13, said_second = $14,
    said_refunded = $15, said_disputed = $16, canceled = $17, refused = $18, unwanted = $19, manual_reason = $20,
    next_attempt_time = $21, leased_until = CASE WHEN NOT $26 THEN leased_until END, version = $22, actor = $23,
    correlation_id = coalesce(nullif($24, ''), correlation_id), update_time = $25, contradiction = $27, look_demanded = $28
WHERE id = $1 AND charity_id = $2;

-- name: schedule_payment
-- Says when the provider is asked next and whether an operator has to look, where nothing else is new. Only the latter is a
-- change of the payment that somebody makes. $6: whoever holds it lets go of it.
UPDATE payment
SET next_attempt_time = $3, manual_reason = $4, leased_until = CASE WHEN NOT $6 THEN leased_until END,
    actor = CASE WHEN manual_reason = $4 THEN actor ELSE $5 END,
    update_time = CASE WHEN manual_reason = $4 THEN update_time ELSE $7 END, contradiction = $8, look_demanded = $9
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
       said_refunded, said_disputed, canceled, refused, unwanted, contradiction, look_demanded, manual_reason,
       next_attempt_time, version, create_time, update_time
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

-- name: release_payment
-- Lets go of a payment.
UPDATE payment SET leased_until = NULL WHERE id = $1;

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

-- name: traced_payment
-- The payment that a reference names: itself, its donation, its intent, a charge, refund or dispute of it, an event about it, the
-- call of a command about it, or a movement on the provider's balance. One statement asks each in its own index; a scalar
-- subquery is never turned into a join, which might read all payments.
SELECT found.id
FROM (SELECT id, 1 AS rank FROM payment WHERE id = $2
      UNION ALL SELECT id, 2 FROM payment WHERE donation_id = $2
      UNION ALL SELECT id, 3 FROM payment WHERE provider_id = $1
      UNION ALL SELECT payment_id, 4 FROM attempt WHERE object_id = $1
      UNION ALL SELECT payment_id, 5 FROM dispute WHERE provider_id = $1
      UNION ALL SELECT (SELECT p.id FROM payment p WHERE p.provider_id = e.intent_id LIMIT 1), 6
                FROM provider_event e WHERE e.event_id = $1
      UNION ALL SELECT (SELECT p.id FROM payment p
                        WHERE p.id = CASE WHEN c.subject ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                                          THEN c.subject::uuid END LIMIT 1), 7
                FROM command c WHERE c.correlation_id = $1
      UNION ALL SELECT payment_id, 8 FROM balance_transaction WHERE id = $1 AND payment_id IS NOT NULL) AS found
WHERE found.id IS NOT NULL
ORDER BY found.rank, found.id DESC LIMIT 1;

-- name: traced_origin
-- Who had a payment recorded, and in which call: the row says it until it is changed, then its first change says it.
SELECT coalesce((SELECT a.before ->> 'actor' FROM audit a
                 WHERE a.reference_id = p.id AND a.object = 'payment' AND a.before ? 'actor' ORDER BY a.id LIMIT 1),
                p.actor) AS actor,
       coalesce((SELECT a.before ->> 'correlation_id' FROM audit a
                 WHERE a.reference_id = p.id AND a.object = 'payment' AND a.before ? 'correlation_id' ORDER BY a.id LIMIT 1),
                p.correlation_id) AS correlation_id
FROM payment p WHERE p.id = $1;

-- name: traced_events
-- The newest $3 webhooks about an intent, and the one with an id.
SELECT event_id, type, intent_id, state, reason, attempts, next_attempt_time, polled, operator_reason, actor, provider_time,
       create_time, update_time
FROM provider_event WHERE (intent_id = $1 AND intent_id <> '') OR event_id = $2
ORDER BY create_time DESC, event_id DESC LIMIT $3;

-- name: traced_stray
-- The intent that a webhook is about, whose payment is not known.
SELECT intent_id FROM provider_event WHERE event_id = $1;

-- name: traced_commands
-- The newest $2 commands about any of these.
SELECT method, subject, reason, actor, correlation_id, create_time
FROM command WHERE subject = ANY ($1) ORDER BY create_time DESC LIMIT $2;

-- name: traced_postings
-- The newest $2 postings of a payment with what they moved in each currency. `time`: as with changes, of the payment's change
-- that the same transaction wrote down; the ledger's own time is the database's.
WITH moment AS MATERIALIZED (
  SELECT w.tx, max(w.time) AS time
  FROM (SELECT a.tx, coalesce(max((a.after ->> 'update_time')::timestamptz) OVER (ORDER BY a.id), p.create_time) AS time
        FROM payment p JOIN audit a ON a.reference_id = p.id AND a.object = 'payment' AND a.database_role = session_user
        WHERE p.id = $1) AS w
  GROUP BY w.tx
)
SELECT p.id, p.kind, p.reverses, coalesce(m.time, p.create_time) AS time, e.currency,
       (sum(e.amount) FILTER (WHERE e.amount > 0))::bigint AS amount
FROM (SELECT day, id, kind, reverses, tx, create_time FROM posting
      WHERE payment_id = $1 ORDER BY create_time DESC, id DESC LIMIT $2) AS p
JOIN entry e ON e.day = p.day AND e.posting_id = p.id
LEFT JOIN moment m ON m.tx = p.tx
GROUP BY p.id, p.kind, p.reverses, p.create_time, m.time, e.currency
ORDER BY p.create_time, p.id, e.currency;

-- name: traced_movements
-- The newest $2 movements of a payment on the provider's balance.
SELECT id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, provider_time, available_time, converted,
       class, create_time
FROM balance_transaction WHERE payment_id = $1 ORDER BY create_time DESC, id DESC LIMIT $2;

-- name: traced_recorded
-- The newest $2 postings of a donation that a checkout charged, each with the donation's own part. Where the parts of a batch
-- cancelled out, there is no posting.
SELECT p.id, p.kind, p.create_time AS time, e.currency, a.delta AS amount
FROM (SELECT day, event_id, posting_day, posting_id, delta FROM applied
      WHERE donation_id = $1 ORDER BY day DESC, event_id DESC LIMIT $2) AS a
JOIN posting p ON p.day = a.posting_day AND p.id = a.posting_id
JOIN LATERAL (SELECT currency FROM entry WHERE day = p.day AND posting_id = p.id LIMIT 1) AS e ON true
ORDER BY p.create_time, p.id;

-- name: traced_changes
-- The newest $2 changes of a payment and of what belongs to it that a timeline tells: where it and its attempts and disputes
-- went, who has to look, and whatever was done by hand. `time`: by the service's clock, as the payment's own change of the same
-- transaction or, where that clock stood still, an earlier one has it; of what was done by hand it is the database's.
SELECT c.object, c.object_id, c.before, c.after, c.actor, c.correlation_id, c.reason, c.database_role, c.by_hand, c.time
FROM (SELECT a.id, a.object, a.object_id, a.before, a.after, a.actor, a.correlation_id, a.reason, a.database_role, w.by_hand,
             CASE WHEN w.by_hand THEN a.create_time
                  ELSE coalesce(max((a.after ->> 'update_time')::timestamptz)
                                FILTER (WHERE a.object = 'payment' AND NOT w.by_hand) OVER (ORDER BY a.id), p.create_time)
             END AS time
      FROM payment p JOIN audit a ON a.reference_id = p.id,
           LATERAL (SELECT a.database_role <> session_user AS by_hand) AS w
      WHERE p.id = $1) AS c
WHERE c.by_hand
   OR c.after ?| ARRAY['state', 'captured', 'refunding', 'refunded', 'disputed', 'lost', 'unwanted', 'manual_reason',
                       'outcome', 'refusals', 'object_id', 'withdrawals', 'reinstatements']
ORDER BY c.id DESC LIMIT $2;

-- name: hasten_checkpoint
-- A list is due at once, unless somebody walks it.
UPDATE checkpoint SET next_time = NULL WHERE name = $1 AND holder = '';

-- name: our_side_of_movements
-- What our books say of movements at the provider, by the intent, or else by the charge, refund or dispute: the payment, and
-- what moved there in its own currency; null where its books have no such movement. No row: it is no payment of ours. Scalar
-- subqueries and limits keep each look-up one by key. A charge moves all that was authorised, and what was not captured of it
-- goes back by itself; some charges move what was captured only. A refund that failed later has moved twice, and so has a debit
-- that a bank refused: it had been on the balance since the bank was asked.
SELECT m.id, p.id AS payment_id, p.charity_id, p.campaign_id, p.currency AS our_currency,
       CASE m.category
         WHEN 'charge' THEN
           CASE WHEN EXISTS (SELECT FROM attempt a WHERE a.payment_id = p.id AND a.charity_id = p.charity_id
                               AND a.object_id = m.source_id AND a.kind = 2 AND a.outcome = 3)
                THEN p.amount
                WHEN p.captured > 0
                     AND NOT EXISTS (SELECT FROM attempt a WHERE a.payment_id = p.id AND a.charity_id = p.charity_id
                                       AND a.kind = 2 AND a.outcome = 2 AND a.object_id <> m.source_id)
                THEN CASE WHEN m.amount = p.captured AND m.currency = p.currency THEN p.captured ELSE p.amount END END
         WHEN 'charge_failure' THEN
           (SELECT -p.amount FROM attempt a WHERE a.payment_id = p.id AND a.charity_id = p.charity_id
              AND a.object_id = coalesce(nullif(m.charge_id, ''), m.source_id) AND a.kind = 2 AND a.outcome = 3)
         WHEN 'partial_capture_reversal' THEN CASE WHEN p.captured > 0 THEN p.captured - p.amount END
         WHEN 'refund' THEN
           (SELECT -a.amount FROM attempt a WHERE a.payment_id = p.id AND a.charity_id = p.charity_id
              AND a.object_id = m.source_id AND a.kind = 5)
         WHEN 'refund_failure' THEN
           (SELECT a.amount FROM attempt a WHERE a.payment_id = p.id AND a.charity_id = p.charity_id
              AND a.object_id = m.source_id AND a.kind = 5 AND a.outcome = 3)
         WHEN 'dispute' THEN
           (SELECT -d.amount FROM dispute d WHERE d.provider_id = m.source_id AND d.charity_id = p.charity_id
              AND d.payment_id = p.id AND (d.withdrawals > 0 OR d.state = 4))
         WHEN 'dispute_reversal' THEN
           (SELECT d.amount FROM dispute d WHERE d.provider_id = m.source_id AND d.charity_id = p.charity_id
              AND d.payment_id = p.id AND d.reinstatements > 0)
       END AS our_amount
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[])
  AS m (id, category, source_id, charge_id, intent_id, amount, currency)
CROSS JOIN LATERAL (
  SELECT coalesce((SELECT id FROM payment WHERE provider_id = m.intent_id LIMIT 1),
                  (SELECT payment_id FROM attempt WHERE object_id = m.charge_id LIMIT 1),
                  (SELECT payment_id FROM attempt WHERE object_id = m.source_id LIMIT 1),
                  (SELECT payment_id FROM dispute WHERE provider_id = m.source_id LIMIT 1)) AS payment_id OFFSET 0
) AS found
CROSS JOIN LATERAL (
  SELECT id, charity_id, campaign_id, currency, amount, captured FROM payment WHERE id = found.payment_id LIMIT 1
) AS p;

-- name: insert_movements
-- Takes movements that were not known, each id once for ever, and says which those were. Sorted, so that two walkers that hold
-- the same ones wait for each other. They are due at once: a look posts them.
INSERT INTO balance_transaction (id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, net, converted,
                                 provider_time, available_time, payment_id, charity_id, campaign_id, our_currency, our_amount,
                                 class, origin, next_look_time, create_time, update_time)
SELECT i.id, i.category, i.source_id, i.charge_id, i.intent_id, i.payout_id, i.currency, i.amount, i.fee, i.amount - i.fee,
       i.converted, i.provider_time, i.available_time, i.payment_id, i.charity_id, i.campaign_id, i.our_currency, i.our_amount,
       i.class, 'api', $19, $19, $19
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
            $10::boolean[], $11::timestamptz[], $12::timestamptz[], $13::uuid[], $14::uuid[], $15::uuid[], $16::text[],
            $17::bigint[], $18::text[])
  AS i (id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, converted, provider_time,
        available_time, payment_id, charity_id, campaign_id, our_currency, our_amount, class)
ORDER BY i.id
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: movements_of_files_among
-- Those of some movements that only a file has told of so far, locked until the change is committed.
SELECT id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, converted, provider_time,
       available_time, payment_id, charity_id, campaign_id, our_currency, our_amount, class, origin, posted, looks,
       next_look_time, file, line
FROM balance_transaction WHERE id = ANY ($1) AND origin = 'file' ORDER BY id FOR UPDATE;

-- name: overrule_movement
-- The provider's own answer in the place of what a file had said; it is looked at again.
UPDATE balance_transaction
SET category = $2, source_id = $3, charge_id = $4, intent_id = $5, payout_id = coalesce(nullif($6, ''), payout_id),
    currency = $7, amount = $8, fee = $9, net = $8::bigint - $9::bigint, converted = $10, provider_time = $11, available_time = $12,
    origin = 'api', next_look_time = $13, update_time = $13
WHERE id = $1;

-- name: insert_finding
-- Keeps a row of a file that said otherwise.
INSERT INTO settlement_finding (file, line, class, balance_transaction_id, source_id, currency, amount, fee, net, provider_time,
                                create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $7::bigint - $8::bigint, $9, $10)
ON CONFLICT (file, line) DO NOTHING;

-- name: payments_of_missing_movements
-- Payments whose books lack a movement that is due to be looked at.
SELECT DISTINCT payment_id
FROM (SELECT class, payment_id FROM balance_transaction WHERE next_look_time <= $1 ORDER BY next_look_time LIMIT $2) AS due
WHERE class = 'missing_in_books';

-- name: due_movements
-- Movements that are to be looked at, locked until the change is committed.
SELECT id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, converted, provider_time,
       available_time, payment_id, charity_id, campaign_id, our_currency, our_amount, class, origin, posted, looks,
       next_look_time, file, line
FROM balance_transaction WHERE next_look_time <= $1
ORDER BY next_look_time LIMIT $2 FOR UPDATE SKIP LOCKED;

-- name: look_at_movements
-- What a look found, and where it is posted; what was posted before stays where it is.
UPDATE balance_transaction b
SET class = i.class, payment_id = i.payment_id, charity_id = i.charity_id, campaign_id = i.campaign_id,
    our_currency = i.our_currency, our_amount = i.our_amount, looks = i.looks, next_look_time = i.next_look_time,
    posting_id = CASE WHEN b.posted THEN b.posting_id ELSE i.posting_id END,
    posting_day = CASE WHEN b.posted THEN b.posting_day WHEN i.posting_id IS NOT NULL
                       THEN (now() AT TIME ZONE 'utc')::date END,
    posted = i.posted, update_time = $12
FROM unnest($1::text[], $2::text[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::bigint[], $8::integer[],
            $9::timestamptz[], $10::boolean[], $11::uuid[])
  AS i (id, class, payment_id, charity_id, campaign_id, our_currency, our_amount, looks, next_look_time, posted, posting_id)
WHERE b.id = i.id;

-- name: hasten_movements
-- Movements of a payment, or of its intent before that was known, with which our books do not agree: they are due at once. Locked
-- in the order of their ids, as by everybody who locks some.
UPDATE balance_transaction SET next_look_time = $3
WHERE id IN (
  SELECT id FROM balance_transaction
  WHERE (payment_id = $1 AND class IN ('missing_in_books', 'amount_mismatch'))
     OR (class = 'unknown_source' AND intent_id <> '' AND intent_id = $2)
  ORDER BY id FOR NO KEY UPDATE
);

-- name: stage_settlement_rows
-- Where the rows of a file stand while it is read: of this connection alone, so that nothing of a file that is refused, or
-- whose reader died, is left behind.
CREATE TEMPORARY TABLE IF NOT EXISTS staged_row (
  line bigint NOT NULL,
  id text NOT NULL,
  category text NOT NULL,
  source_id text NOT NULL,
  charge_id text NOT NULL,
  intent_id text NOT NULL,
  payout_id text NOT NULL,
  currency text NOT NULL,
  amount bigint NOT NULL,
  fee bigint NOT NULL,
  converted boolean,
  provider_time timestamptz NOT NULL,
  available_time timestamptz,
  payment_id uuid,
  charity_id uuid,
  campaign_id uuid,
  our_currency text,
  our_amount bigint,
  class text NOT NULL,
  -- Whether it says of a movement that is known what was said before, or otherwise: then it is a finding and no movement.
  finding boolean NOT NULL DEFAULT false
);

-- name: clear_staged_rows
-- Nothing of a file is left.
TRUNCATE pg_temp.staged_row;

-- name: analyse_staged_rows
-- Nobody else looks after a temporary table: without figures a large one would be joined row by row.
ANALYZE pg_temp.staged_row;

-- name: settle_at_length
-- A file has a million rows and more; they are taken in one transaction. Its method ends at 15 min.
SET LOCAL statement_timeout = '600s';

-- name: mark_repeated_rows
-- Rows of a file whose movement an earlier row has told of: once more, or otherwise.
UPDATE pg_temp.staged_row s
SET finding = true,
    class = CASE WHEN (s.amount, s.currency) <> (f.amount, f.currency) THEN 'amount_mismatch'
                 WHEN s.fee <> f.fee THEN 'fee_mismatch' ELSE 'duplicate' END
FROM (SELECT DISTINCT ON (id) id, line, amount, currency, fee FROM pg_temp.staged_row ORDER BY id, line) AS f
WHERE f.id = s.id AND f.line < s.line;

-- name: mark_known_rows
-- Rows whose movement is known: as it was taken for, or it was told of otherwise.
UPDATE pg_temp.staged_row s
SET finding = (s.amount, s.currency, s.fee) <> (b.amount, b.currency, b.fee),
    class = CASE WHEN (s.amount, s.currency) <> (b.amount, b.currency) THEN 'amount_mismatch'
                 WHEN s.fee <> b.fee THEN 'fee_mismatch' ELSE b.class END
FROM balance_transaction b
WHERE b.id = s.id AND NOT s.finding
  AND (s.amount, s.currency, s.fee, s.class) IS DISTINCT FROM (b.amount, b.currency, b.fee, b.class);

-- name: payout_that_differs
-- The line of the first payout of a file whose contents, which the file has too, do not add up to it; rows that were repeated
-- are marked already. Only of files that hold rows of payouts and no others: one that begins and ends at some time has parts of
-- payouts only.
SELECT min(line) FILTER (WHERE category = 'payout') AS line
FROM pg_temp.staged_row
WHERE NOT finding AND NOT EXISTS (SELECT FROM pg_temp.staged_row WHERE payout_id = '')
GROUP BY payout_id
HAVING count(*) FILTER (WHERE category = 'payout') > 0 AND (sum(amount - fee) <> 0 OR min(currency) <> max(currency))
ORDER BY 1 LIMIT 1;

-- name: staged_tallies
-- How many rows of a class there are in a currency, and what they leave on the balance.
SELECT class, currency, count(*) AS count, sum(amount - fee)::bigint AS net
FROM pg_temp.staged_row GROUP BY class, currency ORDER BY class, currency;

-- name: insert_settlement_file
-- Fences a file by its content. No row: it was taken before.
INSERT INTO settlement_file (sha256, name, size_bytes, rows, actor, correlation_id, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (sha256) DO NOTHING
RETURNING sha256;

-- name: insert_staged_movements
-- Takes the movements of a file that were not known; they are due at once: looks post them, batch by batch.
INSERT INTO balance_transaction (id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, net,
                                 provider_time, available_time, origin, file, line, payment_id, charity_id, campaign_id,
                                 our_currency, our_amount, class, next_look_time, create_time, update_time)
SELECT id, category, source_id, charge_id, intent_id, payout_id, currency, amount, fee, amount - fee,
       provider_time, available_time, 'file', $1, line, payment_id, charity_id, campaign_id,
       our_currency, our_amount, class, $2, $2, $2
FROM pg_temp.staged_row WHERE NOT finding ORDER BY id
ON CONFLICT (id) DO NOTHING;

-- name: name_payouts_of_staged_rows
-- A file says which payout a movement was paid out with; the provider's list of movements does not.
UPDATE balance_transaction b SET payout_id = s.payout_id
FROM (SELECT t.id, s.payout_id FROM pg_temp.staged_row s JOIN balance_transaction t ON t.id = s.id
      WHERE NOT s.finding AND t.payout_id = '' AND s.payout_id <> '' ORDER BY t.id FOR NO KEY UPDATE OF t) AS s
WHERE s.id = b.id;

-- name: insert_staged_findings
-- Keeps the rows that say again, or otherwise, what was known.
INSERT INTO settlement_finding (file, line, class, balance_transaction_id, source_id, currency, amount, fee, net, provider_time,
                                create_time)
SELECT $1, line, class, id, source_id, currency, amount, fee, amount - fee, provider_time, $2
FROM pg_temp.staged_row WHERE finding;

-- name: insert_staged_lines
-- Keeps what became of a file.
INSERT INTO settlement_line (file, class, currency, count, total)
SELECT $1, class, currency, count(*), sum(amount - fee) FROM pg_temp.staged_row GROUP BY class, currency;

-- name: settlement_file
-- A file that was taken.
SELECT rows FROM settlement_file WHERE sha256 = $1;

-- name: settlement_lines
-- What became of a file when it was taken.
SELECT class, currency, count, total AS net FROM settlement_line WHERE file = $1 ORDER BY class, currency;

-- name: items_of_movements
-- A page of movements of some classes, of a day or of any, newest first, before a position.
SELECT i.class, i.id, i.source_id, i.payment_id, i.currency, i.net, i.amount, i.our_currency, i.our_amount, i.provider_time
FROM unnest($1::text[]) AS c (class)
CROSS JOIN LATERAL (
  SELECT class, id, source_id, payment_id, currency, net, amount, our_currency, our_amount, provider_time
  FROM balance_transaction
  WHERE class = c.class AND (provider_time, id) < ($2, $3)
    AND provider_time >= coalesce($4::date AT TIME ZONE 'utc', '-infinity')
    AND provider_time < coalesce(($4::date + 1) AT TIME ZONE 'utc', 'infinity')
  ORDER BY provider_time DESC, id DESC LIMIT $5
) AS i
ORDER BY i.provider_time DESC, i.id DESC LIMIT $5;

-- name: items_of_findings
-- The same of rows of files that say again, or otherwise, what was known; their name is the file's line.
SELECT i.class, i.name, i.id, i.source_id, i.payment_id, i.currency, i.amount, i.our_currency, i.our_amount, i.provider_time
FROM (
  SELECT f.class, (f.balance_transaction_id || ' ' || encode(f.file, 'hex') || ' ' || f.line) COLLATE "C" AS name,
         f.balance_transaction_id AS id, f.source_id, b.payment_id, f.currency,
         CASE f.class WHEN 'fee_mismatch' THEN f.net ELSE f.amount END AS amount, b.currency AS our_currency,
         CASE f.class WHEN 'fee_mismatch' THEN b.net ELSE b.amount END AS our_amount, f.provider_time
  FROM settlement_finding f JOIN balance_transaction b ON b.id = f.balance_transaction_id
  WHERE f.class = ANY ($1) AND f.provider_time <= $2
    AND f.provider_time >= coalesce($4::date AT TIME ZONE 'utc', '-infinity')
    AND f.provider_time < coalesce(($4::date + 1) AT TIME ZONE 'utc', 'infinity')
) AS i
WHERE (i.provider_time, i.name) < ($2, $3)
ORDER BY i.provider_time DESC, i.name DESC LIMIT $5;

-- name: items_of_clearing
-- The same of what has been missing at the provider since before a time.
SELECT i.payment_id, i.currency, i.amount, i.since, i.name, coalesce(p.provider_id, '') AS source_id
FROM (
  SELECT c.payment_id, c.currency, c.amount, c.since, (c.payment_id::text || ' ' || c.currency) COLLATE "C" AS name
  FROM missing_at_provider c
  WHERE c.since <= least($1::timestamptz, $2::timestamptz) AND c.since >= coalesce($4::date AT TIME ZONE 'utc', '-infinity')
    AND c.since < coalesce(($4::date + 1) AT TIME ZONE 'utc', 'infinity')
) AS i
CROSS JOIN LATERAL (SELECT provider_id FROM payment WHERE id = i.payment_id LIMIT 1) AS p
WHERE (i.since, i.name) < ($2, $3)
ORDER BY i.since DESC, i.name DESC LIMIT $5;

-- name: movements_of_day
-- A day's movements by class and currency. `moved`: without what a file alone says about nobody, which moved nothing.
SELECT class, currency, count(*) AS count, sum(net)::bigint AS net,
       coalesce(sum(net) FILTER (WHERE posted OR payment_id IS NOT NULL OR origin = 'api'), 0)::bigint AS moved,
       count(*) FILTER (WHERE NOT posted AND (payment_id IS NOT NULL OR origin = 'api')) AS unposted
FROM balance_transaction WHERE day = $1 GROUP BY class, currency ORDER BY class, currency;

-- name: findings_of_day
-- A day's findings in files, by class and currency.
SELECT class, currency, count(*) AS count, sum(net)::bigint AS net
FROM settlement_finding WHERE day = $1 GROUP BY class, currency ORDER BY class, currency;

-- name: posted_for_day
-- What was posted to the provider's balance for a day's movements, by currency.
SELECT e.currency, sum(e.amount)::bigint AS net
FROM (SELECT posting_day AS day, posting_id AS id FROM balance_transaction WHERE day = $1 AND posting_id IS NOT NULL
      UNION ALL
      SELECT p.day, p.id FROM posting p JOIN balance_transaction b ON b.id = p.settlement_id
      WHERE b.day = $1 AND p.kind = 'resettled') AS settled
JOIN entry e ON e.day = settled.day AND e.posting_id = settled.id
WHERE e.account = 'provider_balance'
GROUP BY e.currency;

-- name: outstanding_of_day
-- What stands on the clearing account since a day, by currency.
SELECT currency, sum(amount)::bigint AS amount
FROM clearing WHERE since >= $1::date AT TIME ZONE 'utc' AND since < ($1::date + 1) AT TIME ZONE 'utc'
GROUP BY currency;

-- name: missing_of_day
-- What our books say moved on a day and the provider's balance has not shown until a time, by currency.
SELECT c.currency, count(*) AS count, sum(c.amount)::bigint AS net
FROM missing_at_provider c
WHERE c.since >= $1::date AT TIME ZONE 'utc' AND c.since < ($1::date + 1) AT TIME ZONE 'utc' AND c.since <= $2
GROUP BY c.currency ORDER BY c.currency;

-- name: oldest_missing
-- Since when something has been missing at the provider that our books say moved before a time, and how much is.
SELECT count(*) AS count, min(since) AS since FROM missing_at_provider WHERE since <= $1;

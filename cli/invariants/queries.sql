-- What `mesh check` asks. Every statement only reads. Those that look for violations return a row for each: `key`, and `words`
-- that say what is wrong. Those that read a table by pages look at ids above $1, up to $2, where `…_bound` says that a page ends; a
-- day's at day $1. What a page of 10,000 needs of larger tables are look-ups by key: with OFFSET 0 no join is planned for all days.

-- name: guards_missing
-- Of constraints, unique indexes and triggers $1 those that are gone or do not work. A constraint trigger is a trigger.
SELECT n.name AS key, 'this guard of the database is gone or switched off' AS words
FROM unnest($1::text[]) AS n (name)
WHERE NOT EXISTS (
    SELECT FROM pg_constraint c
    WHERE c.connamespace = current_schema()::regnamespace AND c.conname = n.name AND c.contype <> 't' AND c.convalidated)
  AND NOT EXISTS (
    SELECT FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE i.relnamespace = current_schema()::regnamespace AND i.relname = n.name AND x.indisunique AND x.indisvalid)
  AND NOT EXISTS (
    SELECT FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
    WHERE t.relnamespace = current_schema()::regnamespace AND g.tgname = n.name AND g.tgenabled <> 'D')
ORDER BY 1;

-- name: columns_optional
-- Of tables $1 those whose column $2 may be empty.
SELECT n.name || ' ' || $2 AS key, 'this column may be empty' AS words
FROM unnest($1::text[]) AS n (name)
WHERE NOT EXISTS (
  SELECT FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
  WHERE t.relnamespace = current_schema()::regnamespace AND t.relname = n.name AND a.attname = $2 AND a.attnotnull)
ORDER BY 1;

-- name: rights_too_many
-- Rights $2 on tables $1 that the service's role has and must not have, also on one column or on one partition.
SELECT t.oid::regclass || ' ' || p.privilege AS key, format('%s_service may %s it', current_schema(), p.privilege) AS words
FROM pg_class t CROSS JOIN unnest($2::text[]) AS p (privilege)
WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p')
  AND regexp_replace(t.relname, '_\d{4}_\d\d_\d\d$', '') = ANY ($1)
  AND (has_table_privilege(current_schema() || '_service', t.oid, p.privilege)
       OR (p.privilege IN ('INSERT', 'UPDATE')
           AND has_any_column_privilege(current_schema() || '_service', t.oid, p.privilege)))
ORDER BY 1;

-- name: rights_on_partitions
-- Partitions of tables $1 on which the service's role has rights: what it writes there passes the triggers by.
SELECT t.oid::regclass || ' ' || p.privilege AS key, format('%s_service may %s it', current_schema(), p.privilege) AS words
FROM pg_inherits i JOIN pg_class t ON t.oid = i.inhrelid JOIN pg_class parent ON parent.oid = i.inhparent
CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)
WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind = 'r' AND parent.relname = ANY ($1)
  AND has_table_privilege(current_schema() || '_service', t.oid, p.privilege)
ORDER BY 1;

-- name: durability
-- What the server does for a commit to be durable.
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') ORDER BY name;

-- name: durability_of_roles
-- The same, where this database or a role of the schema has a setting of its own.
SELECT coalesce(r.rolname, 'every role') AS role, split_part(c.setting, '=', 1) AS name, split_part(c.setting, '=', 2) AS setting
FROM pg_db_role_setting s
LEFT JOIN pg_roles r ON r.oid = s.setrole
CROSS JOIN LATERAL unnest(s.setconfig) AS c (setting)
WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND (s.setrole = 0 OR starts_with(r.rolname, current_schema() || '_'))
  AND split_part(c.setting, '=', 1) IN ('fsync', 'full_page_writes', 'synchronous_commit')
ORDER BY 1, 2;

-- name: donation_bound
-- The last id of the page of at most $2 donations above $1.
SELECT id FROM (SELECT id FROM donation WHERE id > $1 ORDER BY id LIMIT $2) AS page ORDER BY id DESC LIMIT 1;

-- name: payment_bound
-- The last id of the page of at most $2 payments above $1.
SELECT id FROM (SELECT id FROM payment WHERE id > $1 ORDER BY id LIMIT $2) AS page ORDER BY id DESC LIMIT 1;

-- name: reversal_bound
-- The last reversal of the page of at most $2 above $1.
SELECT id FROM (SELECT id FROM reversal WHERE id > $1 ORDER BY id LIMIT $2) AS page
ORDER BY id DESC LIMIT 1;

-- name: paid_bound
-- The last donation of a payment of the page of at most $2 above $1.
SELECT donation_id FROM (SELECT donation_id FROM payment WHERE donation_id > $1 ORDER BY donation_id LIMIT $2) AS page
ORDER BY donation_id DESC LIMIT 1;

-- name: intent_bound
-- The last intent of the page of at most $2 above $1.
SELECT provider_id FROM (SELECT provider_id FROM payment WHERE provider_id > $1 ORDER BY provider_id LIMIT $2) AS page
ORDER BY provider_id DESC LIMIT 1;

-- name: object_bound
-- The last charge or refund of the page of at most $2 above $1.
SELECT object_id FROM (SELECT object_id FROM attempt WHERE object_id > $1 ORDER BY object_id LIMIT $2) AS page
ORDER BY object_id DESC LIMIT 1;

-- name: dispute_bound
-- The last dispute of the page of at most $2 above $1.
SELECT provider_id FROM (SELECT provider_id FROM dispute WHERE provider_id > $1 ORDER BY provider_id LIMIT $2) AS page
ORDER BY provider_id DESC LIMIT 1;

-- name: webhook_bound
-- The last webhook of the page of at most $2 above $1.
SELECT event_id FROM (SELECT event_id FROM provider_event WHERE event_id > $1 ORDER BY event_id LIMIT $2) AS page
ORDER BY event_id DESC LIMIT 1;

-- name: movement_bound
-- The last movement on the provider's balance of the page of at most $2 above $1.
SELECT id FROM (SELECT id FROM balance_transaction WHERE id > $1 ORDER BY id LIMIT $2) AS page
ORDER BY id DESC LIMIT 1;

-- name: audit_bound
-- The last object of the trail of the page of at most $2 above $1.
SELECT reference_id FROM (SELECT reference_id FROM audit WHERE reference_id > $1 ORDER BY reference_id LIMIT $2) AS page
ORDER BY reference_id DESC LIMIT 1;

-- name: donations
-- How many donations there are.
SELECT count(*) FROM donation;

-- name: payments
-- How many payments there are.
SELECT count(*) FROM payment;

-- name: donations_twice
-- Donations that share an id.
SELECT id::text AS key, format('%s donations with one id', count(*)) AS words
FROM donation WHERE id > $1 AND id <= $2 GROUP BY id HAVING count(*) > 1
ORDER BY 1;

-- name: donations_altered
-- Donations and reversals of which the trail says that they were removed, or that what they were made with ($3) was changed.
SELECT object_id AS key,
       CASE WHEN after IS NULL THEN object || ' was removed'
            ELSE format('%s was altered: %s', object, (
              SELECT string_agg(format('%s from %s to %s', c.key, before ->> c.key, c.value), ', ' ORDER BY c.key)
              FROM jsonb_each_text(after) AS c WHERE c.key = ANY ($3))) END AS words
FROM audit
WHERE reference_id > $1 AND reference_id <= $2 AND object IN ('donation', 'reversal') AND (after IS NULL OR after ?| $3)
ORDER BY reference_id, id;

-- name: keys_of_donations
-- How many keys the donation service has taken.
SELECT (SELECT count(*) FROM donation) + (SELECT count(*) FROM reversal) + (SELECT count(*) FROM campaign)
       + (SELECT count(*) FROM charity) + (SELECT count(*) FROM command);

-- name: keys_of_payments
-- How many the payment service has.
SELECT (SELECT count(*) FROM payment) + (SELECT count(*) FROM attempt WHERE request_key IS NOT NULL)
       + (SELECT count(*) FROM command);

-- name: donations_unfenced
-- Recorded donations whose key is not made of what it fences.
SELECT concat_ws(' ', 'donation', charity_id, request_key) AS key, 'its key is not made of its caller and reference' AS words
FROM donation
WHERE id > $1 AND id <= $2 AND origin = 2
  AND request_key IS DISTINCT FROM fence(caller, 'RecordDonation', charity_id, payment_ref)
ORDER BY id;

-- name: reversals_unfenced
-- The same of what was taken back of them.
SELECT concat_ws(' ', 'reversal', charity_id, request_key) AS key, 'its key is not made of its caller and reference' AS words
FROM reversal
WHERE id > $1 AND id <= $2 AND request_key IS DISTINCT FROM fence(caller, 'ReverseRecordedDonation', charity_id, refund_ref)
ORDER BY id;

-- name: letters_unfenced
-- Decisions about dead letters that have no digest of their request.
SELECT 'dead letter ' || request_key AS key, 'has no digest of its request' AS words
FROM dead_letter WHERE request_key IS NOT NULL AND request_digest IS NULL
ORDER BY 1;

-- name: paid_twice
-- Donations with more than one payment, also of different charities.
SELECT donation_id::text AS key, format('%s payments for one donation', count(*)) AS words
FROM payment WHERE donation_id > $1 AND donation_id <= $2 GROUP BY donation_id HAVING count(*) > 1
ORDER BY 1;

-- name: intents_twice
-- Intents of more than one payment.
SELECT provider_id AS key, format('%s payments with this intent', count(*)) AS words
FROM payment WHERE provider_id > $1 AND provider_id <= $2 GROUP BY provider_id HAVING count(*) > 1
ORDER BY 1;

-- name: objects_twice
-- Charges (kind 2) or refunds (kind 5) of the provider that are known more than once.
SELECT object_id AS key, format('%s times as a %s', count(*), CASE $3::smallint WHEN 2 THEN 'charge' ELSE 'refund' END) AS words
FROM attempt WHERE object_id > $1 AND object_id <= $2 AND kind = $3 GROUP BY object_id HAVING count(*) > 1
ORDER BY 1;

-- name: disputes_twice
-- Disputes of the provider that are known more than once.
SELECT provider_id AS key, format('%s times as a dispute', count(*)) AS words
FROM dispute WHERE provider_id > $1 AND provider_id <= $2 GROUP BY provider_id HAVING count(*) > 1
ORDER BY 1;

-- name: payments_unlike_facts
-- Payments whose figures are not what their refunds and disputes sum to, or whose state is not what their facts amount to.
WITH tried AS (
  SELECT payment_id, charity_id,
         sum(amount) FILTER (WHERE kind = 5 AND object_id IS NOT NULL AND outcome <> 3) AS gone,
         sum(amount) FILTER (WHERE kind = 5 AND object_id IS NULL AND outcome IN (1, 4)) AS asked,
         max(captured) FILTER (WHERE kind = 2) AS charged,
         bool_or(kind = 1 AND outcome = 4) AS unproven
  FROM attempt WHERE payment_id > $1 AND payment_id <= $2 GROUP BY payment_id, charity_id
), disputed AS (
  SELECT payment_id, charity_id, sum(amount) AS held, sum(amount) FILTER (WHERE state = 4) AS kept
  FROM dispute
  WHERE payment_id > $1 AND payment_id <= $2
    AND (withdrawals > reinstatements OR (state = 4 AND reinstatements = 0))
  GROUP BY payment_id, charity_id
), facts AS (
  SELECT p.id, p.state, p.captured, p.refunded, p.refunding, p.disputed, p.lost, p.canceled, p.refused, p.progress_status,
         coalesce(t.asked, 0) AS asked, coalesce(t.charged, 0) AS charged, coalesce(t.unproven, false) AS unproven,
         least(coalesce(t.gone, 0), p.captured) AS gone, coalesce(d.held, 0) AS held, coalesce(d.kept, 0) AS kept,
         EXISTS (SELECT FROM dispute w WHERE w.payment_id = p.id AND w.charity_id = p.charity_id AND w.state = 5) AS won
  FROM payment p
  LEFT JOIN tried t ON t.payment_id = p.id AND t.charity_id = p.charity_id
  LEFT JOIN disputed d ON d.payment_id = p.id AND d.charity_id = p.charity_id
  WHERE p.id > $1 AND p.id <= $2
), computed AS (
  SELECT f.id, f.state, f.captured, f.charged, ARRAY[f.refunded, f.refunding, f.disputed, f.lost] AS figures,
         ARRAY[f.gone, least(f.asked, f.captured - f.gone - h.held), h.held, least(f.kept, h.held)] AS sums,
         CASE
           WHEN f.captured > 0 AND f.disputed > 0 THEN CASE WHEN f.lost = f.disputed THEN 13 ELSE 11 END
           WHEN f.captured > 0 AND f.refunded = 0 THEN CASE WHEN f.won THEN 12 ELSE 5 END
           WHEN f.captured > 0 THEN CASE WHEN f.refunded = f.captured THEN 10 ELSE 9 END
           WHEN f.canceled THEN 7
           WHEN f.refused THEN 6
           WHEN f.progress_status IS NOT NULL THEN (ARRAY[3, 3, 3, 2, 6, 4, 2, 7])[f.progress_status]
           WHEN f.unproven THEN 8
           ELSE 1 END AS proper
  FROM facts f CROSS JOIN LATERAL (SELECT least(f.held, f.captured - f.gone) AS held) AS h
)
SELECT id::text AS key,
       CASE WHEN state <> proper THEN format('state is %s, its facts say %s', state, proper)
            WHEN captured < charged THEN format('captured is %s, one of its charges took %s', captured, charged)
            ELSE format('refunded, refunding, disputed, lost are %s, its refunds and disputes say %s', figures, sums) END AS words
FROM computed
WHERE state <> proper OR captured < charged OR figures <> sums::bigint[]
ORDER BY id;

-- name: donations_unlike_facts
-- Donations whose state is not what they count for.
SELECT id::text AS key, format('state is %s with gross %s, refunded %s, disputed %s', state, gross, refunded, disputed) AS words
FROM donation
WHERE id > $1 AND id <= $2
  AND NOT CASE WHEN disputed > 0 THEN state IN (8, 9)
               WHEN refunded > 0 THEN state = CASE WHEN refunded = gross THEN 7 ELSE 6 END
               WHEN gross > 0 THEN state = 3
               ELSE state IN (1, 2, 4, 5) END
ORDER BY id;

-- name: webhooks
-- Webhooks by where they stand: 1 applied, 2 parked, 3 quarantined, 4 skipped.
SELECT state, count(*) AS events FROM provider_event GROUP BY state ORDER BY state;

-- name: webhooks_lost
-- Webhooks that nobody looks at again, and those that count as applied and left no trace in their payment.
SELECT e.event_id AS key,
       CASE WHEN e.state NOT IN (1, 3, 4) THEN format('%s is in state %s and nobody looks at it again', e.type, e.state)
            WHEN p.id IS NULL THEN format('%s counts as applied, and no payment has its intent %s', e.type, e.intent_id)
            ELSE format('%s counts as applied, and payment %s does not show it', e.type, p.id) END AS words
FROM provider_event e
LEFT JOIN LATERAL (SELECT id, charity_id, captured, canceled FROM payment WHERE provider_id = e.intent_id OFFSET 0) AS p ON true
WHERE e.event_id > $1 AND e.event_id <= $2
  AND ((e.state <> 1 AND e.state NOT IN (3, 4) AND (e.state <> 2 OR e.next_attempt_time IS NULL))
   OR (e.state = 1 AND e.reason = '' AND e.intent_id <> ''
       AND (starts_with(e.type, 'payment_intent.') OR starts_with(e.type, 'charge.') OR starts_with(e.type, 'refund.'))
       AND (p.id IS NULL
            OR (e.type = 'payment_intent.succeeded' AND p.captured = 0)
            OR (e.type = 'payment_intent.canceled' AND NOT p.canceled)
            OR (starts_with(e.type, 'charge.dispute.') AND NOT EXISTS (
                  SELECT FROM dispute d WHERE d.payment_id = p.id AND d.charity_id = p.charity_id)))))
ORDER BY e.create_time, e.event_id;

-- name: letters
-- Dead letters by consumer and state: 1 retrying, 2 dead, 3 applied after all, 4 given up.
SELECT consumer, state, count(*) AS letters FROM dead_letter GROUP BY consumer, state ORDER BY consumer, state;

-- name: posting_days
-- The first and the last day on which something was posted.
SELECT least((SELECT min(day) FROM posting), (SELECT min(day) FROM entry)),
       greatest((SELECT max(day) FROM posting), (SELECT max(day) FROM entry));

-- name: postings_of_day
-- How much was posted on a day.
SELECT count(*) FROM posting WHERE day = $1;

-- name: postings_unbalanced
-- A day's postings whose entries do not sum to zero in a currency, postings without entries, entries without posting.
SELECT coalesce(s.posting_id, p.id)::text AS key,
       CASE WHEN s.posting_id IS NULL THEN format('the posting (%s) has no entries', p.kind)
            WHEN p.id IS NULL THEN format('entries of %s %s belong to no posting', s.debits, s.currency)
            ELSE format('its entries sum to %s %s', s.total, s.currency) END AS words
FROM (SELECT posting_id, currency, sum(amount) AS total, sum(amount) FILTER (WHERE amount > 0) AS debits
      FROM entry WHERE day = $1 GROUP BY posting_id, currency) AS s
FULL JOIN (SELECT id, kind FROM posting WHERE day = $1) AS p ON p.id = s.posting_id
WHERE s.total <> 0 OR s.posting_id IS NULL OR p.id IS NULL
ORDER BY 1, 2;

-- name: sums_of_day
-- What a day's entries sum to, by currency.
SELECT currency, sum(amount) AS total FROM entry WHERE day = $1 GROUP BY currency ORDER BY currency;

-- name: payments_unlike_ledger
-- Payments of which the ledger says otherwise than their rows, by the kinds of postings of which each figure consists. What went
-- back beyond what was taken is no column: it is what their refunds and disputes sum to.
WITH posted AS (
  SELECT h.payment_id, e.currency,
         sum(-e.amount) FILTER (WHERE h.kind = 'captured' AND e.account = 'campaign_payable') AS captured,
         sum(e.amount) FILTER (WHERE h.kind IN ('refunded', 'refund_returned') AND e.account = 'refunds') AS refunded,
         sum(e.amount) FILTER (WHERE h.kind IN ('dispute_held', 'dispute_returned') AND e.account = 'disputes_held') AS disputed,
         sum(e.amount) FILTER (WHERE h.kind IN ('dispute_lost', 'dispute_regained') AND e.account = 'refunds') AS lost,
         sum(e.amount) FILTER (WHERE h.kind IN ('excess_taken', 'excess_returned') AND e.account = 'adjustments') AS excess
  FROM posting h
  CROSS JOIN LATERAL (SELECT account, currency, amount FROM entry WHERE day = h.day AND posting_id = h.id OFFSET 0) AS e
  WHERE h.payment_id > $1 AND h.payment_id <= $2
    AND h.kind IN ('captured', 'refunded', 'refund_returned', 'dispute_held', 'dispute_returned', 'dispute_lost',
                   'dispute_regained', 'excess_taken', 'excess_returned')
  GROUP BY h.payment_id, e.currency
), stored AS (
  SELECT p.id, p.currency, p.captured, p.refunded, p.disputed, p.lost,
         CASE WHEN p.captured > 0 THEN greatest(coalesce(r.gone, 0) + coalesce(d.held, 0) - p.captured, 0) ELSE 0 END AS excess
  FROM payment p
  LEFT JOIN (SELECT payment_id, charity_id, sum(amount) AS gone FROM attempt
             WHERE payment_id > $1 AND payment_id <= $2 AND kind = 5 AND object_id IS NOT NULL AND outcome <> 3
             GROUP BY payment_id, charity_id) AS r ON r.payment_id = p.id AND r.charity_id = p.charity_id
  LEFT JOIN (SELECT payment_id, charity_id, sum(amount) AS held FROM dispute
             WHERE payment_id > $1 AND payment_id <= $2
               AND (withdrawals > reinstatements OR (state = 4 AND reinstatements = 0))
             GROUP BY payment_id, charity_id) AS d ON d.payment_id = p.id AND d.charity_id = p.charity_id
  WHERE p.id > $1 AND p.id <= $2
), both_sides AS (
  SELECT coalesce(s.id, l.payment_id) AS id, coalesce(s.currency, l.currency) AS currency, s.id IS NOT NULL AS known,
         ARRAY[s.captured, s.refunded, s.disputed, s.lost, s.excess]::bigint[] AS figures,
         ARRAY[coalesce(l.captured, 0), coalesce(l.refunded, 0), coalesce(l.disputed, 0), coalesce(l.lost, 0),
               coalesce(l.excess, 0)] AS sums
  FROM stored s FULL JOIN posted l ON l.payment_id = s.id AND l.currency = s.currency
)
SELECT id::text AS key,
       CASE WHEN known THEN format('captured, refunded, disputed, lost, excess are %s %s, the ledger says %s', figures, currency, sums)
            ELSE format('the ledger has %s %s of it, and there is no such payment', sums, currency) END AS words
FROM both_sides WHERE NOT known OR figures <> sums::bigint[]
ORDER BY id;

-- name: posted_slots
-- What the batch postings of recorded donations of a day say, by a part of their ids that chance decides: a sum, and one in which
-- each posting counts by its own id, so that no two errors cancel out.
SELECT substr(h.id::text, 29, 2) AS slot, sum(-e.amount) AS owed,
       sum(-e.amount * ('x' || right(h.id::text, 12))::bit(48)::bigint::numeric) AS weighed
FROM posting h JOIN entry e ON e.day = h.day AND e.posting_id = h.id
WHERE h.day = $1 AND e.day = $1 AND h.kind IN ('recorded', 'recorded_reversal')
  AND e.account IN ('campaign_payable', 'refunds')
GROUP BY 1;

-- name: heard_slots
-- The same as the events of a day say it, of which they consist.
SELECT substr(posting_id::text, 29, 2) AS slot, sum(delta) AS owed,
       sum(delta * ('x' || right(posting_id::text, 12))::bit(48)::bigint::numeric) AS weighed
FROM applied WHERE day = $1 GROUP BY 1;

-- name: postings_of_slots
-- The same posting by posting, of some parts of ids.
SELECT h.id, sum(-e.amount) AS owed
FROM posting h JOIN entry e ON e.day = h.day AND e.posting_id = h.id
WHERE h.day = $1 AND e.day = $1 AND h.kind IN ('recorded', 'recorded_reversal')
  AND e.account IN ('campaign_payable', 'refunds') AND substr(h.id::text, 29, 2) = ANY ($2)
GROUP BY h.id;

-- name: heard_of_slots
-- The same as the events say it.
SELECT posting_id AS id, sum(delta) AS owed
FROM applied WHERE day = $1 AND substr(posting_id::text, 29, 2) = ANY ($2) GROUP BY posting_id;

-- name: movements_unlike_ledger
-- Movements on the provider's balance that left there something else than was posted for them. Few are posted more than once.
WITH moved AS (
  SELECT id, currency, net, posting_day, posting_id FROM balance_transaction WHERE id > $1 AND id <= $2 AND posted
), entries AS (
  SELECT m.id, e.currency, e.amount
  FROM moved m
  CROSS JOIN LATERAL (SELECT currency, amount FROM entry
                      WHERE day = m.posting_day AND posting_id = m.posting_id AND account = 'provider_balance' OFFSET 0) AS e
  UNION ALL
  SELECT h.settlement_id COLLATE "C", e.currency, e.amount
  FROM posting h
  CROSS JOIN LATERAL (SELECT currency, amount FROM entry
                      WHERE day = h.day AND posting_id = h.id AND account = 'provider_balance' OFFSET 0) AS e
  WHERE h.kind = 'resettled' AND h.settlement_id COLLATE "C" > $1 AND h.settlement_id COLLATE "C" <= $2
), posted AS (
  SELECT id, currency, sum(amount) AS total FROM entries GROUP BY id, currency
)
SELECT coalesce(m.id, p.id) AS key,
       format('left %s %s, %s is posted', coalesce(m.net, 0), coalesce(m.currency, p.currency), coalesce(p.total, 0)) AS words
FROM moved m FULL JOIN posted p ON p.id = m.id AND p.currency = m.currency
WHERE coalesce(m.net, 0) <> coalesce(p.total, 0)
ORDER BY 1;

-- name: settlements_unlike_movements
-- A day's postings that settle a movement which is not there, or which another posting settles.
SELECT h.settlement_id AS key,
       format('posting %s (%s) settles it, and %s', h.id, h.kind,
              CASE WHEN b.id IS NULL THEN 'there is no such movement' ELSE 'another one does' END) AS words
FROM posting h
LEFT JOIN LATERAL (SELECT id, posting_id, posting_day FROM balance_transaction WHERE id = h.settlement_id OFFSET 0) AS b ON true
WHERE h.day = $1 AND h.settlement_id IS NOT NULL
  AND (b.id IS NULL OR (h.kind <> 'resettled' AND (b.posting_id, b.posting_day) IS DISTINCT FROM (h.id, h.day)))
ORDER BY 1, 2;

-- name: provider_balance_of_day
-- What a day's postings left on the provider's balance.
SELECT currency, sum(amount)::bigint AS total FROM entry WHERE day = $1 AND account = 'provider_balance' GROUP BY currency;

-- name: payments_out_of_bounds
-- Payments with more gone than was taken, or more taken than was asked for.
SELECT id::text AS key, format('amount %s, captured %s, refunded %s, refunding %s, disputed %s, lost %s',
                               amount, captured, refunded, refunding, disputed, lost) AS words
FROM payment
WHERE id > $1 AND id <= $2
  AND NOT (captured BETWEEN 0 AND amount AND refunded >= 0 AND refunding >= 0 AND disputed >= 0
           AND refunded + refunding + disputed <= captured AND lost BETWEEN 0 AND disputed)
ORDER BY id;

-- name: donations_out_of_bounds
-- Donations with more gone than arrived, or more arrived than was promised.
SELECT id::text AS key, format('amount %s, gross %s, refunded %s, disputed %s', amount, gross, refunded, disputed) AS words
FROM donation
WHERE id > $1 AND id <= $2
  AND NOT (gross BETWEEN 0 AND amount AND refunded >= 0 AND disputed >= 0 AND refunded + disputed <= gross)
ORDER BY id;

-- name: reversals
-- How many refunds and disputes of the provider there are.
SELECT (SELECT count(*) FROM attempt WHERE kind = 5) + (SELECT count(*) FROM dispute);

-- name: recorded_reversals
-- How many recorded donations were taken back, in whole or in part.
SELECT count(*) FROM reversal;

-- name: reversed_otherwise
-- Recorded donations that did not go down by exactly their reversals.
SELECT coalesce(d.id, r.donation_id)::text AS key,
       format('refunded is %s, its reversals sum to %s', coalesce(d.refunded, 0), coalesce(r.total, 0)) AS words
FROM (SELECT id, origin, refunded FROM donation WHERE id > $1 AND id <= $2) AS d
FULL JOIN (SELECT donation_id, sum(amount) AS total FROM reversal WHERE donation_id > $1 AND donation_id <= $2
           GROUP BY donation_id) AS r ON r.donation_id = d.id
WHERE (d.origin = 2 OR r.total IS NOT NULL) AND coalesce(d.refunded, 0) <> coalesce(r.total, 0)
ORDER BY 1;

-- name: totals
-- Totals by campaign and currency, with the donors that were counted one by one.
SELECT t.campaign_id, t.currency, t.gross, t.refunded, t.disputed, t.donations, t.donors,
       (SELECT count(*) FROM campaign_donor d WHERE d.campaign_id = t.campaign_id AND d.currency = t.currency) AS donors_listed
FROM totals t ORDER BY t.campaign_id, t.currency;

-- name: applied_days
-- The first and the last day of which events were applied.
SELECT min(day), max(day) FROM applied;

-- name: based
-- What totals began with when they were rebuilt, by campaign and currency.
SELECT campaign_id, currency, gross, refunded, disputed, donations FROM base_totals;

-- name: counted_of_day
-- What the events of a day added, by campaign and currency, without those that a campaign's base holds already.
SELECT a.campaign_id, a.currency, sum(a.gross)::bigint AS gross, sum(a.refunded)::bigint AS refunded,
       sum(a.disputed)::bigint AS disputed, sum(a.donations)::bigint AS donations
FROM applied a LEFT JOIN campaign c ON c.id = a.campaign_id LEFT JOIN base b ON b.id = c.base_id
WHERE a.day = $1 AND (b.id IS NULL OR NOT in_base(a.tx, a.epoch, b.epoch, b.snapshot))
GROUP BY a.campaign_id, a.currency;

-- name: courses
-- What courses sum to, by campaign and currency.
SELECT campaign_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, sum(donations)::bigint AS donations
FROM course GROUP BY campaign_id, currency;

-- name: newest_campaigns
-- The $1 campaigns whose totals changed last.
SELECT id FROM campaign ORDER BY as_of DESC, id DESC LIMIT $1;

-- name: versions
-- Campaigns and the versions of their totals.
SELECT id, version FROM campaign WHERE id = ANY ($1);

-- name: campaign_words
-- Campaigns, and which version of each the totals know.
SELECT id, campaign_version FROM campaign;

-- name: campaigns
-- Campaigns and their versions.
SELECT id, version FROM campaign;

-- name: committed
-- What is committed, by campaign and currency.
SELECT campaign_id, currency, sum(gross)::bigint AS gross, sum(refunded)::bigint AS refunded,
       sum(disputed)::bigint AS disputed, count(*) AS donations, count(DISTINCT donor_id) AS donors
FROM donation WHERE gross > 0 GROUP BY campaign_id, currency;

-- name: posted_of_day
-- What the ledger of a day says was given, went back and is with banks, by campaign and currency: by kinds of postings, not by the
-- balances of accounts through which other money passes too.
SELECT e.campaign_id, e.currency,
       coalesce(sum(-e.amount) FILTER (WHERE h.day = $1 AND e.day = $1
  AND h.kind IN ('recorded', 'captured') AND e.account = 'campaign_payable'), 0)::bigint
         AS gross,
       coalesce(sum(e.amount) FILTER (WHERE (h.kind IN ('refunded', 'refund_returned') AND e.account = 'refunds')
                                        OR (h.kind = 'recorded_reversal' AND e.account IN ('refunds', 'campaign_payable'))),
                0)::bigint AS refunded,
       coalesce(sum(e.amount) FILTER (WHERE h.kind IN ('dispute_held', 'dispute_returned') AND e.account = 'disputes_held'),
                0)::bigint AS disputed
FROM posting h JOIN entry e ON e.day = h.day AND e.posting_id = h.id
WHERE h.day = $1 AND e.day = $1
  AND h.kind IN ('recorded', 'recorded_reversal', 'captured', 'refunded', 'refund_returned', 'dispute_held', 'dispute_returned',
                 'dispute_lost', 'dispute_regained')
  AND e.campaign_id IS NOT NULL
GROUP BY e.campaign_id, e.currency;

-- name: newest_event
-- The end of a log.
SELECT day, seq FROM event ORDER BY day DESC, seq DESC LIMIT 1;

-- name: relay
-- How many events of a log its relay has not published, whether it has to enter a new epoch, and how it knew its stream last.
SELECT r.stream_created, r.stream_seq, r.heals, (SELECT max(epoch) FROM epoch) > r.epoch AS epoch_ahead,
       (SELECT count(*) FROM event e
        WHERE e.epoch = r.epoch AND e.day >= r.day - 1 AND e.tx >= pg_snapshot_xmax(r.from_snapshot)
          AND NOT (e.seq <= r.last_seq AND pg_visible_in_snapshot(e.tx, r.to_snapshot)))
       + (SELECT count(*) FROM event e
          WHERE e.epoch = r.epoch AND e.day >= r.day - 1 AND e.tx = ANY (ARRAY(SELECT pg_snapshot_xip(r.from_snapshot)))
            AND NOT (e.seq <= r.last_seq AND pg_visible_in_snapshot(e.tx, r.to_snapshot))) AS unpublished
FROM relay r;

-- name: event_days
-- The first and the last day of a log.
SELECT min(day), max(day) FROM event;

-- name: events_of_day
-- A day of a log.
SELECT id, payload FROM event WHERE day = $1;

-- name: donation_slots
-- How often donations changed and what they came to, by a part of their ids that chance decides.
SELECT 'donation' AS object, substr(id::text, 29, 2) AS slot, sum(version)::bigint AS changes, sum(gross)::bigint,
       sum(refunded)::bigint, sum(disputed)::bigint
FROM donation GROUP BY 2
UNION ALL
SELECT 'campaign', substr(id::text, 29, 2), sum(version)::bigint, 0, 0, 0 FROM campaign GROUP BY 2
UNION ALL
SELECT 'charity', substr(id::text, 29, 2), sum(version)::bigint, 0, 0, 0 FROM charity GROUP BY 2;

-- name: payment_slots
-- The same of payments.
SELECT 'payment' AS object, substr(id::text, 29, 2) AS slot, sum(version)::bigint AS changes, sum(captured)::bigint,
       sum(refunded)::bigint, sum(disputed)::bigint
FROM payment GROUP BY 2;

-- name: donations_of_slots
-- Donations, campaigns and charities of some of these parts.
SELECT 'donation' AS object, id::text AS id, version AS changes, gross, refunded, disputed
FROM donation WHERE substr(id::text, 29, 2) = ANY ($1)
UNION ALL
SELECT 'campaign', id::text, version, 0, 0, 0 FROM campaign WHERE substr(id::text, 29, 2) = ANY ($1)
UNION ALL
SELECT 'charity', id::text, version, 0, 0, 0 FROM charity WHERE substr(id::text, 29, 2) = ANY ($1);

-- name: payments_of_slots
-- The same of payments.
SELECT 'payment' AS object, id::text AS id, version AS changes, captured, refunded, disputed
FROM payment WHERE substr(id::text, 29, 2) = ANY ($1);

-- name: counted_cells
-- What the totals took of a day's events with ids up to $2 or above $3: how many, a sum of their ids, what they moved; by the
-- ends of their ids.
SELECT right(event_id::text, 2) AS slot, count(*) AS events,
       sum(('x' || right(event_id::text, 12))::bit(48)::bigint)::numeric AS ids, sum(gross)::bigint, sum(refunded)::bigint,
       sum(disputed)::bigint, sum(donations)::bigint
FROM applied WHERE day = $1 AND (event_id <= $2 OR event_id > $3) GROUP BY 1;

-- name: posted_cells
-- What the ledger took of them.
SELECT right(event_id::text, 2) AS slot, count(*) AS events,
       sum(('x' || right(event_id::text, 12))::bit(48)::bigint)::numeric AS ids, sum(delta)::bigint
FROM applied WHERE day = $1 AND (event_id <= $2 OR event_id > $3) GROUP BY 1;

-- name: counted_events
-- The same event by event, of some ends of ids.
SELECT event_id, gross, refunded, disputed, donations
FROM applied WHERE day = $1 AND (event_id <= $2 OR event_id > $3) AND right(event_id::text, 2) = ANY ($4);

-- name: posted_events
-- The same of the ledger.
SELECT event_id, delta
FROM applied WHERE day = $1 AND (event_id <= $2 OR event_id > $3) AND right(event_id::text, 2) = ANY ($4);

-- name: taken
-- Which of the events $2 of a day were applied, and which are letters of the consumer $3 that are kept for an operator.
SELECT event_id FROM applied WHERE day = $1 AND event_id = ANY ($2)
UNION ALL
SELECT event_id FROM dead_letter WHERE consumer = $3 AND event_id = ANY ($2) AND state <> 3;

-- name: letters_kept
-- Letters of a consumer that are kept for an operator or are being tried again, at most $2.
SELECT event FROM dead_letter WHERE consumer = $1 AND state <> 3 ORDER BY event_id LIMIT $2;

-- name: promises
-- A page of donations whose payment we take ourselves.
SELECT id, charity_id, campaign_id, origin, currency, amount, gross, refunded, disputed, payment_id, payment_version
FROM donation WHERE origin = 1 AND id > $1 ORDER BY id LIMIT $2;

-- name: donations_by_id
-- Donations.
SELECT id, charity_id, campaign_id, origin, currency, amount, gross, refunded, disputed, payment_id, payment_version
FROM donation WHERE id = ANY ($1);

-- name: payments_of_promises
-- Payments of donations above an id, up to another one.
SELECT id, charity_id, campaign_id, donation_id, currency, amount, captured, refunded, disputed, version
FROM payment WHERE donation_id > $1 AND donation_id <= $2 ORDER BY donation_id;

-- name: payments_at_provider
-- What we know of what the provider holds.
SELECT id, donation_id, provider_id, captured, refunded, disputed FROM payment;

-- name: returns_at_provider
-- Refunds and disputes of the provider that we know. What a capture released is listed as a refund and is none.
SELECT object_id AS id, payment_id, amount FROM attempt WHERE kind = 5 AND object_id IS NOT NULL AND code <> 'released'
UNION ALL
SELECT provider_id, payment_id, amount FROM dispute;

-- name: payments_known
-- Which of the donations that Stripe's metadata name have a payment.
SELECT n.name FROM unnest($1::text[]) AS n (name) JOIN payment p ON p.donation_id::text = lower(n.name);

-- name: donations_of_others
-- Donations that do not belong to the charity of their campaign, or do not carry its bucket, and reversals of another charity.
SELECT d.id::text AS key, format('donation of charity %s to a campaign of %s, buckets %s and %s', d.charity_id,
                                 coalesce(c.charity_id::text, 'nobody'), bucket_of(d.id), bucket_of(d.charity_id)) AS words
FROM donation d LEFT JOIN campaign c ON c.id = d.campaign_id AND c.charity_id = d.charity_id
WHERE d.id > $1 AND d.id <= $2 AND (c.id IS NULL OR bucket_of(d.id) <> bucket_of(d.charity_id))
UNION ALL
SELECT r.id::text, format('reversal by charity %s of a donation of %s', r.charity_id, coalesce(d.charity_id::text, 'nobody'))
FROM reversal r
LEFT JOIN (SELECT id, charity_id FROM donation WHERE id > $1 AND id <= $2) AS d ON d.id = r.donation_id
WHERE r.donation_id > $1 AND r.donation_id <= $2 AND d.charity_id IS DISTINCT FROM r.charity_id
ORDER BY 1;

-- name: campaigns_of_others
-- Campaigns that do not belong to a charity, or do not carry its bucket.
SELECT c.id::text AS key, format('campaign of charity %s, which %s, buckets %s and %s', c.charity_id,
                          CASE WHEN h.id IS NULL THEN 'is not there' ELSE 'is there' END, bucket_of(c.id), bucket_of(c.charity_id))
       AS words
FROM campaign c LEFT JOIN charity h ON h.id = c.charity_id
WHERE h.id IS NULL OR bucket_of(c.id) <> bucket_of(c.charity_id)
ORDER BY 1;

-- name: payments_of_others
-- Payments, and what belongs to them, of different charities, or without their charity's bucket.
WITH own AS (
  SELECT id, charity_id, campaign_id FROM payment WHERE id > $1 AND id <= $2
)
SELECT p.id::text AS key,
       format('payment of charity %s, buckets %s and %s', p.charity_id, bucket_of(p.id), bucket_of(p.charity_id)) AS words
FROM own p WHERE bucket_of(p.id) <> bucket_of(p.charity_id)
UNION ALL
SELECT a.id::text, format('attempt of charity %s at a payment of %s', a.charity_id, coalesce(p.charity_id::text, 'nobody'))
FROM attempt a LEFT JOIN own p ON p.id = a.payment_id
WHERE a.payment_id > $1 AND a.payment_id <= $2
  AND (p.charity_id IS DISTINCT FROM a.charity_id OR bucket_of(a.id) <> bucket_of(a.charity_id))
UNION ALL
SELECT d.provider_id, format('dispute of charity %s about a payment of %s', d.charity_id, coalesce(p.charity_id::text, 'nobody'))
FROM dispute d LEFT JOIN own p ON p.id = d.payment_id
WHERE d.payment_id > $1 AND d.payment_id <= $2 AND p.charity_id IS DISTINCT FROM d.charity_id
UNION ALL
SELECT h.id::text, format('posting (%s) of charity %s and campaign %s for a payment of %s and %s',
                          h.kind, h.charity_id, h.campaign_id, p.charity_id, p.campaign_id)
FROM posting h JOIN own p ON p.id = h.payment_id
WHERE h.payment_id > $1 AND h.payment_id <= $2
  AND (p.charity_id, p.campaign_id) IS DISTINCT FROM (h.charity_id, h.campaign_id)
ORDER BY 1;

-- name: entries_of_others
-- A day's postings whose entries name another campaign, or whose id does not carry their charity's bucket.
SELECT DISTINCT h.id::text AS key, format('posting (%s) of charity %s and campaign %s with an entry of %s', h.kind, h.charity_id,
                                          h.campaign_id, coalesce(e.campaign_id::text, 'nobody')) AS words
FROM posting h JOIN entry e ON e.day = h.day AND e.posting_id = h.id
WHERE h.day = $1
  AND (bucket_of(h.id) <> bucket_of(h.charity_id)
       OR (e.account IN ('campaign_payable', 'refunds', 'disputes_held') AND e.campaign_id IS DISTINCT FROM h.campaign_id))
ORDER BY 1;

-- name: audit_entries
-- How long the trail is.
SELECT count(*) FROM audit;

-- name: audit_guards_missing
-- Of triggers $2 of tables $1, side by side, those that are gone, or that a session can pass by.
SELECT n.name || ' ' || n.trigger AS key, 'this trigger of the audit trail is gone or can be passed by' AS words
FROM unnest($1::text[], $2::text[]) AS n (name, trigger)
WHERE NOT EXISTS (
  SELECT FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid
  WHERE t.relnamespace = current_schema()::regnamespace AND t.relname = n.name AND g.tgname = n.trigger AND g.tgenabled = 'A')
ORDER BY 1;

-- name: audit_removed
-- What was removed of that which is kept for ever: objects $3.
SELECT object_id AS key, object || ' was removed' AS words
FROM audit WHERE reference_id > $1 AND reference_id <= $2 AND object = ANY ($3) AND after IS NULL
ORDER BY reference_id, id;

-- name: donations_unlike_trail
-- Donations that are not what the trail says they became last. Those that are younger than the trail have all of it there.
WITH trail AS (
  SELECT reference_id,
         (array_agg((after ->> 'state')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'state'))[1] AS state,
         (array_agg((after ->> 'gross')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'gross'))[1] AS gross,
         (array_agg((after ->> 'refunded')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'refunded'))[1] AS refunded,
         (array_agg((after ->> 'disputed')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'disputed'))[1] AS disputed
  FROM audit WHERE reference_id > $1 AND reference_id <= $2 AND object = 'donation' AND after IS NOT NULL
  GROUP BY reference_id
), compared AS (
  SELECT d.id, f.name, f.value, coalesce(f.last, CASE WHEN d.create_time >= s.apply_time THEN f.first END) AS wanted
  FROM donation d
  LEFT JOIN trail t ON t.reference_id = d.id
  CROSS JOIN (SELECT apply_time FROM schema_migration WHERE name = '0003_audit.sql') AS s
  CROSS JOIN LATERAL (VALUES ('state', d.state::bigint, t.state, NULL),
                             ('gross', d.gross, t.gross, CASE WHEN d.origin = 2 THEN d.amount ELSE 0 END),
                             ('refunded', d.refunded, t.refunded, 0),
                             ('disputed', d.disputed, t.disputed, 0)) AS f (name, value, last, first)
  WHERE d.id > $1 AND d.id <= $2
)
SELECT id::text AS key, format('%s is %s, the trail says %s', name, value, wanted) AS words
FROM compared WHERE value <> wanted ORDER BY id, name;

-- name: payments_unlike_trail
-- The same of payments.
WITH trail AS (
  SELECT reference_id,
         (array_agg((after ->> 'state')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'state'))[1] AS state,
         (array_agg((after ->> 'captured')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'captured'))[1] AS captured,
         (array_agg((after ->> 'refunded')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'refunded'))[1] AS refunded,
         (array_agg((after ->> 'refunding')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'refunding'))[1] AS refunding,
         (array_agg((after ->> 'disputed')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'disputed'))[1] AS disputed,
         (array_agg((after ->> 'lost')::bigint ORDER BY id DESC) FILTER (WHERE after ? 'lost'))[1] AS lost
  FROM audit WHERE reference_id > $1 AND reference_id <= $2 AND object = 'payment' AND after IS NOT NULL
  GROUP BY reference_id
), compared AS (
  SELECT p.id, f.name, f.value, coalesce(f.last, CASE WHEN p.create_time >= s.apply_time THEN f.first END) AS wanted
  FROM payment p
  LEFT JOIN trail t ON t.reference_id = p.id
  CROSS JOIN (SELECT apply_time FROM schema_migration WHERE name = '0005_audit.sql') AS s
  CROSS JOIN LATERAL (VALUES ('state', p.state::bigint, t.state, NULL), ('captured', p.captured, t.captured, 0),
                             ('refunded', p.refunded, t.refunded, 0), ('refunding', p.refunding, t.refunding, 0),
                             ('disputed', p.disputed, t.disputed, 0), ('lost', p.lost, t.lost, 0))
    AS f (name, value, last, first)
  WHERE p.id > $1 AND p.id <= $2
)
SELECT id::text AS key, format('%s is %s, the trail says %s', name, value, wanted) AS words
FROM compared WHERE value <> wanted ORDER BY id, name;

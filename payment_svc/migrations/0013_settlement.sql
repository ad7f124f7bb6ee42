-- What went back beyond what a payment took, such as a dispute of more than was charged, is posted too: the provider's balance
-- shows it, so the clearing does not clear without it. No campaign owes it: it is a loss of ours.
UPDATE account
SET description = 'What belongs to no payment of ours, what went back beyond what was taken, and corrections by an operator, each '
                  'with a reason'
WHERE code = 'adjustments';
ALTER TABLE posting DROP CONSTRAINT posting_kind_known;
ALTER TABLE posting ADD CONSTRAINT posting_kind_known
  CHECK (kind IN ('recorded', 'recorded_reversal', 'captured', 'refunded', 'refund_returned', 'dispute_held',
                  'dispute_returned', 'dispute_lost', 'dispute_regained', 'excess_taken', 'excess_returned', 'settled',
                  'provider_fee', 'paid_out', 'payout_returned', 'provider_adjustment', 'resettled'));
ALTER TABLE posting DROP CONSTRAINT posting_reversal_linked;
ALTER TABLE posting ADD CONSTRAINT posting_reversal_linked
  CHECK ((kind IN ('refunded', 'refund_returned', 'dispute_held', 'dispute_returned', 'dispute_lost', 'dispute_regained',
                   'excess_taken', 'excess_returned'))
         = (reverses IS NOT NULL));

-- What stands beyond already is posted today. The id carries its charity's bucket.
SELECT make_partition(parent, (now() AT TIME ZONE 'utc')::date) FROM unnest(ARRAY['posting', 'entry']) AS parent;
WITH beyond AS (
  SELECT p.id, p.charity_id, p.campaign_id, p.currency, g.gone - p.captured AS excess, uuid_send(gen_random_uuid()) AS chance,
         uuid_send(p.charity_id) AS charity
  FROM payment p
  CROSS JOIN LATERAL (
    SELECT (SELECT coalesce(sum(a.amount), 0) FROM attempt a
            WHERE a.payment_id = p.id AND a.kind = 5 AND a.object_id IS NOT NULL AND a.outcome <> 3)
           + (SELECT coalesce(sum(d.amount), 0) FROM dispute d
              WHERE d.payment_id = p.id AND (d.withdrawals > d.reinstatements OR (d.state = 4 AND d.reinstatements = 0))) AS gone
  ) AS g
  -- All of it has gone back, and more: nothing is left.
  WHERE p.captured > 0 AND p.refunded + p.disputed = p.captured AND g.gone > p.captured
), posted AS (
  INSERT INTO posting (id, charity_id, campaign_id, kind, payment_id, reverses, source)
  SELECT encode(set_byte(set_byte(b.chance, 14, (get_byte(b.chance, 14) & 252) | (get_byte(b.charity, 14) & 3)),
                         15, get_byte(b.charity, 15)), 'hex')::uuid,
         b.charity_id, b.campaign_id, 'excess_taken', b.id,
         (SELECT c.id FROM posting c WHERE c.payment_id = b.id AND c.kind = 'captured' ORDER BY c.day, c.id LIMIT 1),
         'giving/payment'
  FROM beyond b
  RETURNING id, payment_id
)
INSERT INTO entry (posting_id, line, account, campaign_id, currency, amount)
SELECT posted.id, line.number, line.account, b.campaign_id, b.currency, line.sign * b.excess
FROM posted JOIN beyond b ON b.id = posted.payment_id
CROSS JOIN (VALUES (1::smallint, 'adjustments', 1), (2::smallint, 'provider_clearing', -1)) AS line (number, account, sign);

-- What our books say moved, and the provider's balance does not show. What its balance shows and our books do not say is a
-- movement of its own: it is no second finding.
CREATE VIEW missing_at_provider WITH (security_invoker = true) AS
SELECT c.payment_id, c.currency, c.amount, c.since
FROM clearing c
WHERE NOT EXISTS (SELECT FROM balance_transaction b WHERE b.payment_id = c.payment_id
                    AND b.class IN ('missing_in_books', 'amount_mismatch'));
GRANT SELECT ON missing_at_provider TO {service}, {batch};

-- A payment whose intent becomes known finds what was taken for nobody's.
CREATE INDEX balance_transaction_of_nobody ON balance_transaction (intent_id) WHERE class = 'unknown_source' AND intent_id <> '';

-- Failed debits are known now, and payments may have changed since the last look: everything is looked at once more.
UPDATE balance_transaction SET next_look_time = now()
WHERE class IN ('missing_in_books', 'amount_mismatch', 'unknown_source') AND posted;

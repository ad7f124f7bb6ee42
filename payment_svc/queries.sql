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
INSERT INTO posting (id, charity_id, campaign_id, kind, source)
SELECT i.id, i.charity_id, i.campaign_id, i.kind, $5
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) AS i (id, charity_id, campaign_id, kind);

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

-- name: entries_of_donation
-- The entries of the postings that contain a donation, oldest first.
SELECT e.posting_id, e.account, e.campaign_id, e.currency, e.amount, e.create_time
FROM (SELECT DISTINCT posting_day, posting_id FROM applied WHERE donation_id = $1) AS a
JOIN entry e ON e.day = a.posting_day AND e.posting_id = a.posting_id
ORDER BY e.create_time, e.posting_id, e.line;

-- name: read_at_length
-- Verification and balances sum everything that was ever posted, which outlasts the role's 3 s; their methods end at 60 s.
SET LOCAL statement_timeout = '55s';

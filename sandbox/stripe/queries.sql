-- name: add_object
INSERT INTO object (id, kind, parent, intent, created, changed, body)
VALUES (:id, :kind, :parent, :intent, :created, :now, :body)

-- name: save_object
-- Search keeps the version that it had noticed until it notices this one.
UPDATE object
SET seen = CASE WHEN changed + :delay <= :now THEN body ELSE seen END, changed = :now, body = :body
WHERE id = :id

-- name: get_object
SELECT body FROM object WHERE id = ?

-- name: children
SELECT body FROM object WHERE parent = ? AND kind = ? ORDER BY seq

-- name: seq_of_object
SELECT seq FROM object WHERE id = ? AND kind = ?

-- name: seq_of_event
SELECT seq FROM event WHERE id = ?

-- name: add_movement
INSERT INTO movement (seq, created, currency, net, available_on, payout)
VALUES (:seq, :created, :currency, :net, :available_on, :payout)

-- name: balance
-- What is pending and what is available at a time, by currency.
SELECT currency, sum(CASE WHEN available_on > ?1 THEN net ELSE 0 END), sum(CASE WHEN available_on <= ?1 THEN net ELSE 0 END)
FROM movement GROUP BY currency

-- name: unpaid
-- What is available in a currency. Movements that a payout took and its own add up to nothing, so the others say it.
SELECT coalesce(sum(net), 0) FROM movement WHERE payout IS NULL AND currency = ? AND available_on <= ?

-- name: pay_out
UPDATE movement SET payout = ? WHERE payout IS NULL AND currency = ? AND available_on <= ?

-- name: itemised
-- Balance transactions of a time, oldest first, with their automatic payout and the charge and the intent that they are about.
SELECT t.body, m.payout, json_extract(p.body, '$.arrival_date'),
       CASE s.kind WHEN 'charge' THEN s.id WHEN 'payout' THEN NULL ELSE s.parent END, s.intent
FROM movement AS m JOIN object AS t ON t.seq = m.seq
LEFT JOIN object AS p ON p.id = m.payout
LEFT JOIN object AS s ON s.id = t.parent
WHERE m.created >= ? AND m.created < ? ORDER BY m.created, m.seq

-- name: itemised_payout
-- The same, of an automatic payout.
SELECT t.body, m.payout, json_extract(p.body, '$.arrival_date'),
       CASE s.kind WHEN 'charge' THEN s.id WHEN 'payout' THEN NULL ELSE s.parent END, s.intent
FROM movement AS m JOIN object AS t ON t.seq = m.seq
LEFT JOIN object AS p ON p.id = m.payout
LEFT JOIN object AS s ON s.id = t.parent
WHERE m.payout = ? ORDER BY m.seq

-- name: add_label
INSERT OR IGNORE INTO label (key, value, seq) VALUES (?, ?, ?)

-- name: searched
-- Versions that search has noticed, newest first.
SELECT seq, body, CASE WHEN changed + :delay <= :now THEN body ELSE seen END AS noticed
FROM object WHERE kind = :kind AND seq < :before ORDER BY seq DESC

-- name: searched_by_label
-- The same, of objects that ever had the metadata.
SELECT seq, body, CASE WHEN changed + :delay <= :now THEN body ELSE seen END AS noticed
FROM object WHERE kind = :kind AND seq < :before
AND seq IN (SELECT seq FROM label WHERE key = :key AND value = :value) ORDER BY seq DESC

-- name: add_event
INSERT INTO event (id, type, created, body) VALUES (?, ?, ?, ?)

-- name: type_of_event
SELECT type FROM event WHERE seq = ?

-- name: get_event
SELECT seq, body FROM event WHERE id = ?

-- name: pending_of_event
SELECT count(*) FROM delivery WHERE event = ? AND state IN ('due', 'held')

-- name: add_delivery
INSERT INTO delivery (event, state, since, next_at, fault) VALUES (?, ?, ?, ?, ?)

-- name: due_deliveries
-- Those whose time has come and whose predecessor, where they have one, was tried or is gone.
SELECT d.id, d.attempts, d.since, d.event, e.type, e.body
FROM delivery AS d JOIN event AS e ON e.seq = d.event
WHERE d.state = 'due' AND d.next_at <= :now
AND NOT EXISTS (SELECT 1 FROM delivery AS p WHERE p.id = d.after AND p.state = 'due' AND p.attempts = 0)
ORDER BY d.next_at, d.id LIMIT :limit

-- name: next_delivery
SELECT min(next_at) FROM delivery WHERE state = 'due' AND next_at > ?

-- name: record_attempt
UPDATE delivery SET state = :state, attempts = attempts + 1, next_at = :next_at, last_answer = :answer WHERE id = :id

-- name: release_held
UPDATE delivery SET state = 'due', next_at = :now WHERE state = 'held'

-- name: retry_failed
UPDATE delivery SET next_at = :now WHERE state = 'due' AND next_at > :now

-- name: deliveries_of_event
SELECT id FROM delivery WHERE event = ?

-- name: reordered
-- Deliveries that a reordering holds back and that were not tried yet, newest first.
SELECT id FROM delivery WHERE fault = ? AND state = 'due' AND attempts = 0 ORDER BY id DESC

-- name: chain_delivery
UPDATE delivery SET next_at = ?, after = ? WHERE id = ?

-- name: get_saved
SELECT path, fingerprint, status, body, request FROM saved WHERE account = ? AND key = ? AND at > ?

-- name: save_answer
-- Over one that is old enough to be forgotten.
INSERT OR REPLACE INTO saved (account, key, path, fingerprint, status, body, request, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: forget_answers
DELETE FROM saved WHERE at <= ?

-- name: add_fault
INSERT INTO fault (scope, fault, call, types, remaining, seconds, copies)
VALUES (:scope, :fault, :call, :types, :times, :seconds, :copies)

-- name: faults
SELECT id, fault, call, types, remaining, seconds, copies FROM fault WHERE scope = ? ORDER BY id

-- name: any_fault
SELECT EXISTS (SELECT 1 FROM fault)

-- name: use_fault
UPDATE fault SET remaining = remaining - 1 WHERE id = ?

-- name: drop_used_faults
DELETE FROM fault WHERE remaining <= 0

-- name: clear_faults
DELETE FROM fault

-- name: add_due
-- What happens once at a moment is not added a second time.
INSERT INTO due (at, task, subject) VALUES (?, ?, ?) ON CONFLICT DO NOTHING

-- name: take_due
DELETE FROM due WHERE id IN (SELECT id FROM due WHERE at <= ? ORDER BY at, id LIMIT ?) RETURNING id, task, subject, at

-- name: next_due
SELECT min(at) FROM due

-- name: get_setting
SELECT value FROM setting WHERE name = ?

-- name: set_setting
INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- name: drop_setting
DELETE FROM setting WHERE name = ?

-- name: add_request
INSERT INTO request (id, at, method, path, call, key, params, status, fault) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: drop_old_requests
DELETE FROM request WHERE seq < (SELECT max(seq) FROM request) - ?

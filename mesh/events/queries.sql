-- name: append
-- Appends events: ids, buckets and payloads side by side. Transaction id, day and sequence are the database's.
INSERT INTO event (epoch, id, bucket, payload)
SELECT (SELECT max(epoch) FROM epoch), e.id, e.bucket, e.payload
FROM unnest($1::uuid[], $2::smallint[], $3::bytea[]) WITH ORDINALITY AS e (id, bucket, payload, position)
ORDER BY e.position;

-- name: take_lease
-- Takes the relay's lease where it is free or our own, and returns the position. No row: somebody else holds it.
UPDATE relay
SET holder = $1, lease = lease + (holder <> $1)::int, expire_time = now() + make_interval(secs => $2)
WHERE holder = $1 OR expire_time < now()
RETURNING lease, epoch, from_snapshot::text, to_snapshot::text, last_seq, day, stream_created, stream_seq, stream_last_id,
          floors::text, stream_whole, heals;

-- name: give_lease_up
-- Lets another relay take over at once.
UPDATE relay SET expire_time = '-infinity' WHERE holder = $1 AND lease = $2;

-- name: store_position
-- Stores how far the broker has acknowledged, and prolongs the lease. No row: the lease is lost.
UPDATE relay
SET epoch = $3, from_snapshot = $4::text::pg_snapshot, to_snapshot = $5::text::pg_snapshot, last_seq = $6, day = $7,
    expire_time = now() + make_interval(secs => $8), stream_created = $9, stream_seq = $10, stream_last_id = $11,
    floors = $12::text::jsonb, stream_whole = $13, heals = $14
WHERE holder = $1 AND lease = $2
RETURNING lease;

-- name: add_checkpoint
-- Keeps the stored position as a checkpoint, where it is no drain's middle and the lease is still held. Of older ones those
-- whose ordinal divides by a high power of two stay longest: the last sixteen of each power.
WITH added AS (
  INSERT INTO relay_checkpoint (ordinal, stream_created, stream_seq, epoch, snapshot, day)
  SELECT coalesce((SELECT max(ordinal) FROM relay_checkpoint), 0) + 1, stream_created, stream_seq, epoch, from_snapshot, day
  FROM relay WHERE holder = $1 AND lease = $2 AND from_snapshot::text = to_snapshot::text
  RETURNING ordinal
)
DELETE FROM relay_checkpoint AS older USING added
WHERE older.ordinal > 0 AND added.ordinal - older.ordinal > 16 * (older.ordinal & -older.ordinal);

-- name: find_checkpoint
-- The newest checkpoint of a stream and an epoch at or below a sequence.
SELECT snapshot::text, day FROM relay_checkpoint
WHERE stream_created = $1 AND epoch = $2 AND stream_seq <= $3 ORDER BY ordinal DESC LIMIT 1;

-- name: forget_checkpoints
-- Those of a stream that is no more.
DELETE FROM relay_checkpoint;

-- name: begin_checkpoints
-- The beginning of a stream that was healed from a checkpoint: before it everybody has what that one saw.
INSERT INTO relay_checkpoint (ordinal, stream_created, stream_seq, epoch, snapshot, day)
VALUES (0, $1, 0, $2, $3::text::pg_snapshot, $4);

-- name: look
-- The log's present: newest epoch, its first day, whose cluster it belongs to, this cluster, its snapshot and day.
SELECT epoch, (epoch.create_time AT TIME ZONE 'utc')::date AS epoch_day, epoch.system_identifier,
       (SELECT system_identifier::text FROM pg_control_system()) AS cluster, pg_current_snapshot()::text AS snapshot,
       (now() AT TIME ZONE 'utc')::date AS day
FROM epoch ORDER BY epoch DESC LIMIT 1;

-- name: read_page
-- The next page of events that $1 does not see and $2 does, by sequence. Two arms, so that each is an index scan: every
-- transaction from the old snapshot's end on, and those that were in progress in it.
SELECT seq, tx::text::bigint AS tx, epoch, day, bucket, id, payload
FROM (
  SELECT * FROM event
  WHERE tx >= pg_snapshot_xmax($1::text::pg_snapshot) AND day >= $3::date - 1 AND seq > $4 AND epoch = $5
    AND pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
  UNION ALL
  SELECT * FROM event
  WHERE tx = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot))) AND day >= $3::date - 1 AND seq > $4
    AND epoch = $5 AND pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
) AS unread
ORDER BY seq
LIMIT $6;

-- name: read_on
-- The page after $4, of what `read_page` reads. That one looks at the whole backlog to find its lowest sequences, which is
-- dear once; from a sequence on, each day's primary key has them in order.
SELECT seq, tx::text::bigint AS tx, epoch, day, bucket, id, payload
FROM generate_series($3::date - 1, (now() AT TIME ZONE 'utc')::date + 1, interval '1 day') AS days (each)
CROSS JOIN LATERAL (
  SELECT * FROM event
  WHERE day = days.each::date AND seq > $4 AND epoch = $5 AND NOT pg_visible_in_snapshot(tx, $1::text::pg_snapshot)
    AND pg_visible_in_snapshot(tx, $2::text::pg_snapshot)
  ORDER BY seq
  LIMIT $6
) AS unread
ORDER BY seq
LIMIT $6;

-- name: backlog
-- What the relay's stored position leaves unpublished: how many events, $1 at most, and the oldest one's id. In two arms as a
-- page is read. Events of earlier epochs that are about to be published again are not among them.
WITH waiting AS (
  SELECT e.seq, e.id
  FROM relay AS r CROSS JOIN LATERAL (
    SELECT seq, id, tx FROM event
    WHERE tx >= pg_snapshot_xmax(r.from_snapshot) AND day >= r.day - 1 AND epoch >= r.epoch
    UNION ALL
    SELECT seq, id, tx FROM event
    WHERE tx = ANY (ARRAY(SELECT pg_snapshot_xip(r.from_snapshot))) AND day >= r.day - 1 AND epoch = r.epoch
  ) AS e
  WHERE NOT (pg_visible_in_snapshot(e.tx, r.to_snapshot) AND e.seq <= r.last_seq)
  LIMIT $1
)
SELECT count(*) AS events, (SELECT id FROM waiting ORDER BY seq LIMIT 1) AS oldest FROM waiting;

-- name: read_older_epochs
-- A page of everything that was written before an epoch, by day and sequence, as the primary key has it: re-published
-- after a restore, and when the stream has lost messages.
SELECT seq, tx::text::bigint AS tx, epoch, day, bucket, id, payload
FROM event WHERE epoch < $1 AND day >= $2 AND (day, seq) > ($2, $3) ORDER BY day, seq LIMIT $4;

-- name: stop_writers
-- Waits for those who are writing events and holds new ones off until the transaction ends. Readers go on.
LOCK TABLE event IN SHARE MODE;

-- name: open_epoch
-- Begins an epoch on this cluster.
INSERT INTO epoch (epoch, system_identifier, reason)
SELECT max(epoch) + 1, (SELECT system_identifier::text FROM pg_control_system()), $1 FROM epoch
RETURNING epoch;

-- name: make_partition
-- Makes the partition of a day.
SELECT make_partition($1, $2);

-- name: event_days
-- The log's days before one, oldest first.
SELECT to_date(right(c.relname, 10), 'YYYY_MM_DD') AS day
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event'::regclass AND to_date(right(c.relname, 10), 'YYYY_MM_DD') < $1 ORDER BY 1;

-- name: drop_event_day
-- Drops a day of the log; refused where a relay or a fence still needs it.
SELECT drop_event_day($1);

-- name: record_failure
-- Counts a failed attempt and says how many there were; from $5 on the letter is dead. One that was closed as applied
-- begins anew.
INSERT INTO dead_letter (consumer, event_id, event, state, reason, attempts)
VALUES ($1, $2, $3, CASE WHEN $5 <= 1 THEN 2 ELSE 1 END, $4, 1)
ON CONFLICT (consumer, event_id) DO UPDATE
SET attempts = CASE dead_letter.state WHEN 3 THEN 1 ELSE dead_letter.attempts + 1 END,
    reason = excluded.reason, update_time = now(),
    state = CASE
      WHEN dead_letter.state = 1 AND dead_letter.attempts + 1 >= $5 THEN 2
      WHEN dead_letter.state = 3 THEN excluded.state
      ELSE dead_letter.state
    END
RETURNING state, attempts;

-- name: settle_failures
-- Closes letters that were still being retried and have now been applied.
UPDATE dead_letter SET state = 3, update_time = now() WHERE consumer = $1 AND event_id = ANY ($2) AND state = 1;

-- name: list_dead_letters
-- Letters of a state after an id, oldest first: event ids are ordered by time.
SELECT consumer, event_id, event, state, reason, attempts, operator_reason, actor, create_time, update_time
FROM dead_letter
WHERE state = $4 AND ($1 = '' OR consumer = $1) AND event_id > $2 ORDER BY event_id LIMIT $3;

-- name: get_dead_letter
-- One letter.
SELECT consumer, event_id, event, state, reason, attempts, operator_reason, actor, create_time, update_time
FROM dead_letter WHERE consumer = $1 AND event_id = $2;

-- name: dead_letter_by_request
-- The letter whose fate a request decided, and the digest of that request.
SELECT consumer, event_id, event, state, reason, attempts, operator_reason, actor, create_time, update_time, request_digest
FROM dead_letter WHERE request_key = $1;

-- name: close_dead_letter
-- Decides a letter's fate where its state is still among $5, with the operator's reason and the fence of his call.
UPDATE dead_letter
SET state = $3, operator_reason = $4, actor = $6, correlation_id = $7, request_key = $8, request_digest = $9,
    update_time = now()
WHERE consumer = $1 AND event_id = $2 AND state = ANY ($5::smallint[])
RETURNING consumer, event_id, event, state, reason, attempts, operator_reason, actor, create_time, update_time;

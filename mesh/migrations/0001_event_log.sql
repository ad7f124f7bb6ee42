-- Makes a day's partition of a table that is partitioned by day. Runs as the owner, so that services need no right to
-- create tables. The advisory lock keeps two callers from making the same one.
CREATE FUNCTION make_partition(parent text, day date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  partition text := parent || '_' || to_char(day, 'YYYY_MM_DD');
BEGIN
  IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('{schema}.' || partition));
  IF to_regclass(quote_ident(partition)) IS NOT NULL THEN
    RETURN;
  END IF;
  -- Made aside and attached: CREATE TABLE … PARTITION OF would lock every writer of the parent out.
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)', partition, parent);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, partition, day, day + 1);
END $$;
REVOKE EXECUTE ON FUNCTION make_partition(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_partition(text, date) TO {service};

-- An epoch of transaction ids. They begin again after dump and restore, so positions of different epochs do not compare.
CREATE TABLE epoch (
  epoch integer PRIMARY KEY,
  system_identifier text NOT NULL,
  reason text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now()
);
INSERT INTO epoch (epoch, system_identifier, reason)
SELECT 1, system_identifier::text, 'first start' FROM pg_control_system();
GRANT SELECT ON epoch TO {service}, {batch};

-- The log: at once outbox, audit stream and replay source. Append-only.
CREATE SEQUENCE event_seq;
GRANT USAGE ON SEQUENCE event_seq TO {service};
CREATE TABLE event (
  seq bigint NOT NULL DEFAULT nextval('event_seq'),
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
  epoch integer NOT NULL,
  id uuid NOT NULL,
  bucket smallint NOT NULL CONSTRAINT event_bucket_range CHECK (bucket BETWEEN 0 AND 1023),
  payload bytea NOT NULL,
  CONSTRAINT event_pkey PRIMARY KEY (day, seq)
) PARTITION BY RANGE (day);
CREATE INDEX event_tx ON event (tx);
GRANT SELECT, INSERT ON event TO {service};
GRANT SELECT ON event TO {batch};
SELECT make_partition('event', (now() AT TIME ZONE 'utc')::date + ahead) FROM generate_series(-1, 7) AS ahead;

-- The relay's lease and position. A holder that was paused finds another lease number and stores nothing.
CREATE TABLE relay (
  only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT relay_only_row CHECK (only_row),
  lease bigint NOT NULL DEFAULT 0,
  holder text NOT NULL DEFAULT '',
  expire_time timestamptz NOT NULL DEFAULT '-infinity',
  epoch integer NOT NULL,
  from_snapshot pg_snapshot NOT NULL,
  to_snapshot pg_snapshot NOT NULL,
  last_seq bigint NOT NULL,
  day date NOT NULL,
  -- The stream as it was when the position was stored: a younger one, or one that ends earlier, has lost messages.
  stream_created text NOT NULL DEFAULT '',
  stream_seq bigint NOT NULL DEFAULT 0,
  heals integer NOT NULL DEFAULT 0
);
-- '3:3:' sees no transaction at all: the log is read from its beginning.
INSERT INTO relay (epoch, from_snapshot, to_snapshot, last_seq, day)
VALUES (1, '3:3:', '3:3:', 0, (now() AT TIME ZONE 'utc')::date - 1);
GRANT SELECT, UPDATE ON relay TO {service};
GRANT SELECT ON relay TO {batch};

-- Events that a consumer could not apply. `state`: 1 retrying, 2 dead, 3 replayed, 4 discarded, as in the contract.
CREATE TABLE dead_letter (
  consumer text NOT NULL,
  event_id uuid NOT NULL,
  event bytea NOT NULL,
  state smallint NOT NULL CONSTRAINT dead_letter_state_known CHECK (state BETWEEN 1 AND 4),
  reason text NOT NULL,
  -- Who decided its fate, why, in which call; the fence of that decision.
  operator_reason text NOT NULL DEFAULT '',
  actor text NOT NULL DEFAULT '',
  correlation_id text NOT NULL DEFAULT '',
  request_key uuid,
  request_digest bigint,
  attempts integer NOT NULL CONSTRAINT dead_letter_attempts_positive CHECK (attempts > 0),
  create_time timestamptz NOT NULL DEFAULT now(),
  update_time timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT dead_letter_pkey PRIMARY KEY (consumer, event_id),
  CONSTRAINT dead_letter_request_key UNIQUE (request_key)
);
CREATE INDEX dead_letter_by_state ON dead_letter (state, event_id);
GRANT SELECT, INSERT, UPDATE ON dead_letter TO {service};
GRANT SELECT ON dead_letter TO {batch};

-- How a webhook came: polled ones were asked for, and carry no signature. What an operator decided about it: why, who, and by
-- which command, so that a repeat of the command finds the same events.
ALTER TABLE provider_event
  ADD COLUMN polled boolean NOT NULL DEFAULT false,
  ADD COLUMN operator_reason text NOT NULL DEFAULT '',
  ADD COLUMN actor text NOT NULL DEFAULT '',
  ADD COLUMN request_key uuid,
  ADD CONSTRAINT provider_event_delivered_is_signed CHECK (polled = (signature = '')),
  ADD CONSTRAINT provider_event_skipped_has_reason CHECK (state <> 4 OR (operator_reason <> '' AND actor <> ''));

-- Both directions, by time and then by id.
DROP INDEX provider_event_newest;
CREATE INDEX provider_event_by_time ON provider_event (create_time, event_id);
-- What has no effect in the books is little: operators list, count and replay it without reading the rest.
CREATE INDEX provider_event_unapplied ON provider_event (create_time, event_id) INCLUDE (state) WHERE state <> 1;
CREATE INDEX provider_event_of_command ON provider_event (request_key) WHERE request_key IS NOT NULL;

-- How far a list of the provider has been walked, by the provider's clock: everything before `position` was seen; null before
-- the first walk has ended. A walk goes from the newest item back. One that takes several rounds leaves `cursor`, the provider's
-- id of the last item that was seen, and `target`, the position at its end. A round is due at next_time, at once where that is
-- null; whoever walks holds the list until leased_until.
CREATE TABLE checkpoint (
  name text NOT NULL,
  position timestamptz,
  cursor text NOT NULL DEFAULT '',
  target timestamptz,
  next_time timestamptz,
  holder text NOT NULL DEFAULT '',
  leased_until timestamptz,
  update_time timestamptz,
  CONSTRAINT checkpoint_pkey PRIMARY KEY (name),
  CONSTRAINT checkpoint_walk_whole CHECK ((cursor = '') = (target IS NULL)),
  CONSTRAINT checkpoint_lease_whole CHECK ((holder = '') = (leased_until IS NULL))
);
INSERT INTO checkpoint (name) VALUES ('provider_events');

-- The lists are those of the migrations: the service moves checkpoints on and makes none.
GRANT SELECT, UPDATE ON checkpoint TO {service};
GRANT SELECT ON checkpoint TO {batch};

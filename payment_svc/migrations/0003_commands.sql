-- The fence and record of what was asked for by name: who, why, under which key; each key once for ever. `charity_id` is zero
-- for what concerns no charity, `subject` the id of what the command is about.
CREATE TABLE command (
  charity_id uuid NOT NULL,
  request_key uuid NOT NULL,
  request_digest bigint NOT NULL,
  method text NOT NULL,
  subject text NOT NULL,
  reason text NOT NULL,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  CONSTRAINT command_pkey PRIMARY KEY (charity_id, request_key)
);
CREATE INDEX command_of_subject ON command (subject);
GRANT SELECT, INSERT ON command TO {service};
GRANT SELECT ON command TO {batch};

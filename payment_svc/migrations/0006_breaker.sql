-- What an operator decided last about the circuit breaker around the provider: one row, which every replica follows. `version`
-- grows with each decision, so that replicas also follow one that closes what had opened by itself. Columns actor and
-- correlation_id: who decided, and in which call.
CREATE TABLE breaker (
  only_row boolean NOT NULL DEFAULT true CONSTRAINT breaker_only_row CHECK (only_row),
  held boolean NOT NULL,
  reason text NOT NULL,
  version bigint NOT NULL CONSTRAINT breaker_version_positive CHECK (version > 0),
  actor text NOT NULL,
  correlation_id text NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT breaker_pkey PRIMARY KEY (only_row),
  -- Donors are refused while it is held: somebody has said why.
  CONSTRAINT breaker_held_has_reason CHECK (NOT held OR (reason <> '' AND actor <> ''))
);
INSERT INTO breaker (held, reason, version, actor, correlation_id, update_time) VALUES (false, '', 1, '', '', now());
GRANT SELECT, UPDATE (held, reason, version, actor, correlation_id, update_time) ON breaker TO {service};
GRANT SELECT ON breaker TO {batch};

-- Whoever checks from outside sees where each webhook stands, and never what it said.
GRANT SELECT (event_id, type, intent_id, state, reason, attempts, next_attempt_time, provider_time, create_time, update_time)
  ON provider_event TO {batch};

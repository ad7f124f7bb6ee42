-- A timeline is found by what somebody holds in his hand: the provider's intent finds the events about it, the id of a call the
-- command that it gave.
CREATE INDEX provider_event_of_intent ON provider_event (intent_id) WHERE intent_id <> '';
CREATE INDEX command_of_call ON command (correlation_id) WHERE correlation_id <> '';

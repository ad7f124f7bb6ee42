ALTER TABLE payment
  -- What the provider said that cannot be true of the payment; empty where its last answer could be.
  ADD COLUMN contradiction text NOT NULL DEFAULT '',
  -- Somebody wants to know how it stands at the provider, although nothing of it is open.
  ADD COLUMN look_demanded boolean NOT NULL DEFAULT false;
SELECT audit_changes('payment', 'id', scheduling => '{next_attempt_time,leased_until,look_demanded}', secret => '{client_secret}');

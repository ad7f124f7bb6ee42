-- An attempt says like its payment who made its last change, and in which call.
ALTER TABLE attempt
  ADD COLUMN actor text NOT NULL DEFAULT '',
  ADD COLUMN correlation_id text NOT NULL DEFAULT '';

SELECT audit_changes('payment', 'id', scheduling => '{next_attempt_time,leased_until}', secret => '{client_secret}');
SELECT audit_changes('attempt', 'payment_id');
SELECT audit_changes('dispute', 'payment_id');

-- A payment whose row is gone, or was given to another donation, is still found by the donation that it was for.
CREATE INDEX audit_of_former_donation ON audit ((before ->> 'donation_id')) WHERE object = 'payment' AND before ? 'donation_id';

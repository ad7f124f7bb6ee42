-- A timeline is found by what somebody holds in his hand: a checkout's payment reference, or the id of a call. What a call was
-- named stands in the row that it changed last, and of earlier calls in the trail, which keeps what the row held before them.
-- Names of calls are long, random and never listed in order: their hashes are enough, at half the size.
CREATE INDEX donation_of_payment_ref ON donation (payment_ref) WHERE payment_ref IS NOT NULL;
CREATE INDEX donation_of_call ON donation (hashtextextended(correlation_id, 0));
CREATE INDEX audit_of_former_call ON audit (hashtextextended(before ->> 'correlation_id', 0))
WHERE object = 'donation' AND before ? 'correlation_id';
CREATE INDEX command_of_call ON command (correlation_id) WHERE correlation_id <> '';

-- What callers put into metadata is theirs and may be personal: it is not copied to where nothing is ever forgotten.
SELECT audit_changes('donation', 'id', scheduling => '{next_attempt_time,attempts,waiting_for}', secret => '{metadata}');
SELECT audit_changes('reversal', 'donation_id');
SELECT audit_changes('personal', 'donation_id', secret => '{sealed}');
SELECT audit_changes('donor_key', 'owner_id', tenant => '', secret => '{sealed_key}');
SELECT audit_changes('charity', 'id', tenant => 'id');
SELECT audit_changes('campaign', 'id');
SELECT audit_changes('campaign_currency', 'campaign_id');

-- Why something was changed is looked up by what the command was about.
CREATE INDEX command_of_subject ON command (subject_id);

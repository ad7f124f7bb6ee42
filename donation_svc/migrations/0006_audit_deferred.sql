-- Whether a campaign takes promises during a pause is among the columns that are written down.
SELECT audit_changes('campaign', 'id');

-- Whether a campaign takes promises while the provider's calls are paused; otherwise they are refused then.
ALTER TABLE campaign ADD COLUMN accepts_deferred boolean NOT NULL DEFAULT false;

-- With the new column among those that are written down.
SELECT audit_changes('campaign', 'id');

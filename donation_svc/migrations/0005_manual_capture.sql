-- Promises whose money is only held on the card until somebody captures it.
ALTER TABLE donation
  ADD COLUMN manual_capture boolean NOT NULL DEFAULT false,
  -- When the card lets go of what is held on it; NULL while nothing is.
  ADD COLUMN hold_end_time timestamptz,
  ADD CONSTRAINT donation_hold_awaits CHECK (hold_end_time IS NULL OR state = 2),
  -- Only a promise that is captured by hand may bring less than was promised.
  ADD CONSTRAINT donation_gross_whole CHECK (gross IN (0, amount) OR (manual_capture AND origin = 1));

-- With the new columns among those that are written down.
SELECT audit_changes('donation', 'id', scheduling => '{next_attempt_time,attempts,waiting_for}', secret => '{metadata}');

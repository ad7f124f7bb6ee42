-- What went back of donations is told to whoever rebuilds totals, change by change: they are few beside all other changes.
CREATE INDEX audit_of_returns ON audit (reference_id)
WHERE object = 'donation' AND (before ? 'refunded' OR before ? 'disputed');

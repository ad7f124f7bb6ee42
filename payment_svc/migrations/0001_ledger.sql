-- The chart of accounts. `kind` says on which side an account grows: assets and expenses by debits, the others by credits.
CREATE TABLE account (
  code text NOT NULL,
  kind text NOT NULL
    CONSTRAINT account_kind_known CHECK (kind IN ('asset', 'liability', 'income', 'expense', 'equity')),
  description text NOT NULL,
  CONSTRAINT account_pkey PRIMARY KEY (code)
);
INSERT INTO account (code, kind, description) VALUES
  ('provider_clearing', 'asset', 'Taken by the payment provider, not paid out to us yet'),
  ('external_clearing', 'asset', 'Charged by a checkout and recorded here; the checkout holds it'),
  ('bank', 'asset', 'Paid out to our bank'),
  ('campaign_payable', 'liability', 'Owed to the charity of a campaign'),
  ('fees', 'expense', 'Kept by the provider for its work'),
  ('refunds', 'expense', 'Given back to donors'),
  ('disputes_held', 'asset', 'Held by donors'' banks until a dispute is decided'),
  ('fx_clearing', 'asset', 'The two sides of a conversion, one per currency'),
  ('adjustments', 'equity', 'Corrections by an operator, each with a reason');

-- The header of a posting. Day, transaction and time are the database's; the service has no right to give them.
CREATE TABLE posting (
  day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
  id uuid NOT NULL,
  tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
  charity_id uuid NOT NULL,
  campaign_id uuid,
  kind text NOT NULL CONSTRAINT posting_kind_known CHECK (kind IN ('recorded', 'recorded_reversal')),
  source text NOT NULL,
  create_time timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT posting_pkey PRIMARY KEY (day, id)
) PARTITION BY RANGE (day);

-- The lines of postings, debit positive, in minor units. There is no foreign key to the header: the trigger on each
-- statement demands more than one could, and costs one look-up a statement instead of one a row.
CREATE TABLE entry (
  day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
  posting_id uuid NOT NULL,
  line smallint NOT NULL CONSTRAINT entry_line_positive CHECK (line > 0),
  account text NOT NULL CONSTRAINT entry_account REFERENCES account (code),
  campaign_id uuid,
  currency text NOT NULL CONSTRAINT entry_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  amount bigint NOT NULL CONSTRAINT entry_amount_not_zero CHECK (amount <> 0),
  create_time timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT entry_pkey PRIMARY KEY (day, posting_id, line)
) PARTITION BY RANGE (day);
CREATE INDEX entry_of_account ON entry (account, campaign_id) INCLUDE (currency, amount, create_time);

-- Events that were posted, each once for ever, by the event's own day: a partition lives as long as the log's. Links each
-- donation to its batch posting. `delta` is what the event adds to what the campaign is owed; where the deltas of a batch
-- cancel out there is no posting of that id. `tx` and `epoch` are the log's, where the event was written.
CREATE TABLE applied (
  day date NOT NULL,
  event_id uuid NOT NULL,
  tx bigint NOT NULL,
  epoch integer NOT NULL,
  donation_id uuid NOT NULL,
  posting_day date NOT NULL DEFAULT (now() AT TIME ZONE 'utc')::date,
  posting_id uuid NOT NULL,
  delta bigint NOT NULL,
  CONSTRAINT applied_pkey PRIMARY KEY (day, event_id)
) PARTITION BY RANGE (day);
CREATE INDEX applied_of_donation ON applied (donation_id);

-- Checked once per posting, when its transaction commits: it has entries, and they sum to zero per currency. No entry is
-- zero, so a balanced posting has at least two.
CREATE FUNCTION demand_balanced_posting() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  sums integer;
  unbalanced text;
BEGIN
  SELECT count(*), string_agg(currency || ' ' || total, ', ' ORDER BY currency) FILTER (WHERE total <> 0)
  INTO sums, unbalanced
  FROM (SELECT e.currency, sum(e.amount) AS total FROM entry e
        WHERE e.day = NEW.day AND e.posting_id = NEW.id GROUP BY e.currency) AS by_currency;
  IF sums = 0 THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'posting', CONSTRAINT = 'posting_balanced',
      MESSAGE = format('posting %s has no entries', NEW.id);
  END IF;
  IF unbalanced IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'posting', CONSTRAINT = 'posting_balanced',
      MESSAGE = format('entries of posting %s do not sum to zero: %s', NEW.id, unbalanced);
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER posting_balanced AFTER INSERT ON posting
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION demand_balanced_posting();

-- Checked once per statement: it brings whole postings, and their headers were written by this very transaction, so that
-- nothing can be added to an old posting. A trigger of a statement fires for the table that the statement names, never for
-- a partition: that is why nobody but the owner has rights on partitions.
CREATE FUNCTION demand_whole_postings() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  offender record;
BEGIN
  SELECT n.posting_id, n.currency, sum(n.amount) AS total INTO offender
  FROM new_entry n GROUP BY n.day, n.posting_id, n.currency HAVING sum(n.amount) <> 0 LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'entry', CONSTRAINT = 'entry_statement_balanced',
      MESSAGE = format('entries of posting %s in this statement sum to %s %s, not to zero',
                       offender.posting_id, offender.currency, offender.total);
  END IF;
  -- A scalar subquery is never turned into a join, so each posting is one look-up by key however large the table is.
  SELECT n.posting_id INTO offender
  FROM (SELECT DISTINCT day, posting_id FROM new_entry) AS n
  WHERE (SELECT p.tx FROM posting p WHERE p.day = n.day AND p.id = n.posting_id)
    IS DISTINCT FROM pg_current_xact_id() LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'entry', CONSTRAINT = 'entry_of_this_transaction',
      MESSAGE = format('posting %s was not written by this transaction; nothing is added to it', offender.posting_id);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER entry_whole_postings AFTER INSERT ON entry
REFERENCING NEW TABLE AS new_entry FOR EACH STATEMENT EXECUTE FUNCTION demand_whole_postings();

GRANT SELECT ON account, posting, entry, applied TO {service}, {batch};
GRANT INSERT (id, charity_id, campaign_id, kind, source) ON posting TO {service};
GRANT INSERT (posting_id, line, account, campaign_id, currency, amount) ON entry TO {service};
GRANT INSERT (day, event_id, tx, epoch, donation_id, posting_id, delta) ON applied TO {service};

SELECT make_partition(parent, (now() AT TIME ZONE 'utc')::date + ahead)
FROM unnest(ARRAY['posting', 'entry', 'applied']) AS parent, generate_series(-1, 7) AS ahead;

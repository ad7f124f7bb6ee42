-- Settlement: what the provider's own balance says moved, against what our books say.

-- What our books say moved stands on provider_clearing until the provider's balance shows it: then it goes on to
-- provider_balance, and what the provider kept of it to fees. What is left on provider_clearing is what one side alone knows.
INSERT INTO account (code, kind, description) VALUES
  ('provider_balance', 'asset', 'On our balance at the provider, as its own balance transactions say');
UPDATE account SET description = 'Moved at the provider as our books say, and not shown on its balance yet'
WHERE code = 'provider_clearing';
UPDATE account SET description = 'What belongs to no payment of ours, and corrections by an operator, each with a reason'
WHERE code = 'adjustments';

-- Settlement files that were taken, each content once for ever; `sha256` is its fence.
CREATE TABLE settlement_file (
  sha256 bytea NOT NULL CONSTRAINT settlement_file_sha256_whole CHECK (octet_length(sha256) = 32),
  name text NOT NULL,
  size_bytes bigint NOT NULL,
  rows bigint NOT NULL,
  actor text NOT NULL,
  correlation_id text NOT NULL,
  create_time timestamptz NOT NULL,
  CONSTRAINT settlement_file_pkey PRIMARY KEY (sha256)
);

-- What became of a file when it was taken: one line per class and currency. `total`: net, in minor units.
CREATE TABLE settlement_line (
  file bytea NOT NULL,
  class text NOT NULL,
  currency text NOT NULL,
  count bigint NOT NULL,
  total bigint NOT NULL,
  CONSTRAINT settlement_line_pkey PRIMARY KEY (file, class, currency),
  CONSTRAINT settlement_line_file FOREIGN KEY (file) REFERENCES settlement_file (sha256)
);

-- Movements on our balance at the provider, its balance transactions, each id once for ever whichever way it came. Amounts
-- in minor units of `currency`, positive towards us: net = amount - fee. `origin`: where the figures come from.
CREATE TABLE balance_transaction (
  -- Ordered as code orders texts, byte by byte.
  id text COLLATE "C" NOT NULL,
  category text NOT NULL,
  source_id text NOT NULL,
  charge_id text NOT NULL,
  intent_id text NOT NULL,
  payout_id text NOT NULL,
  currency text NOT NULL CONSTRAINT balance_transaction_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
  amount bigint NOT NULL,
  fee bigint NOT NULL,
  net bigint NOT NULL,
  -- Whether it was exchanged on its way to the balance; null where the source does not say.
  converted boolean,
  provider_time timestamptz NOT NULL,
  available_time timestamptz,
  day date NOT NULL GENERATED ALWAYS AS ((provider_time AT TIME ZONE 'utc')::date) STORED,
  origin text NOT NULL CONSTRAINT balance_transaction_origin_known CHECK (origin IN ('api', 'file')),
  -- The file that brought it, and its line there.
  file bytea,
  line bigint,
  -- What our books say of it: the payment that it belongs to, and what moved there, in the payment's currency.
  payment_id uuid,
  charity_id uuid,
  campaign_id uuid,
  our_currency text,
  our_amount bigint,
  class text NOT NULL CONSTRAINT balance_transaction_class_known
    CHECK (class IN ('matched', 'imported', 'missing_in_books', 'amount_mismatch', 'unknown_source')),
  -- Where it was posted; `posted` without a posting: there was nothing to post.
  posted boolean NOT NULL DEFAULT false,
  posting_day date,
  posting_id uuid,
  -- How often it was looked at, and when next; null: never again by itself.
  looks integer NOT NULL DEFAULT 0,
  next_look_time timestamptz,
  create_time timestamptz NOT NULL,
  update_time timestamptz NOT NULL,
  CONSTRAINT balance_transaction_pkey PRIMARY KEY (id),
  CONSTRAINT balance_transaction_net_is_what_is_left CHECK (net = amount - fee),
  CONSTRAINT balance_transaction_of_payment_whole
    CHECK ((payment_id IS NULL) = (our_currency IS NULL) AND (payment_id IS NULL) = (charity_id IS NULL)
           AND (payment_id IS NOT NULL OR our_amount IS NULL)),
  CONSTRAINT balance_transaction_matched_is_known
    CHECK (class NOT IN ('matched', 'imported') OR payment_id IS NULL OR our_amount IS NOT NULL),
  CONSTRAINT balance_transaction_posting_whole
    CHECK ((posting_id IS NULL) = (posting_day IS NULL) AND (posted OR posting_id IS NULL)),
  CONSTRAINT balance_transaction_unposted_is_due CHECK (posted OR next_look_time IS NOT NULL)
);
CREATE INDEX balance_transaction_of_day ON balance_transaction (day, class);
CREATE INDEX balance_transaction_of_class ON balance_transaction (class, provider_time, id);
CREATE INDEX balance_transaction_of_payment ON balance_transaction (payment_id) WHERE payment_id IS NOT NULL;
CREATE INDEX balance_transaction_due ON balance_transaction (next_look_time) WHERE next_look_time IS NOT NULL;

-- What the provider says stays as it was said, but that its own answer outweighs a file; what was posted is posted once.
CREATE FUNCTION keep_balance_transaction() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
BEGIN
  IF (OLD.origin, NEW.origin) IS DISTINCT FROM ('file', 'api')
     AND (OLD.id, OLD.category, OLD.source_id, OLD.currency, OLD.amount, OLD.fee, OLD.provider_time, OLD.origin)
         IS DISTINCT FROM (NEW.id, NEW.category, NEW.source_id, NEW.currency, NEW.amount, NEW.fee, NEW.provider_time, NEW.origin)
  THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'balance_transaction', CONSTRAINT = 'balance_transaction_kept',
      MESSAGE = format('what the provider said of %s does not change', OLD.id);
  END IF;
  IF OLD.posted AND (OLD.posted, OLD.posting_id, OLD.posting_day)
                    IS DISTINCT FROM (NEW.posted, NEW.posting_id, NEW.posting_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'balance_transaction', CONSTRAINT = 'balance_transaction_kept',
      MESSAGE = format('%s was posted before', OLD.id);
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER balance_transaction_kept BEFORE UPDATE ON balance_transaction
FOR EACH ROW EXECUTE FUNCTION keep_balance_transaction();

-- Rows of a file that say again, or otherwise, what was known. Amounts as the row has them.
CREATE TABLE settlement_finding (
  file bytea NOT NULL,
  line bigint NOT NULL,
  class text NOT NULL CONSTRAINT settlement_finding_class_known
    CHECK (class IN ('duplicate', 'amount_mismatch', 'fee_mismatch')),
  balance_transaction_id text COLLATE "C" NOT NULL,
  source_id text NOT NULL,
  currency text NOT NULL,
  amount bigint NOT NULL,
  fee bigint NOT NULL,
  net bigint NOT NULL,
  provider_time timestamptz NOT NULL,
  day date NOT NULL GENERATED ALWAYS AS ((provider_time AT TIME ZONE 'utc')::date) STORED,
  create_time timestamptz NOT NULL,
  CONSTRAINT settlement_finding_pkey PRIMARY KEY (file, line),
  CONSTRAINT settlement_finding_file FOREIGN KEY (file) REFERENCES settlement_file (sha256),
  CONSTRAINT settlement_finding_transaction FOREIGN KEY (balance_transaction_id) REFERENCES balance_transaction (id)
);
CREATE INDEX settlement_finding_of_class ON settlement_finding (class, provider_time, balance_transaction_id);
CREATE INDEX settlement_finding_of_day ON settlement_finding (day, class);

-- Postings of movements are linked to them.
ALTER TABLE posting ADD COLUMN settlement_id text;
ALTER TABLE posting DROP CONSTRAINT posting_kind_known;
ALTER TABLE posting ADD CONSTRAINT posting_kind_known
  CHECK (kind IN ('recorded', 'recorded_reversal', 'captured', 'refunded', 'refund_returned', 'dispute_held',
                  'dispute_returned', 'dispute_lost', 'dispute_regained', 'settled', 'provider_fee', 'paid_out',
                  'payout_returned', 'provider_adjustment', 'resettled'));
ALTER TABLE posting DROP CONSTRAINT posting_of_payment;
ALTER TABLE posting ADD CONSTRAINT posting_of_payment
  CHECK (CASE WHEN kind IN ('recorded', 'recorded_reversal', 'provider_fee', 'paid_out', 'payout_returned',
                            'provider_adjustment') THEN payment_id IS NULL
              WHEN kind = 'resettled' THEN true
              ELSE payment_id IS NOT NULL END);
ALTER TABLE posting ADD CONSTRAINT posting_of_movement
  CHECK ((kind IN ('settled', 'provider_fee', 'paid_out', 'payout_returned', 'provider_adjustment', 'resettled'))
         = (settlement_id IS NOT NULL));
CREATE INDEX posting_resettled ON posting (settlement_id) WHERE kind = 'resettled';

-- Checked when a posting of a movement commits: it is the only one that the movement has, and exactly what the movement left
-- stands on provider_balance: nothing is posted twice or by another amount. What was learned later is posted beside it, and
-- then all of them together say what is true now.
CREATE FUNCTION demand_exact_settlement() RETURNS trigger
LANGUAGE plpgsql SECURITY INVOKER SET search_path = {schema}, pg_temp AS $$
DECLARE
  movement record;
  wrong text;
BEGIN
  SELECT net, currency, posting_id, posting_day INTO movement FROM balance_transaction WHERE id = NEW.settlement_id;
  IF NEW.kind <> 'resettled' AND (movement.posting_id, movement.posting_day) IS DISTINCT FROM (NEW.id, NEW.day) THEN
    wrong := 'another posting does';
  ELSE
    SELECT string_agg(s.currency || ' ' || s.total, ', ' ORDER BY s.currency) INTO wrong
    FROM (SELECT moved.currency, sum(moved.amount) AS total
          FROM (SELECT movement.currency AS currency, -movement.net AS amount
                UNION ALL
                SELECT e.currency, e.amount FROM entry e
                WHERE e.day = movement.posting_day AND e.posting_id = movement.posting_id AND e.account = 'provider_balance'
                UNION ALL
                SELECT e.currency, e.amount FROM posting p JOIN entry e ON e.day = p.day AND e.posting_id = p.id
                WHERE NEW.kind = 'resettled' AND p.settlement_id = NEW.settlement_id AND p.kind = 'resettled'
                  AND e.account = 'provider_balance') AS moved
          GROUP BY moved.currency HAVING sum(moved.amount) IS DISTINCT FROM 0) AS s;
  END IF;
  IF wrong IS NOT NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', TABLE = 'posting', CONSTRAINT = 'posting_settles_exactly',
      MESSAGE = format('posting %s does not settle %s: %s', NEW.id, NEW.settlement_id, wrong);
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER posting_settles_exactly AFTER INSERT ON posting
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.settlement_id IS NOT NULL) EXECUTE FUNCTION demand_exact_settlement();

-- What of a payment one side alone knows: its entries on provider_clearing, kept while they do not sum to zero. `since` is
-- when that began. Kept by the database from the entries themselves; nobody else writes here.
CREATE TABLE clearing (
  payment_id uuid NOT NULL,
  charity_id uuid NOT NULL,
  currency text NOT NULL,
  amount bigint NOT NULL,
  since timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT clearing_pkey PRIMARY KEY (payment_id, currency)
);
CREATE INDEX clearing_since ON clearing (since, payment_id);

CREATE FUNCTION keep_clearing() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
  cleared uuid[];
BEGIN
  -- Sorted, so that two statements that hold the same payments wait for each other. The limit keeps the look-up one by key.
  WITH kept AS (
    INSERT INTO clearing AS c (payment_id, charity_id, currency, amount)
    SELECT p.payment_id, p.charity_id, n.currency, sum(n.amount)
    FROM new_entry n
    CROSS JOIN LATERAL (SELECT payment_id, charity_id FROM posting WHERE day = n.day AND id = n.posting_id LIMIT 1) AS p
    WHERE n.account = 'provider_clearing' AND p.payment_id IS NOT NULL
    GROUP BY p.payment_id, p.charity_id, n.currency ORDER BY p.payment_id, n.currency
    ON CONFLICT (payment_id, currency) DO UPDATE SET amount = c.amount + excluded.amount
    RETURNING payment_id, amount
  )
  SELECT array_agg(payment_id) FILTER (WHERE amount = 0) INTO cleared FROM kept;
  IF cleared IS NOT NULL THEN
    DELETE FROM clearing WHERE payment_id = ANY (cleared) AND amount = 0;
  END IF;
  RETURN NULL;
END $$;
INSERT INTO clearing (payment_id, charity_id, currency, amount, since)
SELECT p.payment_id, p.charity_id, e.currency, sum(e.amount), min(e.create_time)
FROM posting p JOIN entry e ON e.day = p.day AND e.posting_id = p.id
WHERE p.payment_id IS NOT NULL AND e.account = 'provider_clearing'
GROUP BY p.payment_id, p.charity_id, e.currency HAVING sum(e.amount) <> 0;
CREATE TRIGGER entry_keeps_clearing AFTER INSERT ON entry
REFERENCING NEW TABLE AS new_entry FOR EACH STATEMENT EXECUTE FUNCTION keep_clearing();

INSERT INTO checkpoint (name) VALUES ('balance_transactions');

GRANT SELECT ON settlement_file, settlement_line, settlement_finding, balance_transaction, clearing TO {service}, {batch};
GRANT INSERT ON settlement_file, settlement_line, settlement_finding, balance_transaction TO {service};
-- Of a movement its figures change by the provider's own answer only, which the trigger sees to.
GRANT UPDATE ON balance_transaction TO {service};
GRANT INSERT (settlement_id) ON posting TO {service};

-- Whoever may make a table could otherwise put this trigger on one of his own, and forge what stands on clearing.
REVOKE EXECUTE ON FUNCTION keep_clearing() FROM PUBLIC;

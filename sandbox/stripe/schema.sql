-- What Stripe would keep. Run at each start; everything is made only where it is not there yet.

CREATE TABLE IF NOT EXISTS setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Objects of the API. `seq` orders lists; `parent` is what it belongs to (a charge's intent, a refund's charge);
-- `changed` and `seen` are for search: `seen` is the version from before a change that search has not noticed yet.
CREATE TABLE IF NOT EXISTS object (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent TEXT,
    intent TEXT,
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    body TEXT NOT NULL,
    seen TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS object_by_kind ON object (kind, seq);
CREATE INDEX IF NOT EXISTS object_by_parent ON object (parent, seq) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS object_by_intent ON object (intent, seq) WHERE intent IS NOT NULL;

-- What a balance transaction (`seq` is its object's) moves, and the automatic payout that took it or that it is.
CREATE TABLE IF NOT EXISTS movement (
    seq INTEGER PRIMARY KEY,
    created INTEGER NOT NULL,
    currency TEXT NOT NULL,
    net INTEGER NOT NULL,
    available_on INTEGER NOT NULL,
    payout TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS movement_by_time ON movement (created, seq);
CREATE INDEX IF NOT EXISTS movement_unpaid ON movement (currency, available_on) WHERE payout IS NULL;
CREATE INDEX IF NOT EXISTS movement_of_payout ON movement (payout, seq) WHERE payout IS NOT NULL;
-- Of balance transactions from before there were movements; all later ones come together with theirs.
INSERT INTO movement (seq, created, currency, net, available_on)
SELECT seq, created, json_extract(body, '$.currency'), json_extract(body, '$.net'), json_extract(body, '$.available_on')
FROM object WHERE kind = 'balance_transaction' AND seq > (SELECT coalesce(max(seq), 0) FROM movement);

-- Which intents ever had a key of metadata with a value: narrows a search down, decides nothing.
CREATE TABLE IF NOT EXISTS label (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (key, value, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    created INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;

-- An event on its way. Times are the machine's, in seconds, because receivers live in real time. `after`: another
-- delivery that has to be tried first.
CREATE TABLE IF NOT EXISTS delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event INTEGER NOT NULL REFERENCES event (seq),
    state TEXT NOT NULL CHECK (state IN ('due', 'held', 'done', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,
    since REAL NOT NULL,
    next_at REAL NOT NULL,
    after INTEGER,
    fault INTEGER,
    last_answer TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS delivery_due ON delivery (next_at) WHERE state = 'due';
CREATE INDEX IF NOT EXISTS delivery_of_event ON delivery (event);

-- Answers by idempotency key.
CREATE TABLE IF NOT EXISTS saved (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    path TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    request TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT, WITHOUT ROWID;

-- Faults that were asked for. `remaining` NULL: until they are cleared.
CREATE TABLE IF NOT EXISTS fault (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope TEXT NOT NULL CHECK (scope IN ('api', 'webhook')),
    fault TEXT NOT NULL,
    call TEXT NOT NULL,
    types TEXT,
    remaining INTEGER,
    seconds REAL,
    copies INTEGER NOT NULL DEFAULT 1
) STRICT;

-- What happens by itself when the sandbox's clock gets there.
CREATE TABLE IF NOT EXISTS due (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    task TEXT NOT NULL,
    subject TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS due_at ON due (at);
-- However much becomes available at a moment, it is said once.
CREATE UNIQUE INDEX IF NOT EXISTS due_balance ON due (at) WHERE task = 'announce_balance';

CREATE TABLE IF NOT EXISTS request (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    call TEXT NOT NULL,
    key TEXT,
    params TEXT NOT NULL,
    status INTEGER NOT NULL,
    fault TEXT
) STRICT;

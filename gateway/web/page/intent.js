// One gift from the first click until the donor begins another. It lives as long as the tab, also when it is reloaded.

const PREFIX = "giving:";
// Where the browser forbids storage the page still works until it is reloaded.
const memory = new Map();

/**
 * What the tab remembers of a gift. `requestId` is made once, so that no reload, double click or lost answer makes a
 * second donation. `body` is what was asked for, kept only until the payment is ready: it holds personal data, and a
 * repeat must be equal. `draft` is what a donor who changes his gift after a reload finds again, without his address;
 * it goes when the gift is over. `step` says how far the donor is with paying: "ready", "confirming" (no answer yet),
 * "stale" (the provider takes nothing more for it), "redirected" (to his bank), "processing", "succeeded" (says the
 * provider). `seen` is the donation's version then. `declined` are the charges that were declined.
 */
export class Intent {
  constructor(campaignId, record) {
    this.campaignId = campaignId;
    Object.assign(this, record);
  }

  /** The gift that this tab has begun; null without one. */
  static of(campaignId) {
    const text = read(PREFIX + campaignId);
    return text ? new Intent(campaignId, { declined: [], ...JSON.parse(text) }) : null;
  }

  static begin(campaignId, body) {
    const { donor_email: email, ...draft } = body;
    const record = { requestId: crypto.randomUUID(), body, draft, hasEmail: Boolean(email), step: "ready", seen: "0", declined: [] };
    return new Intent(campaignId, {}).update(record);
  }

  update(changes) {
    Object.assign(this, changes);
    const { campaignId, ...record } = this;
    write(PREFIX + campaignId, JSON.stringify(record));
    return this;
  }

  /** Counts a declined charge once, however often it is told; how many there are. */
  countDecline(charge) {
    if (charge && !this.declined.includes(charge)) this.update({ declined: [...this.declined, charge] });
    return this.declined.length;
  }

  forget() {
    write(PREFIX + this.campaignId, null);
  }
}

function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return memory.get(key) ?? null;
  }
}

function write(key, text) {
  try {
    if (text === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, text);
  } catch {
    memory.set(key, text);
  }
}

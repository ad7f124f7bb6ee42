// One gift's way: form, preparing, paying, waiting, end. A reload at any point goes on with the same gift.

import { ask, backoff, insist, isOpen, isUnreachable, pause, Refused } from "./api.js";
import { make, show } from "./dom.js";
import { follow } from "./follow.js";
import { Form } from "./form.js";
import { Intent } from "./intent.js";
import { Paying } from "./paying.js";
import { isOver, standingOf } from "./standing.js";
import { refusalOf, texts } from "./texts.js";
import { amountsOf, ending, notice } from "./views.js";

// How the service names what it knows a guest by.
const COOKIE = "cookie giving_client";
// The payment provider does not answer: no payment has begun that could charge anything.
const PAUSED = "PROVIDER_UNAVAILABLE";

// With the back-off about two minutes; then the donor decides.
const PREPARING_TRIES_MAX = 20;
const LONG_MS = 15_000;

export class Giving {
  constructor({ configuration, campaign, offer, place, speaker }) {
    Object.assign(this, { configuration, campaign, offer, place, speaker, intent: null, donation: null, form: null, shown: "" });
    this.paying = new Paying(this);
  }

  /** Shows the form, or goes on with the gift that this tab has begun. `cameBack`: from the bank's page. */
  start(cameBack) {
    this.intent = Intent.of(this.campaign.campaign_id);
    if (this.intent) return this.prepare();
    return cameBack ? this.tellElsewhere() : this.showForm();
  }

  /** `draft`: what the donor had written, where the form is a new one. */
  showForm(draft = null) {
    this.shown = "form";
    this.announce("");
    if (!this.configuration.publishable_key) return show(this.place, make("p", { class: "notice" }, texts.noPayments));
    if (!this.offer) return show(this.place, make("p", { class: "notice" }, texts.closed));
    this.form ??= new Form({ ...this, onGive: (body) => this.give(body) });
    show(this.place, this.form.element);
    if (draft) this.form.fill(draft);
    return undefined;
  }

  /** A donor's click. While a gift is under way another click is the same gift. */
  give(body) {
    if (this.intent) return;
    this.intent = Intent.begin(this.campaign.campaign_id, body);
    this.prepare();
  }

  /** Asks for the donation until the donor can go on with it. */
  async prepare() {
    const title = this.intent.donationId ? texts.resumingTitle : texts.preparingTitle;
    this.say({ view: "preparing", title, lines: [texts.loading], busy: true });
    try {
      for (let attempt = 1; attempt <= PREPARING_TRIES_MAX; attempt += 1) {
        if (await this.isReady()) return;
        this.tellSlow();
        await pause(backoff(Math.min(attempt, 4)));
      }
      this.tellStuck(texts.stuck);
    } catch (error) {
      this.tellRefused(error);
    }
  }

  /** Asks once; whether that led to something that the donor can go on with. */
  async isReady() {
    const { donation, client_secret: secret, access_token: token } = await this.promise();
    this.donation = donation;
    this.intent.update({ donationId: donation.donation_id, token: token ?? this.intent.token });
    if (!secret && ["preparing", "waiting"].includes(standingOf(donation, this.intent))) return false;
    // From here on its token opens it; what the donor wrote need not be kept.
    this.intent.update({ body: null });
    if (secret) this.paying.begin(secret);
    this.listen();
    return true;
  }

  /** The promise, with the same key each time; once it has been ready, the donation as it stands. */
  promise() {
    const { body, requestId: key, donationId, token } = this.intent;
    const onWait = (error) => this.tellWaiting(error);
    if (body) return insist("/v1/donations", { method: "POST", body, key }, onWait);
    return insist(`/v1/donations/${donationId}?include_client_secret=true`, { token }, onWait);
  }

  /** Follows the donation until it is over. */
  listen() {
    this.listening?.abort();
    this.listening = new AbortController();
    this.draw();
    if (isOver(standingOf(this.donation, this.intent))) return;
    const { donationId, token } = this.intent;
    const hear = (donation) => this.hear(donation);
    follow({ donationId, token, liveUrl: this.configuration.live_url, signal: this.listening.signal, hear }).catch((error) =>
      this.tellRefused(error),
    );
  }

  /** A state of the donation; one that is older than what we know changes nothing. */
  hear(donation) {
    if (!this.intent || BigInt(donation.version) < BigInt(this.donation.version)) return;
    this.donation = donation;
    this.draw();
    if (isOver(standingOf(donation, this.intent))) this.listening.abort();
  }

  /** Draws where the gift stands; what is on the screen already stays, with what the donor has written into it. */
  draw() {
    const standing = standingOf(this.donation, this.intent);
    // The card's form must stand while it confirms.
    if (this.paying.busy && !isOver(standing)) return;
    if (standing === "waiting") this.paying.tellFailure(this.donation);
    if (standing === this.shown) return;
    if (standing === "waiting") this.paying.show();
    else if (["processing", "unsure"].includes(standing)) this.tellUnderWay(standing);
    else if (standing === "preparing") this.tellSlow();
    else this.tellEnd(standing);
    this.shown = standing;
  }

  tellEnd(standing) {
    const { donation, campaign, configuration } = this;
    const sendsReceipt = configuration.sends_receipts && this.intent.hasEmail;
    const amounts = amountsOf(donation, configuration);
    const onAgain = () => this.startOver({ fresh: true });
    // What the donor wrote need not be kept any longer.
    const { declined } = this.intent.update({ draft: null });
    this.announce(texts[`${standing}Title`]);
    show(this.place, ending({ standing, donation, amounts, campaign, sendsReceipt, declines: declined.length, onAgain }));
  }

  /** Asks how the donation stands now; whether it is over. */
  async refresh() {
    const { donationId, token } = this.intent;
    const { donation } = await ask(`/v1/donations/${donationId}`, { token });
    this.hear(donation);
    return isOver(standingOf(donation, this.intent));
  }

  /** Nothing to do but wait: only what the provider has said is told of the payment. */
  tellUnderWay(view) {
    const title = texts[`${view}Title`];
    const line = view === "unsure" ? texts.unsure : { succeeded: texts.arriving, redirected: texts.toBank }[this.intent.step];
    const lines = [line ?? texts.processing];
    this.say({ view, title, lines, busy: true });
    clearTimeout(this.patience);
    this.patience = setTimeout(() => {
      if (this.shown === view) this.say({ view, title, lines: [...lines, texts.processingLong], busy: true });
    }, LONG_MS);
  }

  /** What the next try waits for. */
  tellWaiting(error) {
    if (error.reason === PAUSED) this.say({ view: "paused", title: texts.pausedTitle, lines: [texts.paused], busy: true });
    else if (isUnreachable(error)) this.tellUnreachable();
    else this.tellSlow();
  }

  /** Our own server does not answer. That nothing was charged is only sure before the donor has paid. */
  tellUnreachable() {
    const line = this.intent.step === "ready" ? texts.unreachable : texts.unreachableUnsure;
    this.say({ view: "unreachable", title: texts.unreachableTitle, lines: [line], busy: true });
  }

  tellSlow() {
    this.say({ view: "preparing", title: texts.preparingTitle, lines: [texts.preparing, texts.preparingLong], busy: true });
  }

  tellStuck(line, title = texts.stuckTitle) {
    const button = { text: texts.tryAgain, onclick: () => this.prepare() };
    this.say({ view: "stuck", title, lines: [line], button });
  }

  tellUnreached() {
    this.tellStuck(this.intent?.step === "ready" ? texts.unreached : texts.unreachedUnsure, texts.unreachedTitle);
  }

  tellElsewhere() {
    const button = { text: texts.again, onclick: () => this.showForm() };
    this.say({ view: "elsewhere", title: texts.elsewhereTitle, lines: [texts.elsewhere], button });
  }

  /** An outcome that is open keeps the gift; a refusal ends it, because nothing was made. */
  tellRefused(error) {
    if (error.reason === PAUSED) return this.tellStuck(texts.stillPaused, texts.pausedTitle);
    if (isOpen(error)) return this.tellUnreached();
    if (!(error instanceof Refused)) throw error;
    const { body } = this.intent ?? {};
    this.startOver();
    if (!this.form) return undefined;
    if (body) this.form.fill(body);
    const { reason, request_id: requestId, errors = [] } = error.problem;
    const noCookies = errors.some(({ field }) => field === COOKIE);
    this.form.tell(noCookies ? texts.noCookies : refusalOf(reason), requestId && texts.requestId(requestId));
    return this.form.markRefused(errors);
  }

  /** Leaves this gift: what nobody pays expires by itself. */
  startOver({ fresh = false } = {}) {
    this.listening?.abort();
    const draft = fresh || this.form ? null : this.intent?.draft;
    this.intent?.forget();
    Object.assign(this, { intent: null, donation: null, form: fresh ? null : this.form });
    this.showForm(draft);
  }

  /** Says where the gift stands to those who do not see the view, and in the window's title. */
  announce(title) {
    this.speaker.textContent = title;
    document.title = [title, this.campaign.display_name, texts.site].filter(Boolean).join(" – ");
  }

  say(words) {
    this.shown = words.view;
    this.announce(words.title);
    show(this.place, notice(words));
  }
}

// Confirming the payment. Whatever happens on the way, one gift is taken once: a payment can be confirmed to the end once.

import { make, show } from "./dom.js";
import { StripeCard } from "./elements.js";
import { SandboxCard } from "./sandbox.js";
import { adviceOf, declineOf, texts } from "./texts.js";
import { amountsOf, payment } from "./views.js";

// Time for the provider's own message about a payment whose answer got lost.
const HEAR_MS = 6_000;
// The service closes a payment after this many declined charges.
const DECLINES_MAX = 3;

export class Paying {
  constructor(giving) {
    this.giving = giving;
    const { configuration } = giving;
    this.card = configuration.stripe_base ? new SandboxCard(configuration) : new StripeCard(configuration);
    this.alert = make("div", { class: "alert", role: "alert", hidden: true });
    this.title = texts.payTitle;
    this.busy = false;
  }

  get intent() {
    return this.giving.intent;
  }

  /** Takes the secret of a payment that can be confirmed, and finds out what became of a confirmation before. */
  begin(secret) {
    this.secret = secret;
    this.tell();
    if (!["ready", "succeeded"].includes(this.intent.step)) this.clear();
  }

  show() {
    const { donation, configuration, place } = this.giving;
    const card = make("div", { class: "card" });
    const onPay = (event) => (event.preventDefault(), this.pay());
    const amounts = amountsOf(donation, configuration);
    show(place, payment({ donation, amounts, alert: this.alert, card, onPay, onChange: () => this.busy || this.giving.startOver() }));
    this.giving.announce(this.title);
    this.card.mount(card, this.secret).catch((error) => this.tell(error.message));
  }

  /** A donor's click; a second one while the first is on its way does nothing. */
  async pay() {
    if (this.busy) return;
    this.setBusy(true);
    this.tell();
    this.giving.announce(texts.processingTitle);
    this.intent.update({ step: "confirming", seen: this.giving.donation.version });
    const returnUrl = `${location.origin}/c/${this.giving.campaign.campaign_id}`;
    const outcome = await this.card.confirm(this.secret, returnUrl).catch(() => ({ kind: "lost" }));
    this.setBusy(false);
    await this.take(outcome);
  }

  async take(outcome) {
    const ways = {
      succeeded: () => this.step("succeeded"),
      processing: () => this.step("processing"),
      declined: () => this.decline(outcome),
      incomplete: () => (this.retry(), this.giving.announce(texts.payTitle)),
      redirect: () => this.leave(outcome.url),
    };
    await (ways[outcome.kind] ?? (() => this.clear()))();
  }

  /** Goes to the donor's bank, which sends him back here. */
  leave(url) {
    if (!url) return this.retry(texts.unfinished);
    this.step("redirected");
    return location.assign(url);
  }

  /** Nobody knows what became of the confirmation: the donation tells first, then the provider, then patience. */
  async clear() {
    this.step("confirming");
    if (await this.giving.refresh().catch(() => false)) return undefined;
    const outcome = await this.look();
    if (outcome.kind === "redirect") return this.retry(texts.unfinished);
    if (["succeeded", "processing", "declined"].includes(outcome.kind)) return this.take(outcome);
    if (outcome.kind === "stale") return this.step("stale");
    await new Promise((resolve) => setTimeout(resolve, HEAR_MS));
    if (this.intent?.step !== "confirming") return undefined;
    // Only the provider itself may say that nothing was charged; as long as it cannot be asked, it is asked again.
    return (await this.look()).kind === "open" ? this.retry(texts.lost) : this.clear();
  }

  async look() {
    try {
      if (!this.card.stripe && this.card instanceof StripeCard) await this.card.mount(make("div"), this.secret);
      return await this.card.look(this.secret);
    } catch {
      return { kind: "lost" };
    }
  }

  step(step) {
    if (!this.intent) return;
    this.intent.update({ step });
    if (this.giving.donation) this.giving.draw();
  }

  /** The donor may pay again, on the same payment. */
  retry(...words) {
    this.tell(...words);
    this.step("ready");
  }

  /** A declined charge: why, what may help, and how many tries are left. The donor goes on where the card is. */
  decline({ code, charge }) {
    const left = DECLINES_MAX - this.intent.countDecline(charge);
    if (left > 0) this.retry(declineOf(code), adviceOf(code), ...(left === 1 ? [texts.oneLeft] : []));
    else this.retry(declineOf(code), texts.closing);
    this.title = texts.declinedTitle;
    this.giving.announce(this.title);
    this.card.focus();
  }

  /** What the service says about a declined payment, unless the provider has told us more already. */
  tellFailure(donation) {
    const { state, failure_code: code } = donation;
    if (state !== "STATE_FAILED" || !this.alert.hidden) return;
    this.tell(declineOf(code), adviceOf(code));
    this.title = texts.declinedTitle;
  }

  tell(...words) {
    this.title = texts.payTitle;
    this.alert.replaceChildren(...words.map((text) => make("p", {}, text)));
    this.alert.hidden = !words.length;
  }

  setBusy(busy) {
    this.busy = busy;
    const form = this.giving.place.querySelector("[data-view=waiting]");
    form?.setAttribute("aria-busy", String(busy));
    // Not disabled: that would take the focus away from whoever has just pressed it.
    for (const button of form?.querySelectorAll("button") ?? []) button.setAttribute("aria-disabled", String(busy));
  }
}

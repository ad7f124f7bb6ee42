// Paying with Stripe's own form: card data goes from the donor's browser to Stripe and never touches us.

import { make } from "./dom.js";
import { declineBy, intentOutcome } from "./sandbox.js";
import { texts } from "./texts.js";

// Stripe demands that its script comes from its own address.
const SCRIPT = "https://js.stripe.com/v3/";

export class StripeCard {
  constructor({ publishable_key: key }) {
    this.key = key;
  }

  /** Shows the form in `place`. Throws where Stripe's script cannot be had. */
  async mount(place, secret) {
    place.replaceChildren(make("p", { class: "soft" }, texts.loadingCard));
    await loadScript();
    this.stripe ??= window.Stripe(this.key);
    this.elements = this.stripe.elements({ clientSecret: secret });
    const box = make("div", {});
    place.replaceChildren(box);
    this.form = this.elements.create("payment");
    this.form.mount(box);
  }

  focus() {
    this.form?.focus();
  }

  async confirm(secret, returnUrl) {
    const options = { elements: this.elements, confirmParams: { return_url: returnUrl }, redirect: "if_required" };
    return this.outcomeOf(await this.stripe.confirmPayment(options));
  }

  async look(secret) {
    return this.outcomeOf(await this.stripe.retrievePaymentIntent(secret));
  }

  outcomeOf({ error, paymentIntent }) {
    if (!error) return intentOutcome(paymentIntent);
    if (error.code === "payment_intent_unexpected_state") return { kind: "stale" };
    if (error.type === "validation_error") return { kind: "incomplete" };
    return error.type === "card_error" || error.payment_intent ? declineBy(error) : { kind: "lost" };
  }
}

function loadScript() {
  if (window.Stripe) return Promise.resolve();
  return new Promise((resolve, reject) => {
    const script = make("script", { src: SCRIPT, onload: resolve, onerror: () => reject(new Error(texts.cardFormFailed)) });
    document.head.append(script);
  });
}

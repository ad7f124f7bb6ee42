// Paying with the sandbox that stands in for Stripe: its test cards, confirmed the way Stripe.js confirms.

import { backoff, pause } from "./api.js";
import { field, make } from "./dom.js";
import { testCards, texts } from "./texts.js";

const TIMEOUT_MS = 20_000;
const LOOKS_MAX = 4;

export class SandboxCard {
  constructor({ stripe_base: base, publishable_key: key }) {
    Object.assign(this, { base, key });
    const options = Object.entries(testCards).map(([value, text]) => make("option", { value }, text));
    this.select = make("select", {}, options);
  }

  async mount(place) {
    place.replaceChildren(field({ id: "card", label: texts.testCard, hint: texts.testCardHint, control: this.select }));
  }

  focus() {
    this.select.focus();
  }

  /** Confirms with the chosen card; an outcome as `outcomeOf` gives it. */
  async confirm(secret, returnUrl) {
    const form = { key: this.key, client_secret: secret, payment_method: this.select.value, return_url: returnUrl };
    return this.ask(`${addressOf(secret)}/confirm`, { method: "POST", body: new URLSearchParams(form) });
  }

  /** What the payment is at now, without touching it. */
  async look(secret) {
    const query = new URLSearchParams({ key: this.key, client_secret: secret });
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.ask(`${addressOf(secret)}?${query}`, {});
      if (outcome.kind !== "lost" || attempt === LOOKS_MAX) return outcome;
      await pause(backoff(attempt));
    }
  }

  async ask(path, request) {
    try {
      const answer = await fetch(this.base + path, { ...request, signal: AbortSignal.timeout(TIMEOUT_MS) });
      return outcomeOf(answer.status, await answer.json());
    } catch {
      return { kind: "lost" };
    }
  }
}

/** What an answer of Stripe's means for the donor. */
function outcomeOf(status, answer) {
  if (status >= 500 || status === 409 || status === 429) return { kind: "lost" };
  if (answer.error?.code === "payment_intent_unexpected_state") return { kind: "stale" };
  if (answer.error) return declineBy(answer.error);
  return intentOutcome(answer);
}

/** What a payment intent's own state means; shared with the real Stripe.js, which gives the same object. */
export function intentOutcome({ status, next_action: action, last_payment_error: error }) {
  if (status === "succeeded" || status === "requires_capture") return { kind: "succeeded" };
  if (status === "processing") return { kind: "processing" };
  if (status === "requires_action") return { kind: "redirect", url: action?.redirect_to_url?.url };
  if (status === "canceled") return { kind: "stale" };
  return error ? declineBy(error) : { kind: "open" };
}

/** A declined payment; `charge` only where one was tried. */
export const declineBy = (error) => ({ kind: "declined", code: error.decline_code || error.code || "", charge: error.charge ?? "" });

// The payment's id is what stands before the secret part.
const addressOf = (secret) => `/v1/payment_intents/${secret.slice(0, secret.indexOf("_secret_"))}`;

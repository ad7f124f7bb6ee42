// What a campaign has raised, live.

import { ask } from "./api.js";
import { make } from "./dom.js";
import { currencyOf, format, mainFirst, percent } from "./money.js";
import { texts } from "./texts.js";

const POLL_MS = 5_000;
const STREAM_AGAIN_MS = 20_000;
// A screen reader that is told of every gift would never be silent on a good day.
const SPEAK_MS = 8_000;
const NOTHING = { gross: "0", net: "0", donations: "0", donors: "0" };

export class Totals {
  constructor({ configuration, campaign, place, speaker }) {
    Object.assign(this, { configuration, campaign, place, speaker, version: -1n, live: false });
    this.path = `/v1/campaigns/${campaign.campaign_id}/totals`;
  }

  async start() {
    this.draw([]);
    await this.poll();
    this.open();
  }

  /** Reads the live stream; where there is none, asks every few seconds and tries again later. */
  open() {
    if (!this.configuration.live_url) return this.fallBack();
    const stream = new EventSource(`${this.configuration.live_url}${this.path}:watch`);
    stream.onopen = () => this.setLive(true);
    stream.onmessage = ({ data }) => this.take(JSON.parse(data).totals);
    stream.onerror = () => {
      this.setLive(false);
      // While the browser reconnects by itself there is nothing to do; after a refusal it has given up.
      if (stream.readyState === EventSource.CLOSED) this.fallBack();
    };
  }

  fallBack() {
    const timer = setInterval(() => this.poll(), POLL_MS);
    if (!this.configuration.live_url) return;
    setTimeout(() => (clearInterval(timer), this.open()), STREAM_AGAIN_MS);
  }

  async poll() {
    try {
      this.take((await ask(this.path)).totals);
    } catch {
      // A new campaign has no totals for a moment, and what is shown stays true until we hear better.
    }
  }

  take(totals) {
    if (BigInt(totals.version) <= this.version) return;
    this.version = BigInt(totals.version);
    this.draw(totals.currencies);
    this.speakLater();
  }

  setLive(live) {
    this.live = live;
    const sign = this.place.querySelector(".live");
    if (sign) sign.replaceWith(this.sign());
  }

  draw(currencies) {
    const shares = new Map(currencies.map((share) => [share.currency, share]));
    const codes = new Set([...mainFirst(this.campaign.currency_rules), ...shares.keys()]);
    const rows = [...codes].map((code) => this.row(code, shares.get(code) ?? NOTHING)).filter(Boolean);
    this.place.replaceChildren(...rows, this.sign());
  }

  row(code, share) {
    const currency = currencyOf(this.configuration, code);
    if (!currency) return null;
    const rule = this.campaign.currency_rules.find((known) => known.currency === code);
    const amount = make("p", { class: "raised" }, make("strong", {}, format(BigInt(share.net), currency)), ` ${texts.raised}`);
    const counts = [texts.donations(share.donations), BigInt(share.donors) ? texts.donors(share.donors) : null];
    const numbers = make("p", { class: "soft" }, counts.filter(Boolean).join(" · "));
    return make("div", { class: "share", "data-currency": code }, amount, goalOf(rule, share, currency), numbers);
  }

  sign() {
    return make("p", { class: this.live ? "live on" : "live" }, this.live ? texts.live : texts.notLive);
  }

  speakLater() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      const raised = [...this.place.querySelectorAll(".raised strong")].map((amount) => amount.textContent);
      this.speaker.textContent = texts.spokenTotal(raised.join(", "));
    }, SPEAK_MS);
  }
}

function goalOf(rule, share, currency) {
  if (!rule?.goal_minor_units) return null;
  const goal = BigInt(rule.goal_minor_units);
  const reached = percent(BigInt(share.net), goal);
  const words = texts.goal(format(goal, currency, { short: true }), reached || (BigInt(share.net) ? "< 1" : 0));
  const bar = make("progress", { max: "100", value: String(reached), "aria-label": words });
  return make("div", {}, bar, make("p", { class: "soft" }, words));
}

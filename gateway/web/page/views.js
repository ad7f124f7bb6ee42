// What the donor sees beside the form: preparing, paying, waiting, and how it ended.

import { heading, make } from "./dom.js";
import { currencyOf, format } from "./money.js";
import { declineOf, texts } from "./texts.js";

/** A view that says something and offers at most one thing to do. */
export function notice({ view, title, lines, details, extra = null, button, busy = false }) {
  return make(
    "section",
    { class: "view", "data-view": view, "aria-busy": busy ? "true" : "false" },
    heading(2, title),
    busy ? make("div", { class: "spinner", "aria-hidden": "true" }) : null,
    ...lines.filter(Boolean).map((line) => make("p", {}, line)),
    details ? terms(details) : null,
    extra,
    button ? make("button", { type: "button", class: "primary", onclick: button.onclick }, button.text) : null,
  );
}

/** The view on which the donor pays; `card` is the place for the card's form. */
export function payment({ donation, amounts, alert, card, onPay, onChange }) {
  const { gift, cover, total } = amounts;
  const rows = cover ? { [texts.gift]: gift, [texts.fee]: cover, [texts.total]: total } : { [texts.gift]: total };
  const button = make("button", { type: "submit", class: "primary" }, texts.pay(total));
  return make(
    "form",
    { class: "view", "data-view": "waiting", "data-donation": donation.donation_id, novalidate: true, onsubmit: onPay },
    heading(2, texts.payTitle),
    alert,
    terms(rows),
    card,
    button,
    make("button", { type: "button", class: "quiet", onclick: onChange }, texts.change),
  );
}

/** The view of a gift that is over, by its standing. */
export function ending({ standing, donation, amounts, campaign, sendsReceipt, declines, onAgain }) {
  const nothingCame = ["failed", "expired"].includes(standing);
  const again = { text: nothingCame ? texts.tryAgain : texts.again, onclick: onAgain };
  const details = { [texts.reference]: donation.donation_id };
  if (standing === "thanks") return thanks({ donation, amounts, campaign, sendsReceipt, details, again });
  const said = texts[standing];
  const line = typeof said === "function" ? said(amounts) : said;
  const lines = standing === "failed" ? [declineOf(donation.failure_code), declines >= 3 ? texts.closedAfterDeclines : line] : [line];
  return notice({ view: standing, title: texts[`${standing}Title`], lines, details, button: again });
}

/** What a donor may want to keep of his gift, on one view. */
function thanks({ donation, amounts, campaign, sendsReceipt, details, again }) {
  const lines = [texts.thanks(amounts.total, campaign.display_name), sendsReceipt ? texts.receipt : null];
  const date = new Date(donation.settle_time ?? donation.update_time);
  const kept = {
    [texts.date]: new Intl.DateTimeFormat(undefined, { dateStyle: "long" }).format(date),
    [texts.given]: amounts.total,
    [texts.campaign]: campaign.display_name,
    ...details,
  };
  const extra = copyButton(donation.donation_id);
  return notice({ view: "thanks", title: texts.thanksTitle, lines, details: kept, extra, button: again });
}

/** Null where the browser lets no page copy: without encryption, for one. */
function copyButton(text) {
  if (!navigator.clipboard) return null;
  const button = make("button", { type: "button", class: "quiet" }, texts.copy);
  const tell = () => (button.textContent = texts.copied);
  button.addEventListener("click", () => navigator.clipboard.writeText(text).then(tell, () => button.remove()));
  return button;
}

/** A donation's amounts as people read them; `cover` is empty without one. */
export function amountsOf(donation, configuration) {
  const currency = currencyOf(configuration, donation.amount.currency);
  const units = (money) => BigInt(money?.minor_units ?? "0");
  const [total, cover] = [units(donation.amount), units(donation.fee_cover)];
  const [gross, refunded, disputed] = [units(donation.gross), units(donation.refunded), units(donation.disputed)];
  return {
    total: format(total, currency),
    cover: cover ? format(cover, currency) : "",
    gift: format(total - cover, currency),
    refunded: format(refunded, currency),
    disputed: format(disputed, currency),
    left: format(gross - refunded - disputed, currency),
  };
}

function terms(rows) {
  const entries = Object.entries(rows).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  return make("dl", { class: "terms" }, entries);
}

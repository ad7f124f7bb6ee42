// Which page this is, and what stands on it.

import { ask, isOpen } from "./api.js";
import { heading, make } from "./dom.js";
import { Giving } from "./giving.js";
import { startView } from "./start.js";
import { texts } from "./texts.js";
import { Totals } from "./totals.js";

const RETURNED = ["payment_intent", "payment_intent_client_secret", "redirect_status", "source_redirect_slug", "source_type"];
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Whether the bank's page sent the donor back; what it sent along is taken out of the address and of its history. */
function cameBack() {
  const address = new URL(location.href);
  const back = address.searchParams.has("payment_intent");
  for (const name of RETURNED) address.searchParams.delete(name);
  if (back) history.replaceState(null, "", address);
  return back;
}

/** The campaign that the address names, or the featured one; empty for the start page. */
function campaignId(configuration) {
  const [, inPath] = /^\/c\/(.+)$/.exec(location.pathname) ?? [];
  return inPath ?? new URLSearchParams(location.search).get("campaign") ?? configuration.featured_campaign;
}

/** What a checkout may be offered; null where the campaign takes nothing now. */
async function offerOf(path) {
  try {
    return await ask(`${path}/offer`);
  } catch (error) {
    if (["CAMPAIGN_NOT_OPEN", "CHARITY_SUSPENDED", "INTAKE_STOPPED"].includes(error.reason)) return null;
    throw error;
  }
}

function frame(main, configuration) {
  const speakers = ["total", "gift"].map((name) => make("p", { class: "unseen", role: "status", id: `${name}-speaker` }));
  const isTest = configuration.stripe_base || configuration.publishable_key.startsWith("pk_test_");
  if (isTest) main.before(make("p", { class: "test-mode" }, texts.testMode));
  document.body.append(...speakers);
  return speakers;
}

async function campaignPage(main, configuration, id) {
  const back = cameBack();
  const path = `/v1/campaigns/${encodeURIComponent(id)}`;
  const [{ campaign }, offer] = await Promise.all([ask(path), offerOf(path)]);
  const [totalSpeaker, giftSpeaker] = frame(main, configuration);
  const totals = make("section", { class: "panel totals", "aria-label": texts.totalsTitle });
  const place = make("section", { class: "panel giving", "aria-label": texts.giveTitle });
  main.replaceChildren(
    make("div", { class: "cause" }, heading(1, campaign.display_name), recipient(campaign), totals, about(campaign)),
    place,
  );
  main.dataset.ready = "campaign";
  new Totals({ configuration, campaign, place: totals, speaker: totalSpeaker }).start();
  new Giving({ configuration, campaign, offer, place, speaker: giftSpeaker }).start(back);
}

/** Nobody should pay somebody without a name. */
const recipient = ({ charity_display_name: charity }) => (charity ? make("p", { class: "recipient" }, texts.recipient(charity)) : null);

function about({ description }) {
  if (!description) return null;
  const paragraphs = description.split(/\n\s*\n/).map((text) => make("p", {}, text));
  return make("section", { class: "about" }, make("h2", {}, texts.about), ...paragraphs);
}

function failure(main, error) {
  const missing = error.status === 404 || error.status === 400;
  const lead = missing ? texts.notFoundLead : texts.offline;
  const title = missing ? texts.notFoundTitle : texts.loadFailedTitle;
  const home = make("p", {}, make("a", { href: "/" }, texts.toStart));
  const again = make("button", { type: "button", class: "primary", onclick: () => location.reload() }, texts.tryAgain);
  main.replaceChildren(make("section", { class: "panel lone" }, heading(1, title), make("p", {}, lead), missing ? home : again));
  main.dataset.ready = "failure";
  if (!missing && !isOpen(error)) throw error;
}

async function start() {
  const main = document.getElementById("main");
  try {
    const configuration = await ask("/page.json");
    const id = campaignId(configuration);
    if (id) await campaignPage(main, configuration, id);
    else main.replaceChildren(startView(UUID));
    main.dataset.ready ??= "start";
  } catch (error) {
    failure(main, error);
  }
}

start();

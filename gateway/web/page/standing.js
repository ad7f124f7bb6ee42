// What a donor sees of a donation, out of what we know and what he did last.

const OVER = {
  STATE_SUCCEEDED: "thanks",
  STATE_PARTIALLY_REFUNDED: "partlyRefunded",
  STATE_REFUNDED: "refunded",
  STATE_EXPIRED: "expired",
  STATE_DISPUTED: "disputed",
  STATE_DISPUTE_LOST: "disputeLost",
};

// Steps after which nobody has said yet what became of the payment.
const UNSURE = ["confirming", "stale"];

/** One of preparing, waiting, processing, unsure, failed, or a value of OVER. */
export function standingOf(donation, intent) {
  if (OVER[donation.state]) return OVER[donation.state];
  if (donation.state === "STATE_PENDING") return "preparing";
  if (donation.state !== "STATE_FAILED") return intent.step === "ready" ? "waiting" : underWay(intent);
  if (!donation.retryable) return "failed";
  return believesFailure(donation, intent) ? "waiting" : underWay(intent);
}

const underWay = ({ step }) => (UNSURE.includes(step) ? "unsure" : "processing");

/** Whether nothing more will come that the donor has to wait for. */
export const isOver = (standing) => standing === "failed" || Object.values(OVER).includes(standing);

/** A failure that we hear of may be an older one: the donor has tried again since, and that try is still on its way. */
function believesFailure(donation, { step, seen }) {
  if (step === "ready") return true;
  return ["processing", "stale"].includes(step) && BigInt(donation.version) > BigInt(seen);
}

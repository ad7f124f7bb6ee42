// Every word that the page says. Another language is another file like this one.

const count = new Intl.NumberFormat();
const many = (number, one, more) => `${count.format(number)} ${BigInt(number) === 1n ? one : more}`;

export const texts = {
  site: "Giving Mesh",
  skip: "Skip to the content",
  apiLink: "API",
  testMode: "Test mode: no money moves. Pay with one of the test cards.",

  startTitle: "Give where it counts",
  startLead: "Every campaign has a page of its own with its live total. Open one with its id or with the link that you were given.",
  startLabel: "Campaign id",
  startHint: "It looks like 01890a5d-ac96-774b-bcce-b302099a8057.",
  startButton: "Open campaign",
  startProblem: "This is not a campaign’s id: it has 32 digits and letters in five groups.",
  startDocs: "Building something? Read the API’s documentation.",

  loading: "One moment…",
  notFoundTitle: "This campaign does not exist",
  notFoundLead: "Check the address: part of it may be missing.",
  loadFailedTitle: "The page could not be loaded",
  tryAgain: "Try again",
  toStart: "To the start page",

  recipient: (charity) => `For ${charity}`,
  raised: "raised",
  goal: (goal, percent) => `${percent} % of the goal of ${goal}`,
  donations: (number) => many(number, "donation", "donations"),
  donors: (number) => many(number, "donor", "donors"),
  live: "Live",
  notLive: "Delayed",
  totalsTitle: "Raised so far",
  spokenTotal: (total) => `${total} raised so far`,
  about: "About this campaign",

  giveTitle: "Give",
  currency: "Currency",
  amount: "Amount",
  amountIn: (code) => `Amount in ${code}`,
  otherLabel: (code) => `Or another amount in ${code}`,
  bounds: (low, high) => `From ${low} to ${high}.`,
  cover: (cover, gift) => `Add ${cover} for the payment fee, so that all of ${gift} arrives`,
  aboutYou: "About you",
  optional: "(optional)",
  name: "Name",
  email: "E-mail",
  emailReceipt: "Your receipt goes there.",
  emailPrivate: "No mail is sent from here, so no receipt either. It is kept encrypted, and never shown.",
  keptApart: "It is kept encrypted, apart from the gift.",
  message: "Message",
  messageHint: "At most 500 characters, kept encrypted.",
  anonymous: "Do not show my name",
  give: (total) => `Give ${total}`,
  closed: "This campaign does not take gifts right now.",
  noPayments: "Gifts cannot be paid on this page: it has no payment provider.",

  amountForm: "Write the amount as a number, such as 12 or 12.50.",
  amountFormWhole: "Write the amount as a whole number, such as 1200.",
  amountLow: ({ low }) => `The smallest gift is ${low}.`,
  amountHigh: ({ high }) => `The largest gift is ${high}.`,
  amountStep: ({ step }) => `This currency is taken in steps of ${step}.`,
  emailForm: "This is not an e-mail address. Leave it empty or correct it.",
  checkForm: "Something is not right yet. See the marked fields.",
  noCookies: "Your browser does not keep cookies for this page. Allow them and reload it.",

  resumingTitle: "Looking up your gift",
  preparingTitle: "Preparing your gift",
  preparing: "This takes a moment. Nothing has been charged.",
  preparingLong: "The payment provider is slow to answer. We keep trying; nothing has been charged.",
  stuckTitle: "Your gift is not ready yet",
  stuck: "We could not reach the payment provider. Nothing has been charged. Trying again goes on with the same gift.",
  pausedTitle: "Gifts cannot be paid right now",
  paused: "The payment provider does not answer. Nothing has been charged; we keep trying.",
  stillPaused: "The payment provider does not answer. Nothing has been charged. Trying again later goes on with the same gift.",
  unreachableTitle: "We cannot reach our server",
  unreachable: "We cannot reach our server. Nothing has been charged; we keep trying.",
  unreachableUnsure: "We cannot reach our server. We keep trying; a gift is taken once, or not at all.",
  unreachedTitle: "We could not reach our server",
  unreached: "Nothing has been charged. Check your connection; trying again goes on with the same gift.",
  unreachedUnsure: "Check your connection; trying again goes on with the same gift. It is taken once, or not at all.",
  payTitle: "Pay",
  gift: "Gift",
  fee: "Payment fee",
  total: "Total",
  testCard: "Test card",
  testCardHint: "These are the payment provider’s own test cards. No real card is asked for.",
  pay: (total) => `Pay ${total}`,
  change: "Change the gift",
  loadingCard: "The card form is loading…",
  cardFormFailed: "The card form could not be loaded. Check your connection.",

  processingTitle: "Processing your payment",
  processing: "Your bank is working on it. You can wait here or close this page.",
  processingLong: "This takes longer than usual. Your gift is safe: it is taken once, or not at all.",
  arriving: "Your payment went through. We wait until your gift is booked.",
  unsureTitle: "Checking your payment",
  unsure: "We do not know yet whether your payment arrived. Please keep this page open.",
  toBank: "Your bank wants to check that it is you. Taking you there…",
  unfinished: "Your bank’s check was not finished, so nothing was charged. Pay again with this or with another card.",
  lost: "The answer of the payment got lost, and nothing has been charged so far. You can pay again: a gift is never taken twice.",

  thanksTitle: "Thank you!",
  thanks: (amount, campaign) => `Your gift of ${amount} to ${campaign} has arrived.`,
  receipt: "A receipt comes by e-mail.",
  date: "Date",
  given: "Amount",
  campaign: "Campaign",
  reference: "Reference",
  copy: "Copy the reference",
  copied: "Copied",
  again: "Give again",
  declinedTitle: "The payment was declined",
  tryAnother: "Nothing was charged. Try another card.",
  trySame: "Nothing was charged. Try again, with this or another card.",
  oneLeft: "One try is left.",
  closing: "Nothing was charged. Three cards were declined, so this payment is closed.",
  failedTitle: "The payment failed",
  failed: "Nothing was charged. You can begin anew.",
  closedAfterDeclines: "Three cards were declined, so this payment was closed. Nothing was charged. You can begin anew.",
  expiredTitle: "This gift has expired",
  expired: "It was not paid in time, and nothing was charged. You can begin anew.",
  partlyRefundedTitle: "Part of this gift was refunded",
  partlyRefunded: ({ refunded, left }) => `${refunded} went back to you. ${left} still counts.`,
  refundedTitle: "This gift was refunded",
  refunded: ({ refunded }) => `${refunded} went back to you.`,
  disputedTitle: "This gift is disputed",
  disputed: ({ disputed }) => `Your bank holds ${disputed} while it looks into the payment.`,
  disputeLostTitle: "Your bank took this gift back",
  disputeLost: ({ disputed }) => `${disputed} went back to you through your bank.`,
  elsewhereTitle: "Welcome back",
  elsewhere: "This gift was begun in another window. Its outcome is shown there.",

  offline: "We cannot reach our server right now. Check your connection and try again.",
  refusedTitle: "That did not work",
  requestId: (id) => `Request ${id}`,
};

export const testCards = {
  pm_card_visa: "Visa 4242 – succeeds",
  pm_card_mastercard: "Mastercard 4444 – succeeds",
  pm_card_chargeDeclined: "Visa 0002 – is declined",
  pm_card_chargeDeclinedInsufficientFunds: "Visa 9995 – has insufficient funds",
  pm_card_chargeDeclinedExpiredCard: "Visa 0069 – has expired",
  pm_card_chargeDeclinedProcessingError: "Visa 0119 – fails at the bank",
  pm_card_authenticationRequired: "Visa 3184 – asks for 3-D Secure",
  pm_card_threeDSecure2Required: "Visa 3220 – asks for 3-D Secure 2",
};

// By the provider's decline code, or its error code where it gives no other. None says more than a donor should read:
// a card that was reported stolen is declined like any other.
const DECLINES = {
  insufficient_funds: "The card has insufficient funds.",
  expired_card: "The card has expired.",
  incorrect_cvc: "The card’s security code is wrong.",
  incorrect_number: "The card’s number is wrong.",
  processing_error: "The bank could not process the payment.",
  card_velocity_exceeded: "The card has reached its limit.",
  withdrawal_count_limit_exceeded: "The card has reached its limit.",
  card_not_supported: "The card cannot be used for this payment.",
  currency_not_supported: "The card does not take this currency.",
  authentication_required: "The bank wants to check that it is you, and the check did not take place.",
  authentication_failed: "Your bank could not confirm that it is you.",
  payment_intent_authentication_failure: "Your bank could not confirm that it is you.",
};
const DECLINED = "The bank declined the payment.";

/** Why a payment was declined, in words. */
export const declineOf = (code) => DECLINES[code] ?? DECLINED;

// After these the same card may do, corrected or a little later.
const SAME_CARD = new Set([
  "incorrect_cvc",
  "incorrect_number",
  "processing_error",
  "authentication_required",
  "authentication_failed",
  "payment_intent_authentication_failure",
]);

/** What may help after a decline, in words. */
export const adviceOf = (code) => (SAME_CARD.has(code) ? texts.trySame : texts.tryAnother);

const REFUSALS = {
  CAMPAIGN_NOT_OPEN: texts.closed,
  CHARITY_SUSPENDED: texts.closed,
  MODE_MISMATCH: "This campaign cannot take payments here.",
  INTAKE_STOPPED: texts.closed,
  CAMPAIGN_NOT_FOUND: texts.notFoundTitle,
  RATE_LIMITED: "Too many tries in a short time. Wait a little and try again.",
  OVERLOADED: "Many people give right now. Wait a moment and try again.",
  UNAUTHENTICATED: texts.noCookies,
  INVALID_ARGUMENT: texts.checkForm,
  PAYMENT_DECLINED: DECLINED,
  DONATION_NOT_FOUND: "Your earlier gift cannot be shown here any more. If you had paid it, it counts.",
};

/** A refusal in words. */
export const refusalOf = (reason) => REFUSALS[reason] ?? "Something went wrong. Please try again in a moment.";

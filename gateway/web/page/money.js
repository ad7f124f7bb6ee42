// Amounts are minor units in BigInt. No amount is ever a float.

/** A currency as the page knows it: code, decimals, and the smallest step that the provider takes. */
export function currencyOf(configuration, code) {
  const known = configuration.currencies[code];
  return known && { code, exponent: known.exponent, step: BigInt(known.step) };
}

/** Minor units as a plain decimal: 1250 USD is "12.50". */
export function decimal(minorUnits, { exponent }) {
  const digits = String(minorUnits < 0n ? -minorUnits : minorUnits).padStart(exponent + 1, "0");
  const whole = digits.slice(0, digits.length - exponent);
  const sign = minorUnits < 0n ? "-" : "";
  return exponent ? `${sign}${whole}.${digits.slice(-exponent)}` : `${sign}${whole}`;
}

/** As people read it, in their own language; without decimals where `short` and there are none to show. */
export function format(minorUnits, currency, { short = false } = {}) {
  const whole = minorUnits % 10n ** BigInt(currency.exponent) === 0n;
  const digits = short && whole ? 0 : currency.exponent;
  const options = { style: "currency", currency: currency.code, minimumFractionDigits: digits, maximumFractionDigits: digits };
  // A decimal in a text is formatted exactly; as a number it would be a float.
  return new Intl.NumberFormat(undefined, options).format(decimal(minorUnits, currency));
}

/** What a person typed, in minor units; null where it is no amount of the currency. Point and comma both part decimals. */
export function parse(text, { exponent }) {
  const found = /^([0-9]{1,15})(?:[.,]([0-9]*))?$/.exec(text.trim());
  if (!found || (found[2] ?? "").length > exponent) return null;
  return BigInt(found[1] + (found[2] ?? "").padEnd(exponent, "0"));
}

/** What is wrong with an amount, as a name of one of the texts; null where it may be given. */
export function problemOf(minorUnits, { minimum, maximum }, currency) {
  if (minorUnits === null) return currency.exponent ? "amountForm" : "amountFormWhole";
  if (minorUnits < minimum) return "amountLow";
  if (minorUnits > maximum) return "amountHigh";
  return minorUnits % currency.step ? "amountStep" : null;
}

/** The smallest cover c of a gift g with c >= (g + c) * basis_points / 10000 + fixed, in steps of the currency. */
export function feeCover(gift, rule, { step }) {
  const share = BigInt(rule.basis_points);
  const needed = gift * share + BigInt(rule.fixed_minor_units) * 10000n;
  return roundedUp(roundedUp(needed, 10000n - share) / (10000n - share), step);
}

/** How far a goal is reached, in whole percent from 0 to 100; never 100 before it is. */
export function percent(net, goal) {
  if (net <= 0n) return 0;
  return net >= goal ? 100 : Number((net * 100n) / goal);
}

function roundedUp(value, step) {
  const rest = value % step;
  return rest ? value + step - rest : value;
}

// The currencies of a campaign. It reckons in that of its goal, which comes first.
export const mainFirst = (rules) =>
  [...rules].sort((a, b) => ("goal_minor_units" in b) - ("goal_minor_units" in a)).map((rule) => rule.currency);

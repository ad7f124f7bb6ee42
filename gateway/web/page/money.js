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

/** As this language's people type it, so that `parse` takes it in one way only. */
export const written = (minorUnits, currency) => decimal(minorUnits, currency).replace(".", decimalMark());

/** As people read it, in their own language; without decimals where `short` and there are none to show. */
export function format(minorUnits, currency, { short = false } = {}) {
  const whole = minorUnits % 10n ** BigInt(currency.exponent) === 0n;
  const digits = short && whole ? 0 : currency.exponent;
  const options = { style: "currency", currency: currency.code, minimumFractionDigits: digits, maximumFractionDigits: digits };
  // A decimal in a text is formatted exactly; as a number it would be a float.
  return new Intl.NumberFormat(undefined, options).format(decimal(minorUnits, currency));
}

/**
 * What a person typed, in minor units; null where it is no amount of the currency or could be meant in two ways. What the
 * page prints is understood: the currency's sign and the separators of any language. The last point or comma parts the
 * decimals where as many follow as the currency may have; all others must part groups of three.
 */
export function parse(text, currency) {
  const bare = withoutSign(text.replace(/\s/g, " ").replaceAll("’", "'").trim(), currency);
  const [, whole, mark, rest] = /^(.*?)(?:([.,])(\d*))?$/.exec(bare);
  if (!mark) return units(whole, "", currency);
  const alone = /^\d+$/.test(whole);
  // "1.005" may be a thousand and five, or one and too many decimals: this language's decimal mark parts no groups.
  if (rest.length > currency.exponent) return alone && mark === decimalMark() ? null : units(bare, "", currency);
  // "1,000" with three decimals may be one or a thousand: this language's group mark parts no decimals.
  if (alone && mark !== decimalMark() && GROUPED.test(bare)) return null;
  return whole.includes(mark) ? null : units(whole, rest, currency);
}

const GROUPED = /^[1-9]\d{0,2}(?:([., '])\d{3})(?:\1\d{3})*$/;
const DIGITS_MAX = 15;

/** Digits, grouped or not, with their decimals. */
function units(whole, decimals, { exponent }) {
  const digits = whole.replace(/\D/g, "");
  if (digits.length > DIGITS_MAX || !(/^\d+$/.test(whole) || GROUPED.test(whole))) return null;
  return BigInt(digits + decimals.padEnd(exponent, "0"));
}

/** The text without this currency's sign or code, which stand at its start or end; another currency's stay. */
function withoutSign(text, { code }) {
  const large = text.toUpperCase();
  const sign = signsOf(code).find((name) => large.startsWith(name) || large.endsWith(name));
  if (!sign) return text;
  return (large.startsWith(sign) ? text.slice(sign.length) : text.slice(0, -sign.length)).trim();
}

function signsOf(code) {
  const signs = ["symbol", "narrowSymbol"].map((currencyDisplay) =>
    part(new Intl.NumberFormat(undefined, { style: "currency", currency: code, currencyDisplay }), "currency"),
  );
  return [code, ...signs].map((sign) => sign.replace(/\s/g, " ").toUpperCase());
}

const decimalMark = () => (part(new Intl.NumberFormat(), "decimal") === "," ? "," : ".");

const part = (formatter, type) => formatter.formatToParts(0.5).find((found) => found.type === type)?.value ?? "";

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

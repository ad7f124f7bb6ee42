// The form on which a donor says what he gives.

import { field, heading, make, mark } from "./dom.js";
import { currencyOf, feeCover, format, mainFirst, parse, problemOf, written } from "./money.js";
import { texts } from "./texts.js";

// Where the service's names of fields are shown.
const CONTROLS = { "amount.minor_units": "other", "amount.currency": "other", donor_name: "name", donor_email: "email", message: "message" };

export class Form {
  constructor({ configuration, campaign, offer, onGive }) {
    Object.assign(this, { configuration, campaign, offer, onGive });
    this.codes = mainFirst(campaign.currency_rules).filter((code) => currencyOf(configuration, code));
    this.element = this.build();
    this.setCurrency(this.codes[0]);
  }

  build() {
    this.alert = make("div", { class: "alert", role: "alert", hidden: true });
    this.legend = make("legend", {});
    this.amounts = make("div", { class: "amounts" });
    this.cover = make("input", { type: "checkbox", id: "cover", onchange: () => this.refresh() });
    this.coverText = make("label", { for: "cover" });
    this.coverRow = make("div", { class: "check" }, this.cover, this.coverText);
    this.button = make("button", { type: "submit", class: "primary" });
    return make(
      "form",
      { novalidate: true, onsubmit: (event) => this.submit(event), oninput: (event) => this.correct(event.target) },
      heading(2, texts.giveTitle),
      this.alert,
      this.currencyField(),
      make("fieldset", {}, this.legend, this.amounts, this.coverRow),
      this.personFields(),
      this.button,
    );
  }

  currencyField() {
    if (this.codes.length < 2) return null;
    const options = this.codes.map((code) => make("option", { value: code }, code));
    this.select = make("select", { onchange: () => this.setCurrency(this.select.value) }, options);
    return field({ id: "currency", label: texts.currency, control: this.select });
  }

  personFields() {
    const { optional } = texts;
    const hint = this.configuration.sends_receipts ? texts.emailReceipt : texts.emailPrivate;
    this.name = make("input", { type: "text", autocomplete: "name", maxlength: "200" });
    this.email = make("input", { type: "email", autocomplete: "email", maxlength: "254" });
    this.onLeaving(this.email, () => this.checkEmail());
    this.message = make("textarea", { rows: "2", maxlength: "500" });
    this.anonymous = make("input", { type: "checkbox", id: "anonymous" });
    return make(
      "fieldset",
      {},
      make("legend", {}, texts.aboutYou),
      field({ id: "name", label: texts.name, control: this.name, hint: texts.keptApart, optional }),
      field({ id: "email", label: texts.email, control: this.email, hint, optional }),
      field({ id: "message", label: texts.message, control: this.message, hint: texts.messageHint, optional }),
      make("div", { class: "check" }, this.anonymous, make("label", { for: "anonymous" }, texts.anonymous)),
    );
  }

  /** Not on the way to the button: a message that pushed it from under the pointer would swallow the click, which checks. */
  onLeaving(control, check) {
    control.addEventListener("blur", ({ relatedTarget }) => relatedTarget === this.button || check());
  }

  setCurrency(code) {
    this.currency = currencyOf(this.configuration, code);
    const own = (list) => list.find((entry) => entry.currency === code);
    this.bounds = { minimum: BigInt(own(this.offer.minimums).minor_units), maximum: BigInt(own(this.offer.maximums).minor_units) };
    this.rule = own(this.offer.fee_rules);
    this.drawAmounts(this.offer.presets.filter((preset) => preset.currency === code));
    this.refresh();
  }

  drawAmounts(presets) {
    const radios = presets.map(({ minor_units: minorUnits }, place) =>
      this.radio(minorUnits, format(BigInt(minorUnits), this.currency, { short: true }), place === 0),
    );
    this.other = make("input", { type: "text", inputmode: "decimal", autocomplete: "off", maxlength: "24" });
    this.other.addEventListener("input", () => this.choose(null));
    this.onLeaving(this.other, () => this.other.value.trim() && this.checkAmount());
    const [low, high] = [this.bounds.minimum, this.bounds.maximum].map((bound) => format(bound, this.currency, { short: true }));
    const { code } = this.currency;
    const label = presets.length ? texts.otherLabel(code) : texts.amountIn(code);
    const other = field({ id: "other", label, control: this.other, hint: texts.bounds(low, high) });
    // Without presets the legend says what the label says.
    this.legend.textContent = presets.length ? texts.amount : label;
    if (!presets.length) other.querySelector("label").classList.add("unseen");
    this.amounts.replaceChildren(make("div", { class: "presets" }, radios), other);
  }

  radio(value, text, checked) {
    const id = `amount-${value}`;
    const input = make("input", { type: "radio", name: "amount", id, value, checked, onchange: () => this.choose(input) });
    return make("span", { class: "preset" }, input, make("label", { for: id }, text));
  }

  /** A preset and an amount of one's own exclude each other. */
  choose(preset) {
    if (preset) this.other.value = "";
    else for (const radio of this.amounts.querySelectorAll("input[type=radio]")) radio.checked = false;
    mark(this.other, null);
    this.refresh();
  }

  /** The gift in minor units; null where none is chosen or what is written is none. */
  gift() {
    const preset = this.amounts.querySelector("input[type=radio]:checked");
    return preset ? BigInt(preset.value) : parse(this.other.value, this.currency);
  }

  /** Writes what the choice costs. */
  refresh() {
    const gift = this.gift();
    const problem = problemOf(gift, this.bounds, this.currency);
    const cover = problem || !this.rule ? 0n : feeCover(gift, this.rule, this.currency);
    this.coverRow.hidden = !cover;
    if (cover) this.coverText.textContent = texts.cover(format(cover, this.currency), format(gift, this.currency));
    const total = problem ? null : gift + (this.cover.checked ? cover : 0n);
    this.button.textContent = total ? texts.give(format(total, this.currency)) : texts.giveTitle;
  }

  /** A field that is written in is not wrong any more, until it is looked at again; nor is the form, once no field is. */
  correct(control) {
    if (control.hasAttribute("aria-invalid")) mark(control, null);
    if (!this.element.querySelector("[aria-invalid]")) this.tell();
  }

  submit(event) {
    event.preventDefault();
    const wrong = [this.checkAmount(), this.checkEmail()].filter(Boolean);
    this.tell(wrong.length ? texts.checkForm : null);
    if (wrong.length) wrong[0].focus();
    else this.onGive(this.body());
  }

  checkAmount() {
    const problem = problemOf(this.gift(), this.bounds, this.currency);
    mark(this.other, problem && this.words(problem));
    return problem && this.other;
  }

  checkEmail() {
    const wrong = !this.email.checkValidity();
    mark(this.email, wrong ? texts.emailForm : null);
    return wrong && this.email;
  }

  words(problem) {
    const text = texts[problem];
    const { minimum: low, maximum: high } = this.bounds;
    const amounts = Object.entries({ low, high, step: this.currency.step }).map(([name, value]) => [name, format(value, this.currency)]);
    return typeof text === "function" ? text(Object.fromEntries(amounts)) : text;
  }

  /** What the donor asks for, in the contract's words. */
  body() {
    return {
      campaign_id: this.campaign.campaign_id,
      amount: { minor_units: String(this.gift()), currency: this.currency.code },
      cover_fee: this.cover.checked && !this.coverRow.hidden,
      anonymous: this.anonymous.checked,
      donor_name: oneLine(this.name.value),
      donor_email: this.email.value.trim(),
      message: oneLine(this.message.value),
      locale: navigator.language.slice(0, 35),
    };
  }

  /** Shows what is wrong with the whole; nothing where nothing is. */
  tell(...words) {
    this.alert.replaceChildren(...words.filter(Boolean).map((text) => make("p", {}, text)));
    this.alert.hidden = !this.alert.childElementCount;
  }

  /** Shows the service's own words at the fields that it names. */
  markRefused(errors) {
    for (const { field: name, description } of errors) {
      if (CONTROLS[name]) mark(this[CONTROLS[name]], description);
    }
  }

  /** Puts back what the donor had written before a reload; his address is not always kept. */
  fill(body) {
    if (this.select) this.select.value = body.amount.currency;
    this.setCurrency(body.amount.currency);
    const preset = this.amounts.querySelector(`#amount-${body.amount.minor_units}`);
    if (preset) preset.checked = true;
    else this.other.value = written(BigInt(body.amount.minor_units), this.currency);
    if (!preset) this.choose(null);
    Object.assign(this.cover, { checked: body.cover_fee });
    Object.assign(this.anonymous, { checked: body.anonymous });
    const words = { name: body.donor_name, email: body.donor_email, message: body.message };
    for (const [name, value] of Object.entries(words)) this[name].value = value ?? "";
    this.refresh();
  }
}

// The service takes no line breaks: names and messages end in mails and lists.
const oneLine = (text) => text.trim().replace(/\s+/g, " ");

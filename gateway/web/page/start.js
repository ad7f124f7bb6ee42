// The start page: how to open a campaign.

import { field, heading, make, mark } from "./dom.js";
import { texts } from "./texts.js";

/** The view; `form` is what a campaign's id looks like. */
export function startView(form) {
  const input = make("input", { type: "text", autocomplete: "off", spellcheck: "false", autocapitalize: "none", maxlength: "80" });
  const open = (event) => {
    event.preventDefault();
    const id = input.value.trim();
    mark(input, form.test(id) ? null : texts.startProblem);
    if (form.test(id)) location.assign(`/c/${id.toLowerCase()}`);
    else input.focus();
  };
  return make(
    "section",
    { class: "panel lone" },
    heading(1, texts.startTitle),
    make("p", {}, texts.startLead),
    make(
      "form",
      { novalidate: true, onsubmit: open },
      field({ id: "campaign", label: texts.startLabel, hint: texts.startHint, control: input }),
      make("button", { type: "submit", class: "primary" }, texts.startButton),
    ),
    make("p", { class: "soft" }, make("a", { href: "/docs" }, texts.startDocs)),
  );
}

// Elements out of data. Text becomes text, never markup.

/** Makes an element; attributes that are false or absent are left out, `on…` are listeners. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) give(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function give(element, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else element.setAttribute(name, value === true ? "" : value);
}

/** Replaces what a place shows and, where a person was there, takes his focus along to its heading. */
export function show(place, ...children) {
  const follow = place.contains(document.activeElement);
  place.replaceChildren(...children);
  if (follow) place.querySelector("[data-focus]")?.focus();
}

/** A heading that focus can be moved to. */
export function heading(level, text) {
  return make(`h${level}`, { tabindex: "-1", "data-focus": true }, text);
}

/** A labelled control with its hint and a place for its error, tied together for those who do not see them. */
export function field({ id, label, hint, control, optional }) {
  const described = [hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  control.id = id;
  control.setAttribute("aria-describedby", described);
  return make(
    "div",
    { class: "field" },
    make("label", { for: id }, label, optional ? make("span", { class: "soft" }, ` ${optional}`) : null),
    control,
    hint ? make("p", { class: "hint", id: `${id}-hint` }, hint) : null,
    make("p", { class: "error", id: `${id}-error`, hidden: true }),
  );
}

/** Shows what is wrong with a control, or that nothing is. */
export function mark(control, problem) {
  const place = document.getElementById(`${control.id}-error`);
  if (problem) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
  place.textContent = problem ?? "";
  place.hidden = !problem;
}

"use strict";

const UUID = "01890a5d-ac96-774b-bcce-b302099a8057";

/** Makes an element; children are nodes or text, never markup. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

const byName = (contract, ref) => contract.components.schemas[ref.split("/").pop()];

/** A value that a schema allows; `name` helps where only people know. */
function example(contract, schema, name) {
  if (schema.$ref) return example(contract, byName(contract, schema.$ref), name);
  if (schema.enum) return schema.enum[1] ?? schema.enum[0];
  if (schema.type === "array") return [example(contract, schema.items, name)];
  if (schema.type === "object") return exampleObject(contract, schema, "");
  if (schema.type === "boolean") return false;
  if (schema.type === "integer") return 10;
  if (schema.format === "int64") return "1500";
  if (schema.format === "uuid") return UUID;
  if (schema.format === "date-time") return "2026-05-01T12:00:00Z";
  if (schema.pattern === "^[A-Z]{3}$") return "USD";
  return name.replaceAll("_", "-");
}

const isNeeded = (schema) => schema.format === "uuid" || schema.pattern || schema.minLength || schema.minItems;

function exampleObject(contract, schema, keyField) {
  const required = schema.required ?? [];
  const needed = Object.entries(schema.properties ?? {}).filter(
    ([name, property]) => name !== keyField && (required.includes(name) || isNeeded(property)),
  );
  return Object.fromEntries(needed.map(([name, property]) => [name, example(contract, property, name)]));
}

function curlOf(contract, path, verb, operation) {
  const inPath = operation.parameters.filter((parameter) => parameter.in === "path");
  const filled = inPath.reduce(
    (text, { name, schema }) => text.replace(`{${name}}`, example(contract, schema, name)),
    path,
  );
  const query = operation.parameters
    .filter((parameter) => parameter.in === "query" && isNeeded(parameter.schema) && !parameter.name.includes("."))
    .map(({ name, schema }) => `${name}=${encodeURIComponent(example(contract, schema, name))}`)
    .join("&");
  const streams = "text/event-stream" in (operation.responses["200"].content ?? {});
  const lines = [`curl ${streams ? "-NL " : ""}'${location.origin}${filled}${query ? `?${query}` : ""}'`];
  if (verb !== "get") lines.push(`-X ${verb.toUpperCase()}`);
  if (!operation["x-roles"].includes("public")) lines.push("-H \"Authorization: Bearer $TOKEN\"");
  if (operation["x-idempotency-field"]) lines.push("-H \"Idempotency-Key: a-key-of-your-own\"");
  if (operation.requestBody) {
    const { schema } = operation.requestBody.content["application/json"];
    const whole = schema.$ref ? byName(contract, schema.$ref) : schema;
    const body = exampleObject(contract, whole, operation["x-idempotency-field"] ?? "");
    lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body)}'`);
  }
  return lines.join(" \\\n  ");
}

function fieldsOf(contract, operation) {
  const parameters = operation.parameters.map(({ name, in: place, description }) => [name, place, description]);
  const body = operation.requestBody?.content["application/json"].schema;
  const whole = body?.$ref ? byName(contract, body.$ref) : body;
  const members = Object.entries(whole?.properties ?? {}).map(([name, schema]) => [name, "body", schema.description ?? ""]);
  return [...parameters, ...members];
}

function fieldTable(fields) {
  const rows = fields.map(([name, place, text]) =>
    make("tr", {}, make("td", {}, make("code", {}, name)), make("td", { class: "soft" }, place), make("td", {}, text)),
  );
  return make("div", { class: "wide" }, make("table", {}, make("tbody", {}, ...rows)));
}

function copyButton(text) {
  const button = make("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  });
  return button;
}

function card(contract, path, verb, operation) {
  const curl = curlOf(contract, path, verb, operation);
  const roles = `For: ${operation["x-roles"].join(", ")}`;
  const article = make(
    "article",
    { id: operation.operationId, "data-text": `${path} ${operation.operationId} ${operation.description}`.toLowerCase() },
    make("h3", {}, make("span", { class: "verb" }, verb.toUpperCase()), ` ${path}`),
    make("p", {}, operation.description),
    make("p", { class: "soft" }, roles),
  );
  const fields = fieldsOf(contract, operation);
  if (fields.length) article.append(fieldTable(fields));
  article.append(make("pre", {}, curl), copyButton(curl));
  return article;
}

function drawOperations(contract) {
  const sections = new Map();
  for (const [path, verbs] of Object.entries(contract.paths)) {
    for (const [verb, operation] of Object.entries(verbs)) {
      const [tag] = operation.tags;
      if (!sections.has(tag)) sections.set(tag, make("section", { id: tag }, make("h2", {}, tag)));
      sections.get(tag).append(card(contract, path, verb, operation));
    }
  }
  document.getElementById("operations").append(...sections.values());
  document.getElementById("contents").append(...[...sections.keys()].map((tag) => make("a", { href: `#${tag}` }, tag)));
}

function drawReasons(contract) {
  const rows = contract["x-reasons"].map(({ reason, status, description, metadata }) =>
    make(
      "tr",
      { id: reason },
      make("td", {}, make("code", {}, reason)),
      make("td", {}, String(status)),
      make("td", {}, description),
      make("td", {}, make("code", {}, metadata.join(", "))),
    ),
  );
  document.getElementById("rows").append(...rows);
}

function watchSearch() {
  const find = document.getElementById("find");
  find.addEventListener("input", () => {
    const wanted = find.value.trim().toLowerCase();
    for (const article of document.querySelectorAll("article")) article.hidden = !article.dataset.text.includes(wanted);
    for (const section of document.querySelectorAll("#operations section")) {
      section.hidden = !section.querySelector("article:not([hidden])");
    }
  });
}

async function draw() {
  const contract = await (await fetch("/openapi.json")).json();
  document.getElementById("intro").textContent = contract.info.description;
  drawOperations(contract);
  drawReasons(contract);
  watchSearch();
  // The anchor of the address exists only now.
  if (location.hash) location.replace(location.hash);
}

draw();

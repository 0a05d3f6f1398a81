// The OpenAPI document as a page: what there is, what it takes and answers, and a button to try it.
import { $, h } from "/assets/dom.js";

const document_ = await (await fetch("/api-docs/openapi.json")).json();
const resolve = (schema) => (schema?.$ref ? document_.components.schemas[schema.$ref.split("/").pop()] : schema);

const kind = (schema) => {
  const s = resolve(schema) ?? {};
  if (s.oneOf) return s.oneOf.map(kind).join(" or ");
  return s.type === "array" ? `${kind(s.items)}[]` : s.type ?? "any";
};

function describe(schema, depth = 0) {
  const s = resolve(schema) ?? {};
  if (s.type === "array") return [...describe(s.items, depth)];
  if (!s.properties || depth > 3) return [];
  return [h("ul", {}, Object.entries(s.properties).map(([name, property]) => {
    const p = resolve(property);
    return h("li", {}, h("code", {}, name), " ", h("span", { class: "quiet small" }, kind(property), s.required?.includes(name) ? ", needed" : ""),
      p.description ? h("div", { class: "small quiet" }, p.description) : null, describe(property, depth + 1));
  }))];
}

function tryIt(path, method, operation) {
  const content = operation.requestBody?.content?.["application/json"];
  const example = content?.example ?? resolve(content?.schema)?.example;
  const area = content && h("textarea", { class: "mono", rows: 6, "aria-label": "Body", spellcheck: "false" });
  if (area) area.value = JSON.stringify(example ?? {}, null, 2);
  const answer = h("pre", { tabindex: 0, "aria-live": "polite", hidden: true });
  const button = h("button", { type: "button", onclick: async () => {
    const token = $("token").value.trim();
    answer.hidden = false;
    answer.textContent = "…";
    try {
      const response = await fetch(path, { method: method.toUpperCase(), body: area?.value,
        headers: { ...(area ? { "Content-Type": "application/json" } : {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) } });
      const text = await response.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* not JSON: as it is */ }
      answer.textContent = `${response.status} ${response.statusText}\n\n${shown}`;
    } catch (error) {
      answer.textContent = error.message;
    }
  } }, "Try it");
  return [area, h("p", {}), button, answer];
}

$("operations").replaceChildren(...Object.entries(document_.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => h("details", { class: "card" },
    h("summary", {}, h("span", { class: "mark" }, method.toUpperCase()), " ", h("code", {}, path), " ", h("span", { class: "quiet" }, operation.summary ?? "")),
    operation.description ? h("p", {}, operation.description) : null,
    operation.parameters?.length ? [h("h3", {}, "Parameters"), h("ul", {}, operation.parameters.map((p) =>
      h("li", {}, h("code", {}, p.name), " ", h("span", { class: "quiet small" }, `in the ${p.in}`), " ", p.description ?? "")))] : null,
    operation.requestBody ? [h("h3", {}, "Body"), describe(operation.requestBody.content["application/json"].schema)] : null,
    h("h3", {}, "Answers"), h("ul", {}, Object.entries(operation.responses).map(([status, response]) => h("li", {}, h("code", {}, status), " ", response.description,
      describe(response.content?.["application/json"]?.schema)))),
    tryIt(path, method, operation)))));

// A small window on GraphQL: a query in the name of who is signed in, and the schema's own words.
import { $, h } from "/assets/dom.js";
import { ask, renew } from "/assets/api.js";

const SCHEMA = `{ __schema { types { kind name description fields { name description type { ...t } args { name type { ...t } defaultValue } }
  inputFields { name type { ...t } defaultValue } enumValues { name } possibleTypes { name } } } }
  fragment t on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }`;
const typeName = (t) => (t.kind === "NON_NULL" ? `${typeName(t.ofType)}!` : t.kind === "LIST" ? `[${typeName(t.ofType)}]` : t.name);
const list = (items) => items.map((i) => `${i.name}: ${typeName(i.type)}${i.defaultValue ? ` = ${i.defaultValue}` : ""}`).join(", ");
const line = (f) => h("li", {}, h("code", {}, `${f.name}${f.args?.length ? `(${list(f.args)})` : ""}: ${typeName(f.type)}`),
  f.description ? h("div", { class: "small quiet" }, f.description) : null);

function inside(type) {
  if (type.fields) return h("ul", {}, type.fields.map(line));
  if (type.inputFields) return h("ul", {}, type.inputFields.map(line));
  return h("p", {}, (type.enumValues ?? type.possibleTypes ?? []).map((v) => v.name).join(" · "));
}

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    $("answer").textContent = JSON.stringify(await ask($("query").value, JSON.parse($("variables").value || "{}")), null, 2);
  } catch (error) {
    $("answer").textContent = error.message;
  }
});

const signedIn = await renew();
$("as").append(signedIn ? " You are signed in." : " You are not signed in: what needs a user is refused.");
const { __schema } = await ask(SCHEMA);
const types = __schema.types.filter((t) => !t.name.startsWith("__") && t.kind !== "SCALAR");
const first = ["Query", "Mutation", "Subscription"];
types.sort((a, b) => (first.includes(b.name) - first.includes(a.name)) || first.indexOf(a.name) - first.indexOf(b.name)
  || a.name.localeCompare(b.name));
$("schema").replaceChildren(...types.map((type) => h("details", {}, h("summary", {}, h("code", {}, type.name), " ",
  h("span", { class: "quiet small" }, type.description ?? type.kind.toLowerCase().replace("_", " "))), inside(type))));

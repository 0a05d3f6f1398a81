// A few hands for building the page: elements, forms with their complaints, things to copy, tabs. What comes from
// people is only ever put in as text.

export function h(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

let silence;
export function say(text) {
  $("said").textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => { $("said").textContent = ""; }, 5000);
}

// Replaces the page's content and leads who reads or listens to its beginning.
export function show(title, content, { narrow = false } = {}) {
  const main = $("main");
  main.classList.toggle("narrow", narrow);
  main.replaceChildren(h("h1", {}, title), ...[content].flat());
  document.title = `${title} · copycat`;
  main.focus({ preventScroll: true });
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch { // no secure context (plain http from another machine): the old way
    const area = h("textarea", { readonly: true });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return say("Your browser does not let this page copy");
  }
  say("Copied");
}

export function copyField(label, value, { secret = false } = {}) {
  const id = `copy-${label.toLowerCase().replace(/\W+/g, "-")}`;
  const input = h("input", { id, class: "mono", readonly: true, type: secret ? "password" : "text", autocomplete: "off" });
  input.value = value;
  const toggle = secret && h("button", { type: "button", "aria-pressed": "false", onclick: () => {
    const hidden = input.type === "password";
    input.type = hidden ? "text" : "password";
    toggle.textContent = hidden ? "Hide" : "Show";
    toggle.setAttribute("aria-pressed", String(hidden));
  } }, "Show");
  return [h("label", { for: id }, label),
    h("div", { class: "copy" }, input, toggle,
      h("button", { type: "button", onclick: () => copy(value), "aria-label": `Copy ${label.toLowerCase()}` }, "Copy"))];
}

// fields: {name, label, type, hint, autocomplete, value, options: [[value, text]]}. `send` gets the values; what it throws is told at its field.
export function form(fields, action, send) {
  const inputs = {}, complaints = {};
  const general = h("p", { class: "wrong", role: "alert" });
  const button = h("button", { class: "first", type: "submit" }, action);
  const parts = fields.map((field) => {
    const id = `field-${field.name}`;
    const described = { id, name: field.name, "aria-describedby": `${id}-hint ${id}-wrong` };
    const input = field.options
      ? h("select", described, field.options.map(([value, text]) => h("option", { value }, text)))
      : h("input", { ...described, type: field.type ?? "text", required: field.required ?? true,
        autocomplete: field.autocomplete ?? "off", placeholder: field.placeholder });
    if (!field.options) input.value = field.value ?? "";
    inputs[field.name] = input;
    complaints[field.name] = h("p", { class: "wrong", id: `${id}-wrong` });
    return h("div", {}, h("label", { for: id }, field.label), input,
      field.hint && h("p", { class: "hint", id: `${id}-hint` }, field.hint), complaints[field.name]);
  });
  const element = h("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    general.textContent = "";
    for (const name in inputs) { complaints[name].textContent = ""; inputs[name].removeAttribute("aria-invalid"); }
    const blame = (name, text) => {
      if (!complaints[name]) { general.textContent ||= text; return; }
      complaints[name].textContent ||= text;
      inputs[name].setAttribute("aria-invalid", "true");
    };
    for (const field of fields)
      if ((field.required ?? true) && !inputs[field.name].value) blame(field.name, "This is needed");
    let first = element.querySelector("[aria-invalid]");
    if (first) return first.focus();
    button.disabled = true;
    try {
      await send(Object.fromEntries(Object.entries(inputs).map(([name, input]) => [name, input.value])), element);
    } catch (error) {
      if (error.fields?.length) for (const { path, message } of error.fields) blame(path, message);
      else general.textContent = error.message;
      first = element.querySelector("[aria-invalid]");
      if (first) first.focus();
    }
    button.disabled = false;
  } }, parts, general, button);
  return element;
}

export function tabs(label, entries) {
  const buttons = [], panels = [];
  const choose = (index, focus) => {
    entries.forEach((_, i) => {
      buttons[i].setAttribute("aria-selected", String(i === index));
      buttons[i].tabIndex = i === index ? 0 : -1;
      panels[i].hidden = i !== index;
    });
    if (focus) buttons[index].focus();
  };
  const list = h("div", { role: "tablist", "aria-label": label, onkeydown: (event) => {
    const at = buttons.indexOf(document.activeElement), last = entries.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    choose(to, true);
  } });
  entries.forEach(([name, content], i) => {
    const id = `tab-${label}-${i}`.replace(/\W+/g, "-");
    buttons.push(h("button", { role: "tab", type: "button", id, "aria-controls": `${id}-panel`, onclick: () => choose(i) }, name));
    panels.push(h("div", { role: "tabpanel", id: `${id}-panel`, "aria-labelledby": id, tabindex: 0 }, content));
  });
  list.append(...buttons);
  choose(0);
  return h("div", {}, list, panels);
}

export function table(headings, rows) {
  return h("div", { class: "scroll" }, h("table", {},
    h("thead", {}, h("tr", {}, headings.map((heading) => heading.number
      ? h("th", { scope: "col", class: "number" }, heading.number) : h("th", { scope: "col" }, heading)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) =>
      h("td", headings[i].number ? { class: "number" } : {}, cell ?? "")))))));
}

export const day = (text) => new Date(text).toLocaleDateString(undefined, { dateStyle: "medium" });

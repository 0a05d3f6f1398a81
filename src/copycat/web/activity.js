// Activity: completions by day and by language, how many were shown and how many taken.
import { ask } from "/assets/api.js";
import { $, h, show, table } from "/assets/dom.js";

const DAY = 24 * 3600 * 1000;
const SVG = "http://www.w3.org/2000/svg";
const QUERY = `query($start: DateTime!, $end: DateTime!, $users: [ID!]) {
  dailyStats(start: $start, end: $end, users: $users) { start languageName completions views selects }
  chatDailyStats(start: $start, end: $end, users: $users) { chats } }`;
const chosen = { days: 30, user: undefined };

function s(name, properties, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(properties)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);
const rate = (row) => (row.views ? row.selects / row.views : 0);
const percent = (value) => `${Math.round(100 * value)} %`;
const short = (ms) => new Date(ms).toLocaleDateString(undefined, { day: "numeric", month: "short" });

// Rows of the same key added up, in order of the key's first appearance.
function group(rows, key) {
  const groups = new Map();
  for (const row of rows) {
    const name = key(row), into = groups.get(name) ?? { name, completions: 0, views: 0, selects: 0 };
    for (const field of ["completions", "views", "selects"]) into[field] += row[field];
    groups.set(name, into);
  }
  return groups;
}

function nice(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= most);
}

// How wide a plot is drawn, so that its text has the size of other small text.
const room = () => Math.max(320, Math.min(1050, $("main").clientWidth - 82));

function byDay(days) {
  const width = room(), height = 240, left = 40, right = 44, top = 12, bottom = 24;
  const inner = width - left - right, tall = height - top - bottom, step = inner / days.length;
  const most = nice(Math.max(1, ...days.map((day) => day.views)));
  const y = (value) => top + tall * (1 - value / most);
  const bars = days.map((day, i) => {
    const x = left + i * step + step * 0.12, w = Math.max(step * 0.76, 1);
    return s("g", {}, s("title", {}, `${short(day.ms)}: ${day.views} shown, ${day.selects} accepted, ${percent(rate(day))}`),
      s("rect", { class: "shown", x, width: w, y: y(day.views), height: tall + top - y(day.views), rx: Math.min(3, w / 3) }),
      s("rect", { class: "taken", x, width: w, y: y(day.selects), height: tall + top - y(day.selects), rx: Math.min(3, w / 3) }));
  });
  const lines = [0, 0.5, 1].map((part) => s("g", {},
    s("line", { class: "grid-line", x1: left, x2: width - right, y1: y(part * most), y2: y(part * most) }),
    s("text", { x: left - 8, y: y(part * most) + 4, "text-anchor": "end" }, Number.isInteger(part * most) ? String(part * most) : ""),
    s("text", { x: width - right + 8, y: y(part * most) + 4 }, percent(part))));
  const every = Math.ceil(days.length / Math.max(2, Math.floor(inner / 90)));
  const names = days.map((day, i) => [day, i]).filter(([, i]) => i % every === 0).map(([day, i]) =>
    s("text", { x: left + i * step + step / 2, y: height - 6, "text-anchor": "middle" }, short(day.ms)));
  const points = days.map((day, i) => [day, i]).filter(([day]) => day.views)
    .map(([day, i]) => `${(left + (i + 0.5) * step).toFixed(1)},${y(rate(day) * most).toFixed(1)}`);
  const line = s("polyline", { class: "rate", points: points.join(" ") });
  const label = `Completions by day: ${sum(days, "views")} shown, ${sum(days, "selects")} accepted in ${days.length} days`;
  return s("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...lines, ...bars, line, ...names);
}

function byLanguage(languages) {
  const width = room(), row = 30, left = 120, right = 140, inner = width - left - right;
  const most = Math.max(1, ...languages.map((language) => language.views));
  const bars = languages.map((language, i) => {
    const y = i * row + 5, size = (value) => Math.max((inner * value) / most, value ? 2 : 0);
    return s("g", {}, s("text", { x: left - 10, y: y + 14, "text-anchor": "end" }, language.name),
      s("rect", { class: "shown", x: left, y, width: size(language.views), height: 20, rx: 4 }),
      s("rect", { class: "taken", x: left, y, width: size(language.selects), height: 20, rx: 4 }),
      s("text", { x: left + size(language.views) + 10, y: y + 14 },
        `${language.selects} of ${language.views} (${percent(rate(language))})`));
  });
  const label = languages.map((l) => `${l.name}: ${l.selects} of ${l.views} accepted`).join("; ");
  return s("svg", { class: "plot", viewBox: `0 0 ${width} ${Math.max(1, languages.length) * row}`, role: "img", "aria-label": label }, ...bars);
}

const key = () => h("div", { class: "key", "aria-hidden": "true" },
  h("span", {}, h("i", { class: "k-shown" }), "shown"), h("span", {}, h("i", { class: "k-taken" }), "accepted"),
  h("span", {}, h("i", { class: "k-rate" }), "acceptance rate"));
const tile = (name, value) => h("div", { class: "tile" }, h("span", { class: "quiet small" }, name), h("b", {}, String(value)));
const headings = (first) => [first, { number: "Completions" }, { number: "Shown" }, { number: "Accepted" }, { number: "Rate" }];
const cells = (name, row) => [name, String(row.completions), String(row.views), String(row.selects), percent(rate(row))];
const details = (text, content) => h("details", {}, h("summary", {}, text), content);

function picture(data) {
  const today = Date.UTC(new Date().getUTCFullYear(), new Date().getUTCMonth(), new Date().getUTCDate());
  const found = group(data.dailyStats, (row) => Date.parse(row.start));
  const days = Array.from({ length: chosen.days }, (_, i) => today - (chosen.days - 1 - i) * DAY)
    .map((ms) => ({ ms, ...(found.get(ms) ?? { completions: 0, views: 0, selects: 0 }) }));
  const languages = [...group(data.dailyStats, (row) => row.languageName || "unknown").values()].sort((a, b) => b.views - a.views).slice(0, 12);
  const total = { views: sum(days, "views"), selects: sum(days, "selects") };
  return [
    h("div", { class: "tiles" }, tile("Completions", sum(days, "completions")), tile("Shown", total.views), tile("Accepted", total.selects),
      tile("Acceptance rate", total.views ? percent(rate(total)) : "–"), tile("Chats", sum(data.chatDailyStats, "chats"))),
    h("section", { class: "card", "aria-labelledby": "h-days" }, h("h2", { id: "h-days" }, "By day"), byDay(days), key(),
      details("The same as a table", table(headings("Day"), days.filter((d) => d.completions || d.views).map((d) => cells(short(d.ms), d))))),
    h("section", { class: "card", "aria-labelledby": "h-languages" }, h("h2", { id: "h-languages" }, "By language"),
      languages.length ? [byLanguage(languages), details("The same as a table", table(headings("Language"), languages.map((l) => cells(l.name, l))))]
        : h("p", { class: "quiet" }, "Nothing yet. It begins with the first completion in an editor."))];
}

export async function activity(me) {
  chosen.user ??= me.isAdmin ? "" : me.id;
  const users = me.isAdmin ? (await ask("{ users { edges { node { id email name } } } }")).users.edges.map((edge) => edge.node) : [];
  const place = h("div", { class: "stack" });
  let data = null;
  const draw = async () => {
    const midnight = Math.floor(Date.now() / DAY) * DAY;
    const variables = { start: new Date(midnight - (chosen.days - 1) * DAY).toISOString(), end: new Date(midnight + DAY).toISOString(),
      users: chosen.user ? [chosen.user] : [] };
    data = await ask(QUERY, variables);
    place.replaceChildren(...picture(data));
  };
  const resized = () => {
    if (!place.isConnected) removeEventListener("resize", resized);
    else if (data) place.replaceChildren(...picture(data));
  };
  addEventListener("resize", resized);
  const choice = (id, label, value, options, take) => [h("label", { for: id, class: "small" }, label),
    h("select", { id, onchange: (event) => { take(event.target.value); draw(); } },
      options.map(([v, text]) => h("option", { value: v, selected: String(v) === String(value) }, text)))];
  show("Activity", [h("div", { class: "row filters" },
    choice("period", "Period", chosen.days, [[7, "7 days"], [30, "30 days"], [90, "90 days"], [365, "a year"]], (v) => { chosen.days = Number(v); }),
    me.isAdmin && choice("whose", "Of", chosen.user, [["", "everybody"], ...users.map((u) => [u.id, u.name || u.email])], (v) => { chosen.user = v; })),
  place]);
  await draw();
}

// The chat beside the code: shown by editors in a frame (they send the token and what is selected), or by itself for who
// is signed in. Answers come from /v1/chat/completions, piece by piece.
import { copy, $, h, say } from "/assets/dom.js";
import { ask as askGraphql, renew } from "/assets/api.js";
import { connect, framed } from "/assets/frame.js";

const COMMANDS = {
  explain: "Explain the selected code.",
  fix: "Find what is wrong in the selected code, and fix it.",
  "generate-docs": "Write documentation for the selected code.",
  "generate-tests": "Write unit tests for the selected code.",
  "code-review": "Review the selected code: what is wrong, risky or hard to read?",
  "explain-terminal": "Explain what the terminal shows.",
};
const state = { authorization: null, headers: {}, messages: [], context: [], active: null, running: null, pending: [] };
let editor = null;

// ---- what goes with a question ----

const nameOf = (context) => {
  if (context.kind === "terminal") return `terminal ${context.name ?? ""}`;
  const path = context.filepath?.filepath ?? context.filepath?.uri ?? context.filepath ?? "code";
  const lines = context.range && typeof context.range.start === "number" ? `:${context.range.start}-${context.range.end}` : "";
  return `${String(path).split("/").pop()}${lines}`;
};
const textOf = (context) => (context.kind === "terminal" ? context.selection : context.content) ?? "";
const quote = (context) => `${nameOf(context)}\n\`\`\`\n${textOf(context)}\n\`\`\``;

function showContext() {
  $("context").replaceChildren(...[...state.context.map((c, i) => h("span", { class: "chip" }, nameOf(c),
    h("button", { type: "button", class: "plain", "aria-label": `Leave ${nameOf(c)} out`, onclick: () => {
      state.context.splice(i, 1);
      showContext();
    } }, "×"))), ...(state.active ? [h("span", { class: "chip" }, `${nameOf(state.active)} (selected) `)] : [])]);
}

// ---- code that is looked up for a question ----

const SOURCES_MAX = 4;
async function query(text, variables) {
  const response = await fetch("/graphql", { method: "POST", headers: headers(), body: JSON.stringify({ query: text, variables }) });
  const { data, errors } = await response.json();
  if (errors?.length) throw new Error(errors[0].message);
  return data;
}

// What can be chosen; the repository that is open in the editor is.
async function offerRepositories() {
  const list = (await query("{ repositoryList { sourceId name gitUrl } }").catch(() => null))?.repositoryList ?? [];
  const last = (url) => String(url ?? "").replace(/\.git$/, "").split(/[/:]/).pop();
  const open = await editor?.call("readWorkspaceGitRepositories").catch(() => null);
  const names = new Set((Array.isArray(open) ? open : []).map(({ url }) => last(url)));
  $("repository").replaceChildren(h("option", { value: "" }, "no repository"),
    ...list.map((one) => h("option", { value: one.sourceId, selected: names.has(last(one.gitUrl)) }, one.name)));
  $("where").hidden = list.length === 0;
}

async function lookUp(text) {
  const sourceId = $("repository").value;
  if (!sourceId) return [];
  const found = await query(`query($s: ID!, $c: String!) { codeSearch(sourceId: $s, content: $c) {
    code { filepath startLine content } } }`, { s: sourceId, c: text });
  return found.codeSearch.slice(0, SOURCES_MAX).map(({ code }) => code);
}

const placeOf = ({ filepath, startLine }) => (startLine ? `${filepath}:${startLine}` : filepath);

// ---- showing ----

// Fenced code apart, `code` in lines; everything else as it is written.
function rich(text) {
  return text.split(/^```/m).flatMap((part, i) => {
    if (i % 2 === 0) return part.trim() ? h("p", {}, part.trim().split(/`([^`\n]+)`/).map((piece, j) => (j % 2 ? h("code", {}, piece) : piece))) : [];
    const [language, ...lines] = part.split("\n"), code = lines.join("\n").replace(/\n$/, "");
    return h("div", { class: "code" }, h("div", { class: "head" }, h("span", {}, language.trim()),
      h("button", { type: "button", class: "plain", onclick: () => (editor ? editor.call("onCopy", code).then(() => say("Copied")) : copy(code)) }, "Copy"),
      editor && h("button", { type: "button", class: "plain", onclick: () => editor.call("onApplyInEditor", code) }, "Apply")),
    h("pre", { tabindex: 0 }, h("code", {}, code)));
  });
}

function element(message) {
  const body = h("div", {}, rich(message.shown ?? message.content),
    message.sources?.length && h("p", { class: "quiet small" }, `With ${message.sources.join(", ")}`));
  const whole = h("div", { class: `message ${message.role}` }, h("p", { class: "by" }, message.role === "user" ? "You" : "copycat"), body);
  message.body = body;
  return whole;
}

function trouble(text) { $("trouble").textContent = text ?? ""; }

function working(yes) {
  $("send").textContent = yes ? "Stop" : "Send";
  $("messages").setAttribute("aria-busy", String(yes));
}

// ---- asking ----

function headers() {
  const token = state.authorization;
  return { "Content-Type": "application/json", ...state.headers,
    ...(token ? { Authorization: token.includes(" ") ? token : `Bearer ${token}` } : {}) };
}

async function* pieces(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split(/\r?\n\r?\n/);
    rest = events.pop();
    for (const event of events)
      for (const line of event.split(/\r?\n/)) {
        if (!line.startsWith("data:") || line.includes("[DONE]")) continue;
        yield JSON.parse(line.slice(5)).choices?.[0]?.delta?.content ?? "";
      }
  }
}

const explain = (status) => ({ 401: "The token is not valid. Please connect the editor again.", 429: "Too many requests. Try again in a minute.",
  501: "This server runs without a chat model. Start it with --chat-model." })[status] ?? `The server answered with ${status}.`;

async function send(text) {
  if (state.running) return;
  const contexts = [...state.context, ...(state.active && textOf(state.active) ? [state.active] : [])];
  state.running = new AbortController();
  working(true);
  const found = await lookUp(text).catch((error) => { say(error.message); return []; });
  const quotes = [...found.map((code) => `${code.filepath}\n\`\`\`\n${code.content}\n\`\`\``), ...contexts.map(quote)];
  const question = { role: "user", shown: text, content: [...quotes, text].join("\n\n"),
    ...(found.length ? { sources: found.map(placeOf) } : {}) };
  const answer = { role: "assistant", content: "" };
  state.context = [];
  showContext();
  trouble();
  state.messages.push(question);
  $("messages").append(element(question), element(answer));
  $("main").scrollTop = $("main").scrollHeight;
  try {
    const response = await fetch("/v1/chat/completions", { method: "POST", headers: headers(), signal: state.running.signal,
      body: JSON.stringify({ model: "", stream: true, messages: state.messages.map(({ role, content }) => ({ role, content })) }) });
    if (!response.ok) throw new Error(explain(response.status));
    for await (const piece of pieces(response)) {
      const { scrollTop, clientHeight, scrollHeight } = $("main"), follows = scrollTop + clientHeight > scrollHeight - 40;
      answer.content += piece;
      answer.body.replaceChildren(...rich(answer.content));
      if (follows) $("main").scrollTop = $("main").scrollHeight; // unless its reader went up
    }
    state.messages.push(answer);
  } catch (error) {
    if (answer.content) state.messages.push(answer);
    else { state.messages.pop(); answer.body.parentElement.remove(); }
    if (error.name !== "AbortError") trouble(error.message);
  }
  state.running = null;
  working(false);
  editor?.call("storeSessionState", { messages: state.messages.map(({ body, ...kept }) => kept) });
}

function renewChat() {
  state.running?.abort();
  state.messages = [];
  $("messages").replaceChildren();
  trouble();
  $("text").focus();
}

// ---- beginning ----

async function ready() {
  const response = await fetch("/v1/health", { headers: headers() });
  if (!response.ok) return trouble(explain(response.status));
  const health = await response.json();
  if (!health.chat_model && !health.models?.chat) return trouble(explain(501));
  $("text").disabled = $("send").disabled = false;
  const offered = offerRepositories();
  if (!state.pending.length) await offered; // who asks by a button of the editor does not wait for it
  for (const command of state.pending.splice(0)) await send(command);
}

const exposed = {
  async init({ fetcherOptions = {} } = {}) {
    state.authorization = fetcherOptions.authorization || null;
    state.headers = fetcherOptions.headers ?? {};
    const kept = await editor.call("fetchSessionState", ["messages"]).catch(() => null);
    if (Array.isArray(kept?.messages) && state.messages.length === 0) {
      state.messages = kept.messages;
      $("messages").replaceChildren(...state.messages.map(element));
    }
    await ready();
  },
  getVersion: async () => "0.10.0",
  async updateTheme(style, theme) {
    document.documentElement.style.colorScheme = theme === "dark" ? "dark" : "light";
    for (const [, name, value] of String(style).matchAll(/(--vscode-[\w-]+)\s*:\s*([^;]+)/g)) document.documentElement.style.setProperty(name, value);
    const map = { "--ground": "--vscode-sideBar-background", "--card": "--vscode-editor-background", "--ink": "--vscode-foreground",
      "--code": "--vscode-textCodeBlock-background", "--line": "--vscode-panel-border" };
    for (const [ours, theirs] of Object.entries(map))
      if (document.documentElement.style.getPropertyValue(theirs)) document.documentElement.style.setProperty(ours, `var(${theirs})`);
  },
  async executeCommand(command) {
    const text = COMMANDS[command];
    if (!text) throw new Error(`There is no command '${command}'`);
    const context = await editor.call(command === "explain-terminal" ? "getActiveTerminalSelection" : "getActiveEditorSelection");
    if (context) { state.context.push(context); showContext(); }
    if ($("send").disabled) state.pending.push(text);
    else send(text);
  },
  async navigate(view) { if (view === "new-chat") renewChat(); },
  async addRelevantContext(context) { state.context.push(context); showContext(); },
  async updateActiveSelection(selection) { state.active = selection ?? null; showContext(); },
  async showError({ content, title } = {}) { trouble([title, content].filter(Boolean).join(": ")); },
  async cleanError() { trouble(); },
};

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (state.running) return state.running.abort();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  send(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
$("new").addEventListener("click", renewChat);

if (framed) editor = connect(exposed);
else (async () => {
  if (!(await renew())) return location.replace("/");
  state.authorization = (await askGraphql("{ me { authToken } }")).me.authToken;
  await ready();
})().catch((error) => trouble(error.message));

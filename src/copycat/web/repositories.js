// Repositories whose code is searched, for admins: how far each one's index is, adding, running again, removing.
import { ask } from "/assets/api.js";
import { form, h, say, show, table } from "/assets/dom.js";
import { integrations } from "/assets/integrations.js";

const LIST = `{ indexedRepositories { sourceId name gitUrl refs isConfigured jobInfo { command }
  index { state files chunks vectors updatedAt failure } }
  gitRepositories { edges { node { id sourceId name gitUrl refs { name } } } } }`;
const REFRESH_MS = 1500;

function state({ state, files, chunks, vectors, updatedAt, failure }) {
  const when = updatedAt ? `, ${new Date(updatedAt).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}` : "";
  const known = files ? `${files} ${files === 1 ? "file" : "files"}${when}` : "";
  const text = {
    WAITING: "Waiting",
    INDEXING: "Reading files",
    EMBEDDING: `Reading for meaning: ${Math.floor((100 * vectors) / Math.max(chunks, 1))} %`,
    READY: files ? "Ready" : "Ready, but there is no code in it",
    FAILED: "Failed",
    OFF: "Code search is off (TABBY_EMBEDDING_ENABLED)",
  }[state];
  return [h("div", { class: state === "FAILED" ? "wrong" : "" }, failure ? `${text}: ${failure}` : text),
    known && h("div", { class: "quiet small" }, known)];
}

// Those that are searched; what was added a moment ago too.
async function known() {
  const { indexedRepositories, gitRepositories } = await ask(LIST);
  const rows = gitRepositories.edges.map(({ node }) => ({
    isConfigured: false, index: { state: "WAITING" }, ...node, refs: node.refs.map((ref) => ref.name),
    ...indexedRepositories.find((one) => one.sourceId === node.sourceId), id: node.id,
  }));
  return [...rows, ...indexedRepositories.filter((one) => one.isConfigured)];
}

const told = (act) => async () => {
  try { await act(); } catch (error) { say(error.message); }
};

export async function repositories() {
  const list = h("section", { class: "card", "aria-labelledby": "h-list" });
  let shown = "", timer;

  function buttons(one) {
    const run = h("button", { type: "button", class: "plain", "aria-label": `Update ${one.name}`, onclick: told(async () => {
      await ask("mutation($c: String!) { triggerJobRun(command: $c) }", { c: one.jobInfo.command });
      say(`${one.name} is brought up to date`);
      await again();
    }) }, "Update");
    const remove = h("button", { type: "button", class: "plain danger", "aria-label": `Remove ${one.name}`, onclick: told(async () => {
      await ask("mutation($id: ID!) { deleteGitRepository(id: $id) }", { id: one.id });
      say(`${one.name} is removed`);
      await again();
    }) }, "Remove");
    return [one.jobInfo && one.index.state !== "OFF" && run, one.isConfigured ? h("span", { class: "quiet small" }, "config.toml") : remove];
  }

  function draw(rows) {
    const focus = list.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    list.replaceChildren(h("h2", { id: "h-list" }, "Known repositories"),
      rows.length ? table(["Name", "URL", "Branches", "Index", ""], rows.map((one) => [one.name, h("code", {}, one.gitUrl),
        one.refs.join(", ") || "the default branch", h("div", {}, state(one.index)), h("div", { class: "actions" }, buttons(one))]))
        : h("p", { class: "quiet" }, "None yet."),
      h("p", { class: "quiet small" }, "Completions and answers see code of the repository that somebody works in. " +
        "Indexes are brought up to date each hour; only what is committed counts."));
    if (focus) list.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
  }

  // Drawn again only where something changed, so that who reads it is not disturbed.
  async function again() {
    clearTimeout(timer);
    const rows = await known(), text = JSON.stringify(rows);
    if (text !== shown) draw(rows);
    shown = text;
    if (rows.some((one) => ["WAITING", "INDEXING", "EMBEDDING"].includes(one.index.state)))
      timer = setTimeout(() => list.isConnected && again().catch(() => {}), REFRESH_MS);
  }

  const add = h("section", { class: "card", "aria-labelledby": "h-add" }, h("h2", { id: "h-add" }, "Add one"),
    form([{ name: "name", label: "Name", placeholder: "catnap" },
      { name: "gitUrl", label: "Git URL", placeholder: "https://example.org/catnap.git", hint: "A repository on the server's own disk is named by file://" },
      { name: "refs", label: "Branches", required: false, hint: "Separated by commas; empty: the default branch." }], "Add", async (values, element) => {
      const refs = values.refs.split(",").map((ref) => ref.trim()).filter(Boolean);
      await ask("mutation($name: String!, $gitUrl: String!, $refs: [String!]) { createGitRepository(name: $name, gitUrl: $gitUrl, refs: $refs) }",
        { ...values, refs });
      element.reset();
      await again();
      say(`${values.name} is added`);
    }));
  const services = await integrations(state);
  show("Repositories", h("div", { class: "stack" }, list, add, services));
  await again();
}

// GitHub and GitLab, for admins: services that are connected by a token, and which of their repositories are indexed.
import { ask } from "/assets/api.js";
import { form, h, say, table } from "/assets/dom.js";

const LIST = `{ integrations { edges { node { id kind displayName apiBase status message jobInfo { command } } } }
  integratedRepositories { edges { node { id integrationId active displayName gitUrl
    index { state files chunks vectors updatedAt failure } } } } }`;
const KINDS = [["GITHUB", "GitHub"], ["GITLAB", "GitLab"], ["GITHUB_SELF_HOSTED", "GitHub Enterprise"],
  ["GITLAB_SELF_HOSTED", "GitLab, self hosted"]];
const REFRESH_MS = 1500;
const nodes = (connection) => connection.edges.map((edge) => edge.node);

const told = (act) => async () => {
  try { await act(); } catch (error) { say(error.message); }
};

// `state` draws how far an index is.
export async function integrations(state) {
  const list = h("div", { class: "stack services" });
  let shown = "", timer;

  // Whoever sits on something of the list sits on it again when it was drawn anew.
  function draw(services, repositories) {
    const focus = list.contains(document.activeElement) && document.activeElement.getAttribute("aria-label");
    list.replaceChildren(...services.map((one) => service(one, repositories.filter((r) => r.integrationId === one.id))));
    if (!services.length) list.append(h("p", { class: "quiet" }, "No service is connected."));
    if (focus) list.querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
  }

  function service(one, repositories) {
    const act = (text, label, what, kind = "plain") =>
      h("button", { type: "button", class: kind, "aria-label": label, onclick: told(what) }, text);
    const text = { PENDING: "Asking for its repositories …", READY: "", FAILED: `Failed: ${one.message}` }[one.status];
    const check = (repository) => h("input", { type: "checkbox", checked: repository.active,
      "aria-label": `Index ${repository.displayName} of ${one.displayName}`, onchange: told(async () => {
        await ask("mutation($i: ID!, $a: Boolean!) { updateIntegratedRepositoryActive(id: $i, active: $a) }",
          { i: repository.id, a: !repository.active });
        say(repository.active ? `${repository.displayName} is not indexed any more` : `${repository.displayName} is indexed`);
        await again();
      }) });
    return h("div", {}, h("div", { class: "row between" },
      h("h3", {}, one.displayName, h("span", { class: "quiet small" }, ` ${new Map(KINDS).get(one.kind)} ${one.apiBase ?? ""}`)),
      h("div", { class: "actions" }, act("List again", `List repositories of ${one.displayName} again`, async () => {
        await ask("mutation($c: String!) { triggerJobRun(command: $c) }", { c: one.jobInfo.command });
        await again();
      }), act("Disconnect", `Disconnect ${one.displayName}`, async () => {
        await ask("mutation($i: ID!, $k: IntegrationKind!) { deleteIntegration(id: $i, kind: $k) }", { i: one.id, k: one.kind });
        say(`${one.displayName} is disconnected`);
        await again();
      }, "plain danger"))),
    text && h("p", { class: one.status === "FAILED" ? "wrong" : "quiet" }, text),
    repositories.length > 0 && table(["Indexed", "Repository", "State"],
      repositories.map((r) => [check(r), r.displayName, r.active ? h("div", {}, state(r.index)) : ""])));
  }

  async function again() {
    clearTimeout(timer);
    const found = await ask(LIST), text = JSON.stringify(found);
    const services = nodes(found.integrations), repositories = nodes(found.integratedRepositories);
    if (text !== shown) draw(services, repositories);
    shown = text;
    const busy = services.some((one) => one.status === "PENDING") ||
      repositories.some((r) => r.active && ["WAITING", "INDEXING", "EMBEDDING"].includes(r.index.state));
    if (busy) timer = setTimeout(() => list.isConnected && again().catch(() => {}), REFRESH_MS);
  }

  const add = form([{ name: "kind", label: "Service", options: KINDS },
    { name: "displayName", label: "Name of the service", placeholder: "work" },
    { name: "accessToken", label: "Access token", type: "password", hint: "It must be allowed to read repositories. It is kept here, and shown to nobody." },
    { name: "apiBase", label: "API address", required: false, placeholder: "https://github.example.org/api/v3",
      hint: "Of those that are self hosted." }], "Connect", async (values, element) => {
    await ask("mutation($input: CreateIntegrationInput!) { createIntegration(input: $input) }",
      { input: { ...values, apiBase: values.apiBase || null } });
    element.reset();
    await again();
    say(`${values.displayName} is connected`);
  });
  await again();
  return h("section", { class: "card", "aria-labelledby": "h-services" }, h("h2", { id: "h-services" }, "GitHub and GitLab"), list,
    h("details", {}, h("summary", {}, "Connect a service"), add));
}

// Start: the token, how editors are connected, what computes.
import { rest } from "/assets/api.js";
import { copy, copyField, h, show, tabs } from "/assets/dom.js";

const block = (text) => h("div", {}, h("pre", { tabindex: 0 }, h("code", {}, text)),
  h("button", { type: "button", class: "plain", onclick: () => copy(text) }, "Copy this"));
const step = (...parts) => h("li", {}, ...parts);
const b = (text) => h("strong", {}, text);

function editors(token) {
  const endpoint = location.origin;
  const config = `[server]\nendpoint = "${endpoint}"\ntoken = "${token}"\n`;
  return tabs("Editor", [
    ["VS Code", [h("ol", {}, step("Install the extension ", b("Tabby"), " (TabbyML.vscode-tabby)."),
      step("Open the command palette and run ", b("Tabby: Connect to Server…")),
      step("Enter ", h("code", {}, endpoint), ", then paste your token."))]],
    ["IntelliJ", [h("ol", {}, step("Install the plugin ", b("Tabby"), " in Settings › Plugins. It needs Node.js 18 or newer."),
      step("Open Settings › Tools › ", b("Tabby"), "."),
      step("Enter ", h("code", {}, endpoint), " as server endpoint, paste your token, and check the connection."))]],
    ["Vim", [h("ol", {}, step("Install the plugin ", b("TabbyML/vim-tabby"), " (Neovim with nvim-lspconfig, or Vim 9) and Node.js 18 or newer."),
      step("Put this into ", h("code", {}, "~/.tabby-client/agent/config.toml"), ":")), block(config),
    h("p", {}, "And this into your configuration:"),
    block('let g:tabby_agent_start_command = ["npx", "tabby-agent", "--stdio"]\nlet g:tabby_inline_completion_trigger = "auto"\n')]],
    ["Others", [h("p", {}, "Any editor that speaks LSP can start ", h("code", {}, "npx tabby-agent --stdio"), " with the same file:"),
      block(config), h("p", {}, "Or ask by hand:"),
      block(`curl ${endpoint}/v1/completions -H "Authorization: Bearer ${token}" \\\n  -H "Content-Type: application/json" \\\n` +
        `  -d '{"language":"python","segments":{"prefix":"def fib(n):\\n    "}}'\n`)]],
  ]);
}

const fact = (name, ...value) => [h("dt", {}, name), h("dd", {}, ...value)];

function model(name, entry, flat) {
  const found = entry?.local?.model_id ?? entry?.remote?.model_name ?? flat;
  const device = entry?.local?.device ?? entry?.remote?.kind;
  if (!found) return fact(name, h("span", { class: "mark off" }, "none"));
  const instead = entry?.local?.packaged;
  return fact(name, h("span", { class: "mark good" }, "ready"), " ", found.split("/").pop(), instead ? ` (${instead} stands in)` : "", device ? h("span", { class: "quiet" }, ` on ${device}`) : "");
}

async function state() {
  const health = await rest("/v1/health");
  return h("dl", { class: "facts" },
    model("Completion", health.models?.completion, health.model), model("Chat", health.models?.chat, health.chat_model),
    model("Embedding", health.models?.embedding),
    fact("Machine", `${health.cpu_info}, ${health.cpu_count} × ${health.arch}`),
    health.cuda_devices?.length ? fact("GPUs", health.cuda_devices.join(", ")) : [],
    fact("Version", health.version?.git_describe ?? ""));
}

export async function home(me) {
  const what = h("div", {}, h("p", { class: "quiet" }, "Asking …"));
  show(`Hello, ${me.name || me.email}`, h("div", { class: "grid" },
    h("section", { class: "card", "aria-labelledby": "h-token" }, h("h2", { id: "h-token" }, "Your token"),
      copyField("Server", location.origin), copyField("Token", me.authToken, { secret: true }),
      h("p", { class: "hint" }, "Editors use it to ask in your name. It does not expire; a new one can be made under ", h("a", { href: "#account" }, "Account"), ".")),
    h("section", { class: "card", "aria-labelledby": "h-models" }, h("h2", { id: "h-models" }, "Models"), what),
    h("section", { class: "card wide", "aria-labelledby": "h-editors" }, h("h2", { id: "h-editors" }, "Connect your editor"), editors(me.authToken))));
  try {
    what.replaceChildren(await state());
  } catch (error) {
    what.replaceChildren(h("p", { class: "wrong", role: "alert" }, error.message));
  }
}

// Account: one's own name, password and token; for admins also what concerns the server.
import { ask, forget } from "/assets/api.js";
import { copyField, form, h, say, show } from "/assets/dom.js";

const card = (id, title, ...content) => h("section", { class: "card", "aria-labelledby": id }, h("h2", { id }, title), ...content);

function name(me, refresh) {
  return card("h-name", "Name", form([{ name: "name", label: "Your name", value: me.name, autocomplete: "name" }], "Save", async (values) => {
    await ask("mutation($id: ID!, $name: String!) { updateUserName(id: $id, name: $name) }", { id: me.id, ...values });
    say("Saved");
    await refresh();
  }));
}

function password() {
  return card("h-password", "Password", form([
    { name: "oldPassword", label: "Current password", type: "password", autocomplete: "current-password" },
    { name: "newPassword1", label: "New password", type: "password", autocomplete: "new-password" },
    { name: "newPassword2", label: "Repeat new password", type: "password", autocomplete: "new-password" }], "Change", async (values, element) => {
    await ask("mutation($i: PasswordChangeInput!) { passwordChange(input: $i) }", { i: values });
    element.reset();
    say("Changed. Other sessions are signed out");
  }));
}

function token(refresh) {
  return card("h-token", "Token and sessions",
    h("p", { class: "quiet small" }, "With a new token, every editor that has the old one must be told."),
    h("div", { class: "row" },
      h("button", { type: "button", onclick: async () => {
        if (!confirm("Make a new token? Editors with the old one stop working.")) return;
        await ask("mutation { resetUserAuthToken }");
        await refresh();
        say("There is a new token on the start page");
      } }, "New token"),
      h("button", { type: "button", class: "danger", onclick: async () => {
        if (!confirm("Sign out here and everywhere else?")) return;
        await ask("mutation { logoutAllSessions }");
        forget();
        location.assign("/");
      } }, "Sign out everywhere")));
}

async function server() {
  const { networkSetting, securitySetting, registrationToken } = await ask("{ registrationToken networkSetting { externalUrl } securitySetting"
    + " { allowedRegisterDomainList disableClientSideTelemetry disablePasswordLogin } }");
  const box = h("input", { type: "checkbox", id: "telemetry", checked: securitySetting.disableClientSideTelemetry, onchange: async () => {
    await ask("mutation($i: SecuritySettingInput!) { updateSecuritySetting(input: $i) }",
      { i: { ...securitySetting, disableClientSideTelemetry: box.checked } });
    say("Saved");
  } });
  return card("h-server", "Server",
    form([{ name: "externalUrl", label: "Address under which others reach it", type: "url", value: networkSetting.externalUrl }], "Save", async (values) => {
      await ask("mutation($i: NetworkSettingInput!) { updateNetworkSetting(input: $i) }", { i: values });
      say("Saved");
    }),
    copyField("Registration token", registrationToken, { secret: true }),
    h("p", { class: "hint" }, "Scripts hand documents in with it, at ", h("code", {}, "/v1beta/ingestion"), "."),
    h("p", {}), h("label", { for: "telemetry", class: "row" }, box, "Editors are to send no usage data to their vendor"),
    h("p", { class: "quiet small" }, "This server itself never sends any."),
    h("p", { class: "row" }, h("a", { href: "/swagger-ui/" }, "API"), h("a", { href: "/graphiql" }, "GraphQL"), h("a", { href: "/metrics" }, "Metrics")));
}

export async function account(me, refresh) {
  show("Account", h("div", { class: "grid" }, name(me, refresh), password(), token(refresh), me.isAdmin ? await server() : null));
}

// The start page's frame: which view, who is signed in, what is said while nobody is.
import { ask, forget, keep, renew } from "/assets/api.js";
import { $, form, h, say, show } from "/assets/dom.js";
import { home } from "/assets/home.js";
import { activity } from "/assets/activity.js";
import { team } from "/assets/team.js";
import { repositories } from "/assets/repositories.js";
import { account } from "/assets/account.js";

const views = {
  home: ["Start", home],
  activity: ["Activity", activity],
  team: ["Team", team],
  repositories: ["Repositories", repositories, "admin"],
  account: ["Account", account],
};
const ME = "{ me { id email name isAdmin isOwner authToken } }";
let me = null;

function bar() {
  $("nav").hidden = $("who").hidden = !me;
  if (!me) return;
  const current = location.hash.slice(1) || "home";
  $("nav").replaceChildren(...Object.entries(views).filter(([, view]) => view[2] !== "admin" || me.isAdmin).map(([name, [title]]) =>
    h("a", { href: `#${name}`, "aria-current": name === current ? "page" : null }, title)));
  $("who").replaceChildren(h("span", { class: "small" }, me.name || me.email),
    h("button", { type: "button", class: "plain", onclick: signOut }, "Sign out"));
}

function signOut() {
  forget();
  me = null;
  history.replaceState(null, "", "/");
  start();
}

async function route() {
  if (!me) return;
  const name = location.hash.slice(1) || "home", view = views[name] ?? views.home;
  bar();
  try {
    await view[1](me, refresh);
  } catch (error) {
    show(view[0], h("p", { class: "wrong", role: "alert" }, error.message));
  }
}

// After something about the user changed.
async function refresh() {
  me = (await ask(ME)).me;
  await route();
}

async function enter(tokens) {
  keep(tokens);
  if (location.pathname !== "/") history.replaceState(null, "", "/");
  await refresh();
}

const email = { name: "email", label: "E-mail", type: "email", autocomplete: "username" };
const passwords = [
  { name: "password1", label: "Password", type: "password", autocomplete: "new-password",
    hint: "8 to 20 characters: a lower and an upper case letter, a digit, a special one." },
  { name: "password2", label: "Repeat password", type: "password", autocomplete: "new-password" },
];
const REGISTER = `mutation($email: String!, $password1: String!, $password2: String!, $name: String!, $code: String) {
  register(email: $email, password1: $password1, password2: $password2, name: $name, invitationCode: $code) { accessToken refreshToken } }`;

function register(title, text, code) {
  show(title, [h("p", { class: "quiet" }, text), h("div", { class: "card" },
    form([{ name: "name", label: "Your name", autocomplete: "name" }, email, ...passwords], "Create account",
      async (values) => enter((await ask(REGISTER, { ...values, code })).register)))], { narrow: true });
}

function signIn() {
  const query = "mutation($email: String!, $password: String!) { tokenAuth(email: $email, password: $password) { accessToken refreshToken } }";
  show("Sign in", [h("div", { class: "card" },
    form([email, { name: "password", label: "Password", type: "password", autocomplete: "current-password" }], "Sign in",
      async (values) => enter((await ask(query, values)).tokenAuth))),
    h("p", { class: "quiet small" }, "No account? An admin of this server can invite you. Password forgotten? An admin can give you a link.")],
  { narrow: true });
}

function resetPassword(code) {
  const query = "mutation($i: PasswordResetInput!) { passwordReset(input: $i) }";
  show("A new password", h("div", { class: "card" }, form(passwords, "Set password", async (values) => {
    await ask(query, { i: { code, ...values } });
    history.replaceState(null, "", "/");
    signIn();
    say("Done. Sign in with the new password");
  })), { narrow: true });
}

async function start() {
  const parameters = new URLSearchParams(location.search);
  bar();
  if (location.pathname === "/auth/reset-password") return resetPassword(parameters.get("code") ?? "");
  if (await renew()) return refresh();
  const { serverInfo } = await ask("{ serverInfo { isAdminInitialized } }");
  if (!serverInfo.isAdminInitialized)
    return register("Welcome", "You are the first here. This account will own the server, and can invite others.", null);
  if (location.pathname === "/auth/signup")
    return register("You are invited", "Choose a name and a password.", parameters.get("invitationCode") ?? "");
  signIn();
}

addEventListener("hashchange", route);
start().catch((error) => show("copycat", h("p", { class: "wrong", role: "alert" }, error.message)));

// Team: everybody with an account; for admins also roles, who is let in, and invitations.
import { ask } from "/assets/api.js";
import { copy, copyField, day, form, h, say, show, table } from "/assets/dom.js";

const USERS = "{ users { edges { node { id email name isAdmin isOwner active createdAt } } } }";
const INVITATIONS = "{ invitations { edges { node { id email code createdAt } } } }";
const nodes = (connection) => connection.edges.map((edge) => edge.node);
const link = (code) => `${location.origin}/auth/signup?invitationCode=${encodeURIComponent(code)}`;

const button = (text, label, act, kind = "plain") => h("button", { type: "button", class: kind, "aria-label": label, onclick: async (event) => {
  event.target.disabled = true;
  try { await act(); } catch (error) { say(error.message); }
  event.target.disabled = false;
} }, text);

function role(user) {
  return [h("span", { class: "mark" }, user.isOwner ? "owner" : user.isAdmin ? "admin" : "member"),
    user.active ? null : [" ", h("span", { class: "mark off" }, "deactivated")]].flat();
}

function actions(user, me, again) {
  if (!me.isAdmin || user.isOwner || user.id === me.id) return "";
  const set = (field, type, name, value) => async () => {
    await ask(`mutation($id: ID!, $v: Boolean!) { ${field}(id: $id, ${name}: $v) }`, { id: user.id, v: value });
    await again();
  };
  const reset = async () => {
    const url = (await ask("mutation($id: ID!) { generateResetPasswordUrl(userId: $id) }", { id: user.id })).generateResetPasswordUrl;
    const own = new URL(url);
    await copy(`${location.origin}${own.pathname}${own.search}`);
    say(`The link for ${user.email} is copied. It is good for 15 minutes`);
  };
  return h("div", { class: "row" },
    user.active && button(user.isAdmin ? "Make member" : "Make admin", `Change the role of ${user.email}`, set("updateUserRole", "Boolean", "isAdmin", !user.isAdmin)),
    user.active && button("Password link", `Copy a link with which ${user.email} sets a new password`, reset),
    button(user.active ? "Deactivate" : "Activate", `${user.active ? "Deactivate" : "Activate"} ${user.email}`,
      set("updateUserActive", "Boolean", "active", !user.active), user.active ? "plain danger" : "plain"));
}

export async function team(me) {
  const place = h("div", { class: "stack" });
  const again = async () => {
    const users = nodes((await ask(USERS)).users);
    const invitations = me.isAdmin ? nodes((await ask(INVITATIONS)).invitations) : [];
    const people = h("section", { class: "card", "aria-labelledby": "h-users" }, h("h2", { id: "h-users" }, "People"),
      table(["Name", "E-mail", "Role", "Since", ""], users.map((user) =>
        [user.name || "–", user.email, h("span", {}, role(user)), day(user.createdAt), actions(user, me, again)])));
    if (!me.isAdmin) return place.replaceChildren(people);
    const invite = form([{ name: "email", label: "E-mail to invite", type: "email" }], "Invite", async (values, element) => {
      await ask("mutation($email: String!) { createInvitation(email: $email) }", values);
      element.reset();
      await again();
      say(`${values.email} is invited: send them the link`);
    });
    const open = invitations.length
      ? invitations.map((one) => h("div", {}, copyField(`Link for ${one.email}`, link(one.code)),
        button("Revoke", `Revoke the invitation of ${one.email}`, async () => {
          await ask("mutation($id: ID!) { deleteInvitation(id: $id) }", { id: one.id });
          await again();
        }, "plain danger")))
      : h("p", { class: "quiet" }, "Nobody is invited at the moment.");
    place.replaceChildren(people, h("section", { class: "card", "aria-labelledby": "h-invitations" },
      h("h2", { id: "h-invitations" }, "Invitations"),
      h("p", { class: "quiet small" }, "This server sends no mail: copy the link and send it yourself. It works once, for that address."),
      open, invite));
  };
  show("Team", place);
  await again();
}

// Repositories by git URL, for admins.
import { ask } from "/assets/api.js";
import { form, h, say, show, table } from "/assets/dom.js";

const LIST = "{ gitRepositories { edges { node { id name gitUrl refs { name } } } } }";

export async function repositories() {
  const place = h("div", { class: "stack" });
  const again = async () => {
    const rows = (await ask(LIST)).gitRepositories.edges.map(({ node }) => [node.name, h("code", {}, node.gitUrl),
      node.refs.map((ref) => ref.name).join(", ") || "the default branch",
      h("button", { type: "button", class: "plain danger", "aria-label": `Remove ${node.name}`, onclick: async () => {
        await ask("mutation($id: ID!) { deleteGitRepository(id: $id) }", { id: node.id });
        await again();
        say(`${node.name} is removed`);
      } }, "Remove")]);
    place.replaceChildren(h("section", { class: "card", "aria-labelledby": "h-list" }, h("h2", { id: "h-list" }, "Known repositories"),
      rows.length ? table(["Name", "URL", "Branches", ""], rows) : h("p", { class: "quiet" }, "None yet."),
      h("p", { class: "quiet small" }, "This server keeps the list; it does not search in the code of repositories yet.")),
    h("section", { class: "card", "aria-labelledby": "h-add" }, h("h2", { id: "h-add" }, "Add one"),
      form([{ name: "name", label: "Name", placeholder: "catnap" },
        { name: "gitUrl", label: "Git URL", placeholder: "https://example.org/catnap.git", hint: "A repository on the server's own disk is named by file://" },
        { name: "refs", label: "Branches", required: false, hint: "Separated by commas; empty: the default branch." }], "Add", async (values) => {
        const refs = values.refs.split(",").map((ref) => ref.trim()).filter(Boolean);
        await ask("mutation($name: String!, $gitUrl: String!, $refs: [String!]) { createGitRepository(name: $name, gitUrl: $gitUrl, refs: $refs) }",
          { ...values, refs });
        await again();
        say(`${values.name} is added`);
      })));
  };
  show("Repositories", place);
  await again();
}

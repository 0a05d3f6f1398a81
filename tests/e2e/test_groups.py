"""Groups of users, and what only they may read: repositories, documents; in lists, searches and answers."""

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from repositories import make_repository
from searching import ADD, config, indexed
from test_ingestion import ASK, PATH
from test_threads import run
from upstream import Upstream, events

GROUPS = """{ userGroups { id name members { isGroupAdmin
    user { email ... on UserSecured { authToken isPasswordSet } } } } }"""
POLICY = "query($s: String!) { sourceIdAccessPolicies(sourceId: $s) { sourceId read { name } } }"
NEW = "mutation($n: String!) { createUserGroup(input: {name: $n}) }"
MEMBER = """mutation($g: ID!, $u: ID!, $a: Boolean!) {
    upsertUserGroupMembership(input: {userGroupId: $g, userId: $u, isGroupAdmin: $a}) }"""
OUT = "mutation($g: ID!, $u: ID!) { deleteUserGroupMembership(userGroupId: $g, userId: $u) }"
GRANT = "mutation($s: String!, $g: ID!) { grantSourceIdReadAccess(sourceId: $s, userGroupId: $g) }"
REVOKE = "mutation($s: String!, $g: ID!) { revokeSourceIdReadAccess(sourceId: $s, userGroupId: $g) }"
SOURCES = "{ contextInfo { sources { sourceId } } }"
DOCUMENT = {"source": "secrets", "id": "1", "title": "Cake", "body": "The cake is in the cellar."}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    chat = Upstream()
    words = {"choices": [{"index": 0, "delta": {"content": "So."}}]}
    chat.says["/chat/completions"] = lambda _: events(words)
    root = tmp_path_factory.mktemp("root")
    config(root, f'[model.chat.http]\nkind = "openai/chat"\nmodel_name = "m"\napi_endpoint = "{chat.url}"\n')
    with Accounts(root=root) as made:
        made.owner = made.register()["accessToken"]
        made.users = {}
        for name in "bea", "cem":
            code = made.invite(made.owner, f"{name}@example.org")
            token = made.register(f"{name}@example.org", code, name.title())["accessToken"]
            made.users[name] = (token, made.me(token)["id"])
        made.group = made.data(NEW, made.owner, n="bakers")["createUserGroup"]
        yield made
    chat.close()


def sources(server, token):
    return {one["sourceId"] for one in server.data(SOURCES, token)["contextInfo"]["sources"]}


def docs(server, token, source):
    query = {"content": "Where is the cake?", "searchPublic": False, "sourceIds": [source]}
    input = {"thread": {"userMessage": {"content": "Where is the cake?"}}, "options": {"docQuery": query}}
    (item,) = [i for i in run(server, token, ASK, input) if i["__typename"].endswith("AttachmentsDoc")]
    return [hit["doc"]["title"] for hit in item["hits"]]


def test_what_was_granted_to_a_group_is_nobody_else_s(server, tmp_path):
    (bea, bea_id), (cem, _) = server.users["bea"], server.users["cem"]
    shop = make_repository(tmp_path / "shop")
    row = server.data(ADD, server.owner, n="shop", u=f"file://{shop}")["createGitRepository"]
    token = server.data("{ registrationToken }", server.owner)["registrationToken"]
    assert server.post(PATH, DOCUMENT, bearer(token)).status == 202
    indexed(server, "shop")
    both = {f"git:{row}", "ingested:secrets"}
    wait_for("the document", lambda: docs(server, server.owner, "ingested:secrets"))
    assert sources(server, cem) == both and docs(server, cem, "ingested:secrets") == ["Cake"]
    for source in both:
        assert server.data(GRANT, server.owner, s=source, g=server.group)["grantSourceIdReadAccess"]
    assert server.data(POLICY, server.owner, s="ingested:secrets")["sourceIdAccessPolicies"] == {
        "sourceId": "ingested:secrets",
        "read": [{"name": "bakers"}],
    }
    assert server.data(MEMBER, server.owner, g=server.group, u=bea_id, a=False)
    assert sources(server, bea) == both and docs(server, bea, "ingested:secrets") == ["Cake"]
    assert sources(server, cem) == set() and docs(server, cem, "ingested:secrets") == []
    find = 'query($i: ID!) { repositorySearch(kind: GIT, id: $i, pattern: "invoice") { path } }'
    assert server.data(find, bea, i=row)["repositorySearch"]
    assert server.error(find, cem, i=row)["message"] == "Repository not found"
    assert server.data(REVOKE, server.owner, s="ingested:secrets", g=server.group)
    assert sources(server, cem) == {"ingested:secrets"}
    assert server.error(REVOKE, server.owner, s="x", g=server.group)["message"] == "Access policy not found"


def test_who_leads_a_group_says_who_else_is_in_it(server):
    (bea, bea_id), (cem, cem_id) = server.users["bea"], server.users["cem"]
    group = server.data(NEW, server.owner, n="cooks")["createUserGroup"]
    assert server.error(MEMBER, bea, g=group, u=bea_id, a=True)["extensions"] == {"code": "FORBIDDEN"}
    assert server.data(MEMBER, server.owner, g=group, u=bea_id, a=True)
    assert server.data(MEMBER, bea, g=group, u=cem_id, a=False)
    assert server.error(MEMBER, bea, g=group, u=cem_id, a=True)["extensions"] == {"code": "FORBIDDEN"}
    assert server.error(OUT, cem, g=group, u=bea_id)["extensions"] == {"code": "FORBIDDEN"}
    (cooks,) = [one for one in server.data(GROUPS, cem)["userGroups"] if one["id"] == group]
    assert [(m["user"]["email"], m["isGroupAdmin"]) for m in cooks["members"]] == [
        ("bea@example.org", True),
        ("cem@example.org", False),
    ]
    assert cooks["members"][0]["user"] == {"email": "bea@example.org", "authToken": "", "isPasswordSet": True}
    assert server.data(OUT, bea, g=group, u=cem_id)
    assert server.error(OUT, bea, g=group, u=cem_id)["message"] == "Member not found"
    assert server.data("mutation($g: ID!) { deleteUserGroup(id: $g) }", server.owner, g=group)
    assert [one["name"] for one in server.data(GROUPS, cem)["userGroups"]] == ["bakers"]


def test_what_is_refused(server):
    bea, bea_id = server.users["bea"]
    assert "Invalid name" in str(server.error(NEW, server.owner, n="Upper"))
    assert "already exists" in server.error(NEW, server.owner, n="bakers")["message"]
    assert server.error(NEW, bea, n="mine")["extensions"] == {"code": "FORBIDDEN"}
    assert server.error(GRANT, bea, s="x", g=server.group)["extensions"] == {"code": "FORBIDDEN"}
    assert server.error(POLICY, bea, s="x")["extensions"] == {"code": "FORBIDDEN"}
    assert server.error(GROUPS)["extensions"] == {"code": "UNAUTHORIZED"}
    assert server.error(GRANT, server.owner, s="x", g="5NVZN2")["message"] == "User group not found"
    assert server.error(MEMBER, server.owner, g="5NVZN2", u=bea_id, a=True)["message"].endswith("not found")


def test_a_message_is_changed_by_its_owner(server):
    owner, (bea, _) = server.me(server.owner)["authToken"], server.users["bea"]
    input = {"thread": {"userMessage": {"content": "Teh question"}}}
    thread = run(server, server.owner, ASK, input)[0]["id"]
    read = """query($t: ID!) { threadMessages(threadId: $t) { edges { node { id content } } } }"""
    first = server.data(read, owner, t=thread)["threadMessages"]["edges"][0]["node"]
    edit = "mutation($i: UpdateMessageInput!) { updateThreadMessage(input: $i) }"
    change = {"id": first["id"], "threadId": thread, "content": "The question"}
    assert server.error(edit, bea, i=change)["extensions"] == {"code": "FORBIDDEN"}
    assert "should not be empty" in str(server.error(edit, server.owner, i={**change, "content": " "}))
    assert server.error(edit, server.owner, i={**change, "id": "5NVZN2"})["message"] == "Message not found"
    assert server.data(edit, server.owner, i=change)["updateThreadMessage"]
    again = server.data(read, owner, t=thread)["threadMessages"]["edges"][0]["node"]
    assert again["content"] == "The question"

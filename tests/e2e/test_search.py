"""Code search as editors, scripts and people see it: repositories that git itself made, a real model that
embeds, and what happens to whoever is asleep, killed or lied to meanwhile."""

import json
import os
import pathlib
import signal
import sqlite3
import subprocess

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from tabby import MODELS, SMALL, Tabby

EMBEDDER = MODELS / "all-MiniLM-L6-v2"
ADD = "mutation($n: String!, $u: String!, $r: [String!]) { createGitRepository(name: $n, gitUrl: $u, refs: $r) }"
LIST = """{ gitRepositories { edges { node { id name gitUrl sourceId
    jobInfo { command lastJobRun { id job exitCode stdout finishedAt } }
    index { state files chunks vectors updatedAt failure commit } } } } }"""

INVOICE = '''class Invoice:
    """What a customer owes."""

    def __init__(self, amount, currency):
        self.amount = amount
        self.currency = currency

    def total_with_tax(self, rate):
        return round(self.amount * (1 + rate), 2)
'''
ASKED = """from shop.invoice import Invoice

def bill(customer):
    invoice = Invoice(customer.amount, customer.currency)
    # the total of the invoice with tax, of the amount in its currency
    return invoice.total_with_tax("""


def git(folder, *arguments):
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"]
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(folder):
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "x")
    return git(folder, "rev-parse", "HEAD")


def make_repository(folder):
    folder.mkdir(parents=True)
    git(folder, "init", "-q")
    for i in range(30):
        body = f"def handle_{i}(request):\n    value = request.number * {i}\n    return value\n"
        write(folder, f"shop/handler_{i}.py", body)
    write(folder, "shop/invoice.py", INVOICE)
    write(folder, "README.md", "# Shop\n\nHow bills are made.\n")
    (folder / "passwd.py").symlink_to("/etc/passwd")
    with open(folder / "huge.py", "wb") as file:  # sparse here; git stores it small, and nobody may read it
        file.truncate(300 << 20)
    commit(folder)
    return folder


def config(root, text):
    root.mkdir(exist_ok=True)
    (root / "config.toml").write_text(text)


LOW = """
[completion.code_search_params]
min_embedding_score = 0.5
min_bm25_score = 2.0
min_rrf_score = 0.02
num_to_return = 20
num_to_score = 40
"""
EMBEDDING = f"""
[model.embedding.local]
model_id = "{EMBEDDER}"
num_gpu_layers = 0
"""


def repositories(server, token):
    return [edge["node"] for edge in server.data(LIST, token)["gitRepositories"]["edges"]]


def ready(server, token, name):
    def look():
        (one,) = [r for r in repositories(server, token) if r["name"] == name]
        done = one["index"]["state"] == "READY" and one["index"]["vectors"] == one["index"]["chunks"] > 0
        return one if done or one["index"]["state"] == "FAILED" else None

    return wait_for(f"an index of {name}", look)


def snippets(server, git_url, filepath="shop/billing.py", token=None, language="python", **more):
    segments = {"prefix": ASKED, "suffix": ")\n", "filepath": filepath, "git_url": git_url, **more}
    body = {"language": language, "segments": segments, "debug_options": {"return_snippets": True}}
    body["debug_options"]["return_prompt"] = True
    answer = server.post("/v1/completions", body, bearer(token) if token else {})
    assert answer.status == 200, answer.text
    return answer.json()["debug_data"]


def found(server, git_url, **more):
    """What is found once the model that embeds is awake: a completion does not wait for it."""
    return wait_for("snippets", lambda: snippets(server, git_url, **more)["snippets"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repositories") / "shop")


@pytest.fixture(scope="module")
def server(tmp_path_factory, shop):
    root = tmp_path_factory.mktemp("root")
    config(root, LOW + EMBEDDING)
    with Accounts("--model", SMALL, "--chat-model", SMALL, root=root) as made:
        made.owner = made.register()["accessToken"]
        made.token = made.me(made.owner)["authToken"]
        made.data(ADD, made.owner, n="shop", u=f"file://{shop}")
        made.added = ready(made, made.owner, "shop")
        yield made


# ---- a repository that somebody adds ----


def test_a_repository_is_indexed_when_it_is_added(server, shop):
    index, job = server.added["index"], server.added["jobInfo"]["lastJobRun"]
    assert index["state"] == "READY", index
    assert index["files"] == 32 and index["vectors"] == index["chunks"] >= 32
    assert index["commit"] == git(shop, "rev-parse", "HEAD") and index["updatedAt"]
    assert job["exitCode"] == 0 and "32 files of code" in job["stdout"] and "1 left out" in job["stdout"]
    assert git(shop, "status", "--porcelain") == "", "the user's own work tree is as it was"


def test_a_completion_gets_code_of_the_same_repository(server):
    got = found(server, "https://example.org/somebody/shop.git", token=server.token)
    assert got[0]["filepath"] == "shop/invoice.py" and "total_with_tax" in got[0]["body"]
    assert 0.02 < got[0]["score"] <= 2 / 61
    prompt = snippets(server, "git@example.org:other/shop", token=server.token)["prompt"]
    assert prompt.startswith("# Path: shop/invoice.py\n# class Invoice:\n"), prompt
    assert prompt.endswith(ASKED)


def test_what_a_completion_does_not_get(server):
    found(server, "x/shop", token=server.token)
    own = snippets(server, "x/shop", "shop/invoice.py", server.token)["snippets"]
    assert all(one["filepath"] != "shop/invoice.py" for one in own), "not the file that is being written"
    assert snippets(server, "x/other", token=server.token)["snippets"] == []
    assert snippets(server, "", token=server.token)["snippets"] == []
    full = [{"filepath": "a.py", "body": "x" * 600, "score": 1.0}]
    got = snippets(
        server, "x/shop", token=server.token, relevant_snippets_from_changed_files=full
    )["snippets"]
    assert [one["filepath"] for one in got] == ["a.py"], "768 bytes are all there are"
    body = {
        "language": "python",
        "segments": {"prefix": ASKED, "git_url": "x/shop"},
        "debug_options": {"return_snippets": True, "disable_retrieval_augmented_code_completion": True},
    }
    assert server.post("/v1/completions", body, bearer(server.token)).json()["debug_data"]["snippets"] == []


def test_health_names_the_model_that_embeds(server):
    embedding = server.get("/v1/health", headers=bearer(server.token)).json()["models"]["embedding"]
    assert embedding == {"local": {"model_id": str(EMBEDDER), "device": "cpu"}}


# ---- threads, GraphQL, files ----

RUN = """subscription($i: CreateThreadAndRunInput!) { item: createThreadAndRun(input: $i) { __typename
    ... on ThreadCreated { id }
    ... on ThreadAssistantMessageReadingCode { snippet fileList }
    ... on ThreadAssistantMessageAttachmentsCode { hits { scores { rrf bm25 embedding }
        code { gitUrl commit filepath language content startLine } } }
    ... on ThreadAssistantMessageContentDelta { delta }
    ... on ThreadAssistantMessageCompleted { debugData { chatCompletionMessages { role content } } } } }"""


def ask(server, content, **query):
    """A question in a thread of its own: what comes, in order."""
    from test_threads import run

    options = {"codeQuery": {"content": content, **query}, "debugOptions": {"returnChatCompletionRequest": True}}
    return run(server, server.token, RUN, {"thread": {"userMessage": {"content": content}}, "options": options})


def test_an_answer_is_given_code_and_names_its_sources(server, shop):
    question = "What does total_with_tax of class Invoice return for an amount and a rate?"
    got = ask(server, question, sourceId=server.added["sourceId"])
    kinds = [item["__typename"] for item in got]
    reading = kinds.index("ThreadAssistantMessageReadingCode")
    assert kinds[reading : reading + 2] == [
        "ThreadAssistantMessageReadingCode",
        "ThreadAssistantMessageAttachmentsCode",
    ]
    hits = got[reading + 1]["hits"]
    assert hits[0]["code"]["filepath"] == "shop/invoice.py" and len(hits) <= 10
    assert hits[0]["code"]["gitUrl"] == f"file://{shop}" and hits[0]["code"]["language"] == "python"
    assert hits[0]["code"]["commit"] == server.added["index"]["commit"] and hits[0]["code"]["startLine"] is None
    assert hits[0]["scores"]["embedding"] > 0.5
    asked = got[-1]["debugData"]["chatCompletionMessages"][-1]["content"]
    assert "shop/invoice.py\n```\nclass Invoice:" in asked and asked.endswith(question)
    kept = server.data(
        """query($t: ID!) { threadMessages(threadId: $t) { edges { node { role codeSourceId
        attachment { code { gitUrl filepath startLine content } } } } } }""",
        server.owner,
        t=got[0]["id"],
    )["threadMessages"]["edges"]
    answer = kept[-1]["node"]
    assert answer["codeSourceId"] == server.added["sourceId"]
    assert [c["filepath"] for c in answer["attachment"]["code"]] == [h["code"]["filepath"] for h in hits]


def test_files_and_lines_are_found(server):
    search = "query($i: ID!, $p: String!) { repositorySearch(kind: GIT, id: $i, pattern: $p) { type path indices } }"
    (file,) = server.data(search, server.owner, i=server.added["sourceId"], p="invpy")["repositorySearch"]
    assert file["path"] == "shop/invoice.py" and file["type"] == "file" and len(file["indices"]) == 5
    grep = """query($i: ID!, $q: String!) { repositoryGrep(kind: GIT, id: $i, query: $q) { elapsedMs files { path
        lines { lineNumber byteOffset line { text } subMatches { bytesStart bytesEnd } } } } }"""
    (file,) = server.data(grep, server.owner, i=server.added["id"], q="total_\\w+ lang:python")[
        "repositoryGrep"
    ]["files"]
    (line,) = file["lines"]
    assert line["lineNumber"] == INVOICE[: INVOICE.index("total_with_tax")].count("\n") + 1
    (match,) = line["subMatches"]
    text = line["line"]["text"].encode()[match["bytesStart"] : match["bytesEnd"]]
    assert text == b"total_with_tax"
    wrong = server.error(grep, server.owner, i=server.added["id"], q="(")
    assert "no regular expression" in wrong["message"]
    assert "not found" in server.error(grep, server.owner, i="git:nobody", q="x")["message"]


def test_files_and_folders_over_http(server, shop):
    base = f"/repositories/git/{server.added['id']}"
    folder = server.get(f"{base}/resolve/shop", headers=bearer(server.owner))
    assert folder.headers["content-type"] == "application/vnd.directory+json"
    assert {"kind": "file", "basename": "invoice.py"} in folder.json()["entries"]
    assert {"kind": "dir", "basename": "shop"} in server.get(
        f"{base}/resolve/", headers=bearer(server.owner)
    ).json()["entries"]
    file = server.get(f"{base}/rev/main/shop/invoice.py", headers=bearer(server.owner))
    assert file.text == INVOICE and file.headers["content-type"].startswith("text/plain")
    assert file.headers["x-content-type-options"] == "nosniff"
    for path, status in [
        ("/resolve/nothing.py", 404),
        ("/resolve/passwd.py", 404),  # a link
        ("/resolve/../../../etc/passwd", 404),
        ("/resolve/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/rev/nowhere/shop/invoice.py", 404),
        ("/rev/:%2fx/shop", 404),
        ("/resolve/huge.py", 413),
        ("/other/x", 404),
    ]:
        assert server.get(base + path, headers=bearer(server.owner)).status == status, path
    assert server.get(f"{base}/resolve/shop").status == 401
    assert server.get("/repositories/git/nobody/resolve/", headers=bearer(server.owner)).status == 404


def test_who_may_do_what(server):
    code = server.invite(server.owner, "b@example.org")
    second = server.register("b@example.org", code, "Grace")["accessToken"]
    assert server.error(LIST, second)["message"] == "You must be admin to proceed"
    assert "admin" in server.error("{ indexedRepositories { name } }", second)["message"]
    trigger = "mutation($c: String!) { triggerJobRun(command: $c) }"
    command = server.added["jobInfo"]["command"]
    assert "admin" in server.error(trigger, second, c=command)["message"]
    with server.database() as database:  # a policy that names others only
        database.execute("INSERT INTO user_groups (id, name) VALUES (1, 'g')")
        database.execute(
            "INSERT INTO source_id_read_access_policies (source_id, user_group_id) VALUES (?, 1)",
            [server.added["sourceId"]],
        )
    try:
        token = server.me(second)["authToken"]
        assert server.data("{ repositoryList { id } }", token)["repositoryList"] == []
        path = f"/repositories/git/{server.added['id']}/resolve/shop"
        assert server.get(path, headers=bearer(second)).status == 404
        assert snippets(server, "x/shop", token=token)["snippets"] == []
        got = ask_as(server, token)
        assert all(not item.get("hits") for item in got)
    finally:
        with server.database() as database:
            database.execute("DELETE FROM source_id_read_access_policies")


def ask_as(server, token):
    from test_threads import run

    options = {"codeQuery": {"content": "class Invoice", "gitUrl": "x/shop"}}
    return run(server, token, RUN, {"thread": {"userMessage": {"content": "Hi"}}, "options": options})

"""Code search as editors, scripts and people see it: repositories that git itself made, and a real model that
embeds."""

import signal

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from repositories import INVOICE, commit, git, make_repository, write
from searching import ADD, ALL, ASKED, EMBEDDER, EMBEDDING, LIST, LOW, RUNS, TRIGGER
from searching import config, found, indexed, ready, snippets
from tabby import SMALL
from test_threads import run
from upstream import Upstream, events


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repositories") / "shop")


@pytest.fixture(scope="module")
def chat():
    """A chat model somewhere else: it says little, and remembers what it was told."""
    made = Upstream()
    words = {"choices": [{"index": 0, "delta": {"content": "It rounds."}}]}
    made.says["/chat/completions"] = lambda _: events(words)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, shop, chat):
    root = tmp_path_factory.mktemp("root")
    elsewhere = f'[model.chat.http]\nkind = "openai/chat"\nmodel_name = "m"\napi_endpoint = "{chat.url}"\n'
    config(root, LOW + EMBEDDING + elsewhere)
    with Accounts("--model", SMALL, root=root) as made:
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
    got = snippets(server, "x/shop", token=server.token, relevant_snippets_from_changed_files=full)[
        "snippets"
    ]
    assert [one["filepath"] for one in got] == ["a.py"], "768 bytes are all there are"
    body = {
        "language": "python",
        "segments": {"prefix": ASKED, "git_url": "x/shop"},
        "debug_options": {"return_snippets": True, "disable_retrieval_augmented_code_completion": True},
    }
    assert server.post("/v1/completions", body, bearer(server.token)).json()["debug_data"]["snippets"] == []


def test_after_a_doze_the_search_goes_on(server):
    found(server, "x/shop", token=server.token)
    server.process.send_signal(signal.SIGUSR1)
    wait_for("the doze", lambda: server.metrics()["copycat_doze_signals_total"] == 1)
    got = found(server, "x/shop", token=server.token, filepath="shop/after_the_doze.py")
    assert got[0]["filepath"] == "shop/invoice.py"


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


DOCS = """subscription($i: CreateThreadAndRunInput!) { item: createThreadAndRun(input: $i) { __typename
    ... on ThreadAssistantMessageAttachmentsDoc { hits { score doc { ... on MessageAttachmentIngestedDoc {
        id body } } } } } }"""


def ask(server, content, **query):
    """A question in a thread of its own: what comes, in order."""
    options = {
        "codeQuery": {"content": content, **query},
        "debugOptions": {"returnChatCompletionRequest": True},
    }
    return run(
        server, server.token, RUN, {"thread": {"userMessage": {"content": content}}, "options": options}
    )


def test_an_answer_is_given_code_and_names_its_sources(server, shop, chat):
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
    assert (
        hits[0]["code"]["commit"] == server.added["index"]["commit"] and hits[0]["code"]["startLine"] is None
    )
    assert hits[0]["scores"]["embedding"] > 0.5
    asked = got[-1]["debugData"]["chatCompletionMessages"][-1]["content"]
    assert asked.startswith("shop/invoice.py\n```\nclass Invoice:") and asked.endswith("\n\n" + question)
    assert chat.asked[-1]["body"]["messages"][-1]["content"] == asked
    kept = server.data(
        """query($t: ID!) { threadMessages(threadId: $t) { edges { node { role codeSourceId
        attachment { code { gitUrl filepath startLine content } } } } } }""",
        server.owner,
        t=got[0]["id"],
    )["threadMessages"]["edges"]
    answer = kept[-1]["node"]
    assert answer["codeSourceId"] == server.added["sourceId"]
    assert [c["filepath"] for c in answer["attachment"]["code"]] == [h["code"]["filepath"] for h in hits]


def test_documents_are_found_by_their_meaning(server):
    token = server.data("{ registrationToken }", server.owner)["registrationToken"]
    before = server.metrics()["copycat_index_chunks"]
    for id, body in ("leave", "Everybody has thirty days of holiday a year."), (
        "car",
        "Cars park in the yard.",
    ):
        document = {"source": "handbook", "id": id, "title": id, "body": body}
        assert server.post("/v1beta/ingestion", document, bearer(token)).status == 202
    question = "How much vacation do employees get?"
    query = {"content": question, "searchPublic": False, "sourceIds": ["ingested:handbook"]}
    input = {"thread": {"userMessage": {"content": question}}, "options": {"docQuery": query}}

    def done():  # vectors are made while nobody asks
        status = server.data("{ ingestionStatus { pending } }", server.owner)["ingestionStatus"]
        metrics = server.metrics()
        return status == [{"pending": 0}] and (
            metrics["copycat_index_vectors"] == metrics["copycat_index_chunks"] > before
        )

    wait_for("their vectors", done)
    (found,) = [i for i in run(server, server.token, DOCS, input) if "hits" in i]
    assert 0.5 < found["hits"][0]["score"] < 1
    best = found["hits"][0]["doc"]
    assert best["id"] == "ingested:handbook/leave" and "thirty days" in best["body"]
    gone = server.request(server.port, "/v1beta/ingestion/handbook", "DELETE", headers=bearer(token))
    assert gone.status == 202
    wait_for("the index is gone", lambda: not list((server.root / "index").glob("ingested-*.sqlite")))


def test_files_and_lines_are_found(server):
    search = """query($i: ID!, $p: String!) {
        repositorySearch(kind: GIT, id: $i, pattern: $p) { type path indices } }"""
    (file,) = server.data(search, server.owner, i=server.added["sourceId"], p="invpy")["repositorySearch"]
    assert file["path"] == "shop/invoice.py" and file["type"] == "file" and len(file["indices"]) == 5
    grep = """query($i: ID!, $q: String!) { repositoryGrep(kind: GIT, id: $i, query: $q) { elapsedMs
        files { path lines { lineNumber byteOffset line { text } subMatches { bytesStart bytesEnd } } } } }"""
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
    options = {"codeQuery": {"content": "class Invoice", "gitUrl": "x/shop"}}
    return run(server, token, RUN, {"thread": {"userMessage": {"content": "Hi"}}, "options": options})


# ---- jobs, and what goes wrong ----


def test_a_job_brings_what_is_new(server, shop):
    write(shop, "shop/refund.py", "class Refund:\n    def reverse_booking(self):\n        pass\n")
    git(shop, "rm", "-q", "shop/handler_7.py")
    head = commit(shop)
    run = server.data(TRIGGER, server.owner, c=server.added["jobInfo"]["command"])["triggerJobRun"]
    one = indexed(server, "shop", commit=head)
    assert one["index"]["files"] == 32

    def done():
        ((edge),) = server.data(RUNS, server.owner, i=[run])["jobRuns"]["edges"]
        return edge["node"] if edge["node"]["exitCode"] is not None else None

    job = wait_for("the run's end", done)
    assert job["job"] == "scheduler_git" and job["exitCode"] == 0 and job["finishedAt"]
    assert "1 new or changed, 1 removed" in job["stdout"]
    stats = server.data("{ jobRunStats { success failed pending } jobs }", server.owner)
    assert stats["jobRunStats"]["success"] >= 2 and "scheduler_git" in stats["jobs"]
    metrics = server.metrics()
    assert metrics["copycat_index_repositories"] == 1 and metrics["copycat_searches_total"] > 0
    assert metrics["copycat_index_chunks"] >= metrics["copycat_index_vectors"] > 0
    assert "no such job" in server.error(TRIGGER, server.owner, c="{}")["message"]


def test_what_cannot_be_indexed_says_why_and_what_is_removed_is_gone(server, tmp_path):
    for name, url, why in [
        ("nowhere", "file:///nonexistent/repo", "nothing at /nonexistent/repo"),
        ("nogit", f"file://{tmp_path}", "no git repository"),
        ("closed", "http://me:hidden-word@127.0.0.1:1/x.git", "http://127.0.0.1:1/x.git: fetch"),
    ]:
        id = server.data(ADD, server.owner, n=name, u=url)["createGitRepository"]
        failure = indexed(server, name, "FAILED")["index"]["failure"]
        assert why in failure and "hidden-word" not in failure, failure
        server.data("mutation($i: ID!) { deleteGitRepository(id: $i) }", server.owner, i=id)
    left = wait_for(
        "the removal",
        lambda: len(server.data(ALL, server.owner)["indexedRepositories"]) == 1
        and [f.name for f in (server.root / "repositories").iterdir()] == []
        and [f.name for f in (server.root / "index").glob("*.sqlite")],
    )
    assert len(left) == 1
    assert "hidden-word" not in server.errors()

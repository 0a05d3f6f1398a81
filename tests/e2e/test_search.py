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


# ---- jobs, schedules, other places ----

TRIGGER = "mutation($c: String!) { triggerJobRun(command: $c) }"
RUNS = "query($i: [ID!]) { jobRuns(ids: $i) { edges { node { id job exitCode stdout startedAt finishedAt } } } }"
ALL = """{ indexedRepositories { sourceId name gitUrl isConfigured jobInfo { command }
    index { state files chunks vectors commit failure } } }"""


def indexed(server, name, *states, **wanted):
    def look():
        for one in server.data(ALL, server.owner)["indexedRepositories"]:
            if one["name"] == name and one["index"]["state"] in (states or ("READY",)):
                return one if all(one["index"][key] == value for key, value in wanted.items()) else None

    return wait_for(f"{name} {states} {wanted}", look)


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
    assert stats["jobRunStats"]["success"] >= 2 and stats["jobs"] == ["scheduler_git"]
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


@pytest.fixture
def git_server(tmp_path):
    """git's own HTTP, as any git server has it."""
    import http.server
    import threading

    folder = make_repository(tmp_path / "origin" / "remote")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            size = int(self.headers.get("Content-Length") or 0)
            env = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(folder.parent),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(size),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            }
            done = subprocess.run(
                ["git", "http-backend"], env=env, input=self.rfile.read(size), capture_output=True, timeout=60
            )
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            lines = [line.split(": ", 1) for line in head.decode().splitlines()]
            status = int(dict(lines).get("Status", "200").split()[0])
            self.send_response(status)
            for key, value in lines:
                if key != "Status":
                    self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}/remote"
    httpd.shutdown()
    httpd.server_close()
    thread.join(60)


def test_config_names_repositories_that_are_fetched_on_a_schedule_and_after_a_sleep(tmp_path, git_server):
    folder, url = git_server
    config(tmp_path / "root", LOW + f'[[repositories]]\ngit_url = "{url}"\n')
    with Accounts(root=tmp_path / "root", extra_env={"COPYCAT_INDEX_SECONDS": "1"}) as server:
        server.owner = server.register()["accessToken"]
        one = indexed(server, "remote", commit=git(folder, "rev-parse", "HEAD"))
        assert one["isConfigured"] and one["sourceId"] == "config:4WmznP" and one["index"]["files"] == 32
        assert one["index"]["vectors"] == 0, "nothing embeds here"
        (listed,) = server.data("{ repositoryList { id kind name refs { name commit } } }", server.owner)[
            "repositoryList"
        ]
        assert (listed["kind"], listed["name"]) == ("GIT_CONFIG", "remote")
        assert listed["refs"] == [{"name": "refs/heads/main", "commit": one["index"]["commit"]}]
        process = server.process
        process.send_signal(signal.SIGSTOP)
        write(folder, "shop/while_asleep.py", "def while_asleep():\n    pass\n")
        head = commit(folder)
        process.send_signal(signal.SIGCONT)
        indexed(server, "remote", commit=head)


def test_without_accounts_and_without_a_model_words_alone_decide(tmp_path, shop):
    config(tmp_path / "root", LOW + f'[[repositories]]\ngit_url = "file://{shop}"\nrefs = ["main"]\n')
    with Tabby("--model", SMALL, root=tmp_path / "root") as server:
        got = found(server, "x/shop")
        assert got[0]["filepath"] == "shop/invoice.py"
        assert server.get("/v1/health").json()["models"]["embedding"] is None
        first = snippets(server, "x/shop", filepath="a.py")["snippets"]
        typed = {"prefix": ASKED + "rate", "suffix": "", "filepath": "a.py", "git_url": "x/shop"}
        body = {"language": "python", "segments": typed, "debug_options": {"return_snippets": True}}
        again = server.post("/v1/completions", body).json()["debug_data"]["snippets"]
        assert again == first, "while somebody types the prompt's beginning stays"
    config(tmp_path / "off", f'[[repositories]]\ngit_url = "file://{shop}"\n')
    with Tabby("--model", SMALL, root=tmp_path / "off", extra_env={"TABBY_EMBEDDING_ENABLED": "no"}) as server:
        assert snippets(server, "x/shop")["snippets"] == []
        assert not (tmp_path / "off" / "index").exists(), "it is off"


def test_killed_while_it_indexes_the_index_stays_good(tmp_path, shop):
    big = tmp_path / "big"
    make_repository(big)
    for i in range(3000):
        write(big, f"more/part_{i}.py", f"def part_{i}(value):\n    return value * {i}  # marker_{i}\n" * 8)
    root = tmp_path / "root"
    config(root, LOW)
    server = Accounts(root=root)
    with server:
        server.owner = server.register()["accessToken"]
        server.data(ADD, server.owner, n="big", u=f"file://{big}")
        indexed(server, "big", files=32)
        head = commit(big)
        (one,) = repositories(server, server.owner)
        server.data(TRIGGER, server.owner, c=one["jobInfo"]["command"])
        (database,) = (root / "index").glob("*.sqlite")

        def files():
            with sqlite3.connect(database, timeout=30) as reader:
                return reader.execute("SELECT count(*) FROM file").fetchone()[0]

        assert wait_for("some files", lambda: files() > 60 and files()) > 32
        server.stop(signal.SIGKILL)
        with sqlite3.connect(database, timeout=30) as reader:
            assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = "SELECT count(*) FROM file f JOIN chunk c ON c.file = f.id WHERE f.path = 'shop/invoice.py'"
            assert reader.execute(kept).fetchone()[0] == 1, "what was there is there"
        server.start()
        server.owner = server.sign_in()["accessToken"]
        (one,) = repositories(server, server.owner)
        if one["index"]["commit"] != head:
            server.data(TRIGGER, server.owner, c=one["jobInfo"]["command"])
        assert indexed(server, "big", commit=head)["index"]["files"] == 3032


# ---- models that embed elsewhere ----


def test_another_server_may_embed(tmp_path, shop):
    import http.server
    import threading

    asked = []

    class Embedder(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("authorization"), body.get("model")))
            text = body["input"]
            numbers = [1.0 if text.count(chr(97 + i)) % 2 else -1.0 for i in range(26)] * 3
            answer = json.dumps({"data": [{"index": 0, "embedding": numbers}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Embedder)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{httpd.server_port}/v1"
    config(
        tmp_path / "root",
        f'[model.embedding.http]\nkind = "openai/embedding"\napi_endpoint = "{url}"\napi_key = "key"\n'
        f'model_name = "letters"\nrate_limit.request_per_minute = 60000\n'
        f'[[repositories]]\ngit_url = "file://{shop}"\n',
    )
    with Accounts(root=tmp_path / "root") as server:
        server.owner = server.register()["accessToken"]
        count = wait_for(
            "vectors",
            lambda: [
                one["index"]["vectors"]
                for one in server.data(ALL, server.owner)["indexedRepositories"]
                if one["index"]["vectors"] == one["index"]["chunks"] > 0
            ],
        )
        assert count[0] >= 32 and len(asked) >= 32
        assert set(asked) == {("/v1/embeddings", "Bearer key", "letters")}
        token = server.me(server.owner)["authToken"]
        embedding = server.get("/v1/health", headers=bearer(token)).json()["models"]["embedding"]
        assert embedding == {
            "remote": {"kind": "openai/embedding", "model_name": "letters", "api_endpoint": url}
        }
    httpd.shutdown()
    httpd.server_close()

"""GitHub and GitLab: repositories listed with a token by a server that speaks their calls, chosen ones
indexed from git's own HTTP behind the same token, which nobody else is told."""

import base64
import http.server
import json
import os
import subprocess
import threading
import urllib.parse

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from repositories import make_repository
from searching import RUNS, TRIGGER, config

TOKEN = "secret-token%1"
CREATE = "mutation($i: CreateIntegrationInput!) { createIntegration(input: $i) }"
UPDATE = "mutation($i: UpdateIntegrationInput!) { updateIntegration(input: $i) }"
DELETE = "mutation($i: ID!, $k: IntegrationKind!) { deleteIntegration(id: $i, kind: $k) }"
ACTIVE = """mutation($i: ID!, $a: Boolean!, $r: [String!]) {
    updateIntegratedRepositoryActive(id: $i, active: $a, refs: $r) }"""
LIST = """{ integrations { edges { node { id kind displayName accessToken apiBase status message
    jobInfo { command lastJobRun { exitCode stdout } } } } } }"""
PROVIDED = """query($i: [ID!], $k: IntegrationKind, $a: Boolean) {
    integratedRepositories(ids: $i, kind: $k, active: $a) { edges { node { id integrationId active displayName
    gitUrl vendorId sourceId refs { name } jobInfo { command lastJobRun { job exitCode stdout } }
    index { state files failure } } } } }"""
REPOSITORIES = "{ repositoryList { id sourceId sourceKind kind name gitUrl refs { name } } }"
SEARCH = "query($s: ID!) { codeSearch(sourceId: $s, content: $s) { code { filepath } } }"


class Forge:
    """`repositories` as GitHub and GitLab would list them, two a page, to whoever has the token; their code
    at /git/NAME by git's own HTTP backend."""

    def __init__(self, folder):
        self.folder, self.token, self.status, self.asked = folder, TOKEN, 200, []
        self.repositories = ["acme/shop", "acme/other", "acme/third"]
        forge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_GET(self):
                path, _, query = self.path.partition("?")
                forge.asked.append((path, query))
                if path.startswith("/git/"):
                    return forge.serve_git(self, path[4:], query)
                forge.serve_list(self, path, dict(urllib.parse.parse_qsl(query)))

            do_POST = do_GET

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request, status, body, **fields):
        request.send_response(status)
        for key, value in {"Content-Length": len(body), **fields}.items():
            request.send_header(key.replace("_", "-"), str(value))
        request.end_headers()
        request.wfile.write(body)

    def serve_list(self, request, path, query):
        if request.headers["Authorization"] != f"Bearer {self.token}":
            return self.answer(request, 401, b'{"message":"Bad credentials"}')
        if self.status != 200:
            fields = {"Location": "http://127.0.0.1:1/"} if self.status == 302 else {}
            return self.answer(request, self.status, b'{"message":"not today"}', **fields)
        page = int(query["page"])
        shown, more = self.repositories[page * 2 - 2 : page * 2], len(self.repositories) > page * 2
        if path == "/api/v3/user/repos":
            found = [
                {"id": sum(name.encode()), "full_name": name, "html_url": f"{self.url}/git/{name}"}
                for name in shown
            ]
            link = f'<{self.url}/user/repos?page={page + 1}>; rel="next"' if more else '<x>; rel="last"'
            fields = {"Link": link}
        elif path == "/api/v4/projects" and query["membership"] == "true":
            found = [
                {
                    "id": sum(name.encode()),
                    "path_with_namespace": name,
                    "http_url_to_repo": f"{self.url}/git/{name}.git",
                }
                for name in shown
            ]
            found.append({"id": 999, "path_with_namespace": "evil", "http_url_to_repo": "file:///etc"})
            fields = {"x_next_page": page + 1 if more else ""}
        else:
            return self.answer(request, 404, b"{}")
        self.answer(request, 200, json.dumps(found).encode(), **fields)

    def serve_git(self, request, path, query):
        wanted = {f"x-access-token:{self.token}", f"oauth2:{self.token}"}
        given = (request.headers["Authorization"] or "").removeprefix("Basic ")
        size = int(request.headers.get("Content-Length") or 0)
        body = request.rfile.read(size)
        if base64.b64decode(given).decode() not in wanted:
            return self.answer(request, 401, b"", WWW_Authenticate='Basic realm="git"')
        env = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path.replace(".git/", "/", 1),
            "QUERY_STRING": query,
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(size),
        }
        done = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, timeout=60)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        status = int(fields.pop("Status", "200").split()[0])
        self.answer(request, status, body, **{key.replace("-", "_"): value for key, value in fields.items()})


@pytest.fixture(scope="module")
def forge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forge")
    make_repository(folder / "acme" / "shop")
    made = Forge(folder)
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, forge):
    root = tmp_path_factory.mktemp("root")
    config(root, "")
    with Accounts(root=root) as made:
        made.owner = made.register()["accessToken"]
        made.auth = made.me(made.owner)["authToken"]
        yield made


def create(server, kind, base, token=TOKEN, name="Ours"):
    input = {"kind": kind, "displayName": name, "accessToken": token, "apiBase": base}
    return server.data(CREATE, server.owner, i=input)["createIntegration"]


def one(server, id, *states):
    def look():
        for edge in server.data(LIST, server.owner)["integrations"]["edges"]:
            if edge["node"]["id"] == id and edge["node"]["status"] in states:
                return edge["node"]

    return wait_for(f"an integration {states}", look)


def provided(server, **filters):
    edges = server.data(PROVIDED, server.owner, **filters)["integratedRepositories"]["edges"]
    return {edge["node"]["displayName"]: edge["node"] for edge in edges}


def indexed(server, integration, name, *states):
    def look():
        found = provided(server, i=[integration])[name]
        return found if found["index"]["state"] in states else None

    return wait_for(f"{name} {states}", look)


@pytest.fixture(scope="module")
def hub(server, forge):
    id = create(server, "GITHUB_SELF_HOSTED", forge.url + "/api/v3/")
    one(server, id, "READY")
    return id


def test_repositories_are_listed_and_none_is_indexed(server, forge, hub):
    node = one(server, hub, "READY")
    assert node["accessToken"] == "********" and node["message"] is None
    said = {"exitCode": 0, "stdout": "3 repositories are listed"}
    wait_for("the job", lambda: one(server, hub, "READY")["jobInfo"]["lastJobRun"] == said)
    found = provided(server, i=[hub])
    assert sorted(found) == sorted(forge.repositories), "page after page"
    assert not any(r["active"] for r in found.values())
    assert found["acme/shop"]["gitUrl"] == forge.url + "/git/acme/shop"
    assert (
        found["acme/shop"]["vendorId"] == str(sum(b"acme/shop"))
        and found["acme/shop"]["index"]["state"] == "OFF"
    )
    assert server.data(REPOSITORIES, server.owner)["repositoryList"] == []
    assert not [path for path, _ in forge.asked if path.startswith("/git/")]
    assert provided(server, k="GITLAB") == {} and provided(server, a=True) == {}


def test_an_active_one_is_indexed_and_searched(server, forge, hub):
    id = provided(server, i=[hub])["acme/shop"]["id"]
    assert server.data(ACTIVE, server.owner, i=id, a=True)["updateIntegratedRepositoryActive"]
    shop = indexed(server, hub, "acme/shop", "READY", "FAILED")
    assert shop["index"]["state"] == "READY", shop
    assert shop["index"]["files"] == 32
    run = wait_for("the job", lambda: indexed(server, hub, "acme/shop", "READY")["jobInfo"]["lastJobRun"])
    assert run["job"] == "scheduler_github_gitlab" and "32 files of code" in run["stdout"]
    (listed,) = server.data(REPOSITORIES, server.auth)["repositoryList"]
    assert listed["kind"] == "GITHUB_SELF_HOSTED" and listed["sourceKind"] == "GITHUB"
    assert listed["sourceId"] == shop["sourceId"] and listed["name"] == "acme/shop"
    assert listed["gitUrl"] == shop["gitUrl"] and [r["name"] for r in listed["refs"]] == ["refs/heads/main"]
    query = (
        'query($s: ID!) { codeSearch(sourceId: $s, content: "total_with_tax") { code { filepath gitUrl } } }'
    )
    hits = server.data(query, server.auth, s=shop["sourceId"])["codeSearch"]
    assert hits[0]["code"] == {"filepath": "shop/invoice.py", "gitUrl": shop["gitUrl"]}
    path = f"/repositories/github_self_hosted/{id}/resolve/README.md"
    head = {"Authorization": f"Bearer {server.owner}"}
    assert server.get(path, headers=head).text.startswith("# Shop")


def test_the_token_is_told_to_nobody(server, forge, hub):
    queries = [LIST, PROVIDED, REPOSITORIES, "{ contextInfo { sources { sourceName id } } }"]
    queries += [
        "{ jobRuns { edges { node { stdout stderr command } } } }",
        "{ indexedRepositories { gitUrl } }",
    ]
    told = "".join(json.dumps(server.ask(query, server.owner)) for query in queries) + server.errors()
    assert "secret-token" not in told
    for folder in "repositories", "index", "events":
        for file in (server.root / folder).rglob("*"):
            assert file.is_dir() or b"secret-token" not in file.read_bytes(), file


def test_an_inactive_one_goes_and_so_does_one_that_is_gone_there(server, forge, hub):
    id = provided(server, i=[hub])["acme/shop"]["id"]
    server.data(ACTIVE, server.owner, i=id, a=False)
    wait_for("its files are gone", lambda: not list((server.root / "index").glob("provided_*.sqlite")))
    assert server.data(REPOSITORIES, server.owner)["repositoryList"] == []
    forge.repositories.remove("acme/third")
    job = server.data(TRIGGER, server.owner, c=one(server, hub, "READY")["jobInfo"]["command"])[
        "triggerJobRun"
    ]

    def ended():
        (edge,) = server.data(RUNS, server.owner, i=[job])["jobRuns"]["edges"]
        return edge["node"] if edge["node"]["exitCode"] is not None else None

    run = wait_for("the job", ended)
    assert run["job"] == "third_party_repository_sync" and run["stdout"] == "2 repositories are listed"
    log = f"/background-jobs/{job}/logs"
    assert server.get(log, headers=bearer(server.owner)).text == run["stdout"]
    assert server.status(log) == server.status(log, server.auth) == 401
    assert server.status("/background-jobs/5NVZN2/logs", server.owner) == 404
    assert server.status(f"/background-jobs/{job}", server.owner) == 404
    assert sorted(provided(server, i=[hub])) == ["acme/other", "acme/shop"]
    forge.repositories.append("acme/third")


def test_gitlab_with_branches(server, forge):
    id = create(server, "GITLAB_SELF_HOSTED", forge.url, name="Lab")
    one(server, id, "READY")
    found = provided(server, i=[id])
    assert sorted(found) == sorted(forge.repositories), "what is no address on the web is passed over"
    shop = found["acme/shop"]
    assert shop["gitUrl"] == forge.url + "/git/acme/shop.git"
    server.data(ACTIVE, server.owner, i=shop["id"], a=True, r=["main"])
    assert indexed(server, id, "acme/shop", "READY", "FAILED")["index"]["state"] == "READY"
    server.data(ACTIVE, server.owner, i=shop["id"], a=True, r=["nowhere"])
    failed = indexed(server, id, "acme/shop", "FAILED")["index"]["failure"]
    assert "nowhere" in failed and "secret-token" not in failed
    assert server.error(DELETE, server.owner, i=id, k="GITHUB")["message"] == "Integration not found"
    assert server.data(DELETE, server.owner, i=id, k="GITLAB_SELF_HOSTED")["deleteIntegration"]
    assert provided(server, i=[id]) == {}
    wait_for("its files are gone", lambda: not list((server.root / "index").glob("provided_*.sqlite")))


def test_what_the_other_server_refuses_is_told(server, forge):
    id = create(server, "GITHUB_SELF_HOSTED", forge.url + "/api/v3", token="a wrong one".replace(" ", "-"))
    node = one(server, id, "FAILED")
    assert node["message"] == "GitHub refuses the access token (401): Bad credentials"
    last = lambda: one(server, id, "FAILED")["jobInfo"]["lastJobRun"]
    wait_for("the job", lambda: last()["exitCode"] == 1)

    def change(word, **more):
        input = {"id": id, "kind": "GITHUB_SELF_HOSTED", "displayName": "Ours2", **more}
        server.data(UPDATE, server.owner, i=input)
        return wait_for(word, lambda: word in (one(server, id, "FAILED", "READY")["message"] or ""))

    change("no list of repositories", apiBase=forge.url, accessToken=TOKEN)
    change("cannot be reached", apiBase="http://127.0.0.1:1")
    forge.status = 302
    change("points elsewhere (302)", apiBase=forge.url + "/api/v3")
    forge.status = 403
    change("refuses to list repositories (403): not today", apiBase=forge.url + "/api/v3/")
    forge.status = 200
    server.data(TRIGGER, server.owner, c=one(server, id, "FAILED")["jobInfo"]["command"])
    one(server, id, "READY")
    assert len(provided(server, i=[id])) == 3


@pytest.mark.parametrize(
    "change, word",
    [
        ({"displayName": "1"}, "Invalid repository provider name"),
        ({"accessToken": "short"}, "Invalid access token"),
        ({"accessToken": "with\r\nheaders: too"}, "Invalid access token"),
        ({"apiBase": "ftp://x"}, "Invalid URL base"),
        ({"apiBase": None}, "Self-hosted integrations must specify an API base"),
    ],
)
def test_wrong_input(server, change, word):
    good = {
        "kind": "GITLAB_SELF_HOSTED",
        "displayName": "Ours",
        "accessToken": TOKEN,
        "apiBase": "http://x",
    }
    assert word in json.dumps(server.error(CREATE, server.owner, i={**good, **change}))


def test_who_may_not(server):
    for query in LIST, PROVIDED:
        assert server.error(query, server.auth)["extensions"] == {"code": "FORBIDDEN"}
        assert server.error(query)["extensions"] == {"code": "UNAUTHORIZED"}
    assert server.error(ACTIVE, server.owner, i="5NVZN2", a=True)["message"] == "Repository not found"
    assert "there is no such job" in server.error(TRIGGER, server.owner, c="{}")["message"]

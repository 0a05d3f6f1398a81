"""Code search over time: schedules, sleeps, kills, servers elsewhere, and none of all that."""

import json
import os
import signal
import sqlite3
import subprocess

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from repositories import commit, git, make_repository, write
from searching import ADD, ALL, ASKED, LOW, TRIGGER, config, found, indexed, repositories, snippets
from tabby import SMALL, Tabby


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return make_repository(tmp_path_factory.mktemp("repositories") / "shop")


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
    with Tabby(
        "--model", SMALL, root=tmp_path / "off", extra_env={"TABBY_EMBEDDING_ENABLED": "no"}
    ) as server:
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
            kept = (
                "SELECT count(*) FROM file f JOIN chunk c ON c.file = f.id WHERE f.path = 'shop/invoice.py'"
            )
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
        find = """query($s: ID!) { codeSearch(sourceId: $s, content: "class Invoice total_with_tax") {
            code { filepath } scores { embedding bm25 } } }"""
        hits = server.data(find, server.owner, s="config:4WmznP")["codeSearch"]
        assert hits[0]["code"]["filepath"] == "shop/invoice.py" and hits[0]["scores"]["embedding"] > 0.5
        httpd.shutdown()
        httpd.server_close()
        for _ in range(2):  # the server is down: words alone find it, and nobody asks there again at once
            hits = server.data(find, server.owner, s="config:4WmznP")["codeSearch"]
            assert hits[0]["code"]["filepath"] == "shop/invoice.py" and hits[0]["scores"]["embedding"] == 0

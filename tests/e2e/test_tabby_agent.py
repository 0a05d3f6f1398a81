"""Tabby's own agent (npm, 1.5.0: the newest that the registry has), unmodified, against a server with
accounts: what every editor's plugin runs. By LSP, and by the lines of JSON that its Vim plugin speaks, in
which completions are also asked for by hand and what became of them is told."""

import json
import os
import pathlib
import queue
import subprocess
import threading

import pytest
from accounts import Accounts
from conftest import DEADLINE_S, ROOT, wait_for
from tabby import REAL

AGENT = ["tabby-agent", "1.5.0", "e1db60480cf29ff57cfddf7dc0aed3b4c9e6cd74ff987e28d336cc3dc352f4e7"]
TEXT = "def add_numbers(first, second):\n    return \n\n\nprint(add_numbers(1, 2))\n"
CURSOR = TEXT.index("return ") + len("return ")


@pytest.fixture(scope="module")
def server():
    root = {"LLAMA_CPP_N_THREADS": os.cpu_count()}
    with Accounts("--model", REAL, extra_env=root) as made:
        (made.root / "config.toml").write_text("[server]\ncompletion_timeout = 100000\n")
        made.token = made.me(made.register()["accessToken"])["authToken"]
        yield made


class Agent:
    """The agent as a process, told of the server by its own file as a user does it. What it says waits."""

    def __init__(self, home, server, *flags, token=None):
        made = subprocess.run(
            [ROOT / "tools/npm-package", *AGENT], check=True, stdout=subprocess.PIPE, text=True
        )
        settings = home / ".tabby-client/agent/config.toml"
        settings.parent.mkdir(parents=True)
        settings.write_text(
            f'[server]\nendpoint = "{server.url}"\ntoken = "{token or server.token}"\n'
            "[anonymousUsageTracking]\ndisable = true\n"
        )
        env = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        self.process = subprocess.Popen(
            ["node", pathlib.Path(made.stdout.strip()) / "dist/cli.js", *flags],
            env={**env, "HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.lsp, self.number, self.said = bool(flags), 0, queue.Queue()
        self.others = []
        threading.Thread(target=self.listen, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def listen(self):
        while line := self.process.stdout.readline():
            if not self.lsp:
                self.said.put(json.loads(line))
            elif line.lower().startswith(b"content-length:"):
                while self.process.stdout.readline().strip():
                    pass
                self.said.put(json.loads(self.process.stdout.read(int(line.split(b":")[1]))))

    def tell(self, message):
        data = json.dumps(message).encode()
        head = f"Content-Length: {len(data)}\r\n\r\n".encode() if self.lsp else b""
        self.process.stdin.write(head + data + (b"" if self.lsp else b"\n"))
        self.process.stdin.flush()

    def answer(self):
        """To the last request; what else is said meanwhile is kept."""
        while True:
            message = self.said.get(timeout=2 * DEADLINE_S)
            if self.lsp and message.get("id") == self.number and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            if not self.lsp and message[0] == self.number:
                return message[1]
            self.others.append(message)

    def request(self, method, params):
        self.number += 1
        self.tell({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        return self.answer()

    def notify(self, method, params):
        self.tell({"jsonrpc": "2.0", "method": method, "params": params})

    def call(self, function, *arguments):
        self.number += 1
        self.tell([self.number, {"func": function, "args": list(arguments)}])
        return self.answer()


def counted(server):
    query = "SELECT sum(views), sum(selects), sum(dismisses) FROM user_completions"
    return server.database().execute(query).fetchone()


def test_an_editor_completes_by_lsp(server, tmp_path):
    with Agent(tmp_path, server, "--lsp", "--stdio") as agent:
        hello = {"processId": None, "rootUri": None, "capabilities": {}, "clientInfo": {"name": "test"}}
        assert "completionProvider" in agent.request("initialize", hello)["capabilities"]
        agent.notify("initialized", {})
        uri = (tmp_path / "add.py").as_uri()
        document = {"uri": uri, "languageId": "python", "version": 1, "text": TEXT}
        agent.notify("textDocument/didOpen", {"textDocument": document})
        place = {"textDocument": {"uri": uri}, "position": {"line": 1, "character": len("    return ")}}
        (item,) = agent.request("textDocument/completion", place)["items"]
        assert "first + second" in item["textEdit"]["newText"]
        assert item["data"]["completionId"].startswith("cmpl-")
        assert [m for m in agent.others if m.get("method") == "window/showMessage"] == []
        agent.request("shutdown", None)
        agent.notify("exit", None)
        assert agent.process.wait(DEADLINE_S) == 0


def test_completions_by_hand_and_what_became_of_them(server, tmp_path):
    with Agent(tmp_path, server) as agent:
        assert agent.call("initialize", {"clientProperties": {"session": {"client": "test"}}}) is True
        assert agent.call("getStatus") == "ready"
        health = agent.call("getServerHealthState")
        assert health["model"] and health["device"] == "cpu"
        place = {"filepath": "add.py", "language": "python", "text": TEXT, "position": CURSOR}
        found = agent.call("provideCompletions", {**place, "manually": True}, {"signal": True})
        assert found["id"].startswith("cmpl-") and "first + second" in found["choices"][0]["text"]
        event = {"completion_id": found["id"], "choice_index": found["choices"][0]["index"]}
        before = [n or 0 for n in counted(server)]
        for more in (
            {"type": "view"},
            {"type": "select", "select_kind": "line", "elapsed": 5},
            {"type": "dismiss"},
        ):
            assert agent.call("postEvent", {**event, **more}, {"signal": True}) is True
        after = [n + 1 for n in before]
        wait_for("the events are counted", lambda: list(counted(server)) == after)
        kinds = [next(iter(e["event"])) for e in server.events() if found["id"] in json.dumps(e)]
        assert {"completion", "view", "select", "dismiss"} <= set(kinds)


def test_a_wrong_token_is_said_to_be_one(server, tmp_path):
    with Agent(tmp_path, server, token="auth_" + "0" * 32) as agent:
        agent.call("initialize", {"clientProperties": {}})
        assert agent.call("getStatus") == "unauthorized"

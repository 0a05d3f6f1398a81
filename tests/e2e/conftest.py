"""A real catnap for each test that asks for one: own state, own ports, own end. Nothing is mocked, nothing
sleeps.

`catnap` is a running daemon; `catnap.up(yaml)`, `catnap.ps()`, `catnap.get(port, path)`,
`catnap.cli(...)` are what a user does.
`tiny` is the path of a small static HTTP server (tests/fixtures/tiny_server.c), built once."""

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import time
import urllib.error
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("CATNAP_BIN", ROOT / "build"))
DEADLINE_S = 60


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, truth, deadline_s=DEADLINE_S):
    """Polls a state that has no event of its own; fails with what was awaited."""
    end = time.monotonic() + deadline_s
    while True:
        value = truth()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s} s: {what}")
        select.select([], [], [], 0.02)


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def json(self):
        return json.loads(self.body)


class Catnap:
    verb = "serve"  # or "hold"

    def __init__(self, directory, extra=()):
        self.directory = pathlib.Path(directory)
        self.state = self.directory / "state"
        self.api = str(self.directory / "api.sock")
        self.port = free_port()
        self.extra = list(extra)
        self.process = None
        self.log = self.directory / "catnap.log"

    # -- life --
    def start(self, env=None):
        command = [str(BIN / "catnap"), self.verb, "--state", str(self.state), "--api", self.api,
                   "--gateway", f"127.0.0.1:{self.port}", *self.extra]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=open(self.log, "ab"), env={**os.environ, **(env or {})},
                                        start_new_session=True)
        self.wait_up()
        return self

    def wait_up(self):
        line = b""
        end = time.monotonic() + DEADLINE_S
        while b"catnap is up" not in line:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not chunk:
                self.process.kill()
                pytest.fail(f"catnap did not come up: {line.decode()}\n{self.log.read_text()}")
            line += chunk

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"catnap did not end\n{self.log.read_text()}")
        self.process.stdout.close()
        self.process = None

    # -- what a user does --
    def cli(self, *arguments, check=True, env=None, timeout=DEADLINE_S):
        done = subprocess.run([str(BIN / "catnap"), *arguments],
                              env={**os.environ, "CATNAP_API": self.api, **(env or {})},
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"catnap {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}\n"
                        f"{self.log.read_text()}")
        return done

    def up(self, yaml, env=None, check=True, name="app.yaml"):
        path = self.directory / name
        path.write_text(textwrap.dedent(yaml))
        return self.cli("up", str(path), env=env, check=check)

    def ps(self):
        return json.loads(self.cli("ps", "--json").stdout)

    def function(self, app, function):
        for a in self.ps()["apps"]:
            for f in a["functions"]:
                if (a["app"], f["function"]) == (app, function):
                    return f
        return None

    def state_of(self, app, function):
        f = self.function(app, function)
        return f and f["state"]

    def wait_state(self, app, function, *states):
        return wait_for(f"{app}.{function} {states}", lambda: self.state_of(app, function) in states)

    def request(self, port, path="/", method="GET", body=None, headers=None, timeout=DEADLINE_S):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=body, method=method,
                                         headers=headers or {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as answer:
            return Answer(answer.code, answer.headers, answer.read())

    def get(self, port, path="/", **more):
        return self.request(port, path, **more)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A static HTTP server with bad habits on demand."""
    directory = tmp_path_factory.mktemp("tiny")
    subprocess.run(["gcc", "-O1", "-static", "-o", str(directory / "tiny_server"),
                    str(ROOT / "tests/fixtures/tiny_server.c")], check=True)
    return directory


def must_be_root():
    if os.geteuid() != 0:
        pytest.skip("containers need root here")


@pytest.fixture
def make_catnap():
    """A factory, for tests that start a daemon again or several side by side."""
    must_be_root()
    made = []

    def make(extra=(), directory=None):
        directory = directory or tempfile.mkdtemp(prefix="catnap-test-")
        catnap = Catnap(directory, extra)
        made.append(catnap)
        return catnap

    yield make
    for catnap in made:
        catnap.stop()
    for directory in {c.directory for c in made}:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def catnap(make_catnap):
    return make_catnap().start()


def tiny_yaml(tiny, app="tiny", function="web", publish=None, port=8000, env=None, **more):
    """A manifest for the tiny server. `more` are keys of the function."""
    lines = [f"app: {app}", "functions:", f"  {function}:", "    image: host",
             "    command: [/srv/tiny_server]", f"    port: {port}", "    volumes:",
             f"      /srv: {{volume: {tiny}, read_only: true}}", "    env:", f'      PORT: "{port}"']
    lines += [f'      {k}: "{v}"' for k, v in (env or {}).items()]
    if publish:
        lines.append(f"    publish: {publish}")
    lines += [f"    {k}: {v}" for k, v in more.items()]
    return "\n".join(lines) + "\n"

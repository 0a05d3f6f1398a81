"""`./dev run` as somebody at a terminal has it: copycat.yaml, and the tutorial by Modal's own client."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request

import pytest
from conftest import BIN, ROOT, free_port, must_be_root
from test_wake import leftovers

from .client import PATIENCE_S
from .conftest import CACHE
from .test_serve import Terminal

APP = ROOT / "examples/tutorial/app.py"
PUBLISHED = "c373631e8d61eae77033481cd29251dca6f0c90674e0b5a3e00561cb39f1b317"
ASLEEP, SERVED = "catnap is up; copycat is asleep at", "is served by the official client 0.64.0 at"
MEMORY = "/dev/shm"  # an image's thousands of files come and go quicker there
SMALL = "SmolLM2-135M-Instruct"
OWNER = """mutation { register(email: "me@example.org", password1: "Passw0rd!", password2: "Passw0rd!",
    name: "me") { accessToken } }"""


def test_it_is_the_tutorials_program_byte_for_byte():
    assert hashlib.sha256(APP.read_bytes()).hexdigest() == PUBLISHED


class DevRun(Terminal):
    """`./dev run` on a terminal, with a state and ports of its own, and the small model."""

    def __init__(self, directory, *words, **env):
        self.directory, self.state = directory, directory / "state"
        self.copycat, self.tutorial = free_port(), free_port()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODAL_", "CATNAP_", "COPYCAT_"))}
        self.env = {
            **kept,
            "HOME": str(directory / "home"),
            "CATNAP_CACHE": str(CACHE.parent),
            "CATNAP_STATE": str(self.state),
            "CATNAP_GATEWAY": f"127.0.0.1:{free_port()}",
            "CATNAP_API_LISTEN": str(directory / "api.sock"),
            "CATNAP_MODAL_LISTEN": f"127.0.0.1:{free_port()}",
            "CATNAP_PUBLISH": str(self.copycat),
            "CATNAP_TUTORIAL_PORT": str(self.tutorial),
            "CATNAP_MODEL": SMALL,
            "COPYCAT_REGISTRY_URL": "http://127.0.0.1:9",  # no hub, wherever this runs
            **env,
        }
        super().__init__([str(ROOT / "dev"), "run", *words], ROOT, self.env)

    def post(self, port, path, body, token=None):
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {token}"} if token else {}),
        }
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{path}: {error.code} {error.read()}\n{self.seen[-4000:]}")

    def completes(self, port, token=None):
        body = {"language": "python", "segments": {"prefix": "def fib(n):\n    "}}
        return self.post(port, "/v1/completions", body, token)["choices"][0]["text"] != ""

    def data(self, query, token=None):
        return self.post(self.tutorial, "/graphql", {"query": query}, token)["data"]

    def descendants(self, parent=None):
        """Process ids and command lines of all that it started, and of what these did."""
        parent = parent or self.pid
        for child in pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            try:
                yield int(child), pathlib.Path(f"/proc/{child}/cmdline").read_text().replace("\0", " ")
                yield from self.descendants(child)
            except OSError:
                pass  # it has ended meanwhile


@pytest.fixture
def dev_run():
    must_be_root()
    roomy = os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free > 2 << 30
    directory, runs = pathlib.Path(tempfile.mkdtemp(prefix="catnap-run-", dir=MEMORY if roomy else None)), []
    (directory / "home").mkdir()

    def start(*words, **env):
        runs.append(DevRun(directory, *words, **env))
        return runs[-1]

    yield start
    for run in runs:
        if run.pid:
            os.kill(run.pid, signal.SIGTERM)
            run.end()
    shutil.rmtree(directory, ignore_errors=True)


def test_both_are_served_and_an_interrupt_leaves_nothing(dev_run):
    run = dev_run()
    run.wait(ASLEEP)
    run.wait(SERVED)
    assert run.seen.index(ASLEEP) < run.seen.index(SERVED) and "Ctrl-C stops both" in run.seen
    assert f"at http://127.0.0.1:{run.tutorial} (also http://" in run.seen
    assert "could not be fetched" in run.seen and SMALL in run.seen, "the build says whose model it is"
    without = run.seen.count("asks for a GPU (L4), which this machine has not")
    doctor = subprocess.run([BIN / "catnap", "doctor"], stdout=subprocess.PIPE, text=True, timeout=60).stdout
    assert without == 1 or (without == 0 and "described by CDI" in doctor), "told once, where it is so"
    assert run.completes(run.copycat)
    owner = run.data(OWNER)["register"]["accessToken"]
    token = run.data("{ me { authToken } }", owner)["me"]["authToken"]
    health = run.post(run.tutorial, "/v1/health", {}, token)
    assert health["model"] == "TabbyML/StarCoder-1B" and health["chat_model"] == "TabbyML/Qwen2-1.5B-Instruct"
    assert health["models"]["completion"]["local"]["packaged"] == SMALL
    assert run.completes(run.tutorial, token)
    run.wait("Tabby server ready!")
    run.type(b"\x03")
    assert run.end() == 0, run.seen[-2000:]
    assert not leftovers(run)
    assert not (run.directory / "home/.modal.toml").exists()

    again = dev_run(CATNAP_TUTORIAL_PORT=str(run.tutorial))
    again.wait(SERVED)
    assert "is built" not in again.seen and "RUN " not in again.seen
    assert run.completes(run.tutorial, token), "the owner and his token are in the volume"
    client = next(pid for pid, words in again.descendants() if "/modal serve" in words)
    os.kill(client, signal.SIGKILL)
    again.wait("the client has ended")
    assert again.completes(again.copycat), "catnap goes on"
    os.kill(again.pid, signal.SIGTERM)
    assert again.end() == 0
    assert not leftovers(again)


def test_without_a_client_catnap_is_up_all_the_same(dev_run):
    run = dev_run(PYTHONHOME="/nowhere")  # no Python runs, so no client can be had
    run.wait("so it is left out, and catnap goes on")
    assert "Modal's client 0.64.0 cannot be had" in run.seen
    run.wait(ASLEEP)
    assert run.completes(run.copycat)
    run.type(b"\x03")
    assert run.end() == 0
    assert not leftovers(run)

"""A running `tabby serve` for a test: started on a free port, up when it says so, ended with the test."""

import json
import os
import pathlib
import select
import signal
import subprocess
import tempfile
import time
import shutil

import pytest
from conftest import BIN, Catnap, DEADLINE_S

MODELS = pathlib.Path(os.environ.get("CATNAP_MODELS", pathlib.Path.home() / ".cache/catnap/models"))
SMALL = pathlib.Path(os.environ.get("CATNAP_SMALL_MODEL", MODELS / "SmolLM2-135M-Instruct"))
REAL = pathlib.Path(os.environ.get("CATNAP_DEFAULT_MODEL", MODELS / "Qwen2.5-Coder-1.5B-Instruct"))


class Tabby:
    """`with Tabby("--model", DIRECTORY) as tabby:`; `env` replaces the environment, `root` is TABBY_ROOT.
    Open
    to all, unless `accounts`: then as by default, where each request needs a token."""

    def __init__(self, *arguments, env=None, root=None, extra_env=None, accounts=False):
        self.arguments = [str(a) for a in arguments] + ([] if accounts else ["--no-webserver"])
        self.made = (
            None if root or (env and "TABBY_ROOT" in env) else tempfile.mkdtemp(prefix="copycat-test-")
        )
        self.env = dict(env if env is not None else os.environ)
        # Two threads wait for each other by spinning: on a busy machine that takes many times as long.
        self.env.setdefault("LLAMA_CPP_N_THREADS", "1")
        if root or self.made:
            self.env["TABBY_ROOT"] = str(root or self.made)
        self.env.update({k: str(v) for k, v in (extra_env or {}).items()})
        self.root = pathlib.Path(self.env["TABBY_ROOT"])
        self.process = None
        self.output = b""

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        if self.made:
            shutil.rmtree(self.made, ignore_errors=True)

    def start(self):
        self.output = b""
        log = tempfile.TemporaryFile()
        self.log = log
        where = [] if "--host" in self.arguments else ["--host", "127.0.0.1"]
        port = [] if "--port" in self.arguments else ["--port", "0"]
        self.process = subprocess.Popen(
            [BIN / "tabby", "serve", *self.arguments, *where, *port],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        end = time.monotonic() + DEADLINE_S
        while b"Listening at" not in self.output or not self.output.split(b"Listening at")[1].count(b"\n"):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            chunk = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            if not chunk:
                self.process.kill()
                pytest.fail(f"tabby did not come up:\n{self.output.decode()}\n{self.errors()}")
            self.output += chunk
        self.url = self.output.split(b"Listening at ")[1].split()[0].decode()
        self.port = int(self.url.rsplit(":", 1)[1])
        return self

    def errors(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace")

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return 0
        self.process.send_signal(how)
        try:
            status = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"tabby did not end\n{self.errors()}")
        finally:
            self.process.stdout.close()
            self.process = None
        if status != 0 and how == signal.SIGTERM:
            pytest.fail(f"tabby ended with {status}\n{self.errors()}")
        return status

    # -- requests --
    request = Catnap.request

    def get(self, path, **more):
        return self.request(self.port, path, **more)

    def post(self, path, body, headers=None, **more):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request(
            self.port, path, "POST", data, {"Content-Type": "application/json", **(headers or {})}, **more
        )

    def complete(self, prefix, suffix=None, language="python", **more):
        segments = {"prefix": prefix, **({} if suffix is None else {"suffix": suffix})}
        return self.post("/v1/completions", {"language": language, "segments": segments, **more})

    def text(self, *arguments, **more):
        answer = self.complete(*arguments, **more)
        assert answer.status == 200, answer.text
        return answer.json()["choices"][0]["text"]

    def metrics(self):
        values = {}
        for line in self.get("/metrics").text.splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                values[name] = float(value)
        return values

    def rss(self, kind="VmRSS"):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith(kind + ":"):
                return int(line.split()[1]) * 1024

"""Modal's official client, run as a user runs it: its own environment, its own home, a directory with
programs."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess

import pytest
from conftest import BIN, DEADLINE_S, ROOT, Catnap, free_port

VERSIONS = ["0.64.0", "1.6.4"]
PATIENCE_S = 3 * DEADLINE_S
# What stands at the top of each program: one text for both spellings.
PREAMBLE = '''import modal

OLD = modal.__version__.startswith("0.")
image = modal.Image.from_registry("host")


def limits(idle=60, **more):
    return {"container_idle_timeout" if OLD else "scaledown_window": idle, **more}


def inputs(most):
    """Both: `@app.function(**limits(**several(5)))` above `@concurrent(5)`."""
    return {"allow_concurrent_inputs": most} if OLD else {}


def tell(*words):
    """For the test: the terminal has the words of containers between those of the program."""
    with open("told.txt", "a") as file:
        print(*words, file=file)


def concurrent(most):
    return (lambda function: function) if OLD else modal.concurrent(max_inputs=most)


'''
ASGI = """
async def answer(receive, send, text, status=200):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type",
    b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode() + body})
"""


def venv(version):
    """The client's Python environment, made once."""
    made = subprocess.run(
        [ROOT / "tools/venv", f"modal-{version}"], check=True, stdout=subprocess.PIPE, text=True
    )
    return pathlib.Path(made.stdout.strip())


def plain(text):
    """Without a terminal's colours, movements and links."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\]8;.*?\x1b\\\\|\r", "", text)


class House:
    """A catnap that Modal's clients can ask. What its containers import is fetched once for all tests."""

    def __init__(self, directory, cache):
        self.modal_port = free_port()
        self.url = f"http://127.0.0.1:{self.modal_port}"
        self.catnap = Catnap(directory, ["--modal", f"127.0.0.1:{self.modal_port}"])
        runtime = self.catnap.state / "modal" / "runtime"
        if not runtime.is_symlink():
            runtime.parent.mkdir(parents=True)
            cache.mkdir(parents=True, exist_ok=True)
            runtime.symlink_to(cache)

    def token(self, name="test"):
        made = json.loads(self.catnap.cli("token", "new", name, "--json").stdout)
        return made["id"], made["secret"]

    def get(self, label, path="/", **more):
        """By host name, as a browser does, whatever this machine resolves."""
        headers = {"Host": f"{label}.localhost", **more.pop("headers", {})}
        return self.catnap.request(self.catnap.port, path, headers=headers, **more)

    def running(self, app):
        """Containers of an app."""
        return [
            c
            for a in self.catnap.ps()["apps"]
            if a["app"] == app
            for f in a["functions"]
            for c in f["containers"]
        ]


class Client:
    def __init__(self, version, house, directory, token=None):
        self.version, self.old, self.house = version, version.startswith("0."), house
        self.venv = venv(version)
        self.home, self.cwd = directory / "home", directory / "work"
        for made in (self.home, self.cwd):
            made.mkdir(parents=True, exist_ok=True)
        self.token = token or house.token(f"client {version}")
        # Names of a test's own, so that tests share a daemon and nothing else.
        self.tag = re.sub(r"[^a-z0-9]+", "-", f"{directory.name}".lower())[-24:].strip("-")

    @property
    def env(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODAL_", "CATNAP_", "SUDO_"))}
        return {
            **kept,
            "HOME": str(self.home),
            "MODAL_SERVER_URL": self.house.url,
            "MODAL_TOKEN_ID": self.token[0],
            "MODAL_TOKEN_SECRET": self.token[1],
            "MODAL_DISABLE_API_PROXY": "1",
            "COLUMNS": "160",
            "PYTHONWARNINGS": "ignore",
        }

    def name(self, name):
        return f"{name}-{self.tag}"

    def write(self, program, file="app.py", **words):
        """A program; `$NAME` in it is filled in."""
        text = PREAMBLE + program
        for word, value in words.items():
            text = text.replace(f"${word}", str(value))
        (self.cwd / file).write_text(text)
        return file

    def start(self, *words, env=None, python=False, **more):
        program = [self.venv / "bin/python"] if python else [self.venv / "bin/modal"]
        return subprocess.Popen(
            [*program, *map(str, words)],
            cwd=self.cwd,
            env={**self.env, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **{"stdin": subprocess.DEVNULL, **more},
        )

    def run(self, *words, check=True, timeout=PATIENCE_S, **more):
        """`modal WORDS...`: all that it says. `check`: what its end must be; None: anything."""
        process = self.start(*words, **more)
        try:
            out, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            pytest.fail(f"modal {words} did not end\n{out}\n{self.house.catnap.log.read_text()[-4000:]}")
        out = plain(out)
        if check is not None and (process.returncode == 0) != check:
            pytest.fail(
                f"modal {words}: {process.returncode}\n{out}\n{self.house.catnap.log.read_text()[-4000:]}"
            )
        return out

    def stop(self, app):
        self.run("app", "stop", *(["--name", app] if self.old else [app, "--yes"]))

    def states(self, name):
        """Of the apps of that name, as `modal app list` has them."""
        rows = json.loads(self.run("app", "list", "--json"))
        return [row.get("State") or row["state"] for row in rows if name in row.values()]

    def log(self, app):
        """What a deployed app wrote. The old client only knows how to follow it, until the app ends."""
        if not self.old:
            return self.run("app", "logs", app)
        process = self.start("app", "logs", "--name", app)
        try:
            if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
                pytest.fail(f"no log of {app}\n{self.house.catnap.log.read_text()[-4000:]}")
            return process.stdout.readline()
        finally:  # told to end by an interrupt, it now and then never does
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def told(self):
        """What the program's `tell` said."""
        return (self.cwd / "told.txt").read_text().splitlines()

    def script(self, text, check=True, **words):
        """A program of plain Python on the client's library."""
        return self.run(self.write(text, "script.py", **words), python=True, check=check)


def labels(out):
    """Of the web functions whose addresses the client printed, by the order of their first mention."""
    return list(dict.fromkeys(re.findall(r"http://([a-z0-9-]+)\.localhost", re.sub(r"\n\s*", "", out))))

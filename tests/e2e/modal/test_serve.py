"""modal serve in a terminal: it answers, is reloaded when its file changes, and Ctrl-C ends it and its
containers."""

import os
import pty
import signal
import threading

import pytest
from conftest import free_port, wait_for

from .client import PATIENCE_S, labels, plain
from .test_deploy import WEB

HELLO = WEB.replace("return asgi", "print('$WORD is up')\n    return asgi")


class Terminal:
    """A client on a terminal of ours, always read: its spinner would fill it and block the client."""

    def __init__(self, command, cwd, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], command, {**env, "TERM": "xterm"})
        self.raw, self.changed, self.over = b"", threading.Condition(), False
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        while not self.over:
            try:
                piece = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                piece = b""
            with self.changed:
                self.raw += piece
                self.over = not piece
                self.changed.notify_all()

    @property
    def seen(self):
        return plain(self.raw.decode(errors="replace"))

    def wait(self, needle, again=lambda: None):
        """`again`: done once more every few seconds; nobody says when the client begins to watch files."""
        for _ in range(PATIENCE_S // 3):
            with self.changed:
                if self.changed.wait_for(lambda: needle in self.seen or self.over, 3):
                    break
            again()
        assert needle in self.seen

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        """Its exit status, once it has written its last."""
        self.reader.join(PATIENCE_S)
        if self.reader.is_alive():
            os.kill(self.pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        assert self.over, f"it did not end: {self.seen[-2000:]}"
        os.close(self.fd)
        return status


@pytest.fixture
def terminal(client):
    made = []

    def start(*words):
        made.append(Terminal([str(client.venv / "bin/modal"), *words], client.cwd, client.env))
        return made[-1]

    yield start
    for one in made:
        if one.pid:
            os.kill(one.pid, signal.SIGKILL)
            one.reader.join(PATIENCE_S)
            os.waitpid(one.pid, 0)


def served(house, app):
    return [a for a in house.catnap.ps()["apps"] if a["app"].startswith(app)]


def serve_app(client, terminal, app):
    client.write(HELLO, APP=app, WORD="one")
    serve = terminal("serve", "app.py")
    serve.wait("hit Ctrl-C")
    return serve, labels(serve.seen)[0]


def end(serve, house, app):
    serve.type(b"\x03")
    serve.end()
    wait_for("its app is gone", lambda: not served(house, app))


def test_served_reloaded_and_ended(client, house, terminal):
    app = client.name("served")
    serve, label = serve_app(client, terminal, app)
    assert label.endswith("-dev")
    assert house.get(label, "/x").text == "one /x "
    serve.wait("one is up")
    client.write(HELLO, APP=app, WORD="two")
    wait_for("the reload", lambda: house.get(label, "/x").text == "two /x ", PATIENCE_S)
    serve.wait("two is up")
    end(serve, house, app)
    assert house.get(label, "/x").status == 404


def test_a_broken_edit_keeps_what_served(client, house, terminal):
    app = client.name("edited")
    serve, label = serve_app(client, terminal, app)
    assert house.get(label, "/x").text == "one /x "
    broken = HELLO + "\nthis is no Python\n"
    client.write(broken, APP=app, WORD="two")
    serve.wait("SyntaxError", lambda: client.write(broken, APP=app, WORD="two"))
    assert house.get(label, "/x").text == "one /x "
    client.write(HELLO, APP=app, WORD="three")
    wait_for("the reload", lambda: house.get(label, "/x").text == "three /x ", PATIENCE_S)
    end(serve, house, app)


def test_a_port_of_its_own_is_there_again_the_next_time(client, house, terminal):
    app, port = client.name("again"), free_port()
    serve, _ = serve_app(client, terminal, app)
    house.catnap.cli("publish", f"{app}-dev.web", str(port))
    assert house.catnap.get(port, "/x").text == "one /x "
    end(serve, house, app)
    serve, _ = serve_app(client, terminal, app)
    assert house.catnap.get(port, "/x").text == "one /x "
    end(serve, house, app)
    house.catnap.cli("unpublish", f"{app}-dev.web")

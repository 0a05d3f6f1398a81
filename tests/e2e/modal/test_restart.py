"""Who asks while the daemon is away waits, and is answered by the next one: requests, a client's long poll,
and containers that serve since before."""

import collections
import os
import pathlib
import pty
import select
import signal
import socket
import subprocess
import threading

import pytest
from conftest import BIN, DEADLINE_S, free_port, tiny_yaml, wait_for

from .client import PATIENCE_S, House, labels
from .conftest import CACHE, end_house

APP = """
import os

app = modal.App("$APP", image=image)


@app.function(**limits(idle=600))
@modal.asgi_app()
def web():
    name = os.urandom(8).hex()

    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

    return asgi
"""
WAITS = """
import modal
queue = modal.Queue.from_name("$NAME", create_if_missing=True)
print("waits", flush=True)
print("got", queue.get(timeout=120), flush=True)
"""
SENDS = """
import modal
queue = modal.Queue.from_name("$NAME", create_if_missing=True)
queue.put("it")
"""


class Callers:
    """Ask for the tiny app all the time, each time by a connection of its own."""

    def __init__(self, port, count=3):
        self.port, self.told, self.over = port, collections.Counter(), False
        self.threads = [threading.Thread(target=self.ask) for _ in range(count)]
        for thread in self.threads:
            thread.start()
        wait_for("answers", lambda: self.told["fine"] > 10)

    def ask(self):
        while not self.over:
            try:
                with socket.create_connection(("127.0.0.1", self.port), DEADLINE_S) as link:
                    link.settimeout(DEADLINE_S)
                    link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    answer = b""
                    while piece := link.recv(4096):
                        answer += piece
                self.told["fine" if b"hello" in answer else repr(answer[:300])] += 1
            except OSError as error:
                self.told[type(error).__name__] += 1

    def stop(self):
        had = self.told["fine"]
        wait_for("answers", lambda: self.told["fine"] > had + 10)
        self.over = True
        for thread in self.threads:
            thread.join(2 * DEADLINE_S)
        return self.told


def daemon_of(catnap):
    """The pid of the daemon that its holder started."""
    holder = catnap.process.pid
    return int(pathlib.Path(f"/proc/{holder}/task/{holder}/children").read_text().split()[0])


@pytest.fixture
def own_house(make_catnap):
    directory = make_catnap().directory
    house = House(directory, CACHE)
    house.catnap.verb = "hold"
    house.catnap.start()
    yield house
    end_house(house)


def test_nobody_notices(own_client, own_house, tiny):
    house, client = own_house, own_client
    app, port = client.name("again"), house.catnap.port
    house.catnap.up(tiny_yaml(tiny, publish=port))
    (label,) = labels(client.run("deploy", client.write(APP, APP=app)))
    name = house.get(label).text
    assert len(name) == 16
    client.write(WAITS, "waits.py", NAME=app)
    client.write(SENDS, "sends.py", NAME=app)
    waits = client.start("waits.py", python=True)
    assert select.select([waits.stdout], [], [], PATIENCE_S)[0] and "waits" in waits.stdout.readline()
    callers = Callers(port)
    house.catnap.process.send_signal(signal.SIGHUP)
    house.catnap.wait_up()
    told = callers.stop()
    assert set(told) == {"fine"}, told
    assert house.get(label).text == name, "the container serves on"

    first, callers = daemon_of(house.catnap), Callers(port)
    os.kill(first, signal.SIGKILL)
    house.catnap.wait_up()
    told = callers.stop()
    assert daemon_of(house.catnap) != first
    assert "ConnectionRefusedError" not in told, told
    assert house.get(label).text == name, "the container serves on"

    client.run("sends.py", python=True)
    out, _ = waits.communicate(timeout=PATIENCE_S)
    assert "got it" in out, out
    client.stop(app)


def test_addresses_are_free_at_once_whoever_holds_the_old_sockets(make_catnap, tiny):
    catnap, port, published = make_catnap(), free_port(), free_port()
    config = catnap.directory / "catnapd.yaml"
    config.write_text(f"modal: 127.0.0.1:{port}\n")
    catnap.verb, catnap.extra = "hold", ["--config", str(config)]
    catnap.start()
    catnap.process.send_signal(signal.SIGSTOP)  # it hears of nothing meanwhile
    catnap.up(tiny_yaml(tiny, publish=published))
    catnap.process.send_signal(signal.SIGCONT)
    assert "hello" in catnap.request(published).text
    for address in ("0.0.0.0", "127.0.0.1"):
        config.write_text(f"modal: {address}:{port}\n")
        catnap.process.send_signal(signal.SIGHUP)
        catnap.wait_up()
        with socket.socket() as link:
            link.settimeout(DEADLINE_S)
            assert (link.connect_ex(("127.0.0.2", port)) == 0) == (address == "0.0.0.0")


def test_a_manifest_that_broke_meanwhile_costs_nobody_anything(make_catnap, tiny):
    catnap, published = make_catnap(), free_port()
    manifest = catnap.directory / "up.yaml"
    manifest.write_text(tiny_yaml(tiny, publish=published))
    good = manifest.read_text()
    catnap.verb, catnap.extra = "hold", ["--up", str(manifest)]
    catnap.start()
    assert "hello" in catnap.request(published).text
    manifest.write_text("functions: [")
    catnap.process.send_signal(signal.SIGHUP)
    wait_for("a try that fails", lambda: "ended by status 1" in catnap.log.read_text())
    manifest.write_text(good)
    assert "hello" in catnap.request(published).text, "it waits for the next try"
    assert "is gone" not in catnap.log.read_text()
    first = daemon_of(catnap)
    os.kill(first, signal.SIGKILL)
    wait_for("its end", lambda: not os.path.exists(f"/proc/{first}"))
    catnap.stop()  # while it is away, or comes up
    assert "is gone: catnap ended it" in catnap.log.read_text()


def test_sockets_of_systemds_are_taken_by_their_names(make_catnap):
    catnap = make_catnap()
    notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notes.bind(str(catnap.directory / "notes"))
    notes.settimeout(DEADLINE_S)
    gateway, api = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    api.bind(catnap.api)
    api.listen()
    asks = socket.create_connection(gateway.getsockname())
    asks.sendall(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n")
    fds = [gateway.fileno(), api.fileno()]
    script = f"exec 3<&{fds[0]} 4<&{fds[1]}; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=gateway:api exec $*"
    command = ["bash", "-c", script, "-", BIN / "catnap", "serve", "--state", catnap.state, "--modal", "off"]
    catnap.process = subprocess.Popen(
        [*command, "--gateway", "127.0.0.1:1"],
        env={**os.environ, "NOTIFY_SOCKET": str(catnap.directory / "notes")},
        stdout=subprocess.PIPE,
        stderr=open(catnap.log, "ab"),
        pass_fds=fds,
    )
    gateway.close(), api.close()
    catnap.wait_up()
    asks.settimeout(DEADLINE_S)
    assert b"404" in asks.recv(100), "it asked before anybody was there"
    assert catnap.ps() == {"apps": []}
    heard = [notes.recv(100)]
    while heard[-1] != b"READY=1":
        heard.append(notes.recv(100))
    assert all(note.startswith(b"FDSTORE=1\nFDNAME=held-") for note in heard[:-1])
    catnap.stop()
    assert notes.recv(100) == b"STOPPING=1"
    assert os.path.exists(catnap.api), "its file is systemd's"


@pytest.mark.parametrize("verb", ["serve", "hold"])
def test_a_terminal_that_is_closed_under_it_ends_it(make_catnap, verb):
    catnap = make_catnap()
    words = ["catnap", verb, "--state", catnap.state, "--api", catnap.api, "--modal", "off"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(BIN / "catnap", [*map(str, words), "--gateway", f"127.0.0.1:{catnap.port}"])
    said = b""
    while b"catnap is up" not in said:
        assert select.select([terminal], [], [], DEADLINE_S)[0], said
        said += os.read(terminal, 4096)
    os.close(terminal)
    wait_for("its end", lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", catnap.port), DEADLINE_S)

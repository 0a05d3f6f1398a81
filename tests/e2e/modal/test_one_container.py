"""An app whose declaration says one container: ten requests at once share it and no second is ever started;
it sleeps at the time that was declared and wakes again; WebSockets; bodies of 200 MB through a small daemon.
"""

import asyncio
import concurrent.futures
import hashlib
import http.client
import re
import socket

import pytest
import websockets
from conftest import wait_for
from deaf import handshake, link_to, ping_without_reading

from .client import PATIENCE_S, VERSIONS, labels

ONE = """
import asyncio
import hashlib
import os

app = modal.App("$APP", image=image)
here, together = 0, None


@app.function(**limits(idle=2, **inputs(10), **{"concurrency_limit" if OLD else "max_containers": 1}))
@concurrent(10)
@modal.asgi_app()
def web():
    name = os.urandom(8).hex()
    piece = bytes(range(256)) * 4096

    async def all_at_once(send):
        global here, together
        together = together or asyncio.Event()
        here += 1
        if here == 10:
            together.set()
        await together.wait()
        return b"%d" % here

    async def upload(receive):
        seen, size, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            seen.update(message.get("body", b""))
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        return f"{size} {seen.hexdigest()}".encode()

    async def talk(receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            text = message.get("text")
            if text is not None:
                await send({"type": "websocket.send", "text": text[::-1]})
            else:
                await send({"type": "websocket.send", "bytes": message["bytes"][::-1]})

    async def asgi(scope, receive, send):
        if scope["type"] == "websocket":
            return await talk(receive, send)
        if scope["type"] != "http":
            return
        said = scope["path"].encode() + b"\\r\\nx-evil: 1\\r\\n\\r\\nhello"
        split = [(b"x-said", said), (b"x:\\r\\nx-evil", b"2")]
        headers = [(b"x-name", name.encode()), *split]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if scope["path"] == "/down":
            for _ in range(200):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        body = b"fine"
        if scope["path"] == "/together":
            body = await all_at_once(send)
        elif scope["path"] == "/up":
            body = await upload(receive)
        await send({"type": "http.response.body", "body": body})

    return asgi
"""
PIECE = bytes(range(256)) * 4096
PIECES = 200


@pytest.fixture
def one(client, house):
    app = client.name("one")
    (label,) = labels(client.run("deploy", client.write(ONE, APP=app)))
    yield app, label
    client.stop(app)


def started(house, app):
    """How often a container of it was started, by the daemon's log."""
    return house.catnap.log.read_text().count(f" {app}.web is awake (start")


def peak_kb(catnap):
    with open(f"/proc/{catnap.process.pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1))


def test_ten_share_one_container_which_sleeps_and_wakes(one, house):
    app, label = one
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(house.get, label, "/together", timeout=PATIENCE_S) for _ in range(10)]
        answers = [a.result() for a in asked]
    assert {a.text for a in answers} == {"10"}
    names = {a.headers["x-name"] for a in answers}
    assert len(names) == 1 and started(house, app) == 1
    again = house.get(label)
    assert again.headers["x-name"] in names
    assert again.headers["x-said"] == "/  x-evil: 1    hello" and not again.headers["x-evil"]
    assert again.text == "fine", "what an app puts into a header begins no line of its own"
    wait_for("it sleeps", lambda: not house.running(app))
    assert house.get(label).headers["x-name"] not in names, "it woke: a new one"
    assert started(house, app) == 2 and len(house.running(app)) == 1


def test_a_websocket_both_ways(one, house):
    async def talk():
        link = await asyncio.get_running_loop().run_in_executor(
            None, socket.create_connection, ("127.0.0.1", house.catnap.port), PATIENCE_S
        )
        url, said = f"ws://{one[1]}.localhost/ws", ("one", b"two", "x" * 100000, b"y" * 3000000)
        async with websockets.connect(url, sock=link, open_timeout=PATIENCE_S, max_size=None) as ws:
            for word in said:
                await ws.send(word)
                assert await asyncio.wait_for(ws.recv(), PATIENCE_S) == word[::-1]

    asyncio.run(talk())


@pytest.mark.parametrize("version", VERSIONS[-1:])
def test_pings_of_a_client_that_does_not_read(one, house, version):
    before = peak_kb(house.catnap)
    with link_to(house.catnap.port) as link:
        link.settimeout(PATIENCE_S)
        link.sendall(handshake("/ws", f"{one[1]}.localhost"))
        said = b""
        while b"\r\n\r\n" not in said:
            said += link.recv(4096)
        ping_without_reading(link, lambda: None)
    assert peak_kb(house.catnap) - before < 512 << 10


@pytest.mark.parametrize("version", VERSIONS[-1:])
def test_200_mb_up_and_down(one, house, version):
    _, label = one
    assert house.get(label).status == 200
    whole = hashlib.sha256()
    for _ in range(PIECES):
        whole.update(PIECE)
    before = peak_kb(house.catnap)
    link = http.client.HTTPConnection("127.0.0.1", house.catnap.port, timeout=PATIENCE_S)
    link.request("POST", "/up", (PIECE for _ in range(PIECES)), {"Host": f"{label}.localhost"})
    assert link.getresponse().read().decode() == f"{PIECES * len(PIECE)} {whole.hexdigest()}"
    link.request("GET", "/down", headers={"Host": f"{label}.localhost"})
    answer, seen = link.getresponse(), hashlib.sha256()
    while piece := answer.read(1 << 20):
        seen.update(piece)
    link.close()
    assert seen.hexdigest() == whole.hexdigest()
    assert peak_kb(house.catnap) - before < 64 << 10, "it does not hold them whole"

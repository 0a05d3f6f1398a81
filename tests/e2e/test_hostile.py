"""Who sends and does not read, or asks for what is dear, costs the server nothing lasting."""

import base64
import os
import socket
import threading

import pytest
from accounts import PASSWORD, Accounts
from conftest import DEADLINE_S

MOST = 64 << 20  # beyond what all buffers of a connection hold


@pytest.fixture(scope="module")
def server():
    with Accounts() as made:
        made.token = made.register()["accessToken"]
        yield made


def link_to(server):
    link = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        link.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
    link.settimeout(DEADLINE_S)
    link.connect(("127.0.0.1", server.port))
    return link


def send_without_reading(link, piece):
    """How many pieces went out before the server listened no more; the rest of the last one is sent later."""
    sent, patience = 0, link.gettimeout()
    link.settimeout(1)
    try:
        while sent < MOST:
            sent += link.send(piece[sent % len(piece) :])
    except socket.timeout:
        pass
    link.settimeout(patience)
    assert sent < MOST, "it went on listening"
    return sent


def answers(link, sent, piece, last, end):
    """What comes for all of it, read at last."""
    rest = piece[sent % len(piece) :] if sent % len(piece) else b""
    writer = threading.Thread(target=link.sendall, args=(rest + last,))
    writer.start()
    got, tail = 0, b""
    while end not in tail:
        more = link.recv(1 << 20)
        assert more, "it was cut"
        tail = (tail + more)[-len(more) - len(end) :]
        got += len(more)
    writer.join(DEADLINE_S)
    return got


def test_requests_without_reading_the_answers(server):
    before = server.rss()
    piece = b"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    with link_to(server) as link:
        sent = send_without_reading(link, piece)
        assert server.rss() - before < 16 << 20
        got = answers(link, sent, piece, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"</html>")
    assert got > sent, "each has its answer"


def frame(kind, data):
    return bytes([0x80 | kind, 0x80 | len(data)]) + bytes(4) + data


def test_pings_without_reading_the_pongs(server):
    before = server.rss()
    piece = frame(9, b"x" * 100) * 100
    with link_to(server) as link:
        key = base64.b64encode(os.urandom(16))
        link.sendall(
            b"GET /subscriptions HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n"
            b"Sec-WebSocket-Key: " + key + b"\r\n\r\n" + frame(1, b'{"type":"connection_init"}')
        )
        said = b""
        while b"connection_ack" not in said:
            said += link.recv(4096)
        sent = send_without_reading(link, piece)
        assert server.rss() - before < 16 << 20
        count = -(-sent // len(piece)) * 100
        assert answers(link, sent, piece, frame(9, b"the last"), b"the last") == count * 102 + 10


def test_many_passwords_in_one_request(server):
    sign_in = f'tokenAuth(email: "owner@example.org", password: "{PASSWORD}") {{ accessToken }}'
    answer = server.ask("mutation {" + "".join(f"a{i}: {sign_in} " for i in range(500)) + "}")
    assert len(answer["errors"]) == 1 and "passwords" in answer["errors"][0]["message"]
    assert server.data(f"mutation {{ {sign_in} }}")["tokenAuth"]["accessToken"]

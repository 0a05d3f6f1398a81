"""A client that sends and does not read, until the server listens to it no more; then it reads."""

import base64
import os
import socket
import threading

from conftest import DEADLINE_S

MOST = 64 << 20  # beyond what all buffers of a connection hold


def link_to(port):
    link = socket.socket()
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        link.setsockopt(socket.SOL_SOCKET, option, 1 << 16)
    link.settimeout(DEADLINE_S)
    link.connect(("127.0.0.1", port))
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


def frame(kind, data):
    return bytes([0x80 | kind, 0x80 | len(data)]) + bytes(4) + data


def handshake(path, host="a", protocol=None):
    key = base64.b64encode(os.urandom(16)).decode()
    more = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
    ).encode()


def ping_without_reading(link, listened):
    """As many as go; then each has its pong, and nothing else comes. `listened` is called between."""
    piece = frame(9, b"x" * 100) * 100
    sent = send_without_reading(link, piece)
    listened()
    count = -(-sent // len(piece)) * 100
    assert answers(link, sent, piece, frame(9, b"the last"), b"the last") == count * 102 + 10

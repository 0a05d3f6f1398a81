"""What happens around calls: thousands that wait, slow readers, servers that leave and come back, TLS, Unix
sockets, compression, clients that speak something else."""

import os
import select
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request

import pytest
from grpc_peer import CLIENTS, Echo, Failure, GrpcioClient, GrpclibClient, grpc, listening_socket
from grpc_peer import serve  # noqa: F401

HELD = 2000


@CLIENTS
def test_two_thousand_long_polls_wake_nobody_and_end_at_once(serve, kind):
    server, client = serve(kind)
    running = [client.start("Hold") for _ in range(HELD)]
    client.wait_stats(held=HELD)
    before = server.switches()
    select.select([], [], [], 1)  # nothing happens, for a while: that is what is measured
    assert server.switches() - before < 20
    client.unary("Release")
    assert [call.result() for call in running] == [b"released"] * HELD
    assert client.stats()["calls"] == 1


@CLIENTS
def test_two_thousand_calls_given_up_at_once_are_no_attack(serve, kind):
    server, client = serve(kind)
    for _ in range(2):
        running = [client.start("Hold") for _ in range(HELD)]
        client.wait_stats(held=HELD)
        for call in running:
            call.cancel()
        client.wait_stats(held=0, calls=1)
    assert client.stats()["connections"] == 1  # it was not cut for that


@CLIENTS
def test_a_client_that_does_not_read_stops_the_sender(serve, kind):
    server, client = serve(kind)
    reader = GrpcioClient(server.address)
    messages = reader.down("Count", b"2000 100000")
    assert len(next(messages)) == 100000
    counted, now = -1, 0
    while counted != now:
        counted, now = now, client.stats()["counted"]
    assert now < 500  # of 2000
    assert client.stats()["drains"] >= 1
    assert sum(len(m) for m in messages) == 1999 * 100000
    reader.close()


def test_a_server_that_does_not_read_stops_the_client(serve):
    server, client = serve(GrpclibClient, "window_bytes=262144")
    sent = []

    def messages():
        for i in range(200):
            sent.append(i)
            yield bytes(100000)

    uploads = threading.Thread(target=lambda: sent.append(client.up("Sleepy", messages())))
    uploads.start()
    other = GrpcioClient(server.address)
    other.wait_stats(held=1)
    count = -1
    while count != len(sent):
        count = len(sent)
        # its neighbours are not held up meanwhile
        assert client.unary("Unary", bytes(1000000)).message == bytes(1000000)
    assert len(sent) < 10 and other.stats()["sleepy_bytes"] == 0
    other.unary("Release")
    uploads.join()
    assert sent[-1] == b"200 20000000"
    other.close()


@CLIENTS
def test_what_runs_when_the_server_closes_may_end(serve, kind):
    server, client = serve(kind)
    running = client.start("Hold")
    client.wait_stats(held=1)
    server.signal(signal.SIGINT)
    assert server.line() == "closing"
    server.signal(signal.SIGINT)  # answers what is held
    assert running.result() == b"released"
    assert server.line() == "closed"
    server.ended()


def test_a_successor_takes_over_and_no_call_is_lost(serve):
    """The listening socket is held by somebody else: the old one leaves, the new one comes."""
    with listening_socket() as sock:
        address = "127.0.0.1:%d" % sock.getsockname()[1]
        options = [("grpc.initial_reconnect_backoff_ms", 100)]
        fd = sock.fileno()
        old, client = serve(GrpcioClient, f"fd:{fd}", pass_fds=(fd,), address=address, options=options)
        running = client.start("Hold")
        client.wait_stats(held=1)
        old.signal(signal.SIGINT)
        assert old.line() == "closing"
        new, other = serve(GrpclibClient, f"fd:{fd}", pass_fds=(fd,), address=address)
        assert client.stats()["connections"] == 1 and client.stats()["held"] == 0  # by the new one
        assert other.unary("Unary", b"x").message == b"x"
        old.signal(signal.SIGINT)
        assert running.result() == b"released"
        assert old.line() == "closed"
        old.ended()


def test_a_killed_server_is_told_as_unavailable(serve):
    server, client = serve(GrpcioClient)
    running = client.start("Hold")
    client.wait_stats(held=1)
    server.signal(signal.SIGTERM)
    with pytest.raises(Failure) as told:
        running.result()
    assert told.value.code == "UNAVAILABLE"


@CLIENTS
def test_a_listener_is_an_identity_that_can_be_cut(serve, kind, tmp_path):
    one, two = tmp_path / "one.sock", tmp_path / "two.sock"
    server, client = serve(kind, one, two)
    assert oct(one.stat().st_mode & 0o777) == "0o600"
    first, second = kind(str(one)), kind(str(two))
    said = [dict(line.split(": ", 1) for line in c.unary("Metadata").message.decode().splitlines())
            for c in (client, first, second)]
    assert [lines["tag"] for lines in said] == ["0", "1", "2"]
    assert len({lines["connection"] for lines in said}) == 3
    assert said[1]["peer"] == "unix"
    running = [first.start("Hold"), second.start("Hold")]
    client.wait_stats(held=2)
    client.unary("Cut", b"1")
    with pytest.raises(Failure) as told:
        running[0].result()
    assert told.value.code == "UNAVAILABLE"
    client.wait_stats(held=1, lost=1)
    assert not one.exists() and two.exists()
    client.unary("Release")
    assert running[1].result() == b"released"
    first.close()
    second.close()


def certificate(folder, name="localhost"):
    command = f"""openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2
        -subj /CN={name} -addext subjectAltName=DNS:localhost,IP:127.0.0.1
        -keyout {folder}/key.pem -out {folder}/cert.pem"""
    subprocess.run(command.split(), check=True, capture_output=True)
    return folder / "cert.pem", folder / "key.pem"


@CLIENTS
def test_under_tls(serve, kind, tmp_path):
    cert, key = certificate(tmp_path)
    server = Echo(f"127.0.0.1:0,{cert},{key}")
    client = kind(server.address, certificate=cert)
    big = os.urandom(20 << 20)
    assert client.unary("Unary", big).message == big
    assert "secure: 1" in client.unary("Metadata").message.decode()
    assert sum(len(m) for m in client.down("Count", b"200 100000")) == 200 * 100000
    assert client.up("Sum", [big] * 2) == b"2 %d" % (2 * len(big))
    running = client.start("Hold")
    client.wait_stats(held=1)
    client.unary("Release")
    assert running.result() == b"released"
    client.close()
    server.stop()


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(tmp_path):
    cert, key = certificate(tmp_path)
    server = Echo(f"127.0.0.1:0,{cert},{key}")
    where = ("127.0.0.1", server.ports[0])
    first = ssl.get_server_certificate(where)
    key.write_text("no key\n")
    server.signal(signal.SIGHUP)
    assert f"key {key}" in server.line()
    assert ssl.get_server_certificate(where) == first
    certificate(tmp_path, "renewed")
    server.signal(signal.SIGHUP)
    assert server.line() == "renewed well"
    assert ssl.get_server_certificate(where) != first
    server.stop()


def test_a_certificate_that_cannot_be_used_is_told(tmp_path):
    cert, key = certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, wrong = certificate(other)
    for pair, told in ((f"{tmp_path}/none,{key}", "No such file"), (f"{cert},{cert}", f"key {cert}"),
                       (f"{cert},{wrong}", "mismatch")):
        with pytest.raises(AssertionError) as error:
            Echo(f"127.0.0.1:0,{pair}")
        assert told in str(error.value)


def curl(*arguments):
    done = subprocess.run(["curl", "-s", "-i", "--noproxy", "*", *arguments], capture_output=True, timeout=60)
    return done.stdout.decode()


def test_who_speaks_something_else_is_told_in_words(tmp_path):
    cert, key = certificate(tmp_path)
    server = Echo("127.0.0.1:0", f"127.0.0.1:0,{cert},{key}")
    clear, tls = server.ports
    assert "505 HTTP Version" in curl("--http1.1", f"http://127.0.0.1:{clear}/")
    assert "This port speaks gRPC" in curl("--http1.1", "-d", "x" * 3000, f"http://127.0.0.1:{clear}/a/b")
    assert "This port speaks gRPC" in curl("--http1.1", "-k", f"https://127.0.0.1:{tls}/")
    assert "gRPC under TLS" in curl("--http0.9", f"http://127.0.0.1:{tls}/")
    assert "HTTP/2 405" in curl("--http2-prior-knowledge", f"http://127.0.0.1:{clear}/a/b")
    told = curl("--http2-prior-knowledge", "-d", "{}", f"http://127.0.0.1:{clear}/a/b")
    assert "HTTP/2 415" in told and "application/grpc" in told
    assert curl("-k", f"https://127.0.0.1:{clear}/") == ""
    server.stop()


def test_packed_messages(serve):
    server, client = serve(GrpcioClient, "gzip_from_bytes=1000", compression=grpc.Compression.Gzip)
    text = b"the same again and again " * 10000
    assert client.unary("Unary", text).message == text
    assert client.up("Sum", [text] * 10) == b"10 %d" % (10 * len(text))
    assert list(client.both("Chat", [text, b"", b"x"])) == [text, b"", b"x"]
    noise = os.urandom(100000)
    assert client.unary("Unary", noise).message == noise


def test_an_unknown_packing_is_refused_by_name(serve):
    _, client = serve(GrpcioClient, compression=grpc.Compression.Deflate)
    with pytest.raises(Failure) as told:
        client.unary("Unary", b"x" * 100000)
    assert told.value.code == "UNIMPLEMENTED"
    assert "deflate" in told.value.text


def test_clients_that_ping_all_the_time_are_answered(serve):
    options = [("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 5000),
               ("grpc.keepalive_permit_without_calls", 1), ("grpc.http2.max_pings_without_data", 0)]
    server, client = serve(GrpcioClient, options=options)
    other = GrpclibClient(server.address, keepalive_s=0.02)
    running = [client.start("Hold"), other.start("Hold")]
    other.wait_stats(held=2)
    select.select([], [], [], 2)  # so many pings
    other.unary("Release")
    assert [call.result() for call in running] == [b"released"] * 2
    assert other.stats()["connections"] == 2
    other.close()


@CLIENTS
def test_clients_are_pinged_while_they_wait_and_answer(serve, kind):
    server, client = serve(kind, "keepalive_ms=50", "keepalive_timeout_ms=10000")
    running = client.start("Hold")
    client.wait_stats(held=1)
    select.select([], [], [], 1)
    client.unary("Release")
    assert running.result() == b"released"


def test_a_frozen_client_is_cut_on_tcp_and_kept_on_its_unix_socket(serve, tmp_path):
    """A container that is frozen answers nothing for hours and is alive still."""
    path = tmp_path / "frozen.sock"
    server, client = serve(GrpcioClient, path, "keepalive_ms=100", "keepalive_timeout_ms=100")
    where = ("127.0.0.1", server.ports[0])
    with socket.socket(socket.AF_UNIX) as local, socket.create_connection(where) as tcp:
        local.connect(str(path))
        for sock in (local, tcp):
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + hold_head() +
                         frame(0, 1, 1, bytes(5)))
        client.wait_stats(held=2)
        client.wait_stats(held=1, lost=1)
        client.unary("Release")
        assert b"released" in read_until(local, b"released")


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def hold_head():
    fields = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/catnap.Echo/Hold"),
              (b":authority", b"x"), (b"content-type", b"application/grpc"))
    block = b"".join(b"\x00" + bytes([len(n)]) + n + bytes([len(v)]) + v for n, v in fields)
    return frame(1, 4, 1, block)


def read_until(sock, needle):
    sock.settimeout(60)
    got = b""
    while needle not in got:
        more = sock.recv(65536)
        assert more, got
        got += more
    return got


def test_nothing_but_the_standard_library_is_needed_to_see_that_it_speaks_grpc(serve):
    server, _ = serve(GrpcioClient)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError) as told:
        opener.open(f"http://{server.address}/", timeout=60)
    assert told.value.code == 505 and b"gRPC" in told.value.read()

"""What a call is, seen by both clients: messages each way, metadata, status, limits, deadlines."""

import zlib

import pytest
from grpc_peer import CLIENTS, Echo, Failure, GrpcioClient, GrpclibClient, serve  # noqa: F401

BIG = bytes(zlib.crc32(bytes([i & 255])) & 255 for i in range(1 << 16)) * 320  # 20 MiB


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    server = Echo("127.0.0.1:0", tmp_path_factory.mktemp("grpc") / "echo.sock")
    server.path = server.process.args[2]
    yield server
    server.stop()


@pytest.fixture(params=["grpclib", "grpcio", "grpclib-unix", "grpcio-unix"])
def client(request, echo):
    made = (GrpclibClient if "grpclib" in request.param else GrpcioClient)(
        echo.path if "unix" in request.param else echo.address)
    yield made
    made.close()


def test_a_message_comes_back_whatever_its_size(client):
    for message in (b"", b"x", BIG[:16384], BIG[:65536 + 1], BIG):
        assert client.unary("Unary", message).message == message


def test_many_calls_at_once_each_get_their_own_answer(client):
    running = [client.start("Unary", str(i).encode() * 1000) for i in range(300)]
    assert [call.result() for call in running] == [str(i).encode() * 1000 for i in range(300)]


def test_messages_down_in_order(client):
    got = list(client.down("Count", b"500 70000"))
    assert [len(m) for m in got] == [70000] * 500
    assert [m[:1] for m in got] == [bytes([ord("a") + left % 26]) for left in range(500, 0, -1)]
    assert list(client.down("Count", b"0 0")) == []
    assert list(client.down("Count", b"3 0")) == [b""] * 3


def test_messages_up(client):
    assert client.up("Sum", [BIG[:n] for n in range(0, 40000, 13)]) == b"3077 %d" % sum(range(0, 40000, 13))
    assert client.up("Sum", []) == b"0 0"
    assert client.up("Sum", [BIG] * 4) == b"4 %d" % (4 * len(BIG))


def test_messages_both_ways_as_they_come(client):
    sent = [BIG[:n] for n in range(0, 300000, 1001)]
    assert list(client.both("Chat", sent)) == sent


def test_a_server_may_end_before_the_client_does(client):
    got = []
    for message in client.both("Chat", iter([b"one", b"enough"])):
        got.append(message)
    assert got == [b"one"]


def test_metadata_both_ways(client):
    metadata = {"x-plain": "a, b", "x-echo-bin": b"\x00\xff,="}.items()
    answer = client.unary("Metadata", metadata=metadata, timeout=30)
    lines = dict(line.split(": ", 1) for line in answer.message.decode().splitlines())
    assert lines["x-plain"] == "a, b"
    assert lines["service"] == "catnap.Echo"
    assert lines["te"] == "trailers"
    assert 0 < int(lines["left_ms"]) <= 30100  # grpcio adds what it takes itself
    assert answer.begun["x-first-bin"] == answer.ended["x-last-bin"] == b"\x00\xff,="


def test_a_failure_comes_with_its_text_details_and_trailers(client):
    text = "Füge \"x\" hinzu:\n 100% sicher?\t\U0001f600"
    with pytest.raises(Failure) as told:
        client.unary("Fail", f"9 {text}".encode())
    assert told.value.code == "FAILED_PRECONDITION"
    assert told.value.text == text
    assert told.value.details == f"9 {text}".encode()
    assert told.value.ended["x-warning"] == "with %C3%A4"


def test_a_long_text_is_cut_where_a_character_ends(client):
    with pytest.raises(Failure) as told:
        client.unary("Fail", b"3 " + "ä".encode() * 900)  # six bytes each, once encoded
    assert told.value.text == "ä" * 682


def test_a_method_that_is_not_there(client):
    with pytest.raises(Failure) as told:
        client.unary("Nowhere", b"")
    assert told.value.code == "UNIMPLEMENTED"
    assert "/catnap.Echo/Nowhere" in told.value.text


def test_a_deadline_ends_the_call_on_both_sides(client):
    before = client.stats()
    with pytest.raises(Failure) as told:
        client.unary("Hold", timeout=0.2)
    assert told.value.code == "DEADLINE_EXCEEDED"
    client.wait_stats(held=before["held"])
    after = client.stats()
    ended = ("cancelled", "deadlines")  # who of the two notices first is up to their clocks
    assert sum(after[name] for name in ended) == sum(before[name] for name in ended) + 1


def test_a_call_that_is_given_up_is_told_to_its_server(client):
    before = client.stats()
    running = client.start("Hold")
    client.wait_stats(held=before["held"] + 1)
    running.cancel()
    client.wait_stats(held=before["held"], cancelled=before["cancelled"] + 1)


def test_an_answer_may_come_while_the_request_is_still_sent(client):
    with pytest.raises(Failure) as told:
        client.up("Early", (BIG[:100000] for _ in range(3000)))
    assert told.value.code == "FAILED_PRECONDITION"
    assert told.value.text == "not a byte of it was read"


@CLIENTS
def test_a_message_beyond_the_limit_is_told_with_both_sizes(serve, kind):
    _, client = serve(kind, "message_bytes=1000000")
    assert len(client.unary("Unary", BIG[:1000000]).message) == 1000000
    with pytest.raises(Failure) as told:
        client.unary("Unary", BIG[:1000001])
    assert told.value.code == "RESOURCE_EXHAUSTED"
    assert "1000001 bytes" in told.value.text and "1000000" in told.value.text
    with pytest.raises(Failure) as told:
        client.unary("Unary", BIG)
    assert told.value.code == "RESOURCE_EXHAUSTED"
    assert client.unary("Unary", b"the connection goes on").message

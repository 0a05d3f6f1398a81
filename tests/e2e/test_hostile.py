"""Who sends and does not read, or asks for what is dear, costs the server nothing lasting."""

import pytest
from accounts import PASSWORD, Accounts
from deaf import answers, frame, handshake, link_to, ping_without_reading, send_without_reading

MUCH = 512 << 20  # with all that a sanitizer keeps of what was freed


@pytest.fixture(scope="module")
def server():
    with Accounts() as made:
        made.token = made.register()["accessToken"]
        yield made


def test_requests_without_reading_the_answers(server):
    before = server.rss()
    piece = b"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n" * 100
    with link_to(server.port) as link:
        sent = send_without_reading(link, piece)
        assert server.rss() - before < MUCH
        got = answers(link, sent, piece, b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", b"</html>")
    assert got > sent, "each has its answer"


def test_pings_without_reading_the_pongs(server):
    before = server.rss()
    with link_to(server.port) as link:
        link.sendall(handshake("/subscriptions", protocol="graphql-transport-ws"))
        link.sendall(frame(1, b'{"type":"connection_init"}'))
        said = b""
        while b"connection_ack" not in said:
            said += link.recv(4096)

        def listened():
            assert server.rss() - before < MUCH

        ping_without_reading(link, listened)


def test_many_passwords_in_one_request(server):
    sign_in = f'tokenAuth(email: "owner@example.org", password: "{PASSWORD}") {{ accessToken }}'
    answer = server.ask("mutation {" + "".join(f"a{i}: {sign_in} " for i in range(500)) + "}")
    assert len(answer["errors"]) == 1 and "passwords" in answer["errors"][0]["message"]
    assert server.data(f"mutation {{ {sign_in} }}")["tokenAuth"]["accessToken"]

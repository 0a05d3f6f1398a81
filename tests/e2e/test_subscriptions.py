"""GraphQL over a WebSocket, as the chat panel of editors speaks it: both protocols, and what breaks them."""

import asyncio
import http.client
import json

import pytest
import websockets
from test_accounts import Accounts


@pytest.fixture(scope="module")
def server():
    with Accounts() as made:
        made.token = made.register()["accessToken"]
        yield made


def talk(server, steps, protocol="graphql-transport-ws"):
    """Sends each step in its turn (a text as it is) and returns what came back until `receive` answers or the end."""

    async def session():
        url = server.url.replace("http", "ws") + "/subscriptions"
        protocols = [protocol] if protocol else None
        received = []
        async with websockets.connect(url, subprotocols=protocols, max_size=None) as socket:
            assert socket.subprotocol == protocol
            for step in steps:
                if step is None:
                    received.append(json.loads(await asyncio.wait_for(socket.recv(), 60)))
                else:
                    await socket.send(step if isinstance(step, (str, bytes)) else json.dumps(step))
        return received

    return asyncio.run(session())


def closed_with(server, steps, protocol="graphql-transport-ws"):
    with pytest.raises(websockets.ConnectionClosed) as end:
        talk(server, [*steps, *[None] * 9], protocol)
    return end.value.rcvd.code


def greeting(server):
    return {"type": "connection_init", "payload": {"authorization": f"Bearer {server.token}"}}


def test_queries_and_their_ends(server):
    query = {"query": "query($n: Int) { me { email } users(first: $n) { edges { cursor } } }", "variables": {"n": 1}}
    got = talk(server, [greeting(server), None, {"type": "ping"}, None, {"type": "subscribe", "id": "1", "payload": query}, None, None])
    assert got[:2] == [{"type": "connection_ack"}, {"type": "pong"}]
    assert got[2] == {"type": "next", "id": "1", "payload": {"data": {"me": {"email": "owner@example.org"},
                                                                      "users": {"edges": [{"cursor": "E16n1q"}]}}}}
    assert got[3] == {"type": "complete", "id": "1"}


def test_the_older_protocol(server):
    got = talk(server, [greeting(server), None, {"type": "start", "id": "a", "payload": {"query": "{ me { email } }"}}, None, None],
               "graphql-ws")
    assert [m["type"] for m in got] == ["connection_ack", "data", "complete"]
    got = talk(server, [greeting(server), None, {"type": "start", "id": "a", "payload": {"query": "{ nope }"}}, None], "graphql-ws")
    assert got[1]["type"] == "error" and "Unknown field" in got[1]["payload"]["message"]


def test_who_has_no_token_is_nobody(server):
    me = {"type": "subscribe", "id": "1", "payload": {"query": "{ me { email } }"}}
    for payload in [None, {}, {"authorization": "Bearer auth_" + "0" * 32}, {"authorization": 1}]:
        got = talk(server, [{"type": "connection_init", **({"payload": payload} if payload is not None else {})}, None, me, None])
        assert got[1]["payload"]["errors"][0]["extensions"] == {"code": "UNAUTHORIZED"}


def test_a_thread_that_cannot_be_answered_says_so(server):
    query = """subscription($i: CreateThreadAndRunInput!) { createThreadAndRun(input: $i) {
        ... on ThreadCreated { id } ... on ThreadAssistantMessageContentDelta { delta } } }"""
    variables = {"i": {"thread": {"userMessage": {"content": "hello"}}}}
    got = talk(server, [greeting(server), None, {"type": "subscribe", "id": "t", "payload": {"query": query, "variables": variables}},
                        None, None])
    (error,) = got[1]["payload"]["errors"]
    assert error["path"] == ["createThreadAndRun"] and "/v1/chat/completions" in error["message"]
    assert got[2] == {"type": "complete", "id": "t"}
    wrong = {"type": "subscribe", "id": "t", "payload": {"query": query, "variables": {"i": {"thread": {}}}}}
    got = talk(server, [greeting(server), None, wrong, None])
    assert got[1]["type"] == "error" and "userMessage" in got[1]["payload"][0]["message"]


@pytest.mark.parametrize("steps, code", [
    (["hello"], 4400), (["[]"], 4400), ([b"\x00\x01"], 4400), (["{\"type\": 1}"], 4400),
    ([{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}}], 4401),
    (["GREETING", {"type": "connection_init"}], 4429),
    (["GREETING", {"type": "subscribe", "payload": {"query": "{ __typename }"}}], 4400),
    (["GREETING", {"type": "subscribe", "id": "1", "payload": {}}], 4400),
    (["GREETING", {"type": "dance"}], 4400),
    (["x" * (2 << 20)], 1009)])
def test_what_breaks_the_protocol_is_closed_with_its_code(server, steps, code):
    assert closed_with(server, [greeting(server) if s == "GREETING" else s for s in steps]) == code


def test_what_is_no_handshake(server):
    assert server.get("/subscriptions").status == 426
    good = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 24}
    for more, status in [({}, 101), ({"Sec-WebSocket-Version": "8"}, 400), ({"Sec-WebSocket-Key": "x"}, 400)]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        connection.request("GET", "/subscriptions", headers={**good, **more})
        assert connection.getresponse().status == status
        connection.close()


def test_a_client_that_leaves_takes_its_operations_with_it(server):
    register = 'mutation { tokenAuth(email: "owner@example.org", password: "Passw0rd!") { accessToken } }'
    runs = [{"type": "subscribe", "id": str(i), "payload": {"query": register}} for i in range(8)]
    talk(server, [greeting(server), None, *runs])
    talk(server, [greeting(server), None, *runs, {"type": "complete", "id": "3"}])
    assert server.data("{ serverInfo { isDemoMode } }")

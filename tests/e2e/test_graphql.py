"""GraphQL over HTTP, and over a WebSocket in both protocols that clients know; what breaks them."""

import asyncio
import http.client
import json
import pathlib
import socket

import pytest
import websockets
from accounts import Accounts


@pytest.fixture(scope="module")
def server():
    with Accounts() as made:
        made.token = made.register()["accessToken"]
        yield made


@pytest.fixture
def fresh():
    with Accounts() as made:
        yield made


def talk(server, steps, protocol="graphql-transport-ws"):
    """Sends each step in its turn (a text as it is); None awaits a message. Returns what came."""

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
    query = {
        "query": "query($n: Int) { me { email } users(first: $n) { edges { cursor } } }",
        "variables": {"n": 1},
    }
    got = talk(
        server,
        [
            greeting(server),
            None,
            {"type": "ping"},
            None,
            {"type": "subscribe", "id": "1", "payload": query},
            None,
            None,
        ],
    )
    assert got[:2] == [{"type": "connection_ack"}, {"type": "pong"}]
    assert got[2] == {
        "type": "next",
        "id": "1",
        "payload": {
            "data": {"me": {"email": "owner@example.org"}, "users": {"edges": [{"cursor": "E16n1q"}]}}
        },
    }
    assert got[3] == {"type": "complete", "id": "1"}


def test_the_older_protocol(server):
    got = talk(
        server,
        [
            greeting(server),
            None,
            {"type": "start", "id": "a", "payload": {"query": "{ me { email } }"}},
            None,
            None,
        ],
        "graphql-ws",
    )
    assert [m["type"] for m in got] == ["connection_ack", "data", "complete"]
    got = talk(
        server,
        [greeting(server), None, {"type": "start", "id": "a", "payload": {"query": "{ nope }"}}, None],
        "graphql-ws",
    )
    assert got[1]["type"] == "error" and "Unknown field" in got[1]["payload"]["message"]


def test_who_has_no_token_is_nobody(server):
    me = {"type": "subscribe", "id": "1", "payload": {"query": "{ me { email } }"}}
    for payload in [None, {}, {"authorization": "Bearer auth_" + "0" * 32}, {"authorization": 1}]:
        got = talk(
            server,
            [
                {"type": "connection_init", **({"payload": payload} if payload is not None else {})},
                None,
                me,
                None,
            ],
        )
        assert got[1]["payload"]["errors"][0]["extensions"] == {"code": "UNAUTHORIZED"}


TALK = """subscription($i: CreateThreadAndRunInput!) { createThreadAndRun(input: $i) { __typename
    ... on ThreadCreated { id } ... on ThreadUserMessageCreated { id }
    ... on ThreadAssistantMessageCreated { id } ... on ThreadAssistantMessageContentDelta { delta } } }"""


def talk_of(text, **more):
    variables = {"i": {"thread": {"userMessage": {"content": text, **more}}}}
    return {"type": "subscribe", "id": "t", "payload": {"query": TALK, "variables": variables}}


def test_a_thread_that_cannot_be_answered_says_so(server):
    got = talk(server, [greeting(server), None, talk_of("hello"), None, None])
    (error,) = got[1]["payload"]["errors"]
    assert error["path"] == ["createThreadAndRun"] and "--chat-model" in error["message"]
    assert got[2] == {"type": "complete", "id": "t"}
    got = talk(server, [{"type": "connection_init"}, None, talk_of("hello"), None])
    assert got[1]["payload"]["errors"][0]["extensions"] == {"code": "UNAUTHORIZED"}
    wrong = {
        "type": "subscribe",
        "id": "t",
        "payload": {"query": TALK, "variables": {"i": {"thread": {}}}},
    }
    got = talk(server, [greeting(server), None, wrong, None])
    assert got[1]["type"] == "error" and "userMessage" in got[1]["payload"][0]["message"]


@pytest.mark.parametrize(
    "steps, code",
    [
        (["hello"], 4400),
        (["[]"], 4400),
        ([b"\x00\x01"], 4400),
        (['{"type": 1}'], 4400),
        ([{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }"}}], 4401),
        (["GREETING", {"type": "connection_init"}], 4429),
        (["GREETING", {"type": "subscribe", "payload": {"query": "{ __typename }"}}], 4400),
        (["GREETING", {"type": "subscribe", "id": "1", "payload": {}}], 4400),
        (["GREETING", {"type": "dance"}], 4400),
        (["x" * (2 << 20)], 1009),
    ],
)
def test_what_breaks_the_protocol_is_closed_with_its_code(server, steps, code):
    assert closed_with(server, [greeting(server) if s == "GREETING" else s for s in steps]) == code


def test_what_is_no_handshake(server):
    assert server.get("/subscriptions").status == 426
    good = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "x" * 24,
    }
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


# ---- GraphQL over HTTP ----


def test_queries_that_are_none(fresh):
    for body in [
        b"",
        b"{",
        b"[]",
        b'{"query": 1}',
        b'{"variables": {}}',
        b'{"query": "{ me { id } }", "variables": 1}',
    ]:
        answer = fresh.post("/graphql", body)
        assert answer.status == 400 and answer.json()["errors"][0]["message"], body
    answer = fresh.ask("{ nope }", status=400)
    assert answer == {
        "errors": [
            {"message": 'Unknown field "nope" on type "Query"', "locations": [{"line": 1, "column": 3}]}
        ]
    }
    assert fresh.post("/graphql", b'{"query": "' + b"x" * (2 << 20) + b'"}').status == 413
    batch = fresh.post("/graphql", [{"query": "{ serverInfo { isDemoMode } }"}] * 2)
    assert batch.json() == [{"data": {"serverInfo": {"isDemoMode": False}}}] * 2
    plain = fresh.request(
        fresh.port,
        "/graphql",
        "POST",
        b"{ serverInfo { isDemoMode } }",
        {"Content-Type": "application/graphql"},
    )
    assert plain.json() == {"data": {"serverInfo": {"isDemoMode": False}}}
    token = fresh.register()["accessToken"]
    assert fresh.post(f"/graphql?access_token={token}", {"query": "{ me { email } }"}).json()["data"]["me"]
    assert fresh.ask("{ me { id } }")["data"] is None


def test_the_schema_answers_the_introspection_of_tools(server):
    query = (pathlib.Path(__file__).parent / "introspection.graphql").read_text()
    schema = server.data(query)["__schema"]
    types = {t["name"]: t for t in schema["types"]}
    assert {"Query", "Mutation", "Subscription", "UserSecured", "ThreadRunItem"} <= set(types)
    assert {f["name"] for f in types["Mutation"]["fields"]} >= {
        "register",
        "tokenAuth",
        "refreshToken",
        "createGitRepository",
    }
    assert {t["name"] for t in types["User"]["possibleTypes"]} == {"UserSecured"}


def test_a_client_that_leaves_during_a_query_harms_nobody(fresh):
    body = json.dumps(
        {
            "query": (
                'mutation { register(email: "a@b.c", password1: "Passw0rd!", password2: "Passw0rd!", name:'
                ' "n") { accessToken } }'
            )
        }
    ).encode()
    with socket.create_connection(("127.0.0.1", fresh.port)) as connection:
        connection.sendall(
            b"POST /graphql HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:"
            b" %d\r\n\r\n"
            % len(body)
            + body
        )
    assert fresh.data("{ serverInfo { isDemoMode } }")
    assert fresh.stop() == 0, "and the end waits for what was begun"

"""Threads of talk with a real chat model: a question over the WebSocket, its answer piece by piece, kept,
gone on with by its owner, read by others once it is shared."""

import asyncio
import contextlib
import json
import signal

import pytest
import websockets
from accounts import Accounts
from conftest import wait_for
from tabby import SMALL

NEW = """subscription($i: CreateThreadAndRunInput!) { item: createThreadAndRun(input: $i) { __typename
    ... on ThreadCreated { id } ... on ThreadUserMessageCreated { id }
    ... on ThreadAssistantMessageCreated { id }
    ... on ThreadAssistantMessageContentDelta { delta }
    ... on ThreadAssistantMessageCompleted { debugData { chatCompletionMessages { role } } } } }"""
NEXT = NEW.replace("createThreadAndRun", "createThreadRun").replace(
    "CreateThreadAndRunInput", "CreateThreadRunInput"
)
MESSAGES = """query($t: ID!) { threadMessages(threadId: $t) { edges { node { id role content attachment {
    clientCode { filepath startLine content } code { content } doc { __typename }
    codeFileList { fileList } } } } } }"""


@pytest.fixture(scope="module")
def server():
    with Accounts("--chat-model", SMALL) as made:
        owner = made.register()["accessToken"]
        made.owner = made.me(owner)["authToken"]  # the chat panel has but this
        made.jwt = owner
        code = made.invite(owner, "b@example.org")
        made.second = made.me(made.register("b@example.org", code, "Grace")["accessToken"])["authToken"]
        yield made


@contextlib.asynccontextmanager
async def connect(server, token):
    socket = await websockets.connect(
        server.url.replace("http", "ws") + "/subscriptions", subprotocols=["graphql-transport-ws"]
    )
    init = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
    await socket.send(json.dumps(init))
    assert json.loads(await socket.recv())["type"] == "connection_ack"
    try:
        yield socket
    finally:
        await socket.close()


async def ask(socket, query, input, id="1"):
    payload = {"query": query, "variables": {"i": input}}
    await socket.send(json.dumps({"type": "subscribe", "id": id, "payload": payload}))


async def items(socket):
    """What comes until the end: items, and errors."""
    got = []
    while True:
        message = json.loads(await asyncio.wait_for(socket.recv(), 300))
        if message["type"] == "complete":
            return got
        payload = message["payload"]
        got.append(payload["errors"][0] if payload.get("errors") else payload["data"]["item"])


def run(server, token, query, input):
    async def session():
        async with connect(server, token) as socket:
            await ask(socket, query, input)
            return await items(socket)

    return asyncio.run(session())


def message(text, *code):
    attachments = {"attachments": {"code": list(code)}} if code else {}
    return {"content": text, **attachments}


def messages(server, thread, token=None):
    edges = server.data(MESSAGES, token or server.owner, t=thread)["threadMessages"]["edges"]
    return [edge["node"] for edge in edges]


@pytest.fixture(scope="module")
def thread(server):
    code = {"filepath": "src/a.py", "startLine": 3, "content": "x = 1"}
    got = run(server, server.owner, NEW, {"thread": {"userMessage": message("Say hello.", code)}})
    return got, next(item["id"] for item in got if item["__typename"] == "ThreadCreated")


def test_the_stream_comes_in_its_order(thread):
    got, _ = thread
    kinds = [item["__typename"] for item in got]
    assert kinds[:3] == ["ThreadCreated", "ThreadUserMessageCreated", "ThreadAssistantMessageCreated"]
    assert kinds[-1] == "ThreadAssistantMessageCompleted"
    assert kinds[3:-1] and set(kinds[3:-1]) == {"ThreadAssistantMessageContentDelta"}


def test_question_and_answer_are_kept(server, thread):
    got, id = thread
    said = "".join(item.get("delta", "") for item in got)
    question, answer = messages(server, id)
    assert (question["role"], question["content"]) == ("USER", "Say hello.")
    assert question["attachment"]["clientCode"] == [
        {"filepath": "src/a.py", "startLine": 3, "content": "x = 1"}
    ]
    assert (answer["role"], answer["content"]) == ("ASSISTANT", said) and said
    mine = server.data("{ myThreads { edges { node { id isEphemeral userId } } } }", server.owner)[
        "myThreads"
    ]["edges"]
    assert {"id": id, "isEphemeral": True, "userId": "E16n1q"} in [edge["node"] for edge in mine]
    kinds = [list(event["event"])[0] for event in server.events()]
    assert "chat_completion" in kinds


def test_its_owner_goes_on_and_nobody_else(server, thread):
    _, id = thread
    input = {"threadId": id, "additionalUserMessage": message("And goodbye.")}
    (error,) = run(server, server.second, NEXT, input)
    assert error["message"] == "You must be the thread owner to create a run"
    assert error["extensions"] == {"code": "FORBIDDEN"}
    got = run(server, server.owner, NEXT, input)
    assert [item["__typename"] for item in got][:2] == [
        "ThreadUserMessageCreated",
        "ThreadAssistantMessageCreated",
    ]
    assert [m["role"] for m in messages(server, id)] == ["USER", "ASSISTANT"] * 2
    (error,) = run(server, server.owner, NEXT, {**input, "threadId": "5NVZN2"})
    assert error["extensions"] == {"code": "NOT_FOUND"}
    (error,) = run(server, server.owner, NEXT, {**input, "additionalUserMessage": message("  ")})
    assert "empty" in error["message"]


def test_others_read_what_was_shared(server, thread):
    _, id = thread
    assert server.error(MESSAGES, server.second, t=id)["extensions"] == {"code": "FORBIDDEN"}
    listed = "query($t: [ID!]) { threads(ids: $t) { edges { node { id } } } }"
    assert server.data(listed, server.second, t=[id])["threads"]["edges"] == []
    persist = "mutation($t: ID!) { setThreadPersisted(threadId: $t) }"
    assert server.error(persist, server.second, t=id)["extensions"] == {"code": "FORBIDDEN"}
    assert server.data(persist, server.owner, t=id)["setThreadPersisted"]
    assert len(messages(server, id, server.second)) == 4
    assert server.data(listed, server.second, t=[id])["threads"]["edges"] == [{"node": {"id": id}}]


def test_messages_and_threads_are_removed_by_their_owner(server, thread):
    _, id = thread
    pair = (
        "mutation($t: ID!, $u: ID!, $a: ID!) { deleteThreadMessagePair(threadId: $t, userMessageId: $u,"
        " assistantMessageId: $a) }"
    )
    q1, a1, q2, a2 = [m["id"] for m in messages(server, id)]
    assert server.error(pair, server.second, t=id, u=q1, a=a1)["extensions"] == {"code": "FORBIDDEN"}
    assert "pair" in server.error(pair, server.owner, t=id, u=a1, a=q1)["message"]
    assert server.data(pair, server.owner, t=id, u=q1, a=a1)["deleteThreadMessagePair"]
    assert [m["id"] for m in messages(server, id)] == [q2, a2]
    remove = "mutation($t: ID!) { deleteThread(id: $t) }"
    assert server.error(remove, server.second, t=id)["extensions"] == {"code": "FORBIDDEN"}
    assert server.data(remove, server.owner, t=id)["deleteThread"]
    assert server.error(MESSAGES, server.owner, t=id)["extensions"] == {"code": "NOT_FOUND"}


def test_who_stops_listening_stops_the_model_and_keeps_what_came(server):
    async def session():
        async with connect(server, server.owner) as socket:
            await ask(
                socket, NEW, {"thread": {"userMessage": message("Count from one to one thousand in words.")}}
            )
            got = []
            while len([g for g in got if "delta" in g]) < 3:
                got.append(json.loads(await asyncio.wait_for(socket.recv(), 300))["payload"]["data"]["item"])
            await socket.send(json.dumps({"type": "complete", "id": "1"}))
            return got

    got = asyncio.run(session())
    begun = "".join(item.get("delta", "") for item in got)
    id = got[0]["id"]
    wait_for("the engine at rest", lambda: server.metrics()["copycat_jobs_working"] == 0)
    kept = wait_for("what came to be kept", lambda: messages(server, id)[1]["content"])
    assert kept.startswith(begun) and len(kept) < 4000


def test_the_end_of_the_server_ends_a_talk_and_keeps_what_came(tmp_path):
    with Accounts("--chat-model", SMALL, root=tmp_path) as server:
        token = server.me(server.register()["accessToken"])["authToken"]

        async def session():
            async with connect(server, token) as socket:
                await ask(
                    socket,
                    NEW,
                    {"thread": {"userMessage": message("Count from one to one thousand in words.")}},
                )
                for _ in range(5):
                    await asyncio.wait_for(socket.recv(), 300)
                server.process.send_signal(signal.SIGTERM)
                with pytest.raises(websockets.ConnectionClosed) as end:
                    while True:
                        await asyncio.wait_for(socket.recv(), 60)
                return end.value.rcvd.code

        assert asyncio.run(session()) == 1001
        assert server.process.wait(60) == 0
        database = server.database()
        (text,) = database.execute("SELECT content FROM thread_messages WHERE role = 'assistant'").fetchone()
        assert text

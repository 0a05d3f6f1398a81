"""The daemon killed at each step of a deploy: afterwards the old version serves or the new one does, whole,
and the next deploy goes through."""

import signal

from conftest import DEADLINE_S

from .client import Client, labels

WEB = """
app = modal.App("$APP", image=image)


def answering(word):
    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": word})

    return asgi


@app.function(**limits())
@modal.asgi_app()
def first():
    return answering(b"$WORD")


@app.function(**limits())
@modal.asgi_app()
def second():
    return answering(b"$WORD")
"""
# The client as it is, with an ear at its channel: it kills the daemon when it is about to ask a call, or when
# that call was answered; MICRO: so many microseconds after it was asked.
DRIVER = """
import asyncio, os, signal, sys, time
import grpclib.client
from grpclib.events import RecvTrailingMetadata, SendRequest, listen

pid, call, moment = int(sys.argv[1]), sys.argv[2], sys.argv[3]
opened = grpclib.client.Channel.__init__


def kill():
    os.kill(pid, signal.SIGKILL)
    os._exit(9)  # the client goes too: it would try for minutes


def listening(channel, *words, **more):
    opened(channel, *words, **more)

    async def on_request(event):
        if event.method_name.endswith("/" + call):
            if moment == "before":
                kill()
            elif moment != "after":
                asyncio.get_running_loop().call_later(int(moment) / 1e6, kill)
            else:
                answered.append(call)

    async def on_end(event):
        if answered and moment == "after":
            kill()

    answered = []
    listen(channel, SendRequest, on_request)
    listen(channel, RecvTrailingMetadata, on_end)


grpclib.client.Channel.__init__ = listening
sys.argv = ["modal", "deploy", "app.py"]
from modal.__main__ import main

main()
"""
POINTS = [
    ("FunctionPrecreate", "after"),
    ("FunctionCreate", "after"),
    ("AppPublish", "before"),
    ("AppPublish", "0"),
    ("AppPublish", "300"),
    ("AppPublish", "3000"),
    ("AppPublish", "after"),
]


def test_killed_at_each_step_of_a_deploy(own_house, tmp_path):
    catnap, client = own_house.catnap, Client("1.6.4", own_house, tmp_path)
    app, now = client.name("killed"), "word-0"
    found = labels(client.run("deploy", client.write(WEB, APP=app, WORD=now)))
    (client.cwd / "driver.py").write_text(DRIVER)
    seen = []
    for number, (call, moment) in enumerate(POINTS, 1):
        word = f"word-{number}"
        client.write(WEB, APP=app, WORD=word)
        out = client.run("driver.py", catnap.process.pid, call, moment, python=True, check=None)
        assert catnap.process.wait(DEADLINE_S) == -signal.SIGKILL, out
        catnap.stop()
        catnap.start()
        answers = {own_house.get(label).text for label in found}
        assert answers in ({now}, {word}), f"{call} {moment}: {answers}\n{out}"
        seen.append(answers == {word})
        now = answers.pop()
    assert seen[:3] == [False] * 3 and seen[-1], "what was not answered is not there; what was is"
    client.write(WEB, APP=app, WORD="last")
    client.run("deploy", "app.py")
    assert {own_house.get(label).text for label in found} == {"last"}

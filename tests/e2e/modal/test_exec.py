"""`modal container exec` and `modal shell`, with both clients: a command in a function's container, its
terminal, its end, and that nobody reaches into another app's container."""

import json
import subprocess

import pytest

from .client import PATIENCE_S
from .terminal import Terminal

APP = """
app = modal.App("$APP", image=image)


@app.function(**limits())
def where():
    import os

    return os.environ["MODAL_TASK_ID"]
"""
CALL = """
function = (modal.Function.lookup if OLD else modal.Function.from_name)("$APP", "where")
tell(function.remote())
"""


def command(client, *words):
    return [str(client.venv / "bin/modal"), *words]


@pytest.fixture
def container(client):
    """A function's container that has worked."""
    client.write(APP, APP=client.name("exec"))
    client.run("deploy", "app.py")
    client.script(CALL, APP=client.name("exec"))
    yield client.told()[0]
    client.stop(client.name("exec"))


def test_a_command_in_a_container(client, container):
    out = client.run(
        "container", "exec", "--no-pty", container, "--", "sh", "-c", "echo in $MODAL_TASK_ID; exit 5",
        stdin=subprocess.PIPE, check=not client.old,
    )  # fmt: skip
    assert f"in {container}" in out
    if client.old:
        assert "status code 5" in out
    out = client.run("container", "exec", "--no-pty", container, "--", "no-such", check=False)
    assert "there is no command 'no-such' in the container" in out
    out = client.run("container", "exec", "--no-pty", "ta-404", "--", "true", check=False)
    assert "no container 'ta-404'" in out


def test_a_terminal_in_a_container(client, container):
    terminal = Terminal(
        command(client, "container", "exec", container, "--", "sh"), client.cwd, client.env | {"PS1": "> "}
    )
    try:
        terminal.read("# ")
        terminal.type("tty; echo sum-$((20+3))\n")
        assert "/dev/pts/" in terminal.read("sum-23")
        terminal.type("exit\n")
    finally:
        terminal.close()


def test_a_shell_of_a_function(client):
    client.write(APP, APP=client.name("shell"))
    terminal = Terminal(command(client, "shell", "app.py::where"), client.cwd, client.env)
    try:
        terminal.read("# ")
        shown = json.loads(client.house.catnap.cli("ps", "--json").stdout)
        kinds = [f.get("kind") for a in shown["apps"] for f in a["functions"]]
        assert "sandbox" in kinds
        terminal.type("echo $PWD sum-$((20+3))\n")
        terminal.read("/root sum-23")
        terminal.type("exit\n")
    finally:
        terminal.close()


STRANGER = """
app = modal.App("$APP", image=image)


@app.function()
def reach(task):
    import asyncio
    import os

    from grpclib.client import Channel
    from modal_proto import api_pb2
    from modal_proto.api_grpc import ModalClientStub

    async def ask():
        channel = Channel(path=os.environ["MODAL_SERVER_URL"].removeprefix("unix://"))
        request = api_pb2.ContainerExecRequest(task_id=task, command=["true"])
        try:
            await ModalClientStub(channel).ContainerExec(request, timeout=30)
        except Exception as error:
            return str(error)
        finally:
            channel.close()

    return asyncio.run(ask())


@app.function()
def serve(queue):
    import http.server

    class Hello(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from inside")

    server = http.server.HTTPServer(("127.0.0.1", 8000), Hello)
    with modal.forward(8000, unencrypted=True) as tunnel:
        queue.put(tunnel.tcp_socket)
        server.handle_request()


@app.local_entrypoint()
def main(task: str):
    import urllib.request

    with modal.Queue.ephemeral() as queue:
        call = serve.spawn(queue)
        host, port = queue.get(timeout=60)
        tell(urllib.request.urlopen(f"http://{host}:{port}/", timeout=60).read().decode())
        call.get()
    tell(reach.remote(task))
"""


def test_a_door_to_the_outside_and_none_to_another_app(client, container):
    client.write(STRANGER, APP=client.name("stranger"))
    client.run("run", "app.py", "--task", container, timeout=PATIENCE_S)
    opened, reached = client.told()[-2:]
    assert opened == "from inside"
    assert f"no container '{container}'" in reached

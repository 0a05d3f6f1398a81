"""Sandboxes, with both clients: their command, its bytes in and out, commands beside it, its files and ports,
how it ends, and who may ask."""

import signal

from .client import VERSIONS, Client

HEAD = """
app = None if OLD else modal.App.lookup("$APP", create_if_missing=True)
made = {"app": app, "image": image}
Sandbox = modal.Sandbox


def ended(sandbox):
    try:
        sandbox.wait()
    except Exception as error:
        return type(error).__name__, sandbox.returncode
    return sandbox.returncode


def failed(what):
    try:
        what()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


"""
BOTH = HEAD + """
sb = Sandbox.create("sh", "-c", "echo out; echo err >&2; printf '$MORE'", **made)
tell("first", [sb.stdout.read(), sb.stderr.read(), ended(sb)])
sb = Sandbox.create("cat", **made)
sb.stdin.write(b"to and ")
sb.stdin.drain()
sb.stdin.write(b"fro")
sb.stdin.write_eof()
sb.stdin.drain()
tell("cat", sb.stdout.read(), ended(sb), Sandbox.from_id(sb.object_id).poll())
tell("code", ended(Sandbox.create("sh", "-c", "exit 7", **made)))
tell("killed", ended(Sandbox.create("sh", "-c", "kill -9 $$", **made)))
tell("missing", failed(lambda: Sandbox.create("no-such", **made)))
tell("timeout", ended(Sandbox.create("sleep", "1000", timeout=1, **made)))
volume = modal.Volume.from_name("$APP", create_if_missing=True)
secret = modal.Secret.from_dict({"X": "1"})
sb = Sandbox.create(
    "sh", "-c", "echo $X $PWD > /v/told; cat /v/told; ls /sys/class/net; sleep 1000",
    volumes={"/v": volume}, secrets=[secret], workdir="/tmp", cpu=0.5, memory=128, block_network=True, **made
)
tell("given", next(line for line in sb.stdout if line).split(), sb.poll())
sb.terminate()
tell("ended", ended(sb))
tell("unknown", failed(lambda: Sandbox.from_id("sb-nothing")))
"""


def test_a_command_of_its_own(client):
    client.script(BOTH, APP=client.name("both"), MORE="tail")
    told = client.told()
    assert told[0] == "first ['out\\ntail', 'err\\n', 0]"
    assert told[1] == "cat to and fro 0 0"
    assert told[2:4] == ["code 7", "killed 137"]
    assert "there is no command 'no-such' in the container" in told[4]
    assert told[5] == "timeout ('SandboxTimeoutError', 124)"
    assert told[6] in ("given ['1', '/tmp'] None", "given ['1', '/tmp', 'lo'] None")
    assert told[7] == "ended ('SandboxTerminatedError', 137)"
    assert "there is no sandbox 'sb-nothing'" in told[8]


NEW = HEAD + """
sb = Sandbox.create(name="boss", tags={"kind": "x"}, env={"X": "1"}, **made)
p = sb.exec("sh", "-c", "echo $X $Y $PWD; echo e >&2; exit 3", env={"Y": "2"}, workdir="/tmp")
tell("exec", [p.stdout.read(), p.stderr.read(), p.wait(), p.poll()])
p = sb.exec("cat")
p.stdin.write(b"abc")
p.stdin.write_eof()
p.stdin.drain()
tell("cat", p.stdout.read(), p.wait())
tell("missing", failed(lambda: sb.exec("no-such")))
p = sb.exec("sh", "-c", "tty; cat", pty=True)
p.stdin.write(b"typed\\n")
p.stdin.write_eof()
p.stdin.drain()
tell("pty", p.stdout.read().split(), p.wait())
tell("late", sb.exec("sleep", "1000", timeout=1).wait())
p = sb.exec("sh", "-c", "head -c 20000000 /dev/zero")
tell("big", len(p.stdout.read()), p.wait())
tell("filter", sb.exec("grep", "Seccomp:", "/proc/self/status").stdout.read().split())
tell("twice", failed(lambda: Sandbox.create(name="boss", **made)))
ids = [s.object_id for s in Sandbox.list(app_id=app.app_id, tags={"kind": "x"})]
named = Sandbox.from_name("$APP", "boss")
tell("found", ids == [sb.object_id], named.object_id == sb.object_id, sb.get_tags())
f = sb.filesystem
f.write_text("häh", "/tmp/a/b")
f.make_directory("/tmp/a/c")
names = sorted(i.name for i in f.list_files("/tmp/a"))
tell("files", f.read_text("/tmp/a/b"), names, f.stat("/tmp/a/b").size)
tell("no file", failed(lambda: f.read_text("/tmp/none")))
f.remove("/tmp/a", recursive=True)
tell("removed", f.list_files("/tmp"))
sb.terminate()
tell("bucket", failed(lambda: Sandbox.create(volumes={"/b": modal.CloudBucketMount("b")}, **made)))
web = Sandbox.create(
    "python3", "-m", "http.server", "8000", unencrypted_ports=[8000],
    readiness_probe=modal.Probe.with_tcp(8000), **made
)
web.wait_until_ready()
import urllib.request
host, port = web.tunnels()[8000].tcp_socket
tell("tunnel", urllib.request.urlopen(f"http://{host}:{port}/", timeout=60).status)
web.terminate()
"""


def test_commands_files_and_ports(house, tmp_path):
    client = Client(VERSIONS[1], house, tmp_path)
    client.script(NEW, APP=client.name("new"))
    told = client.told()
    assert told[:2] == ["exec ['1 2 /tmp\\n', 'e\\n', 3, 3]", "cat abc 0"]
    assert told[2] == "missing NotFoundError: there is no command 'no-such' in the container"
    assert "/dev/pts/" in told[3] and told[3].count("'typed'") == 2 and told[3].endswith("] 0")
    assert told[4:7] == ["late -1", "big 20000000 0", "filter ['Seccomp:', '2']"]
    assert told[7].startswith("twice AlreadyExistsError: ")
    assert told[8] == "found True True {'kind': 'x'}"
    assert told[9] == "files häh ['b', 'c'] 4"
    assert told[10].startswith("no file SandboxFilesystemNotFoundError: ")
    assert told[11] == "removed []"
    assert "does not have CloudBucketMount" in told[12]
    assert told[13] == "tunnel 200"


SNAPSHOT = HEAD + """
made["image"] = image.run_commands("echo base > /base; mkdir /gone")
sb = Sandbox.create(**made)
sb.exec("sh", "-c", "echo new > /new; rmdir /gone").wait()
made["image"] = sb.snapshot_filesystem()
sb.terminate()
sb = Sandbox.create("sh", "-c", "cat /base /new; ls -d /gone", **made)
tell(sb.stdout.read().split(), ended(sb) > 0)
"""


def test_a_snapshot_of_its_files(house, tmp_path):
    client = Client(VERSIONS[1], house, tmp_path)
    client.script(SNAPSHOT, APP=client.name("snapshot"))
    assert client.told() == ["['base', 'new'] True"]


TOKENS = HEAD + """
import asyncio
import os

from grpclib.client import Channel
from modal_proto import task_command_router_pb2 as router, api_pb2
from modal_proto.api_grpc import ModalClientStub
from modal_proto.task_command_router_grpc import TaskCommandRouterStub

first, second = Sandbox.create(**made), Sandbox.create(**made)


async def ask():
    host, port = os.environ["MODAL_SERVER_URL"].split("//")[1].split(":")
    known = {
        "x-modal-token-id": os.environ["MODAL_TOKEN_ID"],
        "x-modal-token-secret": os.environ["MODAL_TOKEN_SECRET"],
    }
    channel = Channel(host, int(port))
    main, stub = ModalClientStub(channel), TaskCommandRouterStub(channel)
    access = await main.SandboxGetCommandRouterAccess(
        api_pb2.SandboxGetCommandRouterAccessRequest(sandbox_id=first.object_id), metadata=known
    )
    other = await main.SandboxGetTaskId(
        api_pb2.SandboxGetTaskIdRequest(sandbox_id=second.object_id), metadata=known
    )
    jwt = access.jwt
    for token in ("a.b.c", "nonsense", jwt[:-1] + ("0" if jwt[-1] != "0" else "1"), jwt):
        try:
            await stub.TaskExecStart(
                router.TaskExecStartRequest(task_id=other.task_id, exec_id="e", command_args=["true"]),
                metadata={"authorization": "Bearer " + token},
            )
            tell("it could")
        except Exception as error:
            tell(error.status.name)
    channel.close()


asyncio.run(ask())
for sandbox in (first, second):
    sandbox.terminate()
"""


def test_a_token_is_for_one_container(house, tmp_path):
    client = Client(VERSIONS[1], house, tmp_path)
    client.script(TOKENS, APP=client.name("tokens"))
    assert client.told() == ["UNAUTHENTICATED"] * 3 + ["PERMISSION_DENIED"]


RESTART = HEAD + """
sb = Sandbox.create("sleep", "1000", **made)
p = sb.exec("sh", "-c", "echo up; sleep 1000")
print(next(iter(p.stdout)), flush=True)
tell("end", failed(p.wait))
tell("gone", failed(sb.wait))
"""


def test_a_killed_daemon_leaves_no_sandbox(own_house, tmp_path):
    client = Client(VERSIONS[1], own_house, tmp_path)
    process = client.start(client.write(RESTART, APP=client.name("restart")), python=True)
    assert process.stdout.readline().strip() == "up"
    own_house.catnap.stop(signal.SIGKILL)
    own_house.catnap.start()
    process.communicate(timeout=120)
    told = client.told()
    assert "commands and sandboxes end" in told[0]
    assert "there is no sandbox" in told[1]
    assert own_house.catnap.ps()["apps"] == []

"""What nobody may do: a container the work, results or secrets of another app; paths and links that lead out
of a volume or a mount; files that are not what their sums say."""

import hashlib
import json
import os

from .client import Client
from .test_volume import listed

# Calls by their names, asked as no client would; each answer's status by what it was called.
ASK = """
import asyncio


def ask(channel, asked, metadata=None):
    from google.protobuf import json_format
    from grpclib import GRPCError
    from modal_proto import api_grpc, api_pb2

    async def all_of_them():
        opened, said = channel(), {}
        stub = api_grpc.ModalClientStub(opened)
        for what, name, kind, message in asked:
            if message == "that one":
                message = {"function_id": answer.bound_function_id}
            request = json_format.ParseDict(message, getattr(api_pb2, kind)())
            try:
                answer = await asyncio.wait_for(getattr(stub, name)(request, metadata=metadata), 60)
                said[what] = "OK"
            except GRPCError as error:
                said[what] = f"{error.status.name}: {error.message}"
        opened.close()
        return said

    return asyncio.run(all_of_them())


"""
APPS = """
import os

talk = modal.Queue.from_name("$QUEUE", create_if_missing=True)
app = modal.App("$APP", image=image)


@app.function($SECRETS)
def victim():
    talk.put((os.environ["MODAL_TASK_ID"], modal.current_input_id()), partition="begun")
    return talk.get(partition="end", timeout=120), os.environ.get("WORD")


@app.function()
def attack(asked):
    from grpclib.client import Channel

    return ask(lambda: Channel(path=os.environ["MODAL_SERVER_URL"].removeprefix("unix://")), asked)
"""
ATTACK = """
import json

get = modal.Function.lookup if OLD else modal.Function.from_name
talk = modal.Queue.from_name("$QUEUE", create_if_missing=True)
victim, attack = get("$VICTIM", "victim"), get("$APP", "attack")
call = victim.spawn()
task, input_id = talk.get(partition="begun", timeout=120)
ids = {"function_id": victim.object_id}, {"function_call_id": call.object_id}
output = {"input_id": input_id, "result": {"status": 1, "data": "aGVsbG8="}}
name = {"deployment_name": "$SECRET"}
secret = modal.Secret.lookup("$SECRET") if OLD else modal.Secret.from_name("$SECRET").hydrate()
sandbox = {"definition": {"secret_ids": [secret.object_id]}}
said = attack.remote(
    [
        ("its work", "FunctionGetInputs", "FunctionGetInputsRequest", ids[0]),
        ("its input", "FunctionCallGetDataIn", "FunctionCallGetDataRequest", ids[1]),
        ("its data", "FunctionCallPutDataOut", "FunctionCallPutDataRequest", ids[1]),
        ("its output", "FunctionPutOutputs", "FunctionPutOutputsRequest", {"outputs": [output]}),
        ("its end", "ContainerStop", "ContainerStopRequest", {"task_id": task}),
        ("its code", "FunctionGetSerialized", "FunctionGetSerializedRequest", ids[0]),
        ("its app's end", "AppStop", "AppStopRequest", {"app_id": "ap-any"}),
        ("its secret", "SecretGetOrCreate", "SecretGetOrCreateRequest", name),
        ("its secret's value", "SecretGetOrCreate", "SecretGetOrCreateRequest",
         {**name, "object_creation_type": 3, "env_dict": {"WORD": "mine"}}),
        ("its secret by id", "SandboxCreate", "SandboxCreateRequest", sandbox),
        ("a time that is none", "QueueGet", "QueueGetRequest",
         {"queue_id": talk.object_id, "timeout": "NaN", "partition_key": "eA=="}),
        ("parameters", "FunctionBindParams", "FunctionBindParamsRequest", ids[0]),
        ("parameters of what has some", "FunctionBindParams", "FunctionBindParamsRequest", "that one"),
        ("all secrets", "SecretList", "SecretListRequest", {}),
        ("a deploy", "FunctionCreate", "FunctionCreateRequest", {}),
        *((f"port {p}", "TunnelStart", "TunnelStartRequest", {"port": p}) for p in range(9000, 9065)),
    ]
)
talk.put("ended", partition="end")
print(json.dumps([said, call.get(timeout=120)]))
"""
DENIED = "PERMISSION_DENIED"
ANSWERS = {
    "its work": DENIED,
    "its input": "NOT_FOUND",
    "its data": "NOT_FOUND",
    "its output": "OK",  # and nothing comes of it
    "its end": "NOT_FOUND",
    "its code": "NOT_FOUND",
    "its app's end": DENIED,
    "its secret": DENIED,
    "its secret's value": DENIED,
    "its secret by id": DENIED,
    "a time that is none": "OK",
    "parameters": "OK",
    "parameters of what has some": "INVALID_ARGUMENT",
    "all secrets": DENIED,
    "a deploy": DENIED,
    **{f"port {port}": "OK" for port in range(9000, 9064)},
    "port 9064": "RESOURCE_EXHAUSTED",
}


def test_a_container_has_its_own_app_and_nothing_else(client):
    names = {"QUEUE": client.name("q"), "SECRET": client.name("s")}
    victim, attacker = client.name("victim"), client.name("attacker")
    client.run("secret", "create", names["SECRET"], "WORD=precious")
    secrets = f'secrets=[modal.Secret.from_name("{names["SECRET"]}")]'
    client.run("deploy", client.write(ASK + APPS, "victim.py", APP=victim, SECRETS=secrets, **names))
    client.run("deploy", client.write(ASK + APPS, APP=attacker, SECRETS="", **names))
    out = client.script(ATTACK, APP=attacker, VICTIM=victim, **names)
    said, result = json.loads(out.splitlines()[-1])
    assert {what: text.split(":")[0] for what, text in said.items()} == ANSWERS, said
    assert result == ["ended", "precious"]
    client.stop(victim)
    client.stop(attacker)


FILES = """
from grpclib.client import Channel

mine = b"what it says"
sha = "$SHA"
token = {"x-modal-token-id": "$TOKEN", "x-modal-token-secret": "$KEY", "x-modal-client-version": "1.6.4"}
file = lambda name, sum=sha: {"filename": name, "sha256_hex": sum, "mode": 0o644}
mount = lambda *files: ("MountGetOrCreate", "MountGetOrCreateRequest", {"files": list(files)})
id = {"volume_id": "$VOLUME"}
put = lambda *files: ("VolumePutFiles", "VolumePutFilesRequest", {**id, "files": list(files)})
got = lambda path: ("VolumeGetFile", "VolumeGetFileRequest", {**id, "path": path})
asked = [
    ("another sum", "MountPutFile", "MountPutFileRequest", {"data": "bWluZQ==", "sha256_hex": "1" * 64}),
    ("no sum", "MountPutFile", "MountPutFileRequest", {"data": "bWluZQ==", "sha256_hex": "../../x"}),
    ("never sent", *mount(file("/a", "0" * 64))),
    ("up in a mount", *mount(file("/a/../../../x"))),
    ("no absolute path", *mount(file("a"))),
    ("up in a volume", *put(file("../../../x"))),
    ("through a link", *put(file("out/x"))),
    ("over a link", *put(file("link/x"))),
    ("up", *got("../../../../etc/hostname")),
    ("the link", *got("link")),
    ("behind a link", *got("out/secret")),
    ("more than any disk has", "BlobCreate", "BlobCreateRequest",
     {"content_sha256_base64": "A" * 43 + "=", "content_length": 2**63 - 1}),
]
for what, text in ask(lambda: Channel("127.0.0.1", $PORT), asked, token).items():
    print(what, "->", text)
"""
LINKS = """
import os

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$NAME", create_if_missing=True)


@app.function(volumes={"/data": volume})
def links():
    os.symlink("$OUTSIDE/secret", "/data/link")
    os.symlink("$OUTSIDE", "/data/out")
    os.symlink("../../../../../../../../$OUTSIDE", "/data/up")
    with open("/data/one", "w") as file:
        file.write("one")
    os.link("/data/one", "/data/two")
    volume.commit()


@app.local_entrypoint()
def main():
    links.remote()
    print("VOLUME", volume.object_id)
"""


def test_nothing_leads_out_of_a_volume_or_a_mount(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    outside, name = tmp_path / "outside", client.name("v")
    outside.mkdir()
    (outside / "secret").write_text("not yours")
    out = client.run("run", client.write(LINKS, APP=client.name("links"), NAME=name, OUTSIDE=outside))
    (client.cwd / "mine").write_text("what it says")
    client.run("volume", "put", name, "mine", "/mine")  # so that its content is known
    sha, volume = hashlib.sha256(b"what it says").hexdigest(), out.split("VOLUME ")[1].split()[0]
    words = {"SHA": sha, "VOLUME": volume, "TOKEN": client.token[0], "KEY": client.token[1]}
    said = client.script(ASK + FILES, PORT=house.modal_port, **words)
    for line in said.splitlines():
        what, _, text = line.partition(" -> ")
        assert text.split(":")[0] in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"), line
        assert "not yours" not in line and what
    assert said.count(" -> ") == 12
    assert [path.name for path in outside.iterdir()] == ["secret"]

    assert listed(client, name) == ["link", "mine", "one", "out", "two", "up"]
    for path in ("/out", "/up"):
        out = client.run("volume", "ls", name, path, check=None)
        assert "secret" not in out
    (client.cwd / "all").mkdir()
    client.run("volume", "get", name, "/one", "all/one")
    client.run("volume", "get", name, "/two", "all/two")
    assert (client.cwd / "all/one").read_text() == (client.cwd / "all/two").read_text() == "one"
    client.run("volume", "get", name, "/", "all", "--force", check=None)
    for folder, _, files in os.walk(client.cwd / "all"):
        for file in files:
            path = os.path.join(folder, file)
            assert os.path.islink(path) or "not yours" not in open(path).read()
    client.run("volume", "rm", "-r", name, "/out")
    client.run("volume", "rm", name, "/link")
    assert (outside / "secret").read_text() == "not yours"
    client.run("volume", "delete", name, "--yes")

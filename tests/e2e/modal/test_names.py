"""Names that a user gives, and what is told under them: images that are published, tags of apps, secrets that
change, environments, things found by their ids."""

import json

from .client import Client, labels

APP = """
import os

app = modal.App("$APP", image=image.run_commands("echo $WORD >/built.txt"), tags={"team": "a"})


@app.function(secrets=[modal.Secret.from_name("$SECRET")], **limits())
def show():
    return os.environ["ONE"], os.environ.get("TWO"), open("/built.txt").read().strip()


@app.function(image=image)
@modal.asgi_app()
def web():
    pass
"""
ALL = """
import datetime

app = modal.App.lookup("$APP")
print("tags", app.get_tags())
app.set_tags({"team": "b", "cost": "none"})
print("tags", dict(sorted(modal.App.lookup("$APP").get_tags().items())))

secret = modal.Secret.from_name("$SECRET")
show = modal.Function.from_name("$APP", "show")
print("before", show.remote())
secret.update({"TWO": "2"})
info = secret.info()
print("secret", info.name, info.created_at.year >= 2024)
print("after", show.remote())

build = modal.App.lookup("$APP-build", create_if_missing=True)
one = modal.Image.from_registry("host").run_commands("echo one >/name.txt").build(build)
two = modal.Image.from_registry("host").run_commands("echo two >/name.txt").build(build)
one.publish("$NAME")
one.publish("$NAME:v1")
two.publish("$NAME:v2")
two.publish("$NAME")
print("ids", one.object_id, two.object_id)

d = modal.Dict.from_name("$NAME-d", create_if_missing=True).hydrate()
q = modal.Queue.from_name("$NAME-q", create_if_missing=True).hydrate()
v = modal.Volume.from_name("$NAME-v", create_if_missing=True).hydrate()
d["a"] = 7
q.put(8)
print("by id", modal.Dict.from_id(d.object_id)["a"], modal.Queue.from_id(q.object_id).get())
print("volume", modal.Volume.from_id(v.object_id).info().name)
"""
USES = """
app = modal.App("$APP-uses", image=modal.Image.from_name("$NAME$TAG"))


@app.function()
def name():
    return open("/name.txt").read().strip()


@app.local_entrypoint()
def main():
    tell(name.remote())
"""


def test_names_tags_and_secrets_that_change(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    words = {"APP": client.name("app"), "SECRET": client.name("secret"), "NAME": client.name("img")}
    client.run("secret", "create", words["SECRET"], "ONE=1")
    client.run("deploy", client.write(APP, WORD="built", **words))
    out = client.script(ALL, **words)
    said = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
    assert "tags {'team': 'a'}" in out and "tags {'cost': 'none', 'team': 'b'}" in out
    assert said["before"] == "('1', None, 'built')" and said["after"] == "('1', '2', 'built')"
    assert said["secret"] == f"{words['SECRET']} True" and "by id 7 8" in out
    assert said["volume"] == f"{words['NAME']}-v"
    one, two = said["ids"].split()

    info = json.loads(client.run("app", "info", words["APP"], "--json"))
    assert sorted(info["functions"]) == ["show", "web"] and info["lifecycle"]["version"] == 1
    assert info["functions"]["web"]["summary"]["web_function"]
    client.stop(words["APP"])

    for tag in ("", ":v1", ":v2"):
        client.run("run", client.write(USES, TAG=tag, **words))
    assert client.told() == ["two", "one", "two"]
    missing = client.run("run", client.write(USES, TAG=":v3", **words), check=False)
    assert "v3" in missing and "publish" in missing
    rows = json.loads(client.run("image", "names", "list", "--json"))
    mine = {r["tag"].split(":")[1]: r["image_id"] for r in rows if r["tag"].startswith(words["NAME"])}
    assert mine == {"latest": two, "v1": one, "v2": two}
    history = json.loads(client.run("image", "names", "history", words["NAME"], "--json"))
    assert [r["image_id"] for r in history] == [two, one]
    client.run("image", "names", "delete", words["NAME"] + ":v1", "--yes")
    assert "v1" in client.run("image", "names", "delete", words["NAME"] + ":v1", "--yes", check=False)
    (client.cwd / "Dockerfile").write_text("FROM host\nCOPY app.py /\nRUN echo three >/name.txt\n")
    client.run("image", "build", "-t", words["NAME"] + ":v3", ".")
    client.run("run", client.write(USES, TAG=":v3", **words))
    assert client.told()[-1] == "three"
    client.script(f'import modal.experimental\nmodal.experimental.image_delete("{two}")\n')
    gone = client.run("run", client.write(USES, TAG=":v2", **words), check=False)
    assert "deleted" in " ".join(gone.replace("│", " ").split())


ENVIRONMENT = """
app = modal.App("$APP")


@app.function(image=image)
@modal.asgi_app()
def web():
    pass
"""


def test_an_environment_has_a_suffix_in_its_host_names(client):
    app, name = client.name("env"), client.name("e")[-20:].strip("-")
    client.run("environment", "create", name)
    client.write(ENVIRONMENT, APP=app)
    assert f"--{name}-{app}" in labels(client.run("deploy", "app.py", "--env", name))[0]
    client.run("environment", "update", name, "--set-web-suffix", f"x{client.version[0]}")
    assert f"--x{client.version[0]}-{app}" in labels(client.run("deploy", "app.py", "--env", name))[0]
    out = client.run("environment", "update", name, "--set-name", "other", check=False)
    assert "docs/compat.md" in " ".join(out.replace("│", " ").split())
    rows = json.loads(client.run("environment", "list", "--json"))
    assert f"x{client.version[0]}" in [v for row in rows for v in row.values()]


MADE_HERE = """
import asyncio

from modal.client import _Client
from modal_proto import api_pb2


async def build():
    client = await _Client.from_env()
    asked = api_pb2.Image(dockerfile_commands=["FROM $NAME", "RUN cat /word"])
    request = api_pb2.ImageGetOrCreateRequest(image=asked, builder_version="2025.06")
    made = await client.stub.ImageGetOrCreate(request)
    join = api_pb2.ImageJoinStreamingRequest(image_id=made.image_id, timeout=60)
    join.include_logs_for_finished, said = True, ""
    async for answer in client.stub.ImageJoinStreaming.unary_stream(join):
        said += "".join(log.data for log in answer.task_logs)
    tell(made.image_id, said.split("\\n")[-3] if "built" in said else said)


asyncio.run(build())
"""


def test_an_image_on_one_that_was_made_here_is_made_anew_with_it(house, tmp_path):
    client = Client("1.6.4", house, tmp_path)
    name = client.name("base")
    for word in ("one", "two"):
        context = tmp_path / word
        context.mkdir()
        (context / "word").write_text(word)
        (context / "Dockerfile").write_text("FROM host\nCOPY word /word\n")
        house.catnap.cli("image", "build", str(context), "-t", name)
        client.script(MADE_HERE, NAME=name)
        client.script(MADE_HERE, NAME=name)
    ids = [line.split()[0] for line in client.told()]
    assert ids[0] == ids[1] != ids[2] == ids[3], client.told()
    assert [line.split(" ", 1)[1] for line in client.told()] == ["one", "one", "two", "two"]

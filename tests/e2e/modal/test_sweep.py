"""Blobs that nobody needs any more go; what a call, a volume or an app needs stays, also where the daemon is
killed at it."""

import hashlib
import os
import signal

from conftest import wait_for

from .client import Client

APP = """
import os

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$VOLUME", create_if_missing=True)


@app.function(volumes={"/data": volume})
def large(n):
    return os.urandom(n)


@app.local_entrypoint()
def main():
    pass
"""
SPAWN = """
call = modal.Function.from_name("$APP", "large").spawn(3000000)
call.get(timeout=120)
print("CALL", call.object_id)
"""
GET = 'print("GOT", len(modal.FunctionCall.from_id("$CALL").get(timeout=60)))'
# A block of a volume's file, put and never committed.
ORPHAN = """
import asyncio
from modal.client import _Client
from modal._utils.blob_utils import blob_upload


async def main():
    client = await _Client.from_env()
    print("BLOB", await blob_upload(b"$WORD" * 1000000, client.stub))


asyncio.run(main())
"""


def blobs(house):
    return {p.name: p for p in (house.catnap.state / "blobs/sha256").glob("*/*")}


def age(house):
    for path in blobs(house).values():
        os.utime(path, (1000000, 1000000))


def test_what_nobody_needs_goes_and_the_rest_stays(own_house, tmp_path):
    client, catnap = Client("1.6.4", own_house, tmp_path), own_house.catnap
    words = {"APP": client.name("app"), "VOLUME": client.name("v")}
    client.run("deploy", client.write(APP, **words))
    (client.cwd / "file").write_bytes(os.urandom(5 << 20))
    client.run("volume", "put", words["VOLUME"], "file")
    call = client.script(SPAWN, **words).split("CALL ")[1].split()[0]
    orphan = client.script(ORPHAN, WORD="gone").split("BLOB bl-")[1].split()[0]
    assert orphan == hashlib.sha256(b"gone" * 1000000).hexdigest() and orphan in blobs(own_house)
    young = client.script(ORPHAN, WORD="late").split("BLOB bl-")[1].split()[0]
    age(own_house)
    os.utime(blobs(own_house)[young])
    catnap.cli("image", "prune")
    wait_for("the block that nobody committed is gone", lambda: orphan not in blobs(own_house))
    assert young in blobs(own_house), "an upload that may go on"
    assert "GOT 3000000" in client.script(GET, CALL=call)

    orphans = set()
    for word in ("one", "two"):
        orphans.add(client.script(ORPHAN, WORD=word).split("BLOB bl-")[1].split()[0])
        age(own_house)
        catnap.cli("image", "prune")
        catnap.stop(signal.SIGKILL)
        catnap.start()
    client.run("volume", "get", words["VOLUME"], "/file", "back")
    assert (client.cwd / "back").read_bytes() == (client.cwd / "file").read_bytes()
    client.run("deploy", "app.py")
    age(own_house)
    catnap.cli("image", "prune")
    wait_for("nothing is left of them", lambda: not orphans & blobs(own_house).keys())
    assert "CALL fc-" in client.script(SPAWN, **words), "and all works"


BUILT = """
image = image.run_commands("echo $WORD; head -c 2000000 /dev/urandom > /big")
app = modal.App("$APP", image=image)


@app.function()
def size():
    import os

    return os.path.getsize("/big")
"""
ASK = 'print("SIZE", modal.Function.from_name("$APP", "size").remote())'


def test_images_that_no_app_needs_go(own_house, tmp_path):
    client, catnap = Client("1.6.4", own_house, tmp_path), own_house.catnap
    catnap.stop()
    (tmp_path / "catnapd.yaml").write_text("image_cache_age: 1s\n")
    catnap.extra += ["--config", str(tmp_path / "catnapd.yaml")]
    catnap.start()
    first, second = client.name("first"), client.name("second")
    client.run("deploy", client.write(BUILT, APP=first, WORD="one"))
    client.run("deploy", client.write(BUILT, APP=second, WORD="two"))
    client.run("deploy", client.write(BUILT, APP=second, WORD="three"))
    layers = catnap.state / "images/layers"
    assert len(list(layers.iterdir())) == 3
    client.run("app", "stop", first, "--yes")

    def pruned():
        catnap.cli("image", "prune")
        return len(list(layers.iterdir())) == 2

    wait_for("the stopped app's layer went, both versions of the other have theirs", pruned)
    client.run("app", "rollback", second)
    assert "SIZE 2000000" in client.script(ASK, APP=second)


def mounts(house):
    return {p.name: p for p in (house.catnap.state / "modal/mounts").iterdir()}


def test_old_sources_go_and_what_is_served_or_can_be_gone_back_to_stays(own_house, tmp_path):
    client, catnap = Client("1.6.4", own_house, tmp_path), own_house.catnap
    words = {"APP": client.name("app"), "VOLUME": client.name("v")}
    client.run("deploy", client.write(APP, **words))
    client.run("deploy", client.write(APP + "\n# another\n", **words))
    kept = mounts(own_house).keys()
    client.run("run", client.write(APP + "\n# a trial\n", "trial.py", **{**words, "APP": client.name("try")}))
    trials = mounts(own_house).keys() - kept
    assert len(kept) >= 2 and trials

    def prune():
        for path in mounts(own_house).values():
            os.utime(path, (1000000, 1000000))
        catnap.cli("image", "prune")

    catnap.stop()
    catnap.start()  # a run that ended is remembered for ten minutes
    prune()
    wait_for("the trial's are gone", lambda: not mounts(own_house).keys() - kept)
    assert mounts(own_house).keys() == kept
    client.run("app", "rollback", words["APP"])
    assert "CALL fc-" in client.script(SPAWN, **words), "what was served before has its sources"

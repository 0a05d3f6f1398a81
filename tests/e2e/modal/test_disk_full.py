"""A disk that fills during an upload, a build, a commit, a deploy: each is refused with a sentence, nothing
is torn, what served goes on, and with room again all goes on as before. A result that it did not take is
written when it does."""

import os
import shutil
import subprocess
import tempfile

import pytest
from conftest import must_be_root, wait_for

from .client import Client, House, labels
from .conftest import CACHE
from .test_volume import listed

SIZE_MB = 80
APP = """
app = modal.App("$APP", image=image$BUILD)
volume = modal.Volume.from_name("$VOLUME", create_if_missing=True)


@app.function(volumes={"/data": volume})
def fill(mb):
    with open("/data/grown", "wb") as file:
        for _ in range(mb):
            file.write(os.urandom(1 << 20))
    volume.commit()
    return os.listdir("/data")


@app.function(volumes={"/data": volume})
def hold():
    open(f"/data/ran-{modal.current_input_id()}-{os.getpid()}", "w").close()
    while not os.path.exists("/data/go"):
        time.sleep(0.02)
    return bytes(1900000)


@app.function(**limits())
@modal.asgi_app()
def web():
    async def asgi(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"$WORD"})

    return asgi


import os
import time
"""
SPAWN = """
print("CALL", modal.Function.from_name("$APP", "hold").spawn().object_id)
"""
# A token has the name that its record has.
RENAME = """
tokens = modal.Workspace.from_context().proxy_tokens
id = (tokens.list() or [tokens.create(name="one")])[0].token_id
try:
    tokens.update(id, name="$NAME")
    print("TAKEN")
except Exception as error:
    print("REFUSED", error)
print("NAME", [token.name for token in tokens.list()])
"""
GET = """
print("GOT", len(modal.FunctionCall.from_id("$CALL").get(timeout=120)))
"""
FILL = """
get = (lambda f: modal.Function.lookup("$APP", f)) if OLD else (lambda f: modal.Function.from_name("$APP", f))
print("GOT", get("fill").remote($MB))
"""


@pytest.fixture
def small():
    """A house on a disk of its own, which is small."""
    must_be_root()
    directory = tempfile.mkdtemp(prefix="catnap-small-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "none", directory], check=True)
    house = House(directory, CACHE)
    house.catnap.start()
    yield house
    house.catnap.stop()
    subprocess.run(["umount", "-l", directory], check=True)
    shutil.rmtree(directory, ignore_errors=True)


def full(out):
    words = " ".join(out.replace("│", " ").split()).lower()
    return "no space left" in words or "disk is full" in words


def test_a_disk_that_fills(small, tmp_path):
    client = Client("1.6.4", small, tmp_path)
    app, volume = client.name("full"), client.name("v")
    words = {"APP": app, "VOLUME": volume, "BUILD": "", "WORD": "one"}
    (label,) = labels(client.run("deploy", client.write(APP, **words)))
    assert small.get(label).text == "one"

    with open(client.cwd / "big", "wb") as file:
        for _ in range(SIZE_MB + 30):
            file.write(os.urandom(1 << 20))
    assert full(client.run("volume", "put", volume, "big", check=False))
    assert listed(client, volume) == []
    left = [p for p in (small.catnap.state / "modal/uploads").rglob("*") if p.is_file() and p.stat().st_size]
    assert not left, "what came of it holds no room"

    assert full(client.run(client.write(FILL, "fill.py", APP=app, MB=SIZE_MB), python=True, check=False))
    client.run("volume", "rm", volume, "/grown", check=None)
    out = client.run(client.write(FILL, "fill.py", APP=app, MB=1), python=True)
    assert "GOT ['grown']" in out

    grow = {"BUILD": f'.run_commands("head -c {SIZE_MB << 20} /dev/urandom >/big")', "WORD": "two"}
    assert full(client.run("deploy", client.write(APP, **{**words, **grow}), check=False))
    assert small.get(label).text == "one"

    call = client.script(SPAWN, APP=app).split("CALL ")[1].split()[0]

    assert "NAME ['two']" in client.script(RENAME, NAME="two")

    def ran():
        return list((small.catnap.state / "volumes").rglob("ran-*"))

    wait_for("it is at work", ran)
    filler = small.catnap.directory / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True)
    words["WORD"] = "three"
    assert full(client.run("deploy", client.write(APP, **words), check=False))
    assert small.get(label).text == "one"
    out = client.script(RENAME, NAME="three")
    assert "REFUSED" in out and "NAME ['two']" in out, out
    (ran()[0].parent / "go").touch()
    wait_for("its result has no room", lambda: "would not outlive catnap" in small.catnap.log.read_text())
    filler.unlink()
    small.catnap.stop()
    small.catnap.start()
    assert "GOT 1900000" in client.script(GET, CALL=call) and len(ran()) == 1
    client.run("deploy", "app.py")
    assert small.get(label).text == "three"

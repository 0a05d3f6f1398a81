"""Volumes: by the client's commands both ways, in containers, and over every end of a container and of the
daemon."""

import json
import os
import subprocess

import pytest
from conftest import wait_for

APP = '''
import pathlib

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$VOLUME", create_if_missing=True, $VERSION)


@app.function(volumes={"/data": volume}, **limits(idle=60))
def write(name, text):
    pathlib.Path("/data", name).write_text(text)
    volume.commit()
    return sorted(p.name for p in pathlib.Path("/data").iterdir())


@app.function(volumes={"/data": volume}, **limits(idle=60))
def read(name):
    volume.reload()
    path = pathlib.Path("/data", name)
    return path.read_text() if path.exists() else None


@app.function(volumes={"/data": volume}, **limits(idle=60))
def leave(name):
    """Written without a commit: its end brings it."""
    pathlib.Path("/data", name).write_text("left")
'''
CALL = """
import sys

get = (lambda f: modal.Function.lookup("$APP", f)) if OLD else (lambda f: modal.Function.from_name("$APP", f))
print("GOT", get(sys.argv[1]).remote(*sys.argv[2:]))
"""


@pytest.fixture(params=[1, 2], ids=["v1", "v2"])
def volume(request, client):
    if client.old and request.param == 2:
        pytest.skip("modal 0.64.0 knows one version of volumes")
    name = client.name("files")
    client.run("volume", "create", name, *(["--version", "2"] if request.param == 2 else []))
    yield name
    client.run("volume", "delete", name, "--yes", check=None)


def listed(client, volume, path="/"):
    return sorted(
        os.path.basename(row.get("Filename") or row.get("filename"))
        for row in json.loads(client.run("volume", "ls", volume, path, "--json"))
    )


def test_files_both_ways(client, volume):
    big = os.urandom(9 << 20) + bytes(3 << 20)  # over a block, and zeros at its end
    (client.cwd / "big").write_bytes(big)
    (client.cwd / "tree/in").mkdir(parents=True)
    (client.cwd / "tree/in/one").write_text("1")
    (client.cwd / "tree/two").write_text("2")
    (client.cwd / "empty").write_text("")
    client.run("volume", "put", volume, "big", "/d/big")
    client.run("volume", "put", volume, "tree", "/tree")
    client.run("volume", "put", volume, "empty")
    assert listed(client, volume) == ["d", "empty", "tree"]
    assert listed(client, volume, "/tree") == ["in", "two"]

    client.run("volume", "get", volume, "/d/big", "back")
    assert (client.cwd / "back").read_bytes() == big
    (client.cwd / "out").mkdir()
    client.run("volume", "get", volume, "/tree", "out")
    assert (client.cwd / "out/tree/in/one").read_text() == "1" and (
        client.cwd / "out/tree/two"
    ).read_text() == "2"
    client.run("volume", "get", volume, "/empty", "nothing")
    assert (client.cwd / "nothing").read_bytes() == b""

    assert "is there already" in client.run("volume", "put", volume, "empty", "/d/big", check=False)
    client.run("volume", "put", volume, "empty", "/d/big", "--force")
    client.run("volume", "get", volume, "/d/big", "back", "--force")
    assert (client.cwd / "back").read_bytes() == b""

    client.run("volume", "cp", volume, "/tree/two", "/d/three")
    assert listed(client, volume, "/d") == ["big", "three"]
    client.run("volume", "rm", volume, "/d/big")
    client.run("volume", "rm", "-r", volume, "/tree")
    assert listed(client, volume) == ["d", "empty"]
    assert client.run("volume", "get", volume, "/nosuch", "no", check=False)
    assert not (client.cwd / "no").exists()


def test_a_big_file_goes_in_parts_and_comes_back(client, house):
    name, piece = client.name("big"), os.urandom(1 << 20)
    with open(client.cwd / "big", "wb") as file:
        for _ in range(200):
            file.write(piece)
        file.write(b"its end")
    client.run("volume", "create", name)
    client.run("volume", "put", name, "big")
    client.run("volume", "get", name, "/big", "back")
    subprocess.run(["cmp", "big", "back"], cwd=client.cwd, check=True, timeout=120)
    uploads = house.catnap.state / "modal/uploads"
    assert list(uploads.iterdir()) == [], "nothing of the parts is left"
    client.run("volume", "delete", name, "--yes")


def test_the_life_of_a_name(client, volume):
    names = [n for row in json.loads(client.run("volume", "list", "--json")) for n in row.values()]
    assert volume in names
    assert client.run("volume", "create", volume, check=False)
    if not client.old:
        client.run("volume", "rename", volume, volume + "-2", "--yes")
        assert client.run("volume", "ls", volume, check=False)
        client.run("volume", "rename", volume + "-2", volume, "--yes")
    client.run("volume", "delete", volume, "--yes")
    assert client.run("volume", "ls", volume, check=False)


@pytest.mark.parametrize("format", [1, 2], ids=["v1", "v2"])
def test_what_was_committed_stays(own_client, own_house, format):
    client, catnap = own_client, own_house.catnap
    if client.old and format == 2:
        pytest.skip("modal 0.64.0 knows one version of volumes")
    app, name = client.name("keeps"), client.name("kept")
    words = {"APP": app, "VOLUME": name, "VERSION": "version=2" if format == 2 else ""}

    def call(*arguments):
        return (
            client.run(client.write(CALL, "call.py", **words), *arguments, python=True)
            .split("GOT ")[1]
            .strip()
        )

    client.run("deploy", client.write(APP, **words))
    assert call("write", "a", "one") == "['a']"
    assert call("read", "a") == "one", "another container sees it"
    call("leave", "b")
    catnap.cli("sleep", f"{app}.leave")
    wait_for("its exit brings what it left", lambda: call("read", "b") == "left")
    (client.cwd / "c").write_text("from outside")
    client.run("volume", "put", name, "c", "/c")
    assert call("read", "c") == "from outside"
    client.run("volume", "get", name, "/a", "a.back")
    assert (client.cwd / "a.back").read_text() == "one"

    client.run("deploy", "app.py")
    assert call("read", "a") == "one", "over a deploy"
    catnap.stop()
    catnap.start()
    assert call("read", "a") == "one", "over a new start"
    client.stop(app)
    client.run("deploy", "app.py")
    assert call("read", "b") == "left", "over a stop"


PARTS = """
import os
import pathlib

app = modal.App("$APP", image=image)
volume = modal.Volume.from_name("$VOLUME", create_if_missing=True)


def part(path):
    return {"/mine": volume.with_mount_options(sub_path=path)}


@app.function(volumes=part("/users/ann/"))
def write(text):
    volume.reload()
    pathlib.Path("/mine/note").write_text(text)
    volume.commit()
    return sorted(str(p) for p in pathlib.Path("/mine").rglob("*"))


@app.function(volumes={"/all": volume})
def plant():
    os.symlink("/etc", "/all/users/link")
    return sorted(p.name for p in pathlib.Path("/all/users").iterdir())


@app.function(volumes=part("users/link/ssl"))
def led():
    return os.listdir("/mine")


@app.local_entrypoint()
def main():
    print("WROTE", write.remote("hers"))
    print("PLANTED", plant.remote())
    try:
        print("LED", led.remote())
    except Exception as error:
        print("REFUSED", str(error).replace("\\n", " "))
    both = "cat /mine/note; echo more > /mine/more"
    sandbox = modal.Sandbox.create("sh", "-c", both, app=app, image=image, volumes=part("users/ann"))
    sandbox.wait()
    print("SANDBOX", sandbox.stdout.read())
"""


def test_a_part_of_a_volume_is_mounted_and_nothing_else(client):
    if client.old:
        pytest.skip("modal 0.64.0 knows no sub_path")
    app, volume = client.name("parts"), client.name("part")
    out = client.run("run", client.write(PARTS, APP=app, VOLUME=volume))
    assert "WROTE ['/mine/note']" in out
    assert "PLANTED ['ann', 'link']" in out
    assert "LED" not in out and "link is there in the volume and is no directory" in out
    assert "SANDBOX hers" in out
    assert listed(client, volume, "/users/ann") == [
        "more",
        "note",
    ], "what the sandbox wrote came with its end"
    wrong = PARTS.replace('part("users/link/ssl")', 'part("../other")')
    assert "'..' leads out" in client.run("deploy", client.write(wrong, APP=app, VOLUME=volume), check=False)
    client.run("volume", "delete", volume, "--yes")

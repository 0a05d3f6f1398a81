"""Images pulled from a real registry: what an app gets of them, and each failure told."""

import hashlib
import json
import os
import pathlib
import shutil
import socketserver
import subprocess
import tarfile
import threading

import pytest
from conftest import BIN, free_port, wait_for
from image_house import catnap, make, registry  # fixtures
from image_house import app, build, images, layer_directories
from image_house import nothing_half_made
from images import Registry, needed, tar_of, tree

pytestmark = pytest.mark.skipif(
    not (needed("skopeo") and needed("docker-registry") and needed("busybox")),
    reason="skopeo, docker-registry and busybox-static are not all here",
)


def test_an_app_runs_from_a_registry_as_its_image_says(catnap):
    port = free_port()
    done = catnap.up(app("tiny:1", port))
    assert "pulling 1 of 1 layers" in done.stderr
    assert catnap.get(port).text.startswith("from the image")
    pid = catnap.function("imaged", "web")["containers"][0]["pid"]
    server = wait_for("the server's process", lambda: children(pid))[0]
    status = pathlib.Path(f"/proc/{server}/status").read_text()
    assert "\nUid:\t1234\t" in status and "\nGid:\t1235\t" in status
    assert os.readlink(f"/proc/{server}/cwd") == "/srv"
    assert "pulling" not in catnap.up(app("tiny:1", port, memory="64M")).stderr  # it is here


def children(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return []


def test_what_the_manifest_says_wins_over_the_image(catnap):
    port = free_port()
    catnap.up(app("tiny:1", port, env="{TINY_BODY: from the manifest}", user='"0"'))
    assert catnap.get(port).text.startswith("from the manifest")


def test_a_digest_names_exactly_that_image(catnap, registry):
    digest = registry.layout.manifests[0]["digest"]
    catnap.cli("image", "pull", f"docker.io/library/tiny@{digest}")
    assert digest in images(catnap)["images"][0]["source"]
    wrong = catnap.cli("image", "pull", "tiny@sha256:" + "0" * 64, check=False)
    assert wrong.returncode == 1 and "manifest unknown" in wrong.stderr


def test_of_several_kinds_of_machines_ours_is_taken(catnap):
    port = free_port()
    catnap.up(app("somebody/multi:1", port))
    assert catnap.get(port).status == 200


def test_layers_are_fetched_once_and_whiteouts_hide(catnap):
    catnap.cli("image", "pull", "tiny:1")
    done = catnap.cli("image", "pull", "tiny:2")
    assert "pulling 1 of 2 layers" in done.stderr
    listed = build(catnap, "FROM tiny:2\nRUN ls /srv /bin/seq /etc/added; readlink /bin/seq || true\n").stderr
    assert "new" in listed and "/etc/added" in listed
    assert "/bin/seq: No such file" in listed


def test_a_name_that_is_not_there_is_told_with_all_places_that_were_asked(catnap, registry):
    refused = catnap.up(app("nobody/has:this", free_port()), check=False)
    assert refused.returncode == 1
    assert "docker.io/nobody/has:this" in refused.stderr and registry.address in refused.stderr
    assert catnap.ps()["apps"] == []
    bad = catnap.up(app("Nobody/Has This", free_port()), check=False)
    assert bad.returncode == 1 and "image" in bad.stderr


def test_a_private_registry_wants_credentials(make, registry, tmp_path):
    private = Registry(tmp_path, user=("me", "geheim"))
    try:
        private.push(registry.layout, "one", "team/app:1")
        catnap = make(f"  {private.address}: http://{private.address}\n").start()
        name = f"{private.address}/team/app:1"
        refused = catnap.cli("image", "pull", name, check=False)
        assert refused.returncode == 1 and "authentication required" in refused.stderr
        wrong = catnap.cli(
            "image",
            "pull",
            name,
            check=False,
            env={"CATNAP_REGISTRY_USER": "me", "CATNAP_REGISTRY_PASSWORD": "x"},
        )
        assert wrong.returncode == 1
        catnap.cli(
            "image", "pull", name, env={"CATNAP_REGISTRY_USER": "me", "CATNAP_REGISTRY_PASSWORD": "geheim"}
        )
        assert images(catnap)["images"][0]["name"] == name
        kept = [
            path
            for path in (catnap.state / "images").rglob("*")
            if path.is_file() and b"geheim" in path.read_bytes()
        ]
        assert kept == [] and "geheim" not in catnap.log.read_text()
    finally:
        private.stop()


class Stalling(socketserver.StreamRequestHandler):
    """A registry that tells of an image and then sends half of its layer, and no more."""

    def handle(self):
        request = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        server = self.server
        path = request.split()[1] if request else ""
        for name, data in server.parts.items():
            if path.endswith(name):
                kind = (
                    "application/vnd.oci.image.manifest.v1+json"
                    if "manifests" in name
                    else "application/octet-stream"
                )
                half = data[: len(data) // 2] if name == server.stalls_at else data
                self.wfile.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
                    f"Docker-Content-Digest: sha256:{hashlib.sha256(data).hexdigest()}\r\n"
                    f"Connection: close\r\n\r\n".encode() + half
                )
                self.wfile.flush()
                if half is not data:
                    server.release.wait()
                return
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}"
        )


def test_a_registry_that_stalls_is_told_and_left(make, registry):
    manifest = registry.layout.manifests[0]["digest"].split(":")[1]
    text = (registry.layout.blobs / manifest).read_bytes()
    parsed = json.loads(text)
    config, layer = (
        parsed[key]["digest"] if key == "config" else parsed[key][0]["digest"] for key in ("config", "layers")
    )
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Stalling) as server:
        server.daemon_threads = True
        server.release = threading.Event()
        server.stalls_at = f"/blobs/{layer}"
        server.parts = {"/manifests/1": text, f"/manifests/sha256:{manifest}": text}
        for digest in (config, layer):
            server.parts[f"/blobs/{digest}"] = (registry.layout.blobs / digest.split(":")[1]).read_bytes()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        catnap = make(f"  {address}: http://{address}\npull_stall: 1s\n").start()
        refused = catnap.cli("image", "pull", f"{address}/library/tiny:1", check=False)
        assert refused.returncode == 1 and "stalled" in refused.stderr and "MB are here" in refused.stderr
        server.release.set()
        server.shutdown()
    assert images(catnap)["images"] == []
    assert nothing_half_made(catnap)


def test_two_who_pull_the_same_at_once_share_it(catnap):
    command = [str(BIN / "catnap"), "image", "pull", "tiny:1"]
    several = [
        subprocess.Popen(
            command,
            env={**os.environ, "CATNAP_API": catnap.api},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [one.communicate(timeout=60) for one in several]
    assert all(one.returncode == 0 for one in several), answers
    assert len({answer[0] for answer in answers}) == 1
    assert len(layer_directories(catnap)) == 1 and nothing_half_made(catnap)


def hostile(kind, name, target="", data=b"", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, len(data), mode
    return info, data


@pytest.mark.parametrize(
    "layer, said",
    [
        ([hostile(tarfile.REGTYPE, "../../outside", data=b"x")], "leads out"),
        (
            [
                hostile(tarfile.DIRTYPE, "tmp", mode=0o755),
                hostile(tarfile.SYMTYPE, "door", "/tmp"),
                hostile(tarfile.REGTYPE, "door/outside", data=b"x"),
            ],
            None,
        ),
        (
            [hostile(tarfile.SYMTYPE, "door", "/tmp"), hostile(tarfile.REGTYPE, "door/outside", data=b"x")],
            "door",
        ),
        (
            [
                hostile(tarfile.SYMTYPE, "up", "../../../.."),
                hostile(tarfile.REGTYPE, "up/tmp/outside", data=b"x"),
            ],
            None,
        ),
        ([hostile(tarfile.LNKTYPE, "mine", "../../../../etc/passwd")], "leads out"),
        ([hostile(tarfile.SYMTYPE, "etc", "/etc"), hostile(tarfile.LNKTYPE, "mine", "etc/shadow")], "mine"),
    ],
)
def test_a_hostile_layer_writes_nothing_outside(catnap, tmp_path, layer, said):
    shutil.rmtree("/tmp/outside", ignore_errors=True)
    path = tmp_path / "hostile.tar"
    path.write_bytes(tar_of({str(i): entry for i, entry in enumerate(layer)}))
    before = tree(catnap.directory)
    done = catnap.cli("image", "import", "hostile", str(path), check=False)
    assert (done.returncode == 0) == (said is None), done.stderr
    if said:
        assert said in done.stderr
        assert images(catnap)["images"] == [] and nothing_half_made(catnap)
    grown = {name for name, _ in tree(catnap.directory) - before}
    assert all(
        name.startswith(("state/images/", "catnap.log")) or "catnap.db" in name for name in grown
    ), grown
    assert not os.path.exists("/tmp/outside") and not list(pathlib.Path("/").glob("outside"))


def test_setuid_stays_and_devices_are_left_out(catnap, tmp_path):
    path = tmp_path / "special.tar"
    device = hostile(tarfile.BLKTYPE, "disk")
    device[0].devmajor, device[0].devminor = 254, 0
    path.write_bytes(tar_of({"1": hostile(tarfile.REGTYPE, "su", data=b"x", mode=0o4755), "2": device}))
    catnap.cli("image", "import", "special", str(path))
    layer = catnap.state / "images/layers" / layer_directories(catnap)[0] / "fs"
    assert sorted(os.listdir(layer)) == ["su"] and os.stat(layer / "su").st_mode & 0o7777 == 0o4755
    assert os.stat(catnap.state / "images").st_mode & 0o077 == 0  # nobody else of the machine reaches it

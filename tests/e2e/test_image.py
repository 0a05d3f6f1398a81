"""Images: pulled from a real registry, built in real containers, imported, kept and pruned; each failure told, and nothing left."""

import hashlib
import json
import os
import pathlib
import shutil
import signal
import socketserver
import subprocess
import tarfile
import tempfile
import threading
import time

import pytest

from conftest import BIN, ROOT, Catnap, free_port, must_be_root, wait_for
from images import Layout, Registry, needed, tar_of, tiny_layer, tree

pytestmark = pytest.mark.skipif(not (needed("skopeo") and needed("docker-registry") and needed("busybox")),
                                reason="skopeo, docker-registry and busybox-static are not all here")

TINY_CONFIG = {"Env": ["PATH=/bin:/srv", "TINY_BODY=from the image", "PORT=8000"], "Entrypoint": ["/srv/tiny_server"],
               "WorkingDir": "/srv", "User": "worker"}


@pytest.fixture(scope="session")
def registry(tmp_path_factory, tiny):
    """Stands in for docker.io. tiny:1, tiny:2 (a layer more, with whiteouts), multi:1 (two kinds of machines)."""
    directory = tmp_path_factory.mktemp("registry")
    registry = Registry(directory)
    layout = Layout(directory / "layout")
    base = tar_of(tiny_layer(tiny))
    more = tar_of({"bin/.wh.seq": b"", "srv/.wh..wh..opq": b"", "srv/new": b"new\n",
                   "srv/tiny_server": (pathlib.Path(tiny) / "tiny_server").read_bytes(), "etc/added": b"added\n"})
    layout.name("one", layout.manifest([base], TINY_CONFIG))
    layout.name("two", layout.manifest([base, more], TINY_CONFIG, compress=False))
    layout.index("multi", [layout.manifest([tar_of({"wrong": b""})], architecture="s390x"), layout.manifest([base], TINY_CONFIG)])
    for name, path in (("one", "library/tiny:1"), ("two", "library/tiny:2")):
        registry.push(layout, name, path)
    registry.push(layout, "multi", "somebody/multi:1", everything=True)
    registry.layout = layout
    yield registry
    registry.stop()


@pytest.fixture
def make(make_catnap, registry):
    """A catnap whose docker.io is the registry of the tests; `more` are lines of its configuration."""

    def make_one(more="", directory=None):
        directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="catnap-test-"))
        config = directory / "catnapd.yaml"
        config.write_text(f"mirrors:\n  docker.io: http://{registry.address}\n{more}")
        return make_catnap(extra=["--modal", "off", "--config", str(config)], directory=directory)

    return make_one


@pytest.fixture
def catnap(make):
    return make().start()


def app(image, publish, **more):
    lines = ["app: imaged", "functions:", "  web:", f"    image: {image}", "    port: 8000", f"    publish: {publish}"]
    return "\n".join(lines + [f"    {key}: {value}" for key, value in more.items()]) + "\n"


def images(catnap):
    return json.loads(catnap.cli("image", "ls", "--json").stdout)


def build(catnap, dockerfile, *words, files=None, check=True, directory=None):
    directory = pathlib.Path(directory or tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(dockerfile)
    for name, content in (files or {}).items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    return catnap.cli("image", "build", str(directory), *words, check=check)


def layer_directories(catnap):
    return sorted(path.name for path in (catnap.state / "images/layers").iterdir())


def nothing_half_made(catnap):
    """Neither drafts nor layers without a size, nor what a pull left."""
    left = list((catnap.state / "images/tmp").iterdir())
    bad = [layer for layer in (catnap.state / "images/layers").iterdir() if not (layer / "size").exists()]
    return not left and not bad


# ---- pulling ----

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
        wrong = catnap.cli("image", "pull", name, check=False, env={"CATNAP_REGISTRY_USER": "me", "CATNAP_REGISTRY_PASSWORD": "x"})
        assert wrong.returncode == 1
        catnap.cli("image", "pull", name, env={"CATNAP_REGISTRY_USER": "me", "CATNAP_REGISTRY_PASSWORD": "geheim"})
        assert images(catnap)["images"][0]["name"] == name
        kept = [path for path in (catnap.state / "images").rglob("*") if path.is_file() and b"geheim" in path.read_bytes()]
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
                kind = "application/vnd.oci.image.manifest.v1+json" if "manifests" in name else "application/octet-stream"
                half = data[:len(data) // 2] if name == server.stalls_at else data
                self.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
                                 f"Docker-Content-Digest: sha256:{hashlib.sha256(data).hexdigest()}\r\n"
                                 f"Connection: close\r\n\r\n".encode() + half)
                self.wfile.flush()
                if half is not data:
                    server.release.wait()
                return
        self.wfile.write(b"HTTP/1.1 200 OK\r\nDocker-Distribution-Api-Version: registry/2.0\r\nContent-Length: 2\r\n"
                         b"Connection: close\r\n\r\n{}")


def test_a_registry_that_stalls_is_told_and_left(make, registry):
    manifest = registry.layout.manifests[0]["digest"].split(":")[1]
    text = (registry.layout.blobs / manifest).read_bytes()
    parsed = json.loads(text)
    config, layer = (parsed[key]["digest"] if key == "config" else parsed[key][0]["digest"] for key in ("config", "layers"))
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
    several = [subprocess.Popen(command, env={**os.environ, "CATNAP_API": catnap.api}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for _ in range(4)]
    answers = [one.communicate(timeout=60) for one in several]
    assert all(one.returncode == 0 for one in several), answers
    assert len({answer[0] for answer in answers}) == 1
    assert len(layer_directories(catnap)) == 1 and nothing_half_made(catnap)


def hostile(kind, name, target="", data=b"", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, target, len(data), mode
    return info, data


@pytest.mark.parametrize("layer, said", [
    ([hostile(tarfile.REGTYPE, "../../outside", data=b"x")], "leads out"),
    ([hostile(tarfile.DIRTYPE, "tmp", mode=0o755), hostile(tarfile.SYMTYPE, "door", "/tmp"),
      hostile(tarfile.REGTYPE, "door/outside", data=b"x")], None),
    ([hostile(tarfile.SYMTYPE, "door", "/tmp"), hostile(tarfile.REGTYPE, "door/outside", data=b"x")], "door"),
    ([hostile(tarfile.SYMTYPE, "up", "../../../.."), hostile(tarfile.REGTYPE, "up/tmp/outside", data=b"x")], None),
    ([hostile(tarfile.LNKTYPE, "mine", "../../../../etc/passwd")], "leads out"),
    ([hostile(tarfile.SYMTYPE, "etc", "/etc"), hostile(tarfile.LNKTYPE, "mine", "etc/shadow")], "mine"),
])
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
    assert all(name.startswith(("state/images/", "catnap.log")) or "catnap.db" in name for name in grown), grown
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


# ---- building ----

DOCKERFILE = """\
FROM tiny:1
USER root
ENV WHO=me
RUN echo "hello $WHO" > /made && cat /made
COPY data/ /data/
RUN cat /data/*.txt > /all
CMD ["/bin/cat", "/all"]
"""


def test_a_build_runs_its_steps_and_the_next_one_takes_them_from_the_cache(catnap):
    files = {"data/a.txt": "one\n", "data/b.txt": "two\n"}
    first = build(catnap, DOCKERFILE, "-t", "built", files=files)
    assert "hello me" in first.stderr and "(cached)" not in first.stderr
    again = build(catnap, DOCKERFILE, "-t", "built", files=files)
    assert again.stderr.count("(cached)") == 3 and "hello me" not in again.stderr
    assert again.stdout == first.stdout
    changed = build(catnap, DOCKERFILE, "-t", "built", files={**files, "data/b.txt": "TWO\n"})
    assert changed.stderr.count("(cached)") == 1 and changed.stdout != first.stdout
    forced = build(catnap, DOCKERFILE, "-t", "built", "--force", files=files)
    assert "(cached)" not in forced.stderr and "hello me" in forced.stderr
    assert nothing_half_made(catnap)


def test_what_was_built_runs(catnap):
    port = free_port()
    build(catnap, "FROM tiny:1\nENV TINY_BODY='built here'\nUSER root\nRUN touch /srv/x\n", "-t", "mine/app:3")
    catnap.up(app("mine/app:3", port))
    assert catnap.get(port).text.startswith("built here")


def test_a_failing_step_shows_its_output_and_its_exit_code(catnap):
    done = build(catnap, "FROM tiny:1\nUSER root\nRUN echo before; echo to-stderr >&2; exit 7\n", "-t", "broken", check=False)
    assert done.returncode == 1
    assert "exited with code 7" in done.stderr
    last = done.stderr[done.stderr.index("catnap: "):]
    assert "before" in last and "to-stderr" in last and "RUN echo before" in last
    assert images(catnap)["images"][0]["name"] == "tiny:1" and len(images(catnap)["images"]) == 1
    assert nothing_half_made(catnap)


def test_stages_args_and_files_of_another_image(catnap):
    done = build(catnap, """\
ARG BASE=tiny:1
FROM ${BASE} AS made
USER root
ARG VERSION=1
RUN echo "version $VERSION" > /srv/version && ln -s version /srv/link
FROM made AS not-needed
RUN false
FROM scratch
COPY --from=tiny:1 /bin /bin
COPY --from=made --chown=1234:50 /srv/ver* /srv/link /x/
RUN ["/bin/sh", "-c", "cat /x/link; stat -c '%u:%g %a' /x/version; ls /"]
""", "-t", "staged", "--build-arg", "VERSION=42")
    assert "version 42" in done.stderr and "1234:50" in done.stderr and "RUN false" not in done.stderr


def test_a_file_of_the_network_is_added(catnap, tmp_path):
    (tmp_path / "tool-1.2.tar").write_bytes(b"not unpacked")
    port = free_port()
    server = subprocess.Popen(["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/tool-1.2.tar"
        wait_for("the server", lambda: subprocess.run(["curl", "-sf", url], capture_output=True).returncode == 0)
        done = build(catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n")
        assert "not unpacked" in done.stderr
        assert build(catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n").stderr.count("(cached)") == 2
        (tmp_path / "tool-1.2.tar").write_bytes(b"a newer one")
        assert "a newer one" in build(catnap, f"FROM tiny:1\nUSER root\nADD {url} /opt/\nRUN cat /opt/tool-1.2.tar\n").stderr
        wrong = build(catnap, f"FROM tiny:1\nADD --checksum=sha256:{'0' * 64} {url} /x\n", check=False)
        assert wrong.returncode == 1 and hashlib.sha256(b"a newer one").hexdigest() in wrong.stderr
        gone = build(catnap, f"FROM tiny:1\nADD {url}.no /x\n", check=False)
        assert gone.returncode == 1 and "404" in gone.stderr
    finally:
        server.terminate()
        server.wait(30)
    assert nothing_half_made(catnap)


def test_secrets_are_seen_by_run_and_stay_nowhere(catnap):
    body = {"commands": "FROM tiny:1\nUSER root\nRUN echo \"$TOKEN\" | sha256sum\n"
                        "RUN --mount=type=secret,id=TOKEN cat /run/secrets/TOKEN | wc -c\n", "secrets": {"TOKEN": "s3cr3t-value"}}
    answer = subprocess.run(["curl", "-sS", "--unix-socket", catnap.api, "-d", json.dumps(body), "http://x/v1/images/build"],
                            capture_output=True, text=True, check=True).stdout
    lines = [json.loads(line) for line in answer.splitlines()]
    assert "image" in lines[-1], answer
    assert {"line": hashlib.sha256(b"s3cr3t-value\n").hexdigest() + "  -"} in lines and {"line": "12"} in lines
    assert "s3cr3t" not in answer and "s3cr3t" not in catnap.log.read_text()
    kept = [path for path in (catnap.state / "images").rglob("*") if path.is_file() and b"s3cr3t" in path.read_bytes()]
    assert kept == [] and not list(pathlib.Path("/dev/shm").glob("catnap-secret*"))


def test_two_who_build_the_same_at_once_share_it(catnap):
    catnap.cli("image", "pull", "tiny:1")
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text("FROM tiny:1\nUSER root\nRUN cat /proc/sys/kernel/random/uuid | tee /id 2>/dev/null || "
                                          "cat /proc/sys/kernel/random/uuid > /id; sleep 1\nRUN cat /id\n")
    command = [str(BIN / "catnap"), "image", "build", str(directory)]
    several = [subprocess.Popen(command, env={**os.environ, "CATNAP_API": catnap.api}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [one.communicate(timeout=60) for one in several]
    assert all(one.returncode == 0 for one in several), answers
    assert len({answer[0] for answer in answers}) == 1


def slow_build(catnap, seconds=300):
    """A build that has reached its slow step; the process of `catnap image build` and the step's own."""
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(f"FROM tiny:1\nUSER root\nRUN echo first > /first\nRUN echo here-it-is; sleep {seconds}.25\n")
    process = subprocess.Popen([str(BIN / "catnap"), "image", "build", str(directory)], text=True,
                               env={**os.environ, "CATNAP_API": catnap.api}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.strip() == "here-it-is":
            break
    return process, lambda: subprocess.run(["pgrep", "-f", f"sleep {seconds}.25$"], capture_output=True).returncode == 0


def test_a_client_that_leaves_ends_its_build(catnap):
    process, sleeps = slow_build(catnap, 301)
    assert sleeps()
    process.send_signal(signal.SIGINT)
    process.wait(30)
    wait_for("the step's end", lambda: not sleeps())
    wait_for("nothing half made", lambda: nothing_half_made(catnap))


def test_a_kill_in_the_middle_of_a_build_leaves_nothing_half(make):
    catnap = make().start()
    process, sleeps = slow_build(catnap, 302)
    catnap.stop(signal.SIGKILL)
    process.wait(30)
    assert sleeps()  # containers outlive a killed daemon
    catnap.start()
    wait_for("the step's end", lambda: not sleeps())
    wait_for("nothing half made", lambda: nothing_half_made(catnap))
    again = build(catnap, "FROM tiny:1\nUSER root\nRUN echo first > /first\nRUN cat /first\n")
    assert again.stderr.count("(cached)") == 1 and "\nfirst\n" in again.stderr


def test_an_end_in_the_middle_of_a_build_leaves_nothing(make):
    catnap = make().start()
    process, sleeps = slow_build(catnap, 303)
    catnap.stop(signal.SIGTERM)
    process.wait(30)
    assert not sleeps() and process.returncode != 0
    assert list((catnap.state / "images/trash").iterdir()) == [] and nothing_half_made(catnap)


def test_on_top_of_the_machines_own_programs(catnap):
    port = free_port()
    done = build(catnap, """\
FROM host
RUN python3 -c 'print(6 * 7)' && touch /usr/local/bin/mine && rm /usr/bin/yes
COPY hello /bin/hello
RUN ls /usr/bin/hello /usr/local/bin/mine && ! ls /usr/bin/yes && ls -A /home && test ! -e /etc/shadow
COPY hello /opt/www/hello
ENTRYPOINT ["python3", "-m", "http.server", "8000", "--directory", "/opt/www"]
""", "-t", "over-host", files={"hello": "hi there"})
    assert "\n42\n" in done.stderr and "/usr/bin/hello" in done.stderr
    catnap.up(app("over-host", port))
    assert catnap.get(port, "/hello").text == "hi there"
    assert os.path.exists("/usr/bin/yes")


# ---- limits ----

def test_a_full_disk_is_told_and_leaves_room(make, registry, tmp_path):
    must_be_root()
    directory = tempfile.mkdtemp(prefix="catnap-test-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "catnap-test", directory], check=True)
    catnap = None
    try:
        catnap = make(directory=directory).start()
        catnap.cli("image", "pull", "tiny:1")
        done = build(catnap, "FROM tiny:1\nUSER root\nRUN dd if=/dev/zero of=/big bs=1M count=64\n", check=False)
        assert done.returncode == 1 and "No space left" in done.stderr
        wait_for("nothing half made", lambda: nothing_half_made(catnap))
        context = tmp_path / "context"
        context.mkdir()
        (context / "big").write_bytes(os.urandom(32 << 20))
        copied = build(catnap, "FROM tiny:1\nCOPY big /big\n", check=False, directory=context)
        assert copied.returncode == 1 and "No space left" in copied.stderr
        wait_for("nothing half made", lambda: nothing_half_made(catnap))
        build(catnap, "FROM tiny:1\nUSER root\nRUN echo small > /small\n")
    finally:
        if catnap:
            catnap.stop()
        subprocess.run(["umount", "-l", directory], check=True)


def test_the_disk_that_images_may_take(make, tmp_path):
    catnap = make("image_disk: 8M\n").start()
    catnap.cli("image", "pull", "tiny:1")
    path = tmp_path / "big.tar"
    path.write_bytes(tar_of({"big": os.urandom(12 << 20)}))
    refused = catnap.cli("image", "import", "big", str(path), check=False)
    assert refused.returncode == 1 and "larger than" in refused.stderr
    assert [image["name"] for image in images(catnap)["images"]] == ["tiny:1"] and nothing_half_made(catnap)


def test_prune_takes_what_nothing_needs(catnap):
    port = free_port()
    build(catnap, "FROM tiny:1\nUSER root\nRUN dd if=/dev/zero of=/old bs=1M count=3\n", "-t", "thing")
    build(catnap, "FROM tiny:1\nUSER root\nRUN dd if=/dev/zero of=/new bs=1M count=1\n", "-t", "thing")
    catnap.up(app("tiny:1", port))
    before = images(catnap)
    assert before["unused_bytes"] >= 3 << 20
    catnap.cli("image", "prune")
    assert images(catnap)["unused_bytes"] == 0 and len(images(catnap)["images"]) == 2
    catnap.cli("image", "prune", "--all")  # `thing` has no app
    assert [image["name"] for image in images(catnap)["images"]] == ["tiny:1"]
    wait_for("the layers' end", lambda: len(layer_directories(catnap)) == 1)
    assert catnap.get(port).status == 200
    catnap.cli("down", "imaged")
    catnap.cli("image", "prune", "--all")
    assert images(catnap)["images"] == []


def test_a_running_container_keeps_its_image(make):
    catnap = make().start()
    port = free_port()
    build(catnap, "FROM tiny:1\nENV TINY_BODY=first\nUSER root\nRUN touch /first\n", "-t", "thing")
    catnap.up(app("thing", port))
    assert catnap.get(port).text.startswith("first")
    build(catnap, "FROM tiny:1\nENV TINY_BODY=second\nUSER root\nRUN touch /second\n", "-t", "thing")
    catnap.cli("image", "prune")
    assert catnap.get(port).text.startswith("first")
    catnap.stop(signal.SIGKILL)
    catnap.start()
    catnap.cli("image", "prune")
    assert catnap.get(port).text.startswith("first")  # adopted, and still whole
    catnap.cli("sleep", "imaged")
    catnap.wait_state("imaged", "web", "asleep")
    assert catnap.get(port).text.startswith("second")


# ---- names ----

def test_an_alias_stands_for_another_name(make):
    catnap = make("aliases:\n  tabbyml/tabby: tiny:1\n").start()
    catnap.cli("image", "pull", "tiny:1")
    catnap.cli("image", "alias", "my/own", "tabbyml/tabby")
    port = free_port()
    catnap.up(app("my/own", port))
    assert catnap.get(port).status == 200
    circle = catnap.cli("image", "alias", "a", "b", check=False)
    assert circle.returncode == 0
    assert "circle" in catnap.cli("image", "alias", "b", "a", check=False).stderr
    catnap.stop()
    catnap.start()
    assert {image["name"] for image in images(catnap)["images"]} >= {"my/own:latest", "tabbyml/tabby:latest", "tiny:1"}
    fixed = catnap.cli("image", "rm", "tabbyml/tabby", check=False)
    assert fixed.returncode == 1 and "configuration" in fixed.stderr


def test_archives_of_all_kinds_are_imported(catnap, registry, tiny, tmp_path):
    layout = registry.layout.directory
    for kind, option in (("oci-archive", "oci"), ("docker-archive", "docker")):
        path = tmp_path / f"{option}.tar"
        subprocess.run(["skopeo", "--insecure-policy", "copy", f"oci:{layout}:two", f"{kind}:{path}:x/y:1"], check=True,
                       capture_output=True)
        catnap.cli("image", "import", f"from/{option}", str(path))
    path = tmp_path / "rootfs.tar.gz"
    subprocess.run(["gzip", "-c"], input=tar_of(tiny_layer(tiny)), stdout=open(path, "wb"), check=True)
    catnap.cli("image", "import", "from/rootfs", str(path))
    port = free_port()
    found = {image["name"]: image for image in images(catnap)["images"]}
    assert found["from/oci:latest"]["layers"] == found["from/docker:latest"]["layers"] == 2
    assert found["from/rootfs:latest"]["layers"] == 1
    for name in ("from/oci", "from/docker"):
        catnap.up(app(name, port))
        assert catnap.get(port).text.startswith("from the image")
    refused = catnap.up(app("from/rootfs", port), check=False)
    assert refused.returncode == 1 and "names no program" in refused.stderr
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"no tar at all" * 1000)
    assert "no tar" in catnap.cli("image", "import", "x", str(garbage), check=False).stderr
    assert nothing_half_made(catnap)


# ---- real distributions and package registries ----

RECIPE = ["--variant=minbase", "--include=python3", "--dpkgopt=path-exclude=/usr/share/man/*",
          "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
          "--customize-hook=rm -rf \"$1\"/var/lib/apt/lists/* \"$1\"/var/cache/apt/*.bin"]


@pytest.fixture(scope="session")
def debian():
    """The tar of a small Debian with Python, made once from packages and kept."""
    if not needed("mmdebstrap"):
        pytest.skip("mmdebstrap is not here")
    cache = pathlib.Path(os.environ.get("CATNAP_CACHE", pathlib.Path.home() / ".cache/catnap")) / "images"
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"debian-{hashlib.sha256(repr(RECIPE).encode()).hexdigest()[:16]}.tar"
    if not path.exists():
        fresh = cache / f".new-{os.getpid()}.tar"
        done = subprocess.run(["mmdebstrap", *RECIPE, "bookworm", str(fresh), "http://deb.debian.org/debian"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            fresh.unlink(missing_ok=True)
            pytest.skip(f"no packages for a Debian: {done.stderr.strip().splitlines()[-1]}")
        fresh.rename(path)
    return path


def test_packages_come_from_where_the_machine_gets_its_own(catnap, debian):
    """apt and pip in RUN, with the machine's name servers, certificates and settings, which stay out of the image."""
    catnap.cli("image", "import", "debian:bookworm", str(debian))
    done = catnap.cli("image", "build", str(dockerfile(catnap, """\
FROM debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
RUN python3 -m pip install --break-system-packages six && python3 -c 'import six; print("six is", six.__version__)'
RUN ls -d /.catnap/ca.crt && env | sort
""")), check=False, timeout=300)
    if done.returncode != 0 and ("Temporary failure" in done.stderr or "Could not resolve" in done.stderr):
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "six is 1." in done.stderr
    image = json.loads(catnap.cli("image", "build", str(dockerfile(catnap, "FROM debian:bookworm\n")), "--json").stdout)["image"]
    record = json.loads((catnap.state / f"images/images/{image['id']}.json").read_text())
    assert record["image"]["config"] == {}
    assert all(not (layer / "fs/.catnap").exists() for layer in (catnap.state / "images/layers").iterdir())


def dockerfile(catnap, text):
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(text)
    return directory

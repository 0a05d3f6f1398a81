"""What is kept of images and what is pruned; names, archives, real distributions."""

import hashlib
import json
import os
import pathlib
import signal
import subprocess
import tempfile

import pytest
from conftest import free_port, must_be_root, wait_for
from image_house import catnap, make, registry  # fixtures
from image_house import app, build, dockerfile, images, layer_directories
from image_house import nothing_half_made
from images import needed, tar_of, tiny_layer

pytestmark = pytest.mark.skipif(
    not (needed("skopeo") and needed("docker-registry") and needed("busybox")),
    reason="skopeo, docker-registry and busybox-static are not all here",
)

# ---- limits ----


def test_a_full_disk_is_told_and_leaves_room(make, registry, tmp_path):
    must_be_root()
    directory = tempfile.mkdtemp(prefix="catnap-test-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "catnap-test", directory], check=True)
    catnap = None
    try:
        catnap = make(directory=directory).start()
        catnap.cli("image", "pull", "tiny:1")
        done = build(
            catnap, "FROM tiny:1\nUSER root\nRUN dd if=/dev/zero of=/big bs=1M count=64\n", check=False
        )
        assert done.returncode == 1 and "No space left" in done.stderr
        wait_for("nothing half made", lambda: nothing_half_made(catnap))
        context = tmp_path / "context"
        context.mkdir()
        (context / "big").write_bytes(os.urandom(32 << 20))
        copied = build(catnap, "FROM tiny:1\nCOPY big /big\n", check=False, directory=context)
        assert copied.returncode == 1 and "No space left" in copied.stderr
        wait_for("nothing half made", lambda: nothing_half_made(catnap))
        small = tmp_path / "small"
        small.mkdir()
        build(catnap, "FROM tiny:1\nUSER root\nRUN echo small > /small\n", directory=small)
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
    assert {image["name"] for image in images(catnap)["images"]} >= {
        "my/own:latest",
        "tabbyml/tabby:latest",
        "tiny:1",
    }
    fixed = catnap.cli("image", "rm", "tabbyml/tabby", check=False)
    assert fixed.returncode == 1 and "configuration" in fixed.stderr


def test_archives_of_all_kinds_are_imported(catnap, registry, tiny, tmp_path):
    layout = registry.layout.directory
    for kind, option in (("oci-archive", "oci"), ("docker-archive", "docker")):
        path = tmp_path / f"{option}.tar"
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", f"oci:{layout}:two", f"{kind}:{path}:x/y:1"],
            check=True,
            capture_output=True,
        )
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

RECIPE = [
    "--variant=minbase",
    "--include=python3",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin',
]


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
        done = subprocess.run(
            ["mmdebstrap", *RECIPE, "bookworm", str(fresh), "http://deb.debian.org/debian"],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            fresh.unlink(missing_ok=True)
            pytest.skip(f"no packages for a Debian: {done.stderr.strip().splitlines()[-1]}")
        fresh.rename(path)
    return path


def test_packages_come_from_where_the_machine_gets_its_own(catnap, debian):
    """apt and pip in RUN, with the machine's name servers, certificates and settings, which stay
    out of the image."""
    catnap.cli("image", "import", "debian:bookworm", str(debian))
    done = catnap.cli(
        "image",
        "build",
        str(
            dockerfile(
                catnap,
                """\
FROM debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends python3-pip
RUN python3 -m pip install --break-system-packages six \\
 && python3 -c 'import six; print("six is", six.__version__)'
RUN ls -d /.catnap/ca.crt && env | sort
""",
            )
        ),
        check=False,
        timeout=300,
    )
    if done.returncode != 0 and ("Temporary failure" in done.stderr or "Could not resolve" in done.stderr):
        pytest.skip("no package registry can be reached from here")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "six is 1." in done.stderr
    image = json.loads(
        catnap.cli("image", "build", str(dockerfile(catnap, "FROM debian:bookworm\n")), "--json").stdout
    )["image"]
    record = json.loads((catnap.state / f"images/images/{image['id']}.json").read_text())
    assert record["image"]["config"] == {}
    assert all(not (layer / "fs/.catnap").exists() for layer in (catnap.state / "images/layers").iterdir())

"""A registry with small images, a catnap that pulls from it, and what tests of images ask of the two."""

import json
import pathlib
import tempfile

import pytest
from images import Layout, Registry, tar_of, tiny_layer

TINY_CONFIG = {
    "Env": ["PATH=/bin:/srv", "TINY_BODY=from the image", "PORT=8000"],
    "Entrypoint": ["/srv/tiny_server"],
    "WorkingDir": "/srv",
    "User": "worker",
}


@pytest.fixture(scope="session")
def registry(tmp_path_factory, tiny):
    """Stands in for docker.io. tiny:1, tiny:2 (a layer more, with whiteouts), multi:1 (two kinds of
    machines)."""
    directory = tmp_path_factory.mktemp("registry")
    registry = Registry(directory)
    layout = Layout(directory / "layout")
    base = tar_of(tiny_layer(tiny))
    more = tar_of(
        {
            "bin/.wh.seq": b"",
            "srv/.wh..wh..opq": b"",
            "srv/new": b"new\n",
            "srv/tiny_server": (pathlib.Path(tiny) / "tiny_server").read_bytes(),
            "etc/added": b"added\n",
        }
    )
    layout.name("one", layout.manifest([base], TINY_CONFIG))
    layout.name("two", layout.manifest([base, more], TINY_CONFIG, compress=False))
    layout.index(
        "multi",
        [
            layout.manifest([tar_of({"wrong": b""})], architecture="s390x"),
            layout.manifest([base], TINY_CONFIG),
        ],
    )
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
    lines = [
        "app: imaged",
        "functions:",
        "  web:",
        f"    image: {image}",
        "    port: 8000",
        f"    publish: {publish}",
    ]
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


def dockerfile(catnap, text):
    directory = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (directory / "Dockerfile").write_text(text)
    return directory

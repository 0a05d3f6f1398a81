"""Images: layers unpacked (beside tar in the same directory), a container's mount of its layers, wakes from
images beside wakes on `host`, and what the engine adds to a step of a build."""

import ctypes
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from common import BIN, build, figure, median, say
from conftest import Catnap, free_port, tiny_yaml
from images import tar_of, tiny_layer

ROUNDS, WAKES, STEPS = 5, 40, 20
MEMORY = "/dev/shm"  # a disk's rate is not ours
LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC_PRIVATE = 0x20000, 1 << 14 | 1 << 18


def big_layer(seed=1):
    """Like a distribution with a large program: 4000 small files and some of 16 MiB, half compressible."""
    dice = random.Random(seed)
    sizes = [dice.choice((300, 3000, 12000, 60000)) for _ in range(4000)] + [16 << 20] * 12
    half = lambda size: dice.randbytes(size // 2) + b"all the same " * (size // 26)
    return tar_of({f"usr/d{i % 200}/f{i}": half(size) for i, size in enumerate(sizes)})


def unpacked(catnap, directory):
    plain, packed = directory / "layer.tar", directory / "layer.tar.gz"
    plain.write_bytes(big_layer())
    subprocess.run(["gzip", "-6", "-k", str(plain)], check=True)
    size = plain.stat().st_size / 1e6
    for path, flag in ((plain, "-x"), (packed, "-xz")):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            began = time.monotonic()
            catnap.cli("image", "import", "big", str(path))
            ours.append(size / (time.monotonic() - began))
            catnap.cli("image", "rm", "big")
            catnap.cli("image", "prune", "--all")
            to = directory / "by-tar"
            to.mkdir()
            began = time.monotonic()
            subprocess.run(["tar", flag, "-f", str(path), "-C", str(to)], check=True)
            theirs.append(size / (time.monotonic() - began))
            shutil.rmtree(to)
        name = f"unpacked, {'gzip' if path == packed else 'plain'}, digest checked"
        figure(
            "image",
            name,
            median(ours),
            "MB/s",
            "tar, no digest",
            median(theirs),
            [a / b for a, b in zip(ours, theirs)],
            goal="> 200 MB/s",
            ok=median(ours) > 200,
        )
        say(f"image: {name}: {median(ours):.0f} MB/s (tar {median(theirs):.0f})")


def mounts(catnap):
    """The mount that each container of an image makes, of all layers there are, in a namespace of our own."""
    layers = sorted((catnap.state / "images/layers").iterdir())
    directory = pathlib.Path(tempfile.mkdtemp(dir=MEMORY))
    for name in ("upper", "work", "root", "l"):
        (directory / name).mkdir()
    for i, layer in enumerate(layers):
        (directory / "l" / str(i)).symlink_to(layer / "fs")
    os.chdir(directory)
    lower = ":".join(f"l/{i}" for i in range(len(layers)))
    took = []
    for _ in range(50):
        began = time.monotonic()
        if LIBC.mount(
            b"overlay", b"root", b"overlay", 0, f"lowerdir={lower},upperdir=upper,workdir=work".encode()
        ):
            sys.exit(f"bench image: mount: {os.strerror(ctypes.get_errno())}")
        took.append((time.monotonic() - began) * 1000)
        LIBC.umount2(b"root", 2)
    os.chdir("/")
    shutil.rmtree(directory)
    say(f"image: mount of {len(layers)} layers: {median(took):.3f} ms")
    figure("image", f"mount of {len(layers)} layers", median(took[1:]), "ms")


def steps(catnap):
    context = pathlib.Path(tempfile.mkdtemp(dir=catnap.directory))
    (context / "Dockerfile").write_text(
        "FROM tiny\nUSER root\n" + "".join(f"RUN echo {i} > /made-{i}\n" for i in range(STEPS))
    )
    for name in ("a step of a build", "a step that is cached"):
        began = time.monotonic()
        catnap.cli("image", "build", str(context), "-t", "stepped")
        took = (time.monotonic() - began) * 1000 / STEPS
        say(f"image: {name}: {took:.1f} ms")
        figure("image", name, took, "ms")


def wakes(catnap, tiny):
    """Asleep to the answer: on `host`, from one layer, from STEPS + 1 of them."""
    ports = {name: free_port() for name in ("host", "tiny", "stepped")}
    catnap.up(tiny_yaml(tiny, app="host", publish=ports["host"]))
    for name in ("tiny", "stepped"):
        catnap.up(
            f"app: {name}\nfunctions:\n  web:\n    image: {name}\n    command: [/srv/tiny_server]\n"
            f"    port: 8000\n    env: {{PORT: '8000'}}\n    publish: {ports[name]}\n",
            name=f"{name}.yaml",
        )
    took = {name: [] for name in ports}
    for _ in range(WAKES):
        for name, port in ports.items():
            began = time.monotonic()
            if catnap.get(port).status != 200:
                sys.exit(f"bench image: {name} does not answer")
            took[name].append((time.monotonic() - began) * 1000)
            catnap.cli("sleep", name)
            catnap.wait_state(name, "web", "asleep")
    for name, words in (("tiny", "one layer"), ("stepped", f"{STEPS + 1} layers")):
        ours, host = took[name][1:], took["host"][1:]
        say(f"image: wake of an image of {words}: {median(ours):.1f} ms (on host {median(host):.1f})")
        figure(
            "image",
            f"wake of an image of {words}",
            median(ours),
            "ms",
            "on host",
            median(host),
            [a / b for a, b in zip(ours, host)],
        )


def main():
    if os.geteuid() != 0:
        sys.exit("bench image: containers need root here")
    if LIBC.unshare(CLONE_NEWNS) or LIBC.mount(b"none", b"/", None, MS_REC_PRIVATE, None):
        sys.exit("bench image: no namespace of its own")
    tiny = build("tests/fixtures/tiny_server.c", BIN / "bench" / "tiny_server", "-static").parent
    directory = pathlib.Path(tempfile.mkdtemp(prefix="catnap-bench-", dir=MEMORY))
    catnap = Catnap(directory, extra=["--modal", "off"]).start()
    try:
        say("image: unpack, mount, wake, build")
        unpacked(catnap, directory)
        (directory / "tiny.tar").write_bytes(tar_of(tiny_layer(tiny)))
        catnap.cli("image", "import", "tiny", str(directory / "tiny.tar"))
        steps(catnap)
        mounts(catnap)
        wakes(catnap, tiny)
    finally:
        catnap.stop()
        shutil.rmtree(directory, ignore_errors=True)


main()

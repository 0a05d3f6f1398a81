"""Images for tests: made here, pushed into a real registry (Debian's docker-registry) that stands in for
docker.io.

A layer is a dict PATH -> what: bytes (a file), ("link", TARGET), ("hard", TARGET), ("dir", MODE), or a
tarfile.TarInfo with its bytes.
"""

import crypt
import gzip
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile

from conftest import free_port, wait_for

BUSYBOX = "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox"
APPLETS = [
    "sh",
    "ls",
    "cat",
    "echo",
    "sleep",
    "id",
    "env",
    "touch",
    "rm",
    "mkdir",
    "stat",
    "test",
    "head",
    "find",
    "pwd",
    "ln",
    "sha256sum",
    "dd",
    "true",
    "false",
    "readlink",
    "wc",
    "grep",
    "kill",
    "sync",
    "mount",
    "chmod",
    "seq",
]


def needed(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin") is not None


def tar_of(layer):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, what in layer.items():
            if isinstance(what, tuple) and isinstance(what[0], tarfile.TarInfo):
                info, data = what
                tar.addfile(info, io.BytesIO(data))
                continue
            info = tarfile.TarInfo(path)
            info.mode, info.mtime, data = 0o755, 1000000000, b""
            if isinstance(what, bytes):
                data, info.size = what, len(what)
            elif what[0] == "link":
                info.type, info.linkname = tarfile.SYMTYPE, what[1]
            elif what[0] == "hard":
                info.type, info.linkname = tarfile.LNKTYPE, what[1]
            elif what[0] == "dir":
                info.type, info.mode = tarfile.DIRTYPE, what[1]
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tiny_layer(tiny):
    """A root file system of three files: a shell with its applets, a server, a user."""
    layer = {
        path: ("dir", mode)
        for path, mode in (("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777), ("srv", 0o755), ("root", 0o700))
    }
    layer["bin/busybox"] = pathlib.Path(BUSYBOX).read_bytes()
    layer.update({f"bin/{applet}": ("link", "busybox") for applet in APPLETS})
    layer["srv/tiny_server"] = (pathlib.Path(tiny) / "tiny_server").read_bytes()
    layer["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\nworker:x:1234:1235:w:/srv:/bin/sh\n"
    layer["etc/group"] = b"root:x:0:\nstaff:x:50:\n"
    return layer


class Layout:
    """An OCI layout on the disk, of images with one name each."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.blobs = self.directory / "blobs/sha256"
        self.blobs.mkdir(parents=True)
        (self.directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        self.manifests = []

    def put(self, data):
        name = hashlib.sha256(data).hexdigest()
        (self.blobs / name).write_bytes(data)
        return "sha256:" + name

    def manifest(self, tars, config=None, architecture="amd64", compress=True):
        layers = []
        for data in tars:
            blob = gzip.compress(data, 1, mtime=0) if compress else data
            kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
            layers.append({"mediaType": kind, "digest": self.put(blob), "size": len(blob)})
        text = json.dumps(
            {
                "architecture": architecture,
                "os": "linux",
                "config": config or {},
                "rootfs": {
                    "type": "layers",
                    "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest() for data in tars],
                },
            }
        ).encode()
        text = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "digest": self.put(text),
                    "size": len(text),
                },
                "layers": layers,
            }
        ).encode()
        return {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.put(text),
            "size": len(text),
            "platform": {"architecture": architecture, "os": "linux"},
        }

    def name(self, name, entry):
        self.manifests.append({**entry, "annotations": {"org.opencontainers.image.ref.name": name}})
        (self.directory / "index.json").write_text(
            json.dumps({"schemaVersion": 2, "manifests": self.manifests})
        )

    def index(self, name, entries):
        text = json.dumps(
            {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        ).encode()
        self.name(
            name,
            {
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "digest": self.put(text),
                "size": len(text),
            },
        )


class Registry:
    def __init__(self, directory, user=None):
        self.directory = pathlib.Path(directory)
        self.address = f"127.0.0.1:{free_port()}"
        self.user = user
        auth = ""
        if user:
            password = crypt.crypt(user[1], crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
            (self.directory / "htpasswd").write_text(f"{user[0]}:{password}\n")
            auth = f"auth: {{htpasswd: {{realm: test, path: {self.directory}/htpasswd}}}}\n"
        (self.directory / "config.yml").write_text(
            "version: 0.1\nlog: {level: error}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.directory}/data}}}}\n"
            f"http: {{addr: {self.address}}}\n{auth}"
        )
        self.process = subprocess.Popen(
            ["docker-registry", "serve", str(self.directory / "config.yml")],
            stdin=subprocess.DEVNULL,
            stdout=open(self.directory / "log", "ab"),
            stderr=subprocess.STDOUT,
        )
        wait_for(
            "the registry",
            lambda: self.process.poll() is None
            and self.skopeo("inspect", "--raw", "x/none:1") != 0
            and b"unknown" in self.said
            or self.user
            and b"authentication" in self.said,
        )

    def skopeo(self, verb, *words):
        words = list(words)
        words[-1] = f"docker://{self.address}/{words[-1]}"
        tls = "--dest-tls-verify=false" if verb == "copy" else "--tls-verify=false"
        creds = (
            [f"--{'dest-' if verb == 'copy' else ''}creds={self.user[0]}:{self.user[1]}"]
            if self.user and verb == "copy"
            else []
        )
        done = subprocess.run(
            ["skopeo", "--insecure-policy", verb, tls, *creds, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.said = done.stdout
        return done.returncode

    def push(self, layout, name, path, everything=False):
        words = ["--all"] if everything else []
        if self.skopeo("copy", *words, f"oci:{layout.directory}:{name}", path) != 0:
            raise AssertionError(self.said.decode())

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


def tree(directory):
    """What lies in a directory, for comparing: (path, kind, mode) of all."""
    found = set()
    for base, directories, files in os.walk(directory):
        for name in directories + files:
            at = os.lstat(os.path.join(base, name))
            found.add((os.path.relpath(os.path.join(base, name), directory), oct(at.st_mode)))
    return found

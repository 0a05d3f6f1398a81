"""The doors under TLS: the client deploys over https and prints https addresses; requests, streams and
WebSockets go through; certificates that can't be used are told at the start and do no harm when they are
renewed; who speaks something else gets an answer, and nobody waits for him."""

import asyncio
import contextlib
import hashlib
import http.client
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile

import pytest
import websockets
from conftest import BIN, DEADLINE_S, free_port, must_be_root, tiny_yaml, wait_for

from .client import PATIENCE_S, VERSIONS, Client, House
from .conftest import CACHE, end_house
from .test_one_container import PIECE, peak_kb

DOMAIN = "apps.localhost"
WEB = """
import hashlib

app = modal.App("$APP", image=image)


@app.function(**limits())
@modal.asgi_app()
def web():
    async def upload(receive):
        seen, more = hashlib.sha256(), True
        while more:
            message = await receive()
            seen.update(message.get("body", b""))
            more = message.get("more_body", False)
        return seen.hexdigest().encode()

    piece = bytes(range(256)) * 4096

    async def asgi(scope, receive, send):
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": scope["scheme"] + message["text"]})
            return
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/down":
            for _ in range(16):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        body = await upload(receive) if scope["path"] == "/up" else scope["scheme"].encode()
        await send({"type": "http.response.body", "body": body})

    return asgi


@app.function()
def size(x):
    return len(x)
"""


def openssl(*words, **more):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True, timeout=DEADLINE_S, **more)


class Authority:
    """A certificate authority of one's own. `issue` puts certificate and key where they are looked for."""

    def __init__(self, folder):
        self.folder = folder
        self.ca, self.cert, self.key = (folder / f"{n}.pem" for n in ("ca", "cert", "key"))
        self.new_key(folder / "ca.key")
        openssl("req", "-x509", "-key", folder / "ca.key", "-days", 2, "-subj", "/CN=ca", "-out", self.ca)
        self.issue()

    def new_key(self, path):
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def issue(self, days=90, cert=None, key=None, more=",DNS:localhost,IP:127.0.0.1"):
        cert, key = cert or self.cert, key or self.key
        request, names = self.folder / "request.pem", self.folder / "names"
        names.write_text(f"subjectAltName=DNS:*.{DOMAIN}{more}\n")
        self.new_key(self.folder / "new.key")
        openssl("req", "-new", "-key", self.folder / "new.key", "-subj", "/CN=catnap", "-out", request)
        signer = ("-CA", self.ca, "-CAkey", self.folder / "ca.key", "-days", days)
        openssl("x509", "-req", "-in", request, *signer, "-extfile", names, "-out", self.folder / "new.pem")
        (self.folder / "new.key").rename(key)
        (self.folder / "new.pem").rename(cert)
        return cert, key


class SecureHouse(House):
    def __init__(self, directory, cache):
        super().__init__(directory, cache)
        self.authority = Authority(pathlib.Path(directory))
        config = self.catnap.directory / "catnapd.yaml"
        pair = f"certificate: {self.authority.cert}\n{{}}key: {self.authority.key}\n"
        config.write_text(f"domain: {DOMAIN}\n" + pair.format("") + "modal_" + pair.format("modal_"))
        self.catnap.extra += ["--config", str(config)]
        self.url = f"https://localhost:{self.modal_port}"
        # The client trusts what `certifi` has, whatever SSL_CERT_FILE says.
        trust = self.catnap.directory / "trust" / "certifi"
        trust.mkdir(parents=True)
        (trust / "__init__.py").write_text(f"def where():\n    return {str(self.authority.ca)!r}\n")
        self.trust = str(trust.parent)

    def context(self):
        return ssl.create_default_context(cafile=str(self.authority.ca))

    def link(self, label):
        """One connection to the gateway, checked as a browser checks it."""
        link = http.client.HTTPSConnection(
            f"{label}.{DOMAIN}", self.catnap.port, timeout=PATIENCE_S, context=self.context()
        )
        link._create_connection = lambda _, timeout, *more: socket.create_connection(
            ("127.0.0.1", self.catnap.port), timeout
        )
        return link

    def serial(self, port):
        """Of the certificate that is served at that port."""
        return hashlib.sha256(ssl.get_server_certificate(("127.0.0.1", port)).encode()).hexdigest()


class SecureClient(Client):
    @property
    def env(self):
        return {**super().env, "PYTHONPATH": self.house.trust}


@pytest.fixture(scope="module")
def house():
    must_be_root()
    made = SecureHouse(tempfile.mkdtemp(prefix="catnap-tls-"), CACHE)
    made.catnap.start()
    yield made
    end_house(made)


def curl(house, url, *words):
    command = ["curl", "-sS", "-i", "--noproxy", "*", "--cacert", house.authority.ca, "-m", "60", *words, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE_S)
    return done.stdout + done.stderr


def test_a_deploy_and_all_that_goes_through(house, tmp_path):
    client = SecureClient(VERSIONS[-1], house, tmp_path)
    app = client.name("web")
    out = client.run("deploy", client.write(WEB, APP=app))
    label = f"root--{app}-web"
    assert f"https://{label}.{DOMAIN}:{house.catnap.port}" in out.replace("\n", ""), out

    link, whole = house.link(label), hashlib.sha256(PIECE * 16).hexdigest()
    link.request("GET", "/")
    assert link.getresponse().read() == b"https"
    link.request("POST", "/up", (PIECE for _ in range(16)))
    assert link.getresponse().read().decode() == whole
    link.request("GET", "/down")
    answer, seen = link.getresponse(), hashlib.sha256()
    left = 16 * len(PIECE)
    while left:
        piece = answer.read(min(left, 100001))
        seen.update(piece)
        left -= len(piece)
    assert answer.read() == b"https" and seen.hexdigest() == whole
    link.close()

    async def talk():
        link = await asyncio.get_running_loop().run_in_executor(
            None, socket.create_connection, ("127.0.0.1", house.catnap.port), PATIENCE_S
        )
        host, context = f"{label}.{DOMAIN}", house.context()
        async with websockets.connect(
            f"wss://{host}/ws", sock=link, ssl=context, server_hostname=host, open_timeout=PATIENCE_S
        ) as ws:
            for word in ("one", "x" * 100000):
                await ws.send(word)
                assert await asyncio.wait_for(ws.recv(), PATIENCE_S) == f"wss{word}"

    asyncio.run(talk())
    text = f'import modal\nf = modal.Function.from_name("{app}", "size")\n'
    (client.cwd / "script.py").write_text(text + 'print("size", f.remote(b"x" * 5000000))\n')
    assert "size 5000000" in client.run("script.py", python=True), "by a blob, over https too"
    client.stop(app)


def test_login_tells_a_name_that_the_certificate_has(house, tmp_path):
    env = {"HOME": str(tmp_path), "MODAL_CONFIG_PATH": str(tmp_path / "modal.toml")}
    said = house.catnap.cli("login", env=env).stdout
    assert f"https://127.0.0.1:{house.modal_port}" in said
    assert f"https://127.0.0.1:{house.modal_port}" in (tmp_path / "modal.toml").read_text()


def test_login_where_the_certificate_has_patterns_alone(make_catnap, tmp_path):
    authority, port = Authority(tmp_path), free_port()
    authority.issue(more="")
    config = tmp_path / "catnapd.yaml"
    config.write_text(f"domain: {DOMAIN}\ncertificate: {authority.cert}\nkey: {authority.key}\n")
    catnap = make_catnap(["--config", str(config), "--modal", f"0.0.0.0:{port}"]).start()
    assert f"MODAL_SERVER_URL=https://catnap.{DOMAIN}:{port} " in catnap.cli("login", "--env").stdout


def test_an_app_with_a_port_and_whoever_speaks_something_else(house, tiny):
    port = int(house.url.rsplit(":", 1)[1])
    house.catnap.up(tiny_yaml(tiny, env={"TINY_BODY": "x" * 3000}))
    url = f"https://root--tiny-web.{DOMAIN}:{house.catnap.port}/"
    resolve = ["--resolve", f"root--tiny-web.{DOMAIN}:{house.catnap.port}:127.0.0.1"]
    assert url.rstrip("/") in house.catnap.cli("ps").stdout
    # Two who say nothing, or half a word: nobody waits for them.
    silent = [socket.create_connection(("127.0.0.1", p), DEADLINE_S) for p in (house.catnap.port, port)]
    half = [socket.create_connection(("127.0.0.1", p), DEADLINE_S) for p in (house.catnap.port, port)]
    for link in half:
        link.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    told = curl(house, url, *resolve)
    assert "HTTP/1.1 200" in told and "x" * 3000 in told

    plain = url.replace("https", "http")
    told = curl(house, plain + "a/b?c=d", *resolve)
    assert "HTTP/1.1 308" in told and f"Location: {url}a/b?c=d" in told
    assert "x" * 3000 in curl(house, plain, "-L", *resolve)
    told = curl(house, plain, "-d", "secret", *resolve)
    assert "HTTP/1.1 400" in told and "https" in told and "Location" not in told
    assert "gRPC under TLS" in curl(house, f"http://127.0.0.1:{port}/", "--http0.9")
    for where in (house.catnap.port, port):
        for noise in (b"\x00" * 100, b"\x16\x03\x01\x00\x05hello" + os.urandom(3000), b"SSH-2.0-x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", where), DEADLINE_S) as link:
                link.settimeout(DEADLINE_S)
                link.sendall(noise)
                with contextlib.suppress(OSError):  # cut off at once
                    link.shutdown(socket.SHUT_WR)
                    while link.recv(65536):
                        pass
    only = ssl.create_default_context(cafile=str(house.authority.ca))
    only.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", house.catnap.port)) as link:
        only.wrap_socket(link, server_hostname="localhost")
    assert "HTTP/1.1 200" in curl(house, url, *resolve)
    for link in silent + half:
        link.close()


FILES = """
app: files
functions:
  web:
    image: host
    command: [python3, -m, http.server, "8000", --directory, /srv]
    max_inputs: 4
    port: 8000
    volumes:
      /srv: {volume: %s, read_only: true}
"""


def test_a_slow_reader_is_waited_for(house, tmp_path):
    size = 150 << 20
    with open(tmp_path / "big", "wb") as file:
        file.truncate(size)
    house.catnap.up(FILES % tmp_path)
    links = [house.link("root--files-web") for _ in range(2)]
    answers, before = [], None
    for link in links:
        link.request("GET", "/big")
        answers.append(link.getresponse())
        before = before or peak_kb(house.catnap)
    got = len(answers[0].read(1 << 20))
    while piece := answers[0].read(1 << 20):  # the other one reads nothing meanwhile
        got += len(piece)
    assert got == size and peak_kb(house.catnap) - before < 100 << 10  # ASan keeps more
    for link in links:
        link.close()


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(house):
    ports = (house.catnap.port, house.modal_port)
    first = [house.serial(p) for p in ports]
    assert first[0] == first[1]
    house.authority.issue()  # only the files
    wait_for("a new one", lambda: all(house.serial(p) != first[0] for p in ports))
    second, log = house.serial(ports[0]), house.catnap.log
    house.authority.key.write_text("no key\n")
    told = f"key {house.authority.key}"
    wait_for("it is told", lambda: "stays in use" in log.read_text() and told in log.read_text())
    assert [house.serial(p) for p in ports] == [second, second]
    house.authority.issue()
    house.catnap.process.send_signal(signal.SIGHUP)
    wait_for("a third one", lambda: all(house.serial(p) not in (first[0], second) for p in ports))
    os.chmod(house.authority.key, 0o644)
    wait_for("what to do", lambda: f"chmod 600 {house.authority.key}" in log.read_text())
    used = log.read_text().count("is in use")
    os.chmod(house.authority.key, 0o600)
    wait_for("it is read again", lambda: log.read_text().count("is in use") > used)


def test_what_cannot_be_used_is_told_at_the_start(tmp_path):
    authority = Authority(tmp_path)
    good, key = authority.cert, authority.key
    expired = authority.issue(days=-1, cert=tmp_path / "old.pem", key=tmp_path / "old.key")
    other = shutil.copy(expired[1], tmp_path / "other.key")
    os.chmod(other, 0o600)
    shutil.copy(key, tmp_path / "open.key")
    os.chmod(tmp_path / "open.key", 0o644)
    openssl("genpkey", "-algorithm", "RSA", "-out", tmp_path / "rsa.key")
    rows = [
        (tmp_path / "none.pem", key, "No such file"),
        (good, tmp_path / "none.key", "No such file"),
        (key, key, "PEM is expected"),
        (good, other, "another certificate"),
        (good, tmp_path / "rsa.key", "another certificate"),
        (*expired, "expired on 20"),
        (good, tmp_path / "open.key", f"`chmod 600 {tmp_path}/open.key`"),
        (good, None, "only one of the two"),
    ]
    for row, (cert, private, told) in enumerate(rows):
        config = tmp_path / f"{row}.yaml"
        config.write_text(f"certificate: {cert}\n" + (f"key: {private}\n" if private else ""))
        done = subprocess.run(
            [BIN / "catnap", "serve", "--state", tmp_path / "state", "--api", tmp_path / "api.sock",
             "--gateway", "127.0.0.1:0", "--modal", "off", "--config", config],
            capture_output=True, text=True, timeout=DEADLINE_S,
        )  # fmt: skip
        assert done.returncode == 1 and told in done.stderr, (told, done.stderr)
        assert "certificate" in done.stderr

"""Whom bench/copycat.py asks and about what: the two servers, the bare program, and places in real files."""

import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

from common import BIN, ROOT, build
from conftest import free_port
from tabby import REAL, Tabby

GGUF = REAL / "ggml/model-00001-of-00001.gguf"
STOP = ["\n\n", "\n#", "\ndef", "\nfrom", "\nclass", "\nimport"]
SEEN_LINES = 20


# ---- documents ----


class Place:
    """A cursor in a real file: what stands before and behind it, and what stood there."""

    def __init__(self, path, line, column):
        lines = pathlib.Path(path).read_text().splitlines(keepends=True)
        self.path, self.language = str(path), "python" if str(path).endswith(".py") else "c"
        self.before = "".join(lines[max(0, line - SEEN_LINES) : line])
        self.text = lines[line].rstrip("\n")
        self.column = column
        self.suffix = "\n" + "".join(lines[line + 1 : line + 1 + SEEN_LINES])

    def prefix(self, column=None):
        return self.before + self.text[: self.column if column is None else column]

    def long_prefix(self):
        """As much before the cursor as the server takes."""
        text = pathlib.Path(self.path).read_text()
        at = text.index(self.before + self.text) + len(self.before) + self.column
        return text[max(0, at - 4096) : at]

    @property
    def rest(self):
        return self.text[self.column :]


def source_files():
    import email
    import json as library

    base = pathlib.Path(email.__file__).parent.parent
    found = [base / name for name in ("textwrap.py", "shelve.py", "sched.py", "fileinput.py", "graphlib.py")]
    found += [pathlib.Path(library.__file__).parent / "decoder.py"]
    found += sorted((ROOT / "src/base").glob("*.c")) + sorted((ROOT / "bench").glob("*.py"))
    return [f for f in found if f.exists()]


def places(count, seed=1):
    """Lines with something to say, cut somewhere behind their first word; the same ones each time."""
    dice, files, found = random.Random(seed), source_files(), []
    while len(found) < count:
        path = files[len(found) % len(files)]
        lines = path.read_text().splitlines()
        line = dice.randrange(SEEN_LINES, max(SEEN_LINES + 1, len(lines) - 5))
        text = lines[line] if line < len(lines) else ""
        indent = len(text) - len(text.lstrip())
        if len(text) - indent < 20 or text.lstrip().startswith(("#", "//", "*", "/*", '"')):
            continue
        found.append(Place(path, line, dice.randrange(indent + 8, len(text) - 4)))
    return found


# ---- the two servers ----


class Ours:
    name = "copycat"

    def __init__(self, *more, env=None, root=None):
        env = {"LLAMA_CPP_N_THREADS": os.cpu_count(), **(env or {})}
        self.tabby = Tabby("--model", REAL, *more, extra_env=env, root=root)
        (self.tabby.root / "config.toml").write_text("[server]\ncompletion_timeout = 600\n")  # a busy machine
        self.tabby.start()
        self.port, self.pid = self.tabby.port, self.tabby.process.pid

    def stop(self):
        self.tabby.__exit__()

    def body(self, place, prefix):
        segments = {"prefix": prefix, "suffix": place.suffix, "filepath": place.path}
        return "/v1/completions", {"language": place.language, "segments": segments, "temperature": 0}

    def text(self, answer):
        return answer["choices"][0]["text"]


class Peer:
    name = "llama-server"

    def __init__(self, parallel=1):
        program = subprocess.run([ROOT / "tools/fetch-llama", "--server"], capture_output=True, text=True)
        if program.returncode:
            sys.exit(program.stderr)
        self.port = free_port()
        command = [program.stdout.strip(), "-m", GGUF, "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["-np", str(parallel), "-c", str(4096 * parallel), "-t", str(os.cpu_count())]
        self.began = time.monotonic()
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.pid = self.process.pid
        while not self.healthy():
            time.sleep(0.02)
        self.ready_ms = (time.monotonic() - self.began) * 1000

    def healthy(self):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def body(self, place, prefix):
        more = {
            "n_predict": 64,
            "temperature": 0,
            "cache_prompt": True,
            "stop": STOP,
            "samplers": ["top_k"],
            "top_k": 1,
        }
        return "/infill", {"input_prefix": prefix, "input_suffix": place.suffix, **more}

    def text(self, answer):
        return answer["content"]


def ask(server, place, prefix):
    """The answer's text and how long it took, in ms."""
    path, body = server.body(place, prefix)
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse().read()
    took = (time.monotonic() - began) * 1000
    connection.close()
    return server.text(json.loads(answer)), took


def hang_up_after(server, place, prefix, seconds):
    """What an editor does with a request that the next key made useless."""
    path, body = server.body(place, prefix)
    data = json.dumps(body).encode()
    connection = socket.create_connection(("127.0.0.1", server.port))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except OSError:
        pass
    connection.close()


# ---- the bare program ----


def bare(prefix, suffix, tokens, repack=True, directory=None):
    prefix_root = os.environ.get("CATNAP_LLAMA_PREFIX")
    flags = [
        "-isystem",
        prefix_root,
        f"-L{prefix_root}/lib",
        "-lllama",
        "-lggml",
        "-lggml-base",
        f"-Wl,-rpath,{prefix_root}/lib",
    ]
    program = build("bench/bare.c", BIN / "bench" / "bare", *flags)
    names = [pathlib.Path(directory) / n for n in ("prefix", "suffix")]
    for name, text in zip(names, (prefix, suffix)):
        name.write_text(text)
    return [program, GGUF, *names, str(tokens), *(["repack"] if repack else [])]


def bare_ready_ms(command):
    """From before the program is there to its word that it is ready, as Ours() is measured."""
    began = time.monotonic()
    process = subprocess.Popen([*command, "wait"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    line = process.stderr.readline()
    took = (time.monotonic() - began) * 1000
    process.kill()
    process.communicate()
    return took if line.startswith(b"ready") else sys.exit("bench: the bare program is not ready")


def run_bare(command):
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    took = (time.monotonic() - began) * 1000
    marks = dict(line.split() for line in done.stderr.splitlines())
    return done.stdout, took, {k: float(v) for k, v in marks.items()}

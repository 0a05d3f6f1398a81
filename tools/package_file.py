#!/usr/bin/env python3
"""One file of a package of the Python index, pinned by its sha256; nothing of it is installed or run.

`pip download` runs the build backend of a source package, starts a cut download over and does not show where
it is; so only the settings (index, certificates, proxy) are pip's, and the file is fetched here: by ranges,
resumed where it was cut, verified, renamed into place. What lies under its own name in the cache is whole.

    package_file.py PACKAGE FILE SHA256      prints the path
"""
import base64
import glob
import hashlib
import html.parser
import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

CHUNK_BYTES = 1 << 20
TRIES = 4  # of one file, each going on where the last was cut
TIMEOUT_S = 60  # without a byte


class Failure(Exception):
    """What went wrong, in words for the person who has to act."""


def cache_dir():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("CATNAP_CACHE") or os.path.join(home, "catnap")


class Progress:
    """What, how far, how long: a bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, what, total_bytes, done_bytes=0):
        self.what, self.total, self.done, self.first = what, total_bytes, done_bytes, done_bytes
        self.began = self.shown = time.monotonic()
        self.terminal = sys.stderr.isatty()

    def text(self):
        passed = time.monotonic() - self.began
        speed = (self.done - self.first) / passed if passed > 0.1 else 0
        text = f"{self.done / 1e6:.0f} of {self.total / 1e6:.0f} MB, {speed / 1e6:.1f} MB/s, {passed:.0f} s"
        if speed and self.done < self.total:
            text += f", {(self.total - self.done) / speed:.0f} s left"
        return text

    def add(self, size_bytes):
        self.done += size_bytes
        now = time.monotonic()
        if now - self.shown < (0.1 if self.terminal else 10):
            return
        self.shown = now
        if self.terminal:
            filled = int(24 * self.done / max(self.total, 1))
            bar = "#" * filled + "." * (24 - filled)
            print(f"\r{self.what}: [{bar}] {self.text()} \033[K", end="", file=sys.stderr, flush=True)
        else:
            self.say(self.text())

    def say(self, text):
        print(("\r\033[K" if self.terminal else "") + f"{self.what}: {text}", file=sys.stderr, flush=True)


def pip_settings():
    """pip's own answer: whoever has set up pip has set up this. Debian keeps a copy of pip for venv."""
    try:
        import pip  # noqa: F401
    except ImportError:
        sys.path += glob.glob("/usr/share/python-wheels/pip-*.whl")
    try:
        from pip._internal.configuration import Configuration
        from pip._internal.models.index import PyPI
    except ImportError:
        raise Failure("pip is missing: install the package python3-venv (or python3-pip)") from None
    settings = Configuration(isolated=False)
    settings.load()
    found = {"index-url": PyPI.simple_url}
    values = dict(settings.items())
    if values and all(isinstance(value, dict) for value in values.values()):  # grouped by file since pip 25.3
        values = {key: value for group in values.values() for key, value in group.items()}
    for section in ("global", "download", ":env:"):  # the later wins, as in pip
        for key in ("index-url", "cert", "proxy"):
            if values.get(f"{section}.{key}"):
                found[key] = values[f"{section}.{key}"]
    return found


class Index:
    """The package index that pip is set up for."""

    def __init__(self):
        settings = pip_settings()
        self.url = settings["index-url"].rstrip("/")
        handlers = []
        if "cert" in settings:
            context = ssl.create_default_context(cafile=settings["cert"])
            handlers.append(urllib.request.HTTPSHandler(context=context))
        if "proxy" in settings:
            proxies = dict.fromkeys(("http", "https"), settings["proxy"])
            handlers.append(urllib.request.ProxyHandler(proxies))
        self.opener = urllib.request.build_opener(*handlers)

    def open(self, url, headers=None):
        parts = urllib.parse.urlsplit(url)
        headers = dict(headers or {})
        if parts.username:  # urllib takes no name and password from the address
            secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(secret.encode()).decode()
            parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
        request = urllib.request.Request(parts.geturl(), headers=headers)
        return self.opener.open(request, timeout=TIMEOUT_S)

    def find(self, package, file):
        """The address of a file: PEP 691 (JSON) or, where the index has only that, PEP 503 (HTML)."""
        page = f"{self.url}/{package}/"
        kinds = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
        with self.open(page, {"Accept": kinds}) as answer:
            base, body = answer.geturl(), answer.read()
            is_json = "json" in (answer.headers["Content-Type"] or "")
        links = [entry["url"] for entry in json.loads(body)["files"]] if is_json else links_of(body.decode())
        for link in links:
            address = urllib.parse.urldefrag(urllib.parse.urljoin(base, link)).url
            if urllib.parse.unquote(address.rpartition("/")[2]) == file:
                return address
        raise Failure(f"the package index has no {file} ({package}); PIP_INDEX_URL names another index")


def links_of(page):
    links = []

    class Anchors(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "a" and dict(attrs).get("href"):
                links.append(dict(attrs)["href"])

    Anchors().feed(page)
    return links


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def size_of(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


def receive(index, url, partial, progress):
    """Appends what is missing of a file. A server that does not know ranges sends all of it again."""
    have = size_of(partial)
    with index.open(url, {"Range": f"bytes={have}-"} if have else {}) as answer:
        fresh = answer.status != 206
        if fresh and progress:
            progress.add(-have)
        expected = int(answer.headers["Content-Length"] or 0) + (0 if fresh else have)
        if progress and not progress.total:
            progress.total = expected
        with open(partial, "wb" if fresh else "ab") as file:
            while block := answer.read(CHUNK_BYTES):
                file.write(block)
                if progress:
                    progress.add(len(block))
    if expected and size_of(partial) < expected:
        raise ConnectionError(f"cut after {size_of(partial)} of {expected} bytes")


def fetch(index, package, file, sha256, progress=None):
    """The path of a verified file in the cache, fetched where it is not there yet."""
    folder = os.path.join(cache_dir(), "downloads")
    os.makedirs(folder, exist_ok=True)
    path, partial = os.path.join(folder, file), os.path.join(folder, file + ".part")
    if os.path.exists(path):  # perhaps put there by hand
        if sha256_of(path) != sha256:
            raise Failure(f"{path} is not the file that is wanted (sha256 {sha256}): remove it")
        return path
    for attempt in range(1, TRIES + 1):
        try:
            url = index.find(package, file)
            receive(index, url, partial, progress)
            break
        except urllib.error.HTTPError as error:
            if error.code == 416:  # nothing is missing: the sum decides
                break
            if error.code < 500 and error.code != 429 or attempt == TRIES:
                raise Failure(f"{package}: the package index answers {error.code} {error.reason}") from None
        except OSError as error:  # refused, unknown host, reset, timeout
            if getattr(error, "errno", None) == 28:
                raise Failure(f"{folder}: the disk is full; make room or set CATNAP_CACHE") from None
            if attempt == TRIES:
                reason = getattr(error, "reason", error)
                raise Failure(
                    f"{file} cannot be fetched: {reason}. What came so far is kept: run it again when the "
                    f"network is back. Without a network, put the file (sha256 {sha256}) into {folder}"
                ) from None
        time.sleep(attempt)
    found = sha256_of(partial)
    if found != sha256:
        os.unlink(partial)
        raise Failure(
            f"{file}: sha256 is {found} instead of {sha256}; thrown away. Run it again; if it stays so, the "
            "index or a proxy on the way serves another file (PIP_INDEX_URL names another index)"
        )
    os.replace(partial, path)
    return path


def main():
    package, file, sha256 = sys.argv[1:]
    path = os.path.join(cache_dir(), "downloads", file)
    have = size_of(path + ".part")
    progress = Progress(file, 0, have)
    if not os.path.exists(path):
        progress.say(f"fetch, {have / 1e6:.0f} MB are here already" if have else "fetch")
    fetch(Index(), package, file, sha256, progress)
    if progress.total:
        progress.say(progress.text())
    print(path)


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"fetch: {failure}")
    except KeyboardInterrupt:
        sys.exit("fetch: interrupted; what came so far is kept")

"""Code search on 100,000 chunks of real source: how quickly an index is made, how quickly it is searched.

The repository is made of Python's own library, the system's headers and this house, each file again under
other names until there are enough chunks. Vectors are hashes of words here (a model's take an hour on two
cores), so that the search is the whole one but for the question's own vector. The peer of a search is
`git grep` for the longest of its words, the way to look for code without an index.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from common import BIN, ROOT, figure, median, quantile, say

CHUNKS = int(os.environ.get("CATNAP_BENCH_CHUNKS", 100_000))
QUERIES = 60
ENDINGS = {".py": "python", ".c": "c", ".h": "c", ".js": "javascript-typescript"}
WORD = re.compile(r"\b[A-Za-z_]\w{6,}\b")


def sources():
    folders = [ROOT / "src", ROOT / "tests", pathlib.Path(f"/usr/lib/python3.{sys.version_info.minor}")]
    for folder in [*folders, pathlib.Path("/usr/include"), pathlib.Path("/usr/lib/python3/dist-packages")]:
        for path in sorted(folder.rglob("*")):
            if path.suffix in ENDINGS and path.is_file() and not path.is_symlink():
                try:
                    text = path.read_text()
                except (UnicodeDecodeError, OSError):
                    continue
                if 200 < len(text) < 500_000:
                    yield str(path).lstrip("/"), text


def git(folder, *arguments):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    command = ["git", "-c", "user.name=b", "-c", "user.email=b@b", *arguments]
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def make_repository(folder, size_bytes):
    folder.mkdir()
    git(folder, "init", "-q")
    texts, written, copy = list(sources()), 0, 0
    while written < size_bytes:
        for path, text in texts:
            if copy:
                text = WORD.sub(lambda match: f"{match[0]}_{copy}", text)
            place = folder / f"copy{copy}" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
            written += len(text)
            if written >= size_bytes:
                break
        copy += 1
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "all of it")
    return texts


def update(folder, database):
    task = {"url": f"file://{folder}", "refs": [], "mirror": "/nonexistent", "database": str(database)}
    began = time.monotonic()
    done = subprocess.run(
        [BIN / "tabby", "index"], input=json.dumps(task), capture_output=True, text=True, check=True
    )
    say(f"search: {done.stdout.strip()}")
    numbers = [int(number) for number in re.findall(r"\d+", done.stdout)]
    return {"bytes": numbers[1], "chunks": numbers[5], "seconds": time.monotonic() - began}


def queries(texts):
    """What stands before a cursor: twenty lines from the middle of files."""
    made = []
    step = max(1, len(texts) // QUERIES)
    for path, text in texts[::step][:QUERIES]:
        lines = text.splitlines(keepends=True)
        at = len(lines) // 2
        made.append(
            {"text": "".join(lines[max(0, at - 20) : at]), "language": ENDINGS[pathlib.Path(path).suffix]}
        )
    return [query for query in made if WORD.search(query["text"])]


def grep_ms(folder, query):
    word = max(WORD.findall(query["text"]), key=len)
    began = time.monotonic()
    subprocess.run(["git", "grep", "-c", "-w", word, "HEAD"], cwd=folder, capture_output=True)
    return (time.monotonic() - began) * 1000


def main():
    with tempfile.TemporaryDirectory() as directory:
        folder, database = pathlib.Path(directory) / "repository", pathlib.Path(directory) / "index.sqlite"
        texts = make_repository(folder, CHUNKS * 422)
        first = update(folder, database)
        while first["chunks"] < CHUNKS * 0.98:
            say(f"search: {first['chunks']} chunks: a larger repository is made")
            subprocess.run(["rm", "-rf", str(folder)], check=True)
            database.unlink()
            texts = make_repository(folder, int(first["bytes"] * 1.05 * CHUNKS / first["chunks"]))
            first = update(folder, database)
        rate = first["bytes"] / first["seconds"] / 1e6
        figure("search", f"index, first time, {first['chunks']} chunks", rate, "MB/s of source")
        again = update(folder, database)
        figure(
            "search",
            "index, nothing new",
            again["seconds"],
            "s",
            None,
            None,
            None,
            "<= 5 s",
            again["seconds"] <= 5,
        )
        subprocess.run([BIN / "bench/bench_index", "embed", database], check=True)
        wanted = queries(texts)
        path = pathlib.Path(directory) / "queries.json"
        path.write_text(json.dumps([wanted[0], *wanted]))
        done = subprocess.run(
            [BIN / "bench/bench_index", "search", database, path], check=True, capture_output=True, text=True
        )
        lines = [[int(number) for number in line.split()] for line in done.stdout.splitlines()]
        took = [us / 1000 for us, _ in lines[1:]]
        say(f"search: the first took {lines[0][0] / 1000:.1f} ms, with the vectors to be read")
        peers = [grep_ms(folder, query) for query in wanted[:10]]
        ratios = [mine / peer for mine, peer in zip(took, peers)]
        figure(
            "search",
            "search, p50",
            median(took),
            "ms",
            "git grep",
            median(peers),
            ratios,
            "<= 0.5x",
            median(ratios) <= 0.5,
        )
        figure("search", "search, p99", quantile(took, 0.99), "ms")
        figure("search", "index on disk, to source", database.stat().st_size / first["bytes"], "x")


main()

"""copycat against llama.cpp's own server built from the same source, and against a bare program on libllama.

Same model, same text, same machine, interleaved rounds. Documents are real source files of this repository
and of Python's library; a typist sees twenty lines on both sides of the cursor, as editors send them. The
peer is asked by /infill with its prompt cache on, 64 tokens at most and the same stop words.

  CATNAP_BENCH_ROUNDS   rounds of what is repeated (default 3)
  CATNAP_BENCH_LINES    cut-out lines of the quality figure (default 24)
  COPYCAT_BENCH_ONLY    some of: asleep,start,keystroke,typists,cancel,memory,decode,kept,quality
"""

import concurrent.futures
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from common import BIN, ROOT, build, figure, median, quantile, say
from conftest import Catnap, free_port
from tabby import REAL
from copycat_peers import Ours, Peer, Place, ask, bare, bare_ready_ms, hang_up_after, places, run_bare

ROUNDS = int(os.environ.get("CATNAP_BENCH_ROUNDS", 3))
LINES = int(os.environ.get("CATNAP_BENCH_LINES", 24))
ONLY = [p for p in os.environ.get("COPYCAT_BENCH_ONLY", "").split(",") if p]


def wanted(part):
    return not ONLY or part in ONLY


# ---- parts ----


FIRST = ("def fibonacci(n):\n    ", "\n    return fibonacci(n - 1) + fibonacci(n - 2)\n")


def asleep():
    """A sleeping app's first answer through catnap, against the bare program that answers the same."""
    with tempfile.TemporaryDirectory() as directory:
        catnap = Catnap(directory).start()
        try:
            port = free_port()
            env = {"CATNAP_BIN": str(BIN), "CATNAP_LLAMA": os.environ["CATNAP_LLAMA_PREFIX"]}
            env |= {"CATNAP_MODELS": str(REAL.parent), "CATNAP_MODEL": REAL.name, "CATNAP_PUBLISH": str(port)}
            catnap.up((ROOT / "examples/copycat.yaml").read_text(), env=env)
            server = Ours.__new__(Ours)
            server.port = port
            place = Place.__new__(Place)
            place.path, place.language, place.suffix = "fib.py", "python", FIRST[1]
            ours, floor = [], []
            for _ in range(ROUNDS + 1):
                text, took = ask(server, place, FIRST[0])
                catnap.cli("sleep", "copycat")
                catnap.wait_state("copycat", "serve", "asleep", "primed")
                ours.append(took)
                both = [run_bare(bare(*FIRST, 64, repack, directory))[1] for repack in (False, True)]
                floor.append(min(both))
                say(f"copycat: asleep {took:.0f} ms {text!r}, bare {both[0]:.0f}, repacked {both[1]:.0f} ms")
            ratios = [a / b for a, b in zip(ours[1:], floor[1:])]
            figure(
                "copycat",
                "asleep -> first completion",
                median(ours[1:]),
                "ms",
                "bare program",
                median(floor[1:]),
                ratios,
                "<= 1.1x",
                median(ratios) <= 1.1,
            )
        finally:
            catnap.stop()


def start():
    """Start to ready, against mapping the file and making the context by hand."""
    with tempfile.TemporaryDirectory() as directory:
        ours, floor, peers = [], [], []
        for _ in range(ROUNDS + 1):
            began = time.monotonic()
            server = Ours()
            ours.append((time.monotonic() - began) * 1000)
            repack = repacks(server)
            server.stop()
            floor.append(bare_ready_ms(bare(*FIRST, 0, repack, directory)))
            peer = Peer()
            peers.append(peer.ready_ms)
            peer.stop()
        ratios = [a / b for a, b in zip(ours[1:], floor[1:])]
        figure(
            "copycat",
            "start -> ready",
            median(ours[1:]),
            "ms",
            "by hand",
            median(floor[1:]),
            ratios,
            "<= 1.05x",
            median(ratios) <= 1.05,
        )
        ratios = [a / b for a, b in zip(ours[1:], peers[1:])]
        figure("copycat", "start -> ready", median(ours[1:]), "ms", "llama-server", median(peers[1:]), ratios)


def repacks(server):
    """Whether it rewrote the weights: then the bare program does so too."""
    return bool(server.tabby.metrics()["copycat_repacked"])


def keystrokes():
    """First request of a document, then the next ones as its user types on; both servers in turn."""
    ours, peer = Ours(), Peer()
    try:
        first, next_ = {ours: [], peer: []}, {ours: [], peer: []}
        for number, place in enumerate(places(2 + 2 * ROUNDS, seed=2)):
            for server in (ours, peer) if number % 2 else (peer, ours):
                text, took = ask(server, place, place.prefix())
                first[server].append(took)
                for more in (3, 6, 9):
                    column = min(place.column + more, len(place.text))
                    text, took = ask(server, place, place.prefix(column))
                    next_[server].append(took)
            say(
                f"copycat: document {number}: first {first[ours][-1]:.0f} / {first[peer][-1]:.0f} ms, "
                f"then {median(next_[ours][-3:]):.0f} / {median(next_[peer][-3:]):.0f} ms"
            )
        for name, times, goal in (("first request, p50", first, 1.0), ("next keystroke, p50", next_, 0.7)):
            ratios = [a / b for a, b in zip(times[ours], times[peer])]
            figure(
                "copycat",
                name,
                median(times[ours]),
                "ms",
                peer.name,
                median(times[peer]),
                ratios,
                f"<= {goal}x",
                median(times[ours]) <= goal * median(times[peer]),
            )
    finally:
        ours.stop()
        peer.stop()


def typist(server, place, bursts, gap_s, found):
    """Types three keys, each making the last request useless, and waits for the answer to the third."""
    column = place.column
    for _ in range(bursts):
        for _ in range(2):
            column = min(column + 1, len(place.text))
            hang_up_after(server, place, place.prefix(column), gap_s)
        column = min(column + 1, len(place.text))
        found.append(ask(server, place, place.prefix(column))[1])


def typists():
    results = {}
    for make in (lambda: Ours("--parallelism", "4"), lambda: Peer(4)):
        server = make()
        try:
            found, four = [], places(4, seed=3)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda p: typist(server, p, 1 + 2 * ROUNDS, 0.2, found), four))
            results[server.name] = found
            say(
                f"copycat: 4 typists, {server.name}: p50 {median(found):.0f}, "
                f"p99 {quantile(found, 0.99):.0f} ms"
            )
        finally:
            server.stop()
    ours, peer = results["copycat"], results["llama-server"]
    ratio = quantile(ours, 0.99) / quantile(peer, 0.99)
    figure(
        "copycat",
        "4 typists, p99",
        quantile(ours, 0.99),
        "ms",
        "llama-server",
        quantile(peer, 0.99),
        [ratio],
        "<= 0.7x",
        ratio <= 0.7,
    )
    ratio = median(ours) / median(peer)
    figure("copycat", "4 typists, p50", median(ours), "ms", "llama-server", median(peer), [ratio])


def busy_ns(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            total += int(open(f"/proc/{pid}/task/{task}/schedstat").read().split()[0])
        except OSError:
            pass
    return total


def idle_after_cancel(server, place):
    """How long its processors go on after the client of a long prompt is gone, in ms."""
    hang_up_after(server, place, place.prefix(), 0.7)
    gone = time.monotonic()
    last, changed = busy_ns(server.pid), gone
    while time.monotonic() - changed < 0.5 and time.monotonic() - gone < 60:
        time.sleep(0.005)
        now = busy_ns(server.pid)
        if now - last > 1_000_000:
            changed = time.monotonic()
        last = now
    return (changed - gone) * 1000


def cancel():
    ours, peer = Ours(), Peer()
    try:
        times = {ours: [], peer: []}
        for place in places(ROUNDS + 1, seed=4):
            for server in (ours, peer):
                times[server].append(idle_after_cancel(server, place))
        ratios = [a / max(b, 1) for a, b in zip(times[ours], times[peer])]
        figure(
            "copycat",
            "client gone -> core idle",
            max(times[ours]),
            "ms",
            peer.name,
            max(times[peer]),
            ratios,
            "<= 50 ms",
            max(times[ours]) <= 50,
        )
    finally:
        ours.stop()
        peer.stop()


def resident(pid, kind="VmRSS"):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith(kind + ":"):
            return int(line.split()[1]) / 1024


def memory():
    """What the server takes beside the model and its context: the bare program holds the same."""
    place = places(1, seed=5)[0]
    ours, peer = Ours(), Peer()
    try:
        with tempfile.TemporaryDirectory() as directory:
            command = bare(place.prefix(), place.suffix, 8, repacks(ours), directory)
            process = subprocess.Popen(
                [*command, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            while b"whole" not in process.stderr.readline():
                pass
            floor = resident(process.pid, "RssAnon")
            process.kill()
            process.wait()
        for server in (ours, peer):
            ask(server, place, place.prefix())
        mine = resident(ours.pid, "RssAnon")
        figure(
            "copycat",
            "own memory beside the model",
            mine - floor,
            "MB",
            peer.name,
            resident(peer.pid, "RssAnon") - floor,
            goal="<= 20 MB",
            ok=mine - floor <= 20,
        )
        before = resident(ours.pid)
        os.kill(ours.pid, signal.SIGUSR1)
        time.sleep(2)
        figure("copycat", "resident, dozing", resident(ours.pid), "MB", "awake", before)
    finally:
        ours.stop()
        peer.stop()


def decode():
    """Tokens a second against what the memory can bring: a token reads all weights but the words."""
    flags = ["-O3", "-march=native", "-pthread"]
    program = build("bench/bandwidth.c", BIN / "bench" / "bandwidth", *flags)
    ours = Ours()
    try:
        rates, limits = [], []
        for _ in range(ROUNDS):
            before = ours.tabby.metrics()
            body = {
                "language": "python",
                "segments": {"prefix": "numbers = [1, 2, 3, 4, 5, 6, 7,"},
                "temperature": 0,
            }
            ours.tabby.post("/v1/completions", body)
            after = ours.tabby.metrics()
            tokens = after["copycat_generated_tokens_total"] - before["copycat_generated_tokens_total"]
            seconds = after["copycat_generate_seconds_total"] - before["copycat_generate_seconds_total"]
            bandwidth = float(
                subprocess.run([program, str(os.cpu_count())], capture_output=True, text=True).stdout
            )
            rates.append(tokens / seconds)
            limits.append(bandwidth / READ_BYTES)
        ratios = [a / b for a, b in zip(rates, limits)]
        figure(
            "copycat",
            "decode",
            median(rates),
            "tokens/s",
            "memory's limit",
            median(limits),
            ratios,
            ">= 0.85x",
            median(ratios) >= 0.85,
        )
    finally:
        ours.stop()


READ_BYTES = 0.98e9  # of Qwen2.5-Coder-1.5B Q4_K_M a token reads: the file less the embedding table


def quality():
    """Exact matches of cut-out lines, asked as a typist would (two requests a few keys earlier first): the
    suffix kept and moved along, and computed anew each time."""
    found = {}
    for name, env in (("moved suffix", {}), ("suffix anew", {"COPYCAT_SUFFIX_DRIFT": 0})):
        server = Ours(env=env)
        exact, times = 0, []
        try:
            for place in places(LINES, seed=7):
                for back in (8, 4):
                    ask(server, place, place.prefix(max(0, place.column - back)))
                text, took = ask(server, place, place.prefix())
                exact += text.split("\n")[0].rstrip() == place.rest.rstrip()
                times.append(took)
            found[name] = (exact, median(times))
            say(f"copycat: {name}: {exact} of {LINES} lines exact, p50 {median(times):.0f} ms")
        finally:
            server.stop()
    (moved, moved_ms), (anew, anew_ms) = found["moved suffix"], found["suffix anew"]
    figure(
        "copycat",
        f"exact of {LINES} cut-out lines",
        moved,
        "lines",
        "suffix anew",
        anew,
        goal=">= 0.95x",
        ok=moved >= 0.95 * anew,
    )
    figure(
        "copycat",
        "the same, p50 of the third keystroke",
        moved_ms,
        "ms",
        "suffix anew",
        anew_ms,
        [moved_ms / anew_ms],
    )


def kept():
    """A document over an end: the first completion after the start, against the prefill that it saves."""
    root = pathlib.Path(tempfile.mkdtemp(prefix="copycat-bench-"))
    saved, paid = [], []
    try:
        for place in places(ROUNDS, seed=5):
            spent = []
            for _ in range(2):
                server = Ours(root=root)
                before = server.tabby.metrics()["copycat_prompt_seconds_total"]
                ask(server, place, place.long_prefix())
                spent.append((server.tabby.metrics()["copycat_prompt_seconds_total"] - before) * 1000)
                server.stop()
            saved.append(spent[0])
            paid.append(spent[1])
            say(f"copycat: kept: prompt {spent[0]:.0f} ms, after an end {spent[1]:.0f} ms")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    ratios = [a / b for a, b in zip(paid, saved)]
    figure(
        "copycat",
        "kept document, first prompt after an end",
        median(paid),
        "ms",
        "prefill",
        median(saved),
        ratios,
        "<= 0.1x",
        median(ratios) <= 0.1,
    )


PARTS = {
    "asleep": asleep,
    "start": start,
    "keystroke": keystrokes,
    "typists": typists,
    "cancel": cancel,
    "memory": memory,
    "decode": decode,
    "kept": kept,
    "quality": quality,
}


def main():
    if "CATNAP_LLAMA_PREFIX" not in os.environ:
        sys.exit("copycat: CATNAP_LLAMA_PREFIX is not set (./dev bench copycat)")
    failed = 0
    for name, part in PARTS.items():
        if not wanted(name):
            continue
        say(f"copycat: {name}")
        try:
            part()
        except Exception as error:  # one part that fails leaves the others their figures
            say(f"copycat: {name} failed: {type(error).__name__}: {error}")
            failed += 1
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

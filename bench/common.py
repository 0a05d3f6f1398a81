"""What the benchmarks share: a daemon of their own, interleaved rounds, figures with their spread.

A figure is a dict {bench, figure, value, unit, peer, peer_value, ratio, low, high, goal, ok}: `ratio` is
ours to the peer's (or to the
floor's) in the same rounds, `low` and `high` its least and greatest round. Each script prints its figures as
JSON lines on stdout
and what it does on stderr; bench/run makes the table of them."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("CATNAP_BIN", ROOT / "build"))
sys.path.insert(0, str(ROOT / "tests" / "e2e"))


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def figure(bench, name, value, unit, peer=None, peer_value=None, ratios=None, goal=None, ok=None):
    """Prints one figure. `ratios`: one per round; `goal`: text; `ok`: whether it is met."""
    line = {"bench": bench, "figure": name, "value": round(value, 3), "unit": unit, "goal": goal, "ok": ok}
    if peer:
        line.update(peer=peer, peer_value=round(peer_value, 3))
    if ratios:
        line.update(
            ratio=round(statistics.median(ratios), 3), low=round(min(ratios), 3), high=round(max(ratios), 3)
        )
    print(json.dumps(line), flush=True)
    return line


def median(values):
    return statistics.median(values)


def quantile(values, q):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def build(source, target, *flags):
    """A small C program of the bench; built when its source is newer."""
    target = pathlib.Path(target)
    source = ROOT / source
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O2", "-std=gnu17", "-o", str(target), str(source), *flags], check=True)
    return target

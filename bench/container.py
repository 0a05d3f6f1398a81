"""What the container room adds to an app's start and thaw, beside the same server by hand in namespaces."""

import os
import subprocess
import sys

from common import BIN, figure, median, quantile, say

ROUNDS, PAUSE_MS = 40, 100
NAMES = ["bare", "cold_ready", "cold", "primed_ready", "primed", "thaw"]


def rounds(runtime):
    program, server = BIN / "bench" / "bench_container", BIN / "tests" / "unit" / "tiny_server"
    command = [program, str(ROUNDS), str(PAUSE_MS), runtime, BIN / "catnap-init", server]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(NAMES, zip(*(map(float, line.split()) for line in done.stdout.splitlines()))))


def told(took, name, words, goal_ms=None):
    added = [ours - bare for ours, bare in zip(took[name], took["bare"])]
    value = median(added) if goal_ms else median(took[name])
    say(f"  {words}: {median(took[name]):.2f} ms (95 %: {quantile(took[name], 0.95):.2f})")
    figure("container", words, value, "ms", goal=f"< {goal_ms} ms" if goal_ms else None,
           ok=value < goal_ms if goal_ms else None)


def main():
    if os.geteuid() != 0:
        sys.exit("bench container: containers need root here")
    say("container: bare, cold, primed, thaw; crun")
    took = rounds("crun")
    told(took, "bare", "by hand: exec in bare namespaces to the first byte")
    told(took, "cold", "added by a cold start", 15)
    told(took, "primed", "added by the start of a primed one", 3)
    thaw = median(took["thaw"])
    say(f"  thaw to the first byte: {thaw:.2f} ms (95 %: {quantile(took['thaw'], 0.95):.2f})")
    figure("container", "thaw to the first byte", thaw, "ms", goal="< 1 ms", ok=thaw < 1)


main()

"""What an idle daemon with 100 sleeping apps costs: resident memory, and whether anything ever wakes it."""

import os
import sys
import tempfile
import time

from common import figure, say
from conftest import Catnap

APPS = 100
SECONDS = 30
REST_S = 35  # the time-outs of the last connection run out, and it lets go of what it does not need


def threads(pid):
    return [int(t) for t in os.listdir(f"/proc/{pid}/task")]


def switches(pid):
    """Times that any thread of the process was put on a processor, and the ticks it used."""
    count = ticks = 0
    for thread in threads(pid):
        for line in open(f"/proc/{pid}/task/{thread}/status"):
            if "ctxt_switches" in line:
                count += int(line.split()[1])
        fields = open(f"/proc/{pid}/task/{thread}/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return count, ticks


def resident_mb(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def main():
    with tempfile.TemporaryDirectory() as directory:
        config = os.path.join(directory, "catnapd.yaml")
        open(config, "w").write("primed: 0\n")
        catnap = Catnap(directory, extra=["--config", config]).start()
        try:
            say(f"idle: {APPS} apps")
            for i in range(APPS):
                catnap.up(f"app: idle{i}\nfunctions:\n  web:\n    command: [/bin/true]\n    port: 80\n")
            pid = catnap.process.pid
            time.sleep(REST_S)
            before = switches(pid)
            say(f"idle: watched for {SECONDS} s")
            time.sleep(SECONDS)
            after = switches(pid)
            rss = resident_mb(pid)
            figure("idle", f"resident memory, {APPS} sleeping apps", rss, "MB", goal="<= 8 MB", ok=rss <= 8)
            wakes = after[0] - before[0]
            figure("idle", f"times it ran in {SECONDS} s", wakes, "", goal="0", ok=wakes == 0)
            figure(
                "idle",
                f"processor ticks in {SECONDS} s",
                after[1] - before[1],
                "",
                goal="0",
                ok=after[1] == before[1],
            )
        finally:
            catnap.stop()
    return 0


sys.exit(main())

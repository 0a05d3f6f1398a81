"""Modal's web functions and deploys: what catnap adds to what the client, uvicorn and Python take.

  asgi        an asgi function, awake, beside uvicorn on this machine's loopback with the same application
  web_server  the same uvicorn in a container, by `web_server`: the gateway alone
  deploy      how long `modal deploy` waits for an answer to any of its calls: all of it is ours
  wake        asleep: from the request to the start of the container's Python, and from the application's
              answer to the client: everything but the imports
  thaw        a request that finds the container frozen, beside one that finds it awake

BENCH_ROUNDS (5) makes it longer or shorter."""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from common import figure, median, say
from conftest import free_port, wait_for
from modal_house import bench_house

ROUNDS = int(os.environ.get("BENCH_ROUNDS", 5))
REQUESTS = 200
APPLICATION = """
import json, os, time

def started():
    fields = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + int(fields[19]) / os.sysconf("SC_CLK_TCK")

async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    began = time.time()
    while (await receive()).get("more_body"):
        pass
    body = json.dumps({"started": started(), "began": began, "pid": os.getpid()}).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""
PROGRAM = APPLICATION + """
import subprocess
app = modal.App("$APP")

@app.function(image=image, scaledown_window=600, max_containers=1)
@modal.concurrent(max_inputs=100)
@modal.asgi_app()
def asgi():
    return application

@app.function(image=image, scaledown_window=600, max_containers=1)
@modal.concurrent(max_inputs=100)
@modal.web_server(8000, startup_timeout=60)
def server():
    open("/tmp/application.py", "w").write($TEXT)
    words = ["--log-level", "warning", "--port", "8000", "application:application"]
    subprocess.Popen(["python3", "-m", "uvicorn", *words], cwd="/tmp")
"""
# What the client waits for, seen from inside of it: the union of the times in which a call was under way.
WAITS = """
import atexit, time
import grpclib.client as c

spans = []
inner = c.UnaryUnaryMethod.__call__

async def timed(self, *args, **words):
    began = time.monotonic()
    try:
        return await inner(self, *args, **words)
    finally:
        spans.append((began, time.monotonic()))

c.UnaryUnaryMethod.__call__ = timed

def tell():
    total = at = 0
    for began, ended in sorted(spans):
        total += max(0, ended - max(at, began))
        at = max(at, ended)
    print("waited", len(spans), total)

atexit.register(tell)
"""


class Asker:
    """One connection that is kept."""

    def __init__(self, port, label=None):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Host": f"{label}.localhost"} if label else {}

    def ask(self):
        began = time.monotonic()
        self.connection.request("GET", "/", headers=self.headers)
        answer = json.loads(self.connection.getresponse().read())
        return (time.monotonic() - began) * 1000, answer


def threads_ms(pid):
    """What its threads have used of the processors; nanoseconds are told."""
    tasks = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def processor_ms(pid):
    """The same of it and all its children."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return threads_ms(pid) + sum(processor_ms(child) for one in children for child in one.read_text().split())


def container_pid(house, app, name):
    for found in house.house.catnap.ps()["apps"]:
        for function in found["functions"]:
            if found["app"].startswith(app) and function["function"] == name:
                return function["containers"][0]["pid"]


def awake(daemon, container, floor, asgi, server):
    """The median of each, a round after the other."""
    took = {"floor": [], "asgi": [], "server": []}
    askers = {"floor": floor, "asgi": asgi, "server": server}
    ours, runners = [], []
    for _ in range(ROUNDS):
        for name, asker in askers.items():
            before = threads_ms(daemon), processor_ms(container)
            took[name].append(median([asker.ask()[0] for _ in range(REQUESTS)]))
            if name == "asgi":
                ours.append((threads_ms(daemon) - before[0]) / REQUESTS)
                runners.append((processor_ms(container) - before[1]) / REQUESTS)
    shares = [a / b for a, b in zip(ours, runners)]
    words = "asgi function, awake: processor a request"
    figure("web", words, median(ours), "ms", "the client's own runner", median(runners), shares)
    for name, words, goal in (
        ("asgi", "asgi function, awake, p50", None),
        ("server", "web_server, awake, p50", None),
    ):
        ratios = [ours / peer for ours, peer in zip(took[name], took["floor"])]
        figure("web", words, median(took[name]), "ms", "uvicorn, bare", median(took["floor"]), ratios, goal)


def deploys(house, app):
    waits = house.client.cwd / "instrument"
    waits.mkdir(exist_ok=True)
    (waits / "sitecustomize.py").write_text(WAITS)
    shares, totals = [], []
    for _ in range(ROUNDS):
        began = time.monotonic()
        out = house.client.run("deploy", "app.py", env={"PYTHONPATH": str(waits)})
        totals.append((time.monotonic() - began) * 1000)
        words = [line.split() for line in out.splitlines() if line.startswith("waited ")]
        shares.append(float(words[-1][2]) * 1000)
    say(f"  a deploy takes {median(totals):.0f} ms")
    figure(
        "web",
        "unchanged modal deploy: waited for us",
        median(shares),
        "ms",
        "the whole of it",
        median(totals),
        [s / t for s, t in zip(shares, totals)],
        goal="<= 100 ms",
        ok=median(shares) <= 100,
    )


def wakes(house, app, label):
    before, after = [], []
    for _ in range(ROUNDS):
        house.sleep(app, "asgi")
        time.sleep(1)  # one container at most: the one before it must be gone, whose Python takes its time
        sent = time.time()
        _, answer = Asker(house.port, label).ask()
        ended = time.time()
        before.append(max(0, (answer["started"] - sent) * 1000))
        after.append((ended - answer["began"]) * 1000)
    say(f"  to the start of its Python {median(before):.0f} ms, from the application {median(after):.0f} ms")
    share = [b + a for b, a in zip(before, after)]
    figure(
        "web",
        "wake from sleep: all but the container's Python",
        median(share),
        "ms",
        goal="<= 50 ms",
        ok=median(share) <= 50,
    )


def thaws(house, app, asgi):
    cold, warm = [], []
    for _ in range(4 * ROUNDS):
        house.doze(app, "asgi")
        cold.append(asgi.ask()[0])
        warm.append(median([asgi.ask()[0] for _ in range(5)]))
    added = [c - w for c, w in zip(cold, warm)]
    figure("web", "added by a wake from doze", median(added), "ms", goal="< 2 ms", ok=median(added) < 2)


def main():
    if os.geteuid() != 0:
        sys.exit("bench web: containers need root here")
    with tempfile.TemporaryDirectory() as directory, bench_house(pathlib.Path(directory)) as house:
        app = "bench-web"
        (pathlib.Path(directory) / "application.py").write_text(APPLICATION)
        house.client.write(PROGRAM, APP=app, TEXT=repr(APPLICATION))
        urls = house.deploy()
        port = free_port()
        bare = subprocess.Popen(
            [
                "/usr/bin/python3",
                "-m",
                "uvicorn",
                "--log-level",
                "warning",
                "--port",
                str(port),
                "application:application",
            ],
            cwd=directory,
        )
        try:
            floor, asgi, server = Asker(port), Asker(house.port, urls[0]), Asker(house.port, urls[1])
            wait_for("uvicorn answers", lambda: answers(port))
            asgi.ask(), server.ask()
            say("web: awake")
            daemon = house.house.catnap.process.pid
            awake(daemon, container_pid(house, app, "asgi"), floor, asgi, server)
            say("web: deploys")
            deploys(house, app)
            say("web: wakes")
            wakes(house, app, urls[0])
            asgi = Asker(house.port, urls[0])
            asgi.ask()
            thaws(house, app, asgi)
        finally:
            bare.terminate()
            bare.wait(10)


def answers(port):
    try:
        return Asker(port).ask()
    except OSError:
        return False


main()

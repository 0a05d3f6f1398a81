"""Modal's API by use: what catnap adds to what the client, the runner and Python take.

  remote    `.remote()` of an empty function, awake, one after the other, beside the floor of modal_floor.py:
            a server and a runner in one Python process that speak the protocol
  map       `.map` over 10,000 empty inputs, one container, beside the rate of one by one. The client takes
            about 1 ms of processor for each and the runner 1.7, and the runner takes them one after the
            other, with two calls each: that is what bounds it
  queued    the daemon's resident memory with 100,000 inputs queued that nobody works on
  named     Dict and Queue operations a second, from one client that asks 16 at once
  cron      from the full minute to the moment in which the scheduled call was made

BENCH_ROUNDS (5) makes it longer or shorter. Client 1.6.4."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from common import ROOT, figure, median, say
from conftest import free_port
from modal_house import bench_house

ROUNDS = int(os.environ.get("BENCH_ROUNDS", 5))
CALLS, INPUTS, QUEUED = 200, 10_000, 100_000
PROGRAM = """
import time

app = modal.App("$APP", image=image)


@app.function(scaledown_window=600, max_containers=1)
def empty(i):
    pass


@app.function(scaledown_window=600, max_containers=1)
def stuck(i):
    time.sleep(3600)


@app.function(schedule=modal.Cron("* * * * *"), min_containers=1, timeout=30)
def minutely():
    time.sleep(5)
"""
FIND = """
import asyncio, json, sys, time
from modal._utils.async_utils import synchronizer
from modal_proto import api_pb2
f = modal.Function.from_name("$APP", "$NAME")
"""
REMOTE = FIND + """
f.remote(0)
took = []
for i in range($CALLS):
    began = time.monotonic()
    f.remote(i)
    took.append((time.monotonic() - began) * 1000)
print(json.dumps(took))
"""
MAP = FIND + """
f.remote(0)
began = time.monotonic()
for i in range($CALLS):
    f.remote(i)
single = $CALLS / (time.monotonic() - began)
began = time.monotonic()
assert len(list(f.map(range($INPUTS), order_outputs=False))) == $INPUTS
print(json.dumps([single, $INPUTS / (time.monotonic() - began)]))
"""
# Straight by the protocol: the client itself would hold back.
QUEUE = FIND + """
from modal._serialization import serialize


@synchronizer.create_blocking
async def fill(f):
    stub, data = f._client._stub, serialize(((0,), {}))
    item = api_pb2.FunctionInput(args=data, data_format=api_pb2.DATA_FORMAT_PICKLE)
    call = await stub.FunctionMap(api_pb2.FunctionMapRequest(
        function_id=f.object_id, function_call_type=api_pb2.FUNCTION_CALL_TYPE_MAP))
    for begin in range(0, $QUEUED, 500):
        items = [api_pb2.FunctionPutInputsItem(idx=begin + i, input=item) for i in range(500)]
        await stub.FunctionPutInputs(api_pb2.FunctionPutInputsRequest(
            function_id=f.object_id, function_call_id=call.function_call_id, inputs=items))
    return call.function_call_id


f.hydrate()
call = fill(f)
print(json.dumps(f.get_current_stats().backlog))
sys.stdout.flush()
sys.stdin.readline()
modal.FunctionCall.from_id(call).cancel(terminate_containers=True)
"""
NAMED = """
import asyncio, json, time


async def rate(work):
    began, ends, done = time.monotonic(), time.monotonic() + 2, 0

    async def one(i):
        nonlocal done
        while time.monotonic() < ends:
            await work(i)
            done += 2

    await asyncio.gather(*(one(i) for i in range(16)))
    return done / (time.monotonic() - began)


async def main():
    async with modal.Dict.ephemeral() as d, modal.Queue.ephemeral() as q:

        async def dicts(i):
            await d.put.aio(i, i)
            assert await d.get.aio(i) == i

        async def queues(i):
            await q.put.aio(i)
            await q.get.aio()

        print(json.dumps([await rate(dicts), await rate(queues)]))


asyncio.run(main())
"""
CRON = FIND + """
@synchronizer.create_blocking
async def calls(f):
    return await f._client._stub.FunctionCallList(api_pb2.FunctionCallListRequest(function_id=f.object_id))


f.hydrate()
made = []
while not made:
    time.sleep(0.5)
    made = [call.created_at for call in calls(f).function_calls]
print(json.dumps(made))
"""


def said(out):
    """The last line that a script printed."""
    return json.loads([line for line in out.splitlines() if line.strip()][-1])


class Floor:
    def __init__(self, client, directory):
        port = free_port()
        words = [
            client.venv / "bin/python",
            "-P",
            ROOT / "bench/modal_floor.py",
            str(port),
            directory / "floor.sock",
        ]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=client.env)
        self.env = {"MODAL_SERVER_URL": f"http://127.0.0.1:{port}"}
        if self.process.stdout.readline() != "ready\n":
            sys.exit("bench: the floor did not come up")

    def end(self):
        self.process.kill()
        self.process.wait()


def script(client, text, env=None, **words):
    return said(client.run(client.write(text, "script.py", **words), python=True, env=env))


def remote(house, app, directory):
    client, floor = house.client, Floor(house.client, directory)
    words = {"APP": app, "NAME": "empty", "CALLS": CALLS}
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(median(script(client, REMOTE, **words)))
        theirs.append(median(script(client, REMOTE, floor.env, **words)))
    floor.end()
    added = median(ours) - median(theirs)
    ratios = [a / b for a, b in zip(ours, theirs)]
    figure("modal", ".remote() of nothing, awake, p50", median(ours), "ms", "a Python server and runner",
           median(theirs), ratios, goal="<= 1 ms more", ok=added <= 1)  # fmt: skip


def maps(house, app):
    words = {"APP": app, "NAME": "empty", "CALLS": CALLS, "INPUTS": INPUTS}
    single, many = script(house.client, MAP, **words)
    figure("modal", f".map of {INPUTS}, one container", many, "inputs/s", "one by one", single,
           [many / single], goal=">= 5 times", ok=many >= 5 * single)  # fmt: skip


def resident_mb(house):
    status = pathlib.Path(f"/proc/{house.house.catnap.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024


def queued(house, app):
    client, before = house.client, resident_mb(house)
    text = client.write(QUEUE, "filling.py", APP=app, NAME="stuck", QUEUED=QUEUED)
    process = client.start(text, python=True, stdin=subprocess.PIPE)
    line = ""
    while not (line := process.stdout.readline()).strip().isdigit():
        if not line:
            sys.exit("bench: the queue could not be filled")
        say(line.rstrip())
    waiting, now = int(line), resident_mb(house)
    process.communicate("\n", timeout=120)
    say(f"  {waiting} wait; {before:.1f} MB before")
    figure(
        "modal",
        f"resident with {waiting} queued",
        now,
        "MB",
        "without",
        before,
        goal="<= 64 MB",
        ok=now <= 64,
    )


def named(house):
    for name, rate in zip(("Dict", "Queue"), script(house.client, NAMED)):
        figure("modal", f"{name} operations", rate, "1/s", goal=">= 1000", ok=rate >= 1000)


def cron(house, app):
    made = script(house.client, CRON, APP=app, NAME="minutely")[0]
    late_ms = (made - round(made / 60) * 60) * 1000
    figure("modal", "cron: after the minute", late_ms, "ms", goal="< 50 ms", ok=0 <= late_ms < 50)


def main():
    with tempfile.TemporaryDirectory(prefix="catnap-bench-") as made:
        directory, app = pathlib.Path(made), "bench-modal"
        with bench_house(directory) as house:
            house.client.write(PROGRAM, APP=app)
            house.deploy()
            began = time.monotonic()
            cron(house, app)
            remote(house, app, directory)
            maps(house, app)
            named(house)
            queued(house, app)
            say(f"  {time.monotonic() - began:.0f} s")
            house.client.stop(app)


main()

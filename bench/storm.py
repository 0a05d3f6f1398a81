"""A storm: 1,000 requests at once to 50 sleeping apps, each a tiny static server. None may be lost."""

import asyncio
import sys
import tempfile
import time

from common import build, figure, quantile, say, BIN
from conftest import Catnap, free_port, tiny_yaml

APPS = 50
REQUESTS = 1000


async def ask(port, begin):
    await begin.wait()
    began = time.monotonic()
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 60)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 120)
        writer.close()
    except (OSError, asyncio.TimeoutError) as error:
        return str(error) or type(error).__name__, time.monotonic() - began
    return answer.split(b"\r\n")[0].decode(), time.monotonic() - began


async def storm(ports):
    begin = asyncio.Event()
    tasks = [asyncio.create_task(ask(ports[i % len(ports)], begin)) for i in range(REQUESTS)]
    await asyncio.sleep(0)
    begin.set()
    return await asyncio.gather(*tasks)


def main():
    tiny = build("tests/fixtures/tiny_server.c", BIN / "bench" / "tiny_server", "-static").parent
    with tempfile.TemporaryDirectory() as directory:
        catnap = Catnap(directory).start()
        try:
            free = set()
            while len(free) < APPS:  # one may be told twice: nobody has it between two looks
                free.add(free_port())
            ports = sorted(free)
            for i, port in enumerate(ports):
                catnap.up(tiny_yaml(tiny, app=f"tiny{i}", publish=port, max_inputs=100))
            say(f"storm: {REQUESTS} requests at once to {APPS} sleeping apps")
            began = time.monotonic()
            answers = asyncio.run(storm(ports))
            took = time.monotonic() - began
            lost = [a for a, _ in answers if "200" not in a]
            for reason in sorted(set(lost)):
                say(f"storm: {lost.count(reason)} x {reason}")
            times = [t * 1000 for _, t in answers]
            figure("storm", f"lost of {REQUESTS} requests", len(lost), "", goal="0", ok=not lost)
            figure("storm", "p50", quantile(times, 0.5), "ms")
            figure("storm", "p99", quantile(times, 0.99), "ms")
            figure("storm", f"all {APPS} apps awake and all answered", took * 1000, "ms")
        finally:
            catnap.stop()
    return 0


sys.exit(main())

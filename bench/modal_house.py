"""For the benchmarks of Modal's surface: a daemon with a listener for clients, and today's client."""

import contextlib
import sys

from common import ROOT

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from modal.client import Client, House, labels  # noqa: E402
from modal.conftest import CACHE  # noqa: E402


class BenchHouse:
    def __init__(self, house, client):
        self.house, self.client, self.port = house, client, house.catnap.port

    def deploy(self, file="app.py"):
        """Labels of its web functions."""
        return labels(self.client.run("deploy", file))

    def core(self, app, function):
        for a in self.house.catnap.ps()["apps"]:
            if a["app"].startswith(app):
                return f"{a['app']}.{function}"
        raise SystemExit(f"bench: there is no {app}.{function}")

    def sleep(self, app, function):
        self.house.catnap.cli("sleep", self.core(app, function))

    def doze(self, app, function):
        self.house.catnap.cli("doze", self.core(app, function))


@contextlib.contextmanager
def bench_house(directory, version="1.6.4"):
    house = House(directory / "house", CACHE)
    house.catnap.directory.mkdir(parents=True, exist_ok=True)
    house.catnap.start()
    try:
        yield BenchHouse(house, Client(version, house, directory))
    finally:
        house.catnap.stop()

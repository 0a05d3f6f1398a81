"""Both official clients against one catnap.

`house` is a running daemon for all tests; `own_house` one for a test alone, which may start it again;
`client` is
Modal's client of its time, once for each version, with a home and a directory of its own."""

import os
import pathlib
import shutil
import tempfile

import pytest
from conftest import must_be_root

from .client import VERSIONS, Client, House

CACHE = pathlib.Path(os.environ.get("CATNAP_CACHE", pathlib.Path.home() / ".cache/catnap")) / "modal-runtime"


def make_house():
    must_be_root()
    directory = tempfile.mkdtemp(prefix="catnap-modal-")
    house = House(directory, CACHE)
    house.catnap.start()
    return house


def end_house(house):
    house.catnap.stop()
    shutil.rmtree(house.catnap.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def house():
    made = make_house()
    yield made
    end_house(made)


@pytest.fixture
def own_house():
    made = make_house()
    yield made
    end_house(made)


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def client(version, house, tmp_path):
    return Client(version, house, tmp_path)


@pytest.fixture
def own_client(version, own_house, tmp_path):
    return Client(version, own_house, tmp_path)

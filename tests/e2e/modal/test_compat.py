"""docs/compat.md is true: each call of the protocol and each name of the client stands in it once, and what
it says of a call is what the code has."""

import re
import subprocess

import pytest
from conftest import ROOT

from .client import VERSIONS, venv

DOCS = (ROOT / "docs/compat.md").read_text().split("## Modal's Python client")[1].split("\n## ")[0]
NAMES, CALLS = DOCS.split("### Names of the client")[1].split("### Calls of the protocol")


def rows(text):
    """Cells of tables, without their heads."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for table in tables
        for line in table.splitlines()[2:]
    ]


def documented(column):
    return [name for row in rows(CALLS) for name in row[column].replace(",", " ").split()]


def served(of=r"(?!router_)\w+"):
    """Of the tables of methods in src/modal."""
    code = "".join(path.read_text() for path in sorted((ROOT / "src/modal").glob("*.c")))
    tables = re.findall(rf"const struct rpc_method {of}\[\] = \{{(.*?)\n\}};", code, re.S)
    return {name for table in tables for name in re.findall(r'\{"(\w+)",', table)}


def says(version, program):
    done = subprocess.run(
        [venv(version) / "bin/python", "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def protocol():
    program = (
        "from modal_proto.api_pb2 import DESCRIPTOR\n"
        "print(*(m.name for m in DESCRIPTOR.services_by_name['ModalClient'].methods))"
    )
    return {name for version in VERSIONS for name in says(version, program)}


def test_each_call_of_both_clients_is_there_once(protocol):
    found = [name for column in (1, 2, 3) for name in documented(column)]
    assert sorted(found) == sorted(protocol)


def test_what_works_is_what_is_served(protocol):
    assert len(served()) > 80
    assert set(documented(1)) | set(documented(2)) == served()
    assert served() <= protocol
    for name in documented(2):
        assert name in DOCS.split("*Partly*:")[1].split("\n\n")[0], f"{name}: why partly?"


@pytest.mark.parametrize("version", VERSIONS)
def test_each_name_of_the_client_is_there_once(version):
    names = says(version, "import modal\nfor name in modal.__all__: print(name)") - {"__version__"}
    first = [name for row in rows(NAMES) for name in re.findall(r"`(\w+)`", row[0])]
    assert len(first) == len(set(first))
    assert names <= set(first), names - set(first)
    assert all(row[1] for row in rows(NAMES))


def test_what_is_said_of_the_other_service_is_served():
    text = CALLS.split("`TaskCommandRouter`, these are there: ")[1].split(".")[0]
    assert set(text.replace(",", " ").split()) == served("router_methods")

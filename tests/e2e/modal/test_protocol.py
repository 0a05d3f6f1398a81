"""src/modal/proto/ held against the descriptors of each installed client: every message and enum of ours is
theirs, with the same numbers, names, types and labels; what of theirs is left out is named here. No daemon.
"""

import json
import subprocess

import pytest
from conftest import ROOT

from .client import VERSIONS, venv

PROTO = ROOT / "src/modal/proto"
OURS_ALONE = {"record.proto"}  # what catnap keeps for itself; never on a wire to a client

# What nobody in catnap looks at: fields of these types are not in our files. A container gets a definition's
# bytes as its client sent them, so nothing is lost on the way.
LEFT_OUT = {
    "CloudBucketMount",
    "S3Mount",
    "SharedVolumeMount",
    "CustomDomainConfig",
    "CustomDomainInfo",
    "ExtraHTTPServerConfig",
    "HTTPConfig",
    "ProxyInfo",
    "ServiceUserIdentity",
    "RuntimePerfStats",
}
# Where the two clients differ from each other, ours is as in the newer one. The bytes on the wire are the
# same: an older name for the same number and type, or an older message with the same fields.
RENAMED = {
    "Function.max_concurrent_inputs": "allow_concurrent_inputs",
    "FunctionOptions.target_concurrent_inputs": "allow_concurrent_inputs",
    "AppCreateResponse.app_page_url": "app_logs_url",
    "VolumeFsVersion.VOLUME_FS_VERSION_UNSPECIFIED": "UNSPECIFIED",
    "VolumeFsVersion.VOLUME_FS_VERSION_V1": "V1",
    "VolumeFsVersion.VOLUME_FS_VERSION_V2": "V2",
}
MOVED = {
    "AppCreateResponse.app_logs_url"
}  # to 3; the older client reads 2, and is given the same text in both
# Another thing under the same number, or missing: catnap never sends it.
NEVER_SENT = {"AppListResponseAppListItem.metadata", "AppListResponseAppListItem.object_entity"}
OLDER_MESSAGES = {"AppListResponseAppListItem": "AppStats"}

# Runs with the client's own protobuf. Argument: a file with a FileDescriptorSet, or the client's own.
DUMP = """
import json, sys
from google.protobuf import descriptor_pb2
files = descriptor_pb2.FileDescriptorSet()
if sys.argv[1] == "client":
    from modal_proto import api_pb2
    seen = set()
    def add(file):
        if file.name in seen: return
        seen.add(file.name)
        for other in file.dependencies: add(other)
        file.CopyToProto(files.file.add())
    add(api_pb2.DESCRIPTOR)
    try:  # the other service, of the newer client
        from modal_proto import task_command_router_pb2
        add(task_command_router_pb2.DESCRIPTOR)
    except ImportError:
        pass
else:
    files.ParseFromString(open(sys.argv[1], "rb").read())
messages, enums = {}, {}
def short(name, prefix):  # .modal.client.A.B -> AB; .google.protobuf.Empty -> Empty
    return "".join(name[len(prefix):].split("."))
def walk(message, at, prefix, skip):
    name = at + "." + message.name
    fields = {f.number: [f.name, f.type, short(f.type_name, skip(f.type_name)), f.label == f.LABEL_REPEATED]
              for f in message.field}
    messages[short(name, prefix)] = fields
    for nested in message.nested_type: walk(nested, name, prefix, skip)
    for enum in message.enum_type: enums[short(name + "." + enum.name, prefix)] = values(enum)
def values(enum):
    return {v.number: v.name for v in enum.value}
packages = sorted({"." + f.package + "." for f in files.file}, key=len, reverse=True)
def skip(type_name):
    return next((p for p in packages if type_name.startswith(p)), "")
for file in files.file:
    if file.name in sys.argv[2:]: continue
    at = "." + file.package
    for message in file.message_type: walk(message, at, at + ".", skip)
    for enum in file.enum_type: enums[enum.name] = values(enum)
print(json.dumps([messages, enums]))
"""


def dump(version, *words):
    done = subprocess.run(
        [venv(version) / "bin/python", "-c", DUMP, *map(str, words)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    messages, enums = json.loads(done.stdout)
    return (
        {name: {int(n): tuple(f) for n, f in fields.items()} for name, fields in messages.items()},
        {name: {int(n): v for n, v in values.items()} for name, values in enums.items()},
    )


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    path = tmp_path_factory.mktemp("proto") / "ours"
    files = sorted(p.name for p in PROTO.glob("*.proto"))
    subprocess.run(
        ["protoc-c", f"--proto_path={PROTO}", f"--descriptor_set_out={path}", "--include_imports", *files],
        check=True,
        timeout=60,
    )
    return dump(VERSIONS[-1], path, *OURS_ALONE)


@pytest.fixture(scope="module")
def theirs():
    return {version: dump(version, "client") for version in VERSIONS}


def plain_value(enum, name):
    """Values of nested enums carry its name in our files: in C they all stand in one row."""
    return name.removeprefix(enum + "_")


def same(where, mine, other):
    """Of two fields with one number: (name, type, name of the type, repeated)."""
    return (
        other[0] in (mine[0], RENAMED.get(where))
        and other[1] == mine[1]
        and other[2] in (mine[2], OLDER_MESSAGES.get(mine[2]))
        and other[3] == mine[3]
    )


def of_messages(name, fields, client):
    for number, field in fields.items():
        where = f"{name}.{field[0]}"
        if number in client and where not in NEVER_SENT and not same(where, field, client[number]):
            yield f"{where} = {number}: ours {field}, theirs {client[number]}"
        elsewhere = [n for n, f in client.items() if f[0] == field[0] and n != number]
        if elsewhere and where not in MOVED:
            yield f"{where}: ours is {number}, theirs {elsewhere[0]}"
    for number, field in client.items():  # `_experimental_...` is no promise of Modal's
        left_out = field[2] in LEFT_OUT or field[0].startswith("_") or f"{name}.{field[0]}" in NEVER_SENT
        if number not in fields and not left_out:
            yield f"{name}.{field[0]} = {number} is theirs only"


def of_enums(name, values, client):
    for number, value in client.items():
        mine = values.get(number)
        if mine is None:
            yield f"{name}.{value} = {number} is theirs only"
        elif value not in (plain_value(name, mine), RENAMED.get(f"{name}.{mine}")):
            yield f"{name} {number}: ours {mine}, theirs {value}"


def differences(mine, other):
    """Of the messages and enums that both have."""
    for name, fields in mine[0].items():
        client = other[0].get(name) or other[0].get(OLDER_MESSAGES.get(name), {})
        yield from of_messages(name, fields, client)
    for name, values in mine[1].items():
        yield from of_enums(name, values, other[1].get(name, {}))


@pytest.mark.parametrize("version", VERSIONS)
def test_each_number_name_type_and_label_is_the_clients(ours, theirs, version):
    found = list(differences(ours, theirs[version]))
    assert len(ours[0]) > 200
    assert not found, "\n".join(found)


def test_nothing_is_of_our_own_making(ours, theirs):
    for name, fields in ours[0].items():
        known = {n: f for version in VERSIONS for n, f in theirs[version][0].get(name, {}).items()}
        assert known or any(name in theirs[version][0] for version in VERSIONS), f"{name} is no message"
        assert set(fields) <= set(known), f"{name}: {set(fields) - set(known)}"
    for name, values in ours[1].items():
        known = {n for version in VERSIONS for n in theirs[version][1].get(name, {})}
        assert set(values) == known, name

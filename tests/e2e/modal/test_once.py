"""A request that comes again while the first one is not answered yet: its work is done once."""

APP = """
app = modal.App("$APP", image=image)


@app.function(**limits())
def work(name):
    return name
"""
# By hand, while nothing can be written down: no answer is there when the twin comes.
TWICE = """
import os
import socket
import sqlite3
import struct
import urllib.parse

import h2.connection
import h2.events
from modal_proto import api_pb2

url = urllib.parse.urlparse(os.environ["MODAL_SERVER_URL"])
connection = h2.connection.H2Connection()
connection.initiate_connection()
wire = socket.create_connection((url.hostname, url.port), timeout=60)


def ask(method, message, key):
    stream = connection.get_next_available_stream_id()
    head = {":method": "POST", ":scheme": "http", ":authority": url.netloc, "te": "trailers"}
    head[":path"] = f"/modal.client.ModalClient/{method}"
    head["content-type"] = "application/grpc"
    head["x-modal-token-id"] = os.environ["MODAL_TOKEN_ID"]
    head["x-modal-token-secret"] = os.environ["MODAL_TOKEN_SECRET"]
    head["x-modal-client-version"] = modal.__version__
    head["x-idempotency-key"] = key
    bytes = message.SerializeToString()
    connection.send_headers(stream, sorted(head.items(), key=lambda one: one[0][0] != ":"))
    connection.send_data(stream, struct.pack(">BI", 0, len(bytes)) + bytes, end_stream=True)
    return stream


def answers(*streams):
    wire.sendall(connection.data_to_send())
    while not ended.issuperset(streams):
        for event in connection.receive_data(wire.recv(65536)):
            if isinstance(event, h2.events.DataReceived):
                got[event.stream_id] = got.get(event.stream_id, b"") + event.data
            if isinstance(event, h2.events.StreamEnded):
                ended.add(event.stream_id)
        wire.sendall(connection.data_to_send())
    return [got[one][5:] for one in streams]


got, ended = {}, set()
named = api_pb2.FunctionGetRequest(app_name="$APP", object_tag="work")
(function,) = answers(ask("FunctionGet", named, "get"))
function = api_pb2.FunctionGetResponse.FromString(function).function_id
call = api_pb2.FunctionMapRequest(function_id=function, function_call_type=1)
state = sqlite3.connect("$STATE/catnap.db", timeout=60)
state.execute("BEGIN IMMEDIATE")
asked = [ask("FunctionMap", call, key) for key in ("$APP-1", "$APP-2", "$APP-1")]
answers(ask("FunctionGet", named, "get"))
state.rollback()
ids = [api_pb2.FunctionMapResponse.FromString(one).function_call_id for one in answers(*asked)]
print("TWIN", ids[0] == ids[2], "OTHER", ids[0] != ids[1], all(ids))
"""


def test_a_twin_waits_for_the_first(client, house):
    app = client.name("once")
    client.run("deploy", client.write(APP, APP=app))
    out = client.script(TWICE, APP=app, STATE=house.catnap.state)
    assert "TWIN True OTHER True True" in out

"""The floor of bench/modal.py: the least that speaks Modal's protocol, run by the client's own Python.

One process is both server and runner: the server keeps calls in dicts, the runner asks it for inputs and
gives outputs over a Unix socket of its own, with the client's own messages and its gRPC library, as a
container does. No token is looked at, nothing is kept on a disk, nothing is isolated, and there is no thread
beside the loop. What a call takes here is the client's time, a runner's time and the protocol's.

    modal_floor.py PORT SOCKET        says "ready" when it listens"""

import asyncio
import sys

from google.protobuf.empty_pb2 import Empty
from grpclib.client import Channel
from grpclib.server import Server
from modal._serialization import deserialize_data_format, serialize_data_format
from modal_proto import api_grpc, api_pb2


class Floor(api_grpc.ModalClientBase):
    def __init__(self):
        self.calls, self.inputs, self.count = {}, asyncio.Queue(), 0

    async def ClientHello(self, stream):
        await stream.recv_message()
        await stream.send_message(api_pb2.ClientHelloResponse())

    async def FunctionGet(self, stream):
        asked = await stream.recv_message()
        about = api_pb2.FunctionHandleMetadata(
            function_name=asked.object_tag,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            definition_id="de-1",
            app_id="ap-1",
            supported_input_formats=[api_pb2.DATA_FORMAT_PICKLE],
            supported_output_formats=[api_pb2.DATA_FORMAT_PICKLE],
        )
        said = api_pb2.FunctionData(function_name=asked.object_tag, function_type=about.function_type)
        said.ranked_functions.add(function=api_pb2.Function(function_name=asked.object_tag))
        await stream.send_message(
            api_pb2.FunctionGetResponse(function_id="fu-1", handle_metadata=about, function=said)
        )

    async def FunctionMap(self, stream):
        asked = await stream.recv_message()
        self.count += 1
        answer = api_pb2.FunctionMapResponse(function_call_id=f"fc-{self.count}")
        self.calls[answer.function_call_id] = asyncio.get_running_loop().create_future()
        for item in asked.pipelined_inputs:
            name = f"in-{self.count}"
            answer.pipelined_inputs.add(idx=item.idx, input_id=name, input_jwt=name)
            self.inputs.put_nowait((answer.function_call_id, name, item.input))
        await stream.send_message(answer)

    async def FunctionGetInputs(self, stream):
        await stream.recv_message()
        call, name, given = await self.inputs.get()
        answer = api_pb2.FunctionGetInputsResponse()
        answer.inputs.add(input_id=name, function_call_id=call, input=given)
        await stream.send_message(answer)

    async def FunctionPutOutputs(self, stream):
        asked = await stream.recv_message()
        for output in asked.outputs:
            self.calls["fc" + output.input_id[2:]].set_result(output)
        await stream.send_message(Empty())

    async def FunctionGetOutputs(self, stream):
        asked = await stream.recv_message()
        output = await self.calls[asked.function_call_id]
        del self.calls[asked.function_call_id]
        answer = api_pb2.FunctionGetOutputsResponse(last_entry_id="1-0")
        answer.outputs.add(result=output.result, input_id=output.input_id, data_format=output.data_format)
        await stream.send_message(answer)


Floor.__abstractmethods__ = frozenset()  # of the other calls a client of `remote` asks none


async def runner(path):
    stub = api_grpc.ModalClientStub(Channel(path=path))

    def empty(i):
        return None

    while True:
        answer = await stub.FunctionGetInputs(api_pb2.FunctionGetInputsRequest(function_id="fu-1"))
        for item in answer.inputs:
            args, kwargs = deserialize_data_format(item.input.args, item.input.data_format, None)
            data = serialize_data_format(empty(*args, **kwargs), item.input.data_format)
            result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=data)
            request = api_pb2.FunctionPutOutputsRequest()
            request.outputs.add(input_id=item.input_id, result=result, data_format=item.input.data_format)
            await stub.FunctionPutOutputs(request)


async def main():
    floor = Floor()
    outside, inside = Server([floor]), Server([floor])
    await outside.start("127.0.0.1", int(sys.argv[1]))
    await inside.start(path=sys.argv[2])
    print("ready", flush=True)
    await runner(sys.argv[2])


asyncio.run(main())

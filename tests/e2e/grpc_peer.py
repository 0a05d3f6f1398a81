"""Real clients of gRPC, both seen through one face, and the echo server that they talk to.

`GrpclibClient` is what Modal's client stands on, `GrpcioClient` the official one. Messages are bytes. The
server is tests/fixtures/grpc_echo.c, its sanitized build where that is up to date, so that ASan looks at what
real clients do."""

import asyncio
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = pathlib.Path(subprocess.run([ROOT / "tools/venv", "grpc"], check=True, stdout=subprocess.PIPE,
                                   text=True).stdout.strip())
sys.path.insert(0, str(next(VENV.glob("lib/python3*/site-packages"))))

import grpc  # noqa: E402
import pytest  # noqa: E402
import grpclib.client  # noqa: E402
import grpclib.config  # noqa: E402
import grpclib.exceptions  # noqa: E402
from grpclib.encoding.base import CodecBase, StatusDetailsCodecBase  # noqa: E402

DEADLINE_S = 60
SERVICE = "/catnap.Echo/"


class Failure(Exception):
    """A status that is not OK, whoever got it. `ended` is the whole of its trailing metadata."""

    def __init__(self, code, text, details, ended):
        super().__init__(f"{code}: {text}")
        self.code, self.text, self.details, self.ended = code, text, details, ended


class Answer:
    def __init__(self, message, begun, ended):
        self.message, self.begun, self.ended = message, begun, ended


def echo_program():
    sanitized, plain = ROOT / "build-asan/tests/unit/grpc_echo", ROOT / "build/tests/unit/grpc_echo"
    sources = [p for room in ("base", "io", "tls", "grpc") for p in (ROOT / "src" / room).iterdir()]
    sources.append(ROOT / "tests/fixtures/grpc_echo.c")
    newest = max(p.stat().st_mtime for p in sources)
    return sanitized if sanitized.exists() and sanitized.stat().st_mtime > newest else plain


class Echo:
    """The server: `ports` in the order of its addresses. stop() expects a clean end, without leaks."""

    def __init__(self, *arguments, pass_fds=()):
        self.process = subprocess.Popen([echo_program(), *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, pass_fds=pass_fds)
        self.pid, self.ports, self.rest, self.told_to_end = self.process.pid, [], b"", False
        while (line := self.line()) != "ready":
            assert line.startswith("listening "), line
            self.ports.append(int(line.split()[1]))

    @property
    def address(self):
        return f"127.0.0.1:{self.ports[0]}"

    def line(self):
        end = time.monotonic() + DEADLINE_S
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            assert more, f"the echo server said nothing more: {self.process.stderr.read().decode()}"
            self.rest += more
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def signal(self, signo):
        self.told_to_end |= signo == signal.SIGTERM
        self.process.send_signal(signo)

    def ended(self):
        _, stderr = self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0, stderr.decode()

    def stop(self):
        if self.process.stdout.closed:
            return
        if not self.told_to_end:
            self.signal(signal.SIGTERM)
        self.ended()

    def switches(self):
        """How often it was woken."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)

    def memory_kib(self):
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")


class Client:
    def stats(self):
        return json.loads(self.unary("Stats").message)

    def wait_stats(self, **wanted):
        """Asks until the server has seen what it is to see; each question is a round trip."""
        end = time.monotonic() + DEADLINE_S
        while True:
            stats = self.stats()
            if all(stats[name] == value for name, value in wanted.items()):
                return stats
            assert time.monotonic() < end, f"{stats} instead of {wanted}"


class GrpcioClient(Client):
    def __init__(self, address, certificate=None, options=(), compression=None):
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                   ("grpc.use_local_subchannel_pool", 1), *options]
        if certificate:
            credentials = grpc.ssl_channel_credentials(pathlib.Path(certificate).read_bytes())
            self.channel = grpc.secure_channel(address, credentials, options, compression)
        else:
            address = f"unix://{address}" if "/" in address else address
            self.channel = grpc.insecure_channel(address, options, compression)

    def close(self):
        self.channel.close()

    @staticmethod
    def _failure(error):
        ended = dict(error.trailing_metadata() or ())
        return Failure(error.code().name, error.details(), ended.get("grpc-status-details-bin"), ended)

    def _told(self, ask):
        try:
            return ask()
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def start(self, method, message=b"", timeout=None, metadata=None):
        """A call under way: .result() is its message, .cancel() gives it up."""
        ask = self.channel.unary_unary(SERVICE + method)
        future = ask.future(message, timeout=timeout, metadata=metadata)
        return Running(lambda: self._told(future.result), future.cancel)

    def unary(self, method, message=b"", timeout=DEADLINE_S, metadata=None):
        def ask():
            method_ = self.channel.unary_unary(SERVICE + method)
            answer, call = method_.with_call(message, timeout=timeout, metadata=metadata)
            return Answer(answer, dict(call.initial_metadata()), dict(call.trailing_metadata()))
        return self._told(ask)

    def down(self, method, message=b""):
        call = self.channel.unary_stream(SERVICE + method)(message, timeout=DEADLINE_S)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._failure(error) from None

    def up(self, method, messages):
        ask = self.channel.stream_unary(SERVICE + method)
        return self._told(lambda: ask(iter(messages), timeout=DEADLINE_S))

    def both(self, method, messages):
        call = self.channel.stream_stream(SERVICE + method)(iter(messages), timeout=DEADLINE_S)
        try:
            yield from call
        except grpc.RpcError as error:
            raise self._failure(error) from None


class Running:
    def __init__(self, result, cancel):
        self.result, self.cancel = result, cancel


class Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message, message_type):
        return message

    def decode(self, data, message_type):
        return data


class Details(StatusDetailsCodecBase):
    def encode(self, status, message, details):
        return details

    def decode(self, status, message, data):
        return data


class GrpclibClient(Client):
    def __init__(self, address, certificate=None, options=(), keepalive_s=None):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.channel = self._run(self._open(address, certificate, keepalive_s))

    async def _open(self, address, certificate, keepalive_s):
        tls = None
        if certificate:
            import ssl
            tls = ssl.create_default_context(cafile=str(certificate))
            tls.set_alpn_protocols(["h2"])
        window = 64 << 20  # as Modal's client
        config = grpclib.config.Configuration(
            http2_connection_window_size=window, http2_stream_window_size=window, _keepalive_time=keepalive_s,
            _keepalive_timeout=10, _keepalive_permit_without_calls=True, _http2_max_pings_without_data=0)
        where = {"path": address} if "/" in address else dict(zip(("host", "port"), address.split(":")))
        if "port" in where:
            where["port"] = int(where["port"])
        return grpclib.client.Channel(**where, ssl=tls, codec=Bytes(), status_details_codec=Details(),
                                      config=config)

    def _run(self, work, timeout=DEADLINE_S):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def close(self):
        self.loop.call_soon_threadsafe(self.channel.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE_S)
        self.loop.close()

    def _stream(self, method, kind, timeout=DEADLINE_S, metadata=None):
        return kind(self.channel, SERVICE + method, bytes, bytes).open(timeout=timeout, metadata=metadata)

    async def _call(self, method, message, timeout, metadata):
        stream, ended = None, {}
        try:
            async with self._stream(method, grpclib.client.UnaryUnaryMethod, timeout, metadata) as stream:
                await stream.send_message(message, end=True)
                answer = await stream.recv_message()
                await stream.recv_trailing_metadata()
            return Answer(answer, dict(stream.initial_metadata or {}), dict(stream.trailing_metadata or {}))
        except grpclib.exceptions.GRPCError as error:
            ended = dict((stream and stream.trailing_metadata) or {})
            raise Failure(error.status.name, error.message, error.details, ended) from None
        except asyncio.TimeoutError:
            raise Failure("DEADLINE_EXCEEDED", "noticed by the client", None, ended) from None
        except grpclib.exceptions.StreamTerminatedError as error:
            raise Failure("UNAVAILABLE", str(error), None, ended) from None

    def start(self, method, message=b"", timeout=None, metadata=None):
        future = asyncio.run_coroutine_threadsafe(self._call(method, message, timeout, metadata), self.loop)
        return Running(lambda: future.result(DEADLINE_S).message, future.cancel)

    def unary(self, method, message=b"", timeout=DEADLINE_S, metadata=None):
        return self._run(self._call(method, message, timeout, metadata))

    async def _streamed(self, method, kind, messages, out):
        async def send(stream):
            for message in messages:
                await stream.send_message(message)
            await stream.end()
        sending = None
        try:
            async with self._stream(method, kind) as stream:
                if isinstance(messages, bytes):
                    await stream.send_message(messages, end=True)
                else:
                    await stream.send_request()
                    sending = asyncio.ensure_future(send(stream))
                async for message in stream:
                    out.append(message)
                if sending:
                    await sending
        except grpclib.exceptions.GRPCError as error:
            raise Failure(error.status.name, error.message, error.details, {}) from None
        finally:
            if sending:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def down(self, method, message=b""):
        out = []
        self._run(self._streamed(method, grpclib.client.UnaryStreamMethod, message, out))
        return iter(out)

    def up(self, method, messages):
        out = []
        self._run(self._streamed(method, grpclib.client.StreamUnaryMethod, messages, out))
        return out[0]

    def both(self, method, messages):
        out = []
        self._run(self._streamed(method, grpclib.client.StreamStreamMethod, messages, out))
        return iter(out)


def listening_socket():
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    return sock


CLIENTS = pytest.mark.parametrize("kind", [GrpclibClient, GrpcioClient])


@pytest.fixture
def serve():
    """A server of a test's own, and a client of it; all are ended behind the test, and must end well."""
    made = []

    def start(kind, *arguments, address=None, pass_fds=(), **options):
        server = Echo(*([] if pass_fds else ["127.0.0.1:0"]), *arguments, pass_fds=pass_fds)
        made.append(server)
        client = kind(address or server.address, **options)
        made.append(client)
        return server, client

    yield start
    for thing in reversed(made):
        thing.stop() if isinstance(thing, Echo) else thing.close()

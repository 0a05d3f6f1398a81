"""Another model server, as a test needs it: answers POSTs by path from a table, and remembers what it was
asked.

`upstream.says[PATH]` is a function of the request's JSON that gives (status, content type, pieces); pieces
are
sent one by one, and `upstream.left` counts clients that went away before the last one."""

import http.server
import json
import threading
import time


class Upstream:
    def __init__(self):
        self.says, self.asked, self.left = {}, [], 0
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                upstream.answer(self, json.loads(body))

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request, body):
        self.asked.append(
            {"path": request.path, "body": body, "headers": dict(request.headers), "at": time.monotonic()}
        )
        status, kind, pieces = self.says[request.path](body)
        request.close_connection = True
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Connection", "close")
        request.end_headers()
        try:
            for piece in pieces:
                request.wfile.write(piece.encode())
                request.wfile.flush()
        except OSError:
            self.left += 1


def events(*objects, done=True):
    """Server-sent events of these."""
    lines = [f"data: {json.dumps(o)}\n\n" for o in objects]
    return 200, "text/event-stream", lines + (["data: [DONE]\n\n"] if done else [])


def lines(*objects):
    return 200, "application/x-ndjson", [json.dumps(o) + "\n" for o in objects]


def fault(status, text):
    return status, "application/json", [json.dumps({"error": {"message": text}})]


def forever(piece):
    """The same piece again and again, until the client leaves."""

    def endless():
        while True:
            yield piece
            time.sleep(0.01)

    return 200, "text/event-stream", endless()

"""A model registry as Tabby's are, on a local port: models.json of an organisation, and the files it names.

`registry.add(NAME, parts=[bytes, ...], ...)` makes an entry and serves its files; `registry.asked` holds each
request with its headers. `registry.treat(path_end, [how, ...])` says what becomes of the next requests of a
file: an HTTP status, "cut:N" (the connection is closed after N bytes), "no-range" (Range is not looked at),
"wrong-range" (another range than the one asked for), "ok"."""

import base64
import hashlib
import http.server
import json
import threading


class Registry:
    def __init__(self):
        self.models, self.files, self.asked, self.treatment = [], {}, [], {}
        self.need_auth = None
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                registry.answer(self)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def add(
        self,
        name,
        parts,
        organisation="TabbyML",
        partitioned=None,
        sums=None,
        host="huggingface.co",
        mirrors=(),
        **more,
    ):
        """`sums` replace the right ones; `host` stands in the URLs, where the host override finds it."""
        sums = sums or [hashlib.sha256(p).hexdigest() for p in parts]
        urls = []
        for i, part in enumerate(parts):
            path = f"/{organisation}/{name}/{i + 1}.gguf"
            self.files[path] = part
            urls.append([f"http://{host}{path}"] + [f"http://{m}{path}" for m in mirrors])
        entry = {"name": name, "license_name": "ignored", **more}
        if partitioned or len(parts) > 1:
            entry["partition_urls"] = [{"urls": u, "sha256": s} for u, s in zip(urls, sums)]
        else:
            entry.update(urls=urls[0], sha256=sums[0])
        self.models.append(entry)
        self.files[f"/{organisation}/registry-tabby/main/models.json"] = lambda: json.dumps(
            self.models
        ).encode()
        return entry

    def treat(self, path_end, how):
        self.treatment[path_end] = list(how)

    def ranges(self, path_end):
        return [r["range"] for r in self.asked if r["path"].endswith(path_end)]

    def how(self, path):
        for end, list_ in self.treatment.items():
            if path.endswith(end) and list_:
                return list_.pop(0)
        return "ok"

    def answer(self, request):
        path = request.path.split("?")[0]
        self.asked.append(
            {
                "path": path,
                "range": request.headers.get("Range"),
                "auth": request.headers.get("Authorization"),
            }
        )
        content = self.files.get(path)
        how = self.how(path)
        if self.need_auth and path.endswith(".gguf"):
            expected = "Basic " + base64.b64encode(self.need_auth.encode()).decode()
            if request.headers.get("Authorization") != expected:
                how = 401
        if content is None:
            how = 404
        if isinstance(how, int):
            request.send_response(how)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        content = content() if callable(content) else content
        begin, status = 0, 200
        asked = request.headers.get("Range")
        if asked and how != "no-range":
            begin, status = int(asked.removeprefix("bytes=").split("-")[0]), 206
            if begin >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
        told = begin + 7 if how == "wrong-range" else begin
        request.send_response(status)
        request.send_header("Content-Length", str(len(content) - begin))
        if status == 206:
            request.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        body = content[begin:]
        if str(how).startswith("cut:"):
            body = body[: int(how[4:])]
            request.close_connection = True
        try:
            request.wfile.write(body)
        except OSError:
            request.close_connection = True

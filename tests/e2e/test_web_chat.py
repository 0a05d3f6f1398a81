"""The chat in a frame of another window, which speaks to it as the panel of an editor does."""

import http.server
import pathlib
import threading

import pytest
from browser import browser, page  # noqa: F401

EDITOR = (pathlib.Path(__file__).parent / "editor.html").read_text()


@pytest.fixture
def editor(page):
    """A window of another origin that shows the chat."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(EDITOR.replace("SERVER", page.server.url).encode())

        def log_message(self, *_):
            pass

    window = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=window.serve_forever, daemon=True).start()
    page.token = page.server.me(page.server.register()["accessToken"])["authToken"]
    page.browser.get(f"http://127.0.0.1:{window.server_port}/")
    page.wait(lambda: page.browser.execute_script("return window.pong"), "pong")
    yield page
    page.browser.get("about:blank")
    window.shutdown()


def call(page, method, *arguments):
    return page.browser.execute_async_script(
        "window.call(...arguments[0]).then((v) => arguments[1]([v ?? null]), (e) => arguments[1](e.message))",
        [method, *arguments],
    )


def test_the_panel_of_an_editor_comes_up(editor):
    methods = editor.browser.execute_async_script("window.list().then(arguments[0])")
    assert set(methods) >= {
        "init",
        "getVersion",
        "updateTheme",
        "executeCommand",
        "navigate",
        "addRelevantContext",
        "updateActiveSelection",
        "showError",
        "cleanError",
    }
    assert call(editor, "getVersion") == ["0.10.0"]
    assert call(editor, "init", {"fetcherOptions": {"authorization": editor.token}}) == [None]
    assert "No 'dance' method" in call(editor, "dance")
    assert call(
        editor, "updateTheme", "--vscode-foreground: #abcdef; --vscode-sideBar-background: #010203;", "dark"
    ) == [None]
    assert call(
        editor,
        "updateActiveSelection",
        {
            "kind": "file",
            "filepath": {"kind": "uri", "uri": "file:///w/b.c"},
            "range": {"start": 3, "end": 9},
            "content": "int x;",
        },
    ) == [None]
    assert call(editor, "showError", {"title": "Oh", "content": "no"}) == [None]
    editor.browser.switch_to.frame(0)
    editor.sees("Oh: no").sees("b.c:3-9 (selected)")
    body = editor.browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
    )
    assert body == ["rgb(171, 205, 239)", "rgb(1, 2, 3)"]
    editor.browser.switch_to.default_content()


def test_the_panel_says_when_there_is_no_chat_model_or_no_right(editor):
    call(editor, "init", {"fetcherOptions": {"authorization": editor.token}})
    editor.browser.switch_to.frame(0)
    editor.sees("runs without a chat model")
    editor.browser.switch_to.default_content()
    call(editor, "init", {"fetcherOptions": {"authorization": "auth_wrong"}})
    editor.browser.switch_to.frame(0)
    editor.sees("The token is not valid")
    editor.browser.switch_to.default_content()

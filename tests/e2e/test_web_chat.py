"""The chat in a frame of another window, which speaks to it as the panel of an editor does."""

import http.server
import pathlib
import threading

import pytest
from accounts import Accounts
from browser import Page, browser, page  # noqa: F401
from repositories import make_repository
from searching import ADD, repositories
from tabby import SMALL

EDITOR = (pathlib.Path(__file__).parent / "editor.html").read_text()


class Window:
    """Of an editor: of another origin, it shows the chat in a frame."""

    def __init__(self, page):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(EDITOR.replace("SERVER", page.server.url).encode())

            def log_message(self, *_):
                pass

        self.page, self.server = page, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        page = self.page
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        page.token = page.server.me(page.server.register()["accessToken"])["authToken"]
        page.browser.get(f"http://127.0.0.1:{self.server.server_port}/")
        page.wait(lambda: page.browser.execute_script("return window.pong"), "pong")
        return page

    def __exit__(self, *_):
        self.page.browser.switch_to.default_content()
        self.page.browser.get("about:blank")
        self.server.shutdown()


@pytest.fixture
def editor(page):
    with Window(page) as shown:
        yield shown


@pytest.fixture
def talker(browser):
    browser.get_log("browser")  # what earlier tests were told is not ours
    with Accounts("--chat-model", SMALL) as server, Window(Page(browser, server)) as shown:
        yield shown


def cut_short(page):
    """Some answer is there; what more the model has to say is not waited for."""
    said = "return document.querySelector('.message.assistant:last-child div')?.textContent"
    page.wait(lambda: page.browser.execute_script(said), "an answer")
    page.browser.execute_script(
        "const send = document.getElementById('send'); if (send.textContent === 'Stop') send.click()"
    )
    page.wait(lambda: page.server.metrics()["copycat_jobs_working"] == 0, "the model at rest")


def called(page, what):
    """What the page last called the editor's method with; None: not yet."""
    page.browser.switch_to.default_content()
    calls = page.browser.execute_script("return window.called")
    page.browser.switch_to.frame(0)
    return next((argument for name, argument in reversed(calls) if name == what), None)


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


def test_what_was_said_before_is_shown_and_code_goes_to_the_editor(editor):
    kept = [
        {"role": "user", "content": "a.c\n```\nx\n```\n\nWhat is it?", "shown": "What is it?"},
        {"role": "assistant", "content": "An `int`:\n```c\nint <b>x</b>;\n```\nNo more."},
    ]
    editor.browser.execute_script("window.kept = { messages: arguments[0] }", kept)
    call(editor, "init", {"fetcherOptions": {"authorization": editor.token}})
    editor.browser.switch_to.frame(0)
    editor.sees("What is it?").sees("int <b>x</b>;").sees("No more.")
    assert "a.c" not in editor.text()
    editor.press("Copy")
    assert editor.wait(lambda: called(editor, "onCopy"), "copied") == "int <b>x</b>;"
    editor.press("Apply")
    assert editor.wait(lambda: called(editor, "apply"), "applied") == "int <b>x</b>;"
    editor.press("New chat")
    editor.wait(lambda: "What is it?" not in editor.text(), "an empty conversation")


def test_a_question_about_the_selected_code_is_answered(talker):
    call(talker, "init", {"fetcherOptions": {"authorization": talker.token}})
    assert call(talker, "executeCommand", "explain") == [None]
    talker.browser.switch_to.frame(0)
    talker.sees("Explain the selected code.")
    cut_short(talker)
    question, answer = talker.wait(lambda: called(talker, "store"), "the conversation kept")["messages"]
    assert question == {
        "role": "user",
        "content": "a.py:1-2\n```\nx = 1\n```\n\nExplain the selected code.",
        "shown": "Explain the selected code.",
    }
    assert answer["role"] == "assistant" and answer["content"]
    talker.fill(**{"Your question": "Count from one to one thousand in words."}).press("Send")
    cut_short(talker)
    assert len(called(talker, "store")["messages"]) == 4
    assert talker.complaints() == []


def test_code_of_the_repository_that_is_open_goes_with_a_question(talker, tmp_path):
    make_repository(tmp_path / "shop")
    owner = talker.server.sign_in()["accessToken"]
    talker.server.data(ADD, owner, n="shop", u=f"file://{tmp_path}/shop")
    talker.wait(lambda: repositories(talker.server, owner)[0]["index"]["state"] == "READY", "an index")
    talker.browser.execute_script("window.repositories = [{ url: 'git@example.org:me/shop.git' }]")
    call(talker, "init", {"fetcherOptions": {"authorization": talker.token}})
    talker.browser.switch_to.frame(0)
    chosen = "return document.querySelector('#repository option:checked')?.textContent"
    talker.wait(lambda: talker.browser.execute_script(chosen) == "shop", "the repository that is open")
    talker.fill(**{"Your question": "What does total_with_tax of Invoice do?"}).press("Send")
    talker.sees("With shop/invoice.py")
    cut_short(talker)
    question = talker.wait(lambda: called(talker, "store"), "the conversation kept")["messages"][0]
    assert question["content"].startswith("shop/invoice.py\n```\nclass Invoice:")
    assert question["content"].endswith("```\n\nWhat does total_with_tax of Invoice do?")
    assert talker.complaints() == []


def test_who_is_signed_in_talks_without_an_editor(talker):
    talker.sign_in().heading("Hello, Ada")
    talker.open("/chat").fill(**{"Your question": "Say hello."}).press("Send")
    cut_short(talker)
    assert len(talker.browser.find_elements("css selector", ".message.assistant")) == 1
    assert "chat_completion" in [list(event["event"])[0] for event in talker.server.events()]

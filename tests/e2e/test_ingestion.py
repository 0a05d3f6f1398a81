"""Documents that scripts hand in: taken, kept, searched in threads, taken back."""

import signal
import urllib.parse

import pytest
from accounts import Accounts, bearer
from conftest import wait_for
from searching import RUNS, TRIGGER, config
from test_threads import run
from upstream import Upstream, events

PATH = "/v1beta/ingestion"
SOURCES = "{ contextInfo { sources { __typename id sourceId sourceKind sourceName } } }"
STATUS = "query($s: [String!]) { ingestionStatus(sources: $s) { source pending failed total } }"
ASK = """subscription($i: CreateThreadAndRunInput!) { item: createThreadAndRun(input: $i) { __typename
    ... on ThreadCreated { id }
    ... on ThreadAssistantMessageReadingDoc { sourceIds }
    ... on ThreadAssistantMessageAttachmentsDoc { hits { score doc { __typename
        ... on MessageAttachmentIngestedDoc { id title body link } } } }
    ... on ThreadAssistantMessageCompleted { debugData { chatCompletionMessages { content } } } } }"""
MESSAGES = """query($t: ID!) { threadMessages(threadId: $t) { edges { node { role attachment {
    code { filepath } doc { __typename
    ... on MessageAttachmentIngestedDoc { id title body link } } } } } } }"""
HOLIDAYS = {
    "source": "the handbook/1",
    "id": "holidays #1",
    "title": "Holidays",
    "body": "Everybody has thirty days of vacation a year.\n\nWho wants more asks the office in Lübeck.",
    "link": "https://example.org/holidays",
}
ID = "ingested:the%20handbook%2F1"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    chat = Upstream()
    words = {"choices": [{"index": 0, "delta": {"content": "Thirty."}}]}
    chat.says["/chat/completions"] = lambda _: events(words)
    root = tmp_path_factory.mktemp("root")
    config(root, f'[model.chat.http]\nkind = "openai/chat"\nmodel_name = "m"\napi_endpoint = "{chat.url}"\n')
    with Accounts(root=root) as made:
        made.owner = made.register()["accessToken"]
        made.token = made.data("{ registrationToken }", made.owner)["registrationToken"]
        yield made
    chat.close()


def hand_in(server, **document):
    return server.post(PATH, document, bearer(server.token))


def take_back(server, *names):
    path = "/".join([PATH, *(urllib.parse.quote(name, safe="") for name in names)])
    return server.request(server.port, path, "DELETE", headers=bearer(server.token)).status


def status(server, *sources):
    return server.data(STATUS, server.owner, s=list(sources) or None)["ingestionStatus"]


def ask(server, content, *sources):
    options = {
        "docQuery": {"content": content, "searchPublic": False, "sourceIds": list(sources)},
        "debugOptions": {"returnChatCompletionRequest": True},
    }
    return run(
        server, server.owner, ASK, {"thread": {"userMessage": {"content": content}}, "options": options}
    )


def hits(server, content, *sources):
    (item,) = [i for i in ask(server, content, *sources) if i["__typename"].endswith("AttachmentsDoc")]
    return [hit["doc"]["title"] for hit in item["hits"]]


@pytest.fixture(scope="module")
def holidays(server):
    answer = hand_in(server, **HOLIDAYS)
    assert answer.status == 202, answer.text
    said = answer.json()
    assert (said["id"], said["source"]) == (HOLIDAYS["id"], HOLIDAYS["source"]) and said["message"]
    wait_for("the index", lambda: status(server, HOLIDAYS["source"])[0]["pending"] == 0)


def test_it_is_listed_and_counted(server, holidays):
    assert status(server, HOLIDAYS["source"]) == [
        {"source": HOLIDAYS["source"], "pending": 0, "failed": 0, "total": 1}
    ]
    assert status(server, "of nobody") == []
    (one,) = server.data(SOURCES, server.owner)["contextInfo"]["sources"]
    assert one == {
        "__typename": "IngestedContextSource",
        "id": ID,
        "sourceId": ID,
        "sourceKind": "INGESTED",
        "sourceName": HOLIDAYS["source"],
    }
    (row,) = server.database().execute("SELECT source, doc_id, status FROM ingested_documents")
    assert row == (ID, "holidays%20%231", "indexed"), "as Tabby writes it"


def test_an_answer_draws_on_it(server, holidays):
    question = "How many days of vacation has everybody?"
    got = ask(server, question, ID, "ingested:of-nobody")
    kinds = [item["__typename"] for item in got]
    at = kinds.index("ThreadAssistantMessageReadingDoc")
    assert kinds[at + 1] == "ThreadAssistantMessageAttachmentsDoc"
    assert got[at]["sourceIds"] == [ID, "ingested:of-nobody"]
    (hit,) = got[at + 1]["hits"]
    doc = hit["doc"]
    assert doc["id"] == f"{ID}/holidays%20%231" and doc["link"] == HOLIDAYS["link"]
    assert doc["title"] == "Holidays" and "thirty days" in doc["body"] and hit["score"] > 0
    asked = got[-1]["debugData"]["chatCompletionMessages"][-1]["content"]
    assert "thirty days of vacation" in asked and asked.endswith("\n\n" + question)
    kept = server.data(MESSAGES, server.owner, t=got[0]["id"])["threadMessages"]["edges"][-1]["node"]
    assert kept["attachment"] == {"code": [], "doc": [doc]}


def test_what_names_no_source_gets_none(server, holidays):
    got = ask(server, "How many days of vacation has everybody?")
    assert [i for i in got if "sourceIds" in i][0]["sourceIds"] == []
    assert hits(server, "How many days of vacation has everybody?") == []


def test_a_new_text_takes_the_place_of_the_old_one_and_all_can_be_taken_back(server, holidays):
    source = {"source": "notes", "title": "Lunch", "link": None}
    for id, body in ("a", "Soup is served on Monday."), ("b", "Bread is baked on Sunday."):
        assert hand_in(server, id=id, body=body, **source).status == 202
    wait_for("an index", lambda: hits(server, "When is soup served?", "ingested:notes"))
    assert hand_in(server, id="a", body="Noodles are cooked on Friday.", ttl="1h 30m", **source).status == 202
    wait_for("the new text", lambda: hits(server, "Noodles", "ingested:notes"))
    assert hits(server, "soup", "ingested:notes") == []
    assert take_back(server, "notes", "a") == 202
    wait_for("it is gone", lambda: not hits(server, "noodles", "ingested:notes"))
    wait_for("the other is there", lambda: hits(server, "Bread", "ingested:notes"))
    assert take_back(server, "notes") == 202
    assert status(server, "notes") == []
    assert take_back(server, "notes") == 202, "it is gone already"
    wait_for("none", lambda: hits(server, "Bread", "ingested:notes") == [])
    assert hand_in(server, id="c", body="Cake comes on Tuesday.", **source).status == 202
    wait_for("the same name again", lambda: hits(server, "Cake", "ingested:notes"))
    assert hits(server, "Bread", "ingested:notes") == []


def test_it_survives_a_kill_and_what_expired_is_gone(server, holidays):
    assert hand_in(server, source="short", id="1", title="T", body="Gone in a blink", ttl="0s").status == 202
    server.stop(signal.SIGKILL)
    server.start()
    server.owner = server.sign_in()["accessToken"]
    wait_for("the index", lambda: hits(server, "vacation", ID))
    assert status(server, "short") == []


def test_an_index_that_was_lost_is_made_again(server, holidays):
    server.stop()
    for file in (server.root / "index").glob("ingested-*"):
        file.unlink()
    server.start()
    server.owner = server.sign_in()["accessToken"]
    wait_for("the index", lambda: hits(server, "vacation", ID))
    job = server.data(TRIGGER, server.owner, c='"SyncIngestionIndex"')["triggerJobRun"]

    def ended():
        (edge,) = server.data(RUNS, server.owner, i=[job])["jobRuns"]["edges"]
        return edge["node"] if edge["node"]["exitCode"] is not None else None

    run = wait_for("the job", ended)
    assert run["job"] == "ingestion_index_sync" and run["exitCode"] == 0 and "documents" in run["stdout"]


def test_who_may_not(server):
    for token in None, "nonsense", server.owner, server.me(server.owner)["authToken"]:
        headers = bearer(token) if token else {}
        answer = server.post(PATH, HOLIDAYS, headers)
        assert (answer.status, answer.text) == (401, "")
        assert server.request(server.port, PATH + "/a/b", "DELETE", headers=headers).status == 401
    assert server.status(token=server.token) == 401, "it opens nothing else"
    assert server.error(STATUS, None)["extensions"] == {"code": "UNAUTHORIZED"}


GOOD = {"source": "s", "id": "1", "title": "t", "body": "b"}


@pytest.mark.parametrize(
    "change, status, word",
    [
        ({"source": ""}, 400, "source must not be empty"),
        ({"id": "ü" * 257}, 400, "id is longer than 256 characters"),
        ({"title": "x" * 65536}, 400, "title is longer than 65535 characters"),
        ({"ttl": "soon"}, 400, 'ttl is no duration: write "90d"'),
        ({"ttl": "9"}, 400, "ttl"),
        ({"ttl": "99999999999999999999d"}, 400, "ttl"),
        ({"title": None}, 422, "title: expected a string"),
        ({"link": 7}, 422, "link: expected a string"),
    ],
)
def test_what_is_refused(server, change, status, word):
    answer = hand_in(server, **{**GOOD, **change})
    assert answer.status == status and word in answer.text


def test_other_wrong_requests(server):
    head = bearer(server.token)
    missing = server.post(PATH, {"source": "s"}, head)
    assert missing.status == 422 and "missing field `id`" in missing.text
    broken = server.post(PATH, b"{", head)
    assert broken.status == 400 and "Failed to parse the request body as JSON" in broken.text
    assert server.post(PATH, b"[]", head).status == server.post(PATH, b"null", head).status == 422
    nul = server.post(PATH, b'{"source": "a\\u0000"}', head)
    assert nul.status == 400 and "\\u0000 is not taken" in nul.text
    assert server.post(PATH, {**GOOD, "body": "x" * (2 << 20)}, head).status == 413
    assert server.post(PATH, GOOD, {**head, "Content-Type": "text/plain"}).status == 415
    wrong = server.get(PATH, headers=head)
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert server.post(PATH + "/a", {}, head).headers["allow"] == "DELETE"
    for path in "/", "/a/b/c", "/a/", "/a%00b":
        assert server.request(server.port, PATH + path, "DELETE", headers=head).status == 404
    assert server.request(server.port, PATH, "OPTIONS").headers["access-control-allow-methods"] == "*"

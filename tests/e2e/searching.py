"""What tests of code search share: settings, questions, and waiting for an index."""

from accounts import bearer
from conftest import wait_for
from tabby import MODELS

EMBEDDER = MODELS / "all-MiniLM-L6-v2"
ADD = """mutation($n: String!, $u: String!, $r: [String!]) {
    createGitRepository(name: $n, gitUrl: $u, refs: $r) }"""
LIST = """{ gitRepositories { edges { node { id name gitUrl sourceId
    jobInfo { command lastJobRun { id job exitCode stdout finishedAt } }
    index { state files chunks vectors updatedAt failure commit } } } } }"""

ASKED = """from shop.invoice import Invoice

def bill(customer):
    invoice = Invoice(customer.amount, customer.currency)
    # the total of the invoice with tax, of the amount in its currency
    return invoice.total_with_tax("""


def config(root, text):
    root.mkdir(exist_ok=True)
    (root / "config.toml").write_text(text)


# Thresholds that a small repository reaches.
LOW = """
[completion.code_search_params]
min_embedding_score = 0.5
min_bm25_score = 2.0
min_rrf_score = 0.02
num_to_return = 20
num_to_score = 40
"""
EMBEDDING = f"""
[model.embedding.local]
model_id = "{EMBEDDER}"
num_gpu_layers = 0
"""


def repositories(server, token):
    return [edge["node"] for edge in server.data(LIST, token)["gitRepositories"]["edges"]]


def ready(server, token, name):
    def look():
        (one,) = [r for r in repositories(server, token) if r["name"] == name]
        done = one["index"]["state"] == "READY" and one["index"]["vectors"] == one["index"]["chunks"] > 0
        return one if done or one["index"]["state"] == "FAILED" else None

    return wait_for(f"an index of {name}", look)


def snippets(server, git_url, filepath="shop/billing.py", token=None, language="python", **more):
    segments = {"prefix": ASKED, "suffix": ")\n", "filepath": filepath, "git_url": git_url, **more}
    body = {"language": language, "segments": segments, "debug_options": {"return_snippets": True}}
    body["debug_options"]["return_prompt"] = True
    answer = server.post("/v1/completions", body, bearer(token) if token else {})
    assert answer.status == 200, answer.text
    return answer.json()["debug_data"]


def found(server, git_url, **more):
    """What is found once the model that embeds is awake: a completion does not wait for it."""
    return wait_for("snippets", lambda: snippets(server, git_url, **more)["snippets"])


TRIGGER = "mutation($c: String!) { triggerJobRun(command: $c) }"
RUNS = (
    "query($i: [ID!]) { jobRuns(ids: $i) { edges { node { id job exitCode stdout startedAt finishedAt } } } }"
)
ALL = """{ indexedRepositories { sourceId name gitUrl isConfigured jobInfo { command }
    index { state files chunks vectors commit failure } } }"""


def indexed(server, name, *states, **wanted):
    def look():
        for one in server.data(ALL, server.owner)["indexedRepositories"]:
            if one["name"] == name and one["index"]["state"] in (states or ("READY",)):
                return one if all(one["index"][key] == value for key, value in wanted.items()) else None

    return wait_for(f"{name} {states} {wanted}", look)

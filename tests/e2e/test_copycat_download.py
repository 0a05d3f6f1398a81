"""`tabby download` and `tabby serve` with models of a registry: pieces of a real model behind a local HTTP
server that has good and bad days. Whatever happens: a file without .tmp is whole, and faults are told.
"""

import json
import os
import signal
import subprocess
import threading

import pytest
from conftest import BIN, wait_for
from tabby import SMALL, Tabby
from gguf_split import split
from registry import Registry

PIECE = 600_000  # below what an attempt must bring to count as progress


@pytest.fixture
def registry():
    made = Registry()
    yield made
    made.close()


@pytest.fixture(scope="session")
def weights():
    return (SMALL / "ggml/model-00001-of-00001.gguf").read_bytes()


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def environment(registry, root, **more):
    clean = {
        k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and not k.startswith("TABBY_")
    }
    return {
        **clean,
        "TABBY_ROOT": str(root),
        "COPYCAT_REGISTRY_URL": registry.url,
        "TABBY_HUGGINGFACE_HOST_OVERRIDE": f"127.0.0.1:{registry.port}",
        **more,
    }


def download(registry, root, model="Mouse", *arguments, env=None):
    return subprocess.run(
        [BIN / "tabby", "download", "--model", model, *arguments],
        capture_output=True,
        text=True,
        env=environment(registry, root, **(env or {})),
        timeout=120,
    )


def files(root, model="TabbyML/Mouse"):
    folder = root / "models" / model / "ggml"
    return sorted(f.name for f in folder.iterdir()) if folder.exists() else []


ONE = ["model-00001-of-00001.gguf"]


def test_a_model_is_fetched_checked_and_laid_out_as_tabby_does(registry, root, weights):
    entry = registry.add("Mouse", [weights], prompt_template="{prefix}")
    done = download(registry, root)
    assert done.returncode == 0 and "model 'Mouse' is ready" in done.stdout and "Checksum OK" in done.stdout
    assert (root / "models/TabbyML/Mouse/ggml" / ONE[0]).read_bytes() == weights
    assert json.loads((root / "models/TabbyML/Mouse/tabby.json").read_text()) == entry
    assert json.loads((root / "models/TabbyML/models.json").read_text()) == [entry]
    assert (root.stat().st_mode & 0o777) == 0o700
    again = download(registry, root)
    assert again.returncode == 0 and "Checking model integrity.." in again.stdout
    assert len(registry.ranges(".gguf")) == 1, "what is there and right is not fetched again"


def test_parts_lie_side_by_side(registry, root, weights):
    parts = [weights[:PIECE], weights[PIECE : 2 * PIECE], weights[2 * PIECE : 2 * PIECE + 17]]
    registry.add("Mouse", parts, prompt_template="{prefix}")
    assert download(registry, root).returncode == 0
    folder = root / "models/TabbyML/Mouse/ggml"
    assert [(folder / f"model-{i:05}-of-00003.gguf").read_bytes() for i in (1, 2, 3)] == parts
    assert len(files(root)) == 3


def test_another_organisation(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]], organisation="Zoo")
    assert download(registry, root, "Zoo/Mouse").returncode == 0
    assert files(root, "Zoo/Mouse") == ONE


def test_a_cut_connection_is_continued_within_a_run(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    registry.treat(".gguf", ["cut:1000", 503])
    done = download(registry, root)
    assert done.returncode == 0 and done.stdout.count("trying again") == 2
    assert registry.ranges(".gguf") == [None, "bytes=1000-", "bytes=1000-"]
    assert (root / "models/TabbyML/Mouse/ggml" / ONE[0]).read_bytes() == weights[:PIECE]


def test_a_download_that_failed_goes_on_in_the_next_run(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    registry.treat(".gguf", ["cut:1000", "cut:1000", "cut:1000"])
    done = download(registry, root)
    assert done.returncode == 101 and "Failed to fetch model 'Mouse' due to" in done.stderr
    assert files(root) == ["model-00001-of-00001.gguf.tmp"]
    assert download(registry, root).returncode == 0
    assert registry.ranges(".gguf")[-1] == "bytes=3000-"
    assert files(root) == ONE


def test_attempts_that_bring_something_are_not_counted(registry, root, weights):
    registry.add("Mouse", [weights[: 12 << 20]])
    registry.treat(".gguf", ["cut:2000000"] * 5)
    assert download(registry, root).returncode == 0
    assert len(registry.ranges(".gguf")) == 6


def test_a_killed_download_goes_on(registry, root, weights):
    registry.add("Mouse", [weights])
    hold = threading.Event()
    begun = threading.Event()

    half = len(weights) // 2
    original = registry.answer

    def answer(request):
        if hold.is_set() or not request.path.endswith(".gguf"):
            return original(request)
        registry.asked.append({"path": request.path, "range": None, "auth": None})
        request.send_response(200)
        request.send_header("Content-Length", str(len(weights)))
        request.end_headers()
        request.wfile.write(weights[:half])
        request.wfile.flush()
        begun.set()
        hold.wait(60)
        request.close_connection = True

    registry.answer = answer
    process = subprocess.Popen(
        [BIN / "tabby", "download", "--model", "Mouse"],
        env=environment(registry, root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    partial = root / "models/TabbyML/Mouse/ggml/model-00001-of-00001.gguf.tmp"
    assert begun.wait(60)
    wait_for("half of the file", lambda: partial.exists() and partial.stat().st_size == half)
    process.send_signal(signal.SIGKILL)
    process.wait()
    hold.set()
    assert files(root) == [partial.name]
    assert download(registry, root).returncode == 0
    assert registry.ranges(".gguf")[-1] == f"bytes={half}-"
    assert (partial.parent / ONE[0]).read_bytes() == weights


def test_killed_between_the_last_byte_and_the_rename(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    folder = root / "models/TabbyML/Mouse/ggml"
    folder.mkdir(parents=True)
    (folder / "model-00001-of-00001.gguf.tmp").write_bytes(weights[:PIECE])
    assert download(registry, root).returncode == 0
    assert registry.ranges(".gguf") == [f"bytes={PIECE}-"], "all of it is there: nothing is fetched"
    assert files(root) == ONE


@pytest.mark.parametrize("how", ["no-range", "wrong-range"])
def test_a_server_that_cannot_go_on_begins_anew(registry, root, weights, how):
    registry.add("Mouse", [weights[:PIECE]])
    registry.treat(".gguf", ["cut:1000", how])
    assert download(registry, root).returncode == 0
    assert (root / "models/TabbyML/Mouse/ggml" / ONE[0]).read_bytes() == weights[:PIECE]


def test_what_was_left_of_another_version_is_thrown_away(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    folder = root / "models/TabbyML/Mouse/ggml"
    folder.mkdir(parents=True)
    (folder / "model-00001-of-00001.gguf.tmp").write_bytes(b"of yesterday" * 1000)
    assert download(registry, root).returncode == 0
    assert (folder / ONE[0]).read_bytes() == weights[:PIECE]


def test_a_wrong_sum_leaves_nothing(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]], sums=["0" * 64])
    done = download(registry, root)
    assert (
        done.returncode == 101 and "Checksum verification failed" in done.stderr and "0" * 64 in done.stderr
    )
    assert files(root) == []


def test_a_model_that_went_bad_on_the_disk_is_fetched_again(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    assert download(registry, root).returncode == 0
    file = root / "models/TabbyML/Mouse/ggml" / ONE[0]
    file.write_bytes(weights[: PIECE - 1] + b"!")
    assert download(registry, root, "Mouse", "--prefer-local-file").returncode == 0
    assert file.read_bytes()[-1:] == b"!", "--prefer-local-file looks at no sum"
    done = download(registry, root)
    assert done.returncode == 0 and "Checksum doesn't match" in done.stdout
    assert file.read_bytes() == weights[:PIECE]


def test_a_model_that_comes_in_other_parts_now(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    assert download(registry, root).returncode == 0
    registry.models.clear()
    registry.add("Mouse", [weights[:1000], weights[1000:PIECE]])
    assert download(registry, root).returncode == 0
    assert files(root) == ["model-00001-of-00002.gguf", "model-00002-of-00002.gguf"]


def test_the_older_file_name_is_migrated(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    folder = root / "models/TabbyML/Mouse/ggml"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(weights[:PIECE])
    assert download(registry, root).returncode == 0
    assert files(root) == ONE and registry.ranges(".gguf") == []


def test_the_mirror_that_is_named_is_asked(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]], host="127.0.0.1:9", mirrors=[f"localhost:{registry.port}"])
    done = download(registry, root)
    assert done.returncode == 101 and "No download URLs available for <TabbyML/Mouse>" in done.stderr
    assert download(registry, root, env={"TABBY_DOWNLOAD_HOST": "localhost"}).returncode == 0


def test_a_name_and_password_in_the_url(registry, root, weights):
    registry.need_auth = "cat:s3cret"
    registry.add("Mouse", [weights[:PIECE]], host="cat:s3cret@huggingface.co")
    assert download(registry, root).returncode == 0
    registry.need_auth = "cat:other"
    registry.add("Rat", [weights[:PIECE]], host="cat:s3cret@huggingface.co")
    done = download(registry, root, "Rat")
    assert done.returncode == 101 and "401" in done.stderr and "s3cret" not in done.stderr + done.stdout


def test_the_list_of_models_is_kept_for_days_without_a_network(registry, root, weights):
    registry.add("Mouse", [weights[:PIECE]])
    assert download(registry, root).returncode == 0
    registry.files.pop("/TabbyML/registry-tabby/main/models.json")
    assert download(registry, root).returncode == 0
    done = download(registry, root, "Elsewhere/Mouse")
    assert done.returncode == 101 and "Failed to fetch model organization <Elsewhere>" in done.stderr


@pytest.mark.parametrize(
    "model, words",
    [
        ("Unicorn", "Invalid `model_id` <TabbyML/Unicorn>"),
        ("a/b/c", "Invalid model id"),
        ("../../etc", "Invalid model id"),
        ("", "Invalid model id"),
    ],
)
def test_names_that_are_none(registry, root, model, words):
    registry.add("Mouse", [b"x"])
    done = download(registry, root, model)
    assert done.returncode == 101 and words in done.stderr


@pytest.mark.parametrize("content", [b"{", b"{}", b'[{"name": 7}, 3, null]', b"[" * 100_000, b""])
def test_a_registry_that_speaks_nonsense(registry, root, content):
    registry.files["/TabbyML/registry-tabby/main/models.json"] = content
    done = download(registry, root)
    assert done.returncode == 101 and done.stderr.startswith("Failed to fetch model 'Mouse' due to")


def test_a_full_disk_is_told_and_leaves_nothing_that_looks_whole(registry, root, weights):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = root / "models"
    small.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", small], check=True)
    try:
        registry.add("Mouse", [weights[: 16 << 20]])
        done = download(registry, root)
        assert done.returncode == 101 and "no room for" in done.stderr
        assert not [f for f in files(root) if f.endswith(".gguf")]

        original = registry.answer  # a server that does not tell the length beforehand

        def answer(request):
            if not request.path.endswith(".gguf"):
                return original(request)
            request.send_response(200)
            request.send_header("Connection", "close")
            request.end_headers()
            try:
                request.wfile.write(weights[: 16 << 20])
            except OSError:
                pass
            request.close_connection = True

        registry.answer = answer
        done = download(registry, root)
        assert done.returncode == 101 and "No space left" in done.stderr
        assert not [f for f in files(root) if f.endswith(".gguf")]
        registry.answer = original
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert download(registry, root).returncode == 0, "with room it goes on"
        assert (small / "TabbyML/Mouse/ggml" / ONE[0]).read_bytes() == weights[: 16 << 20]
    finally:
        subprocess.run(["umount", small], check=True)


def test_two_at_once_fetch_it_once(registry, root, weights):
    registry.add("Mouse", [weights])
    both = [
        subprocess.Popen(
            [BIN / "tabby", "download", "--model", "Mouse"],
            env=environment(registry, root),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for _ in range(2)
    ]
    ends = [(p.communicate(timeout=120)[0], p.returncode) for p in both]
    assert [code for _, code in ends] == [0, 0]
    assert registry.ranges(".gguf") == [None]


def test_progress_is_told_in_lines_where_nobody_watches(registry, root, weights):
    registry.add("Mouse", [weights])
    done = download(registry, root)
    assert "\r" not in done.stderr and "100 %" in done.stderr
    assert len(done.stderr.splitlines()) <= 12


# ---- serve ----


def test_serve_fetches_what_is_missing_and_then_needs_no_network(registry, root, weights):
    registry.add("Mouse", [weights], prompt_template="{prefix}")
    env = environment(registry, root)
    with Tabby("--model", "Mouse", env=env) as tabby:
        assert tabby.get("/v1/health").json()["model"] == "Mouse"
        assert tabby.complete("def hello():\n    print(").status == 200
    asked = len(registry.asked)
    with Tabby("--model", "Mouse", env=env) as tabby:
        assert tabby.get("/v1/health").status == 200
    assert len(registry.asked) == asked


def test_serve_of_a_model_of_another_kind(registry, root, weights):
    registry.add("Mouse", [weights], chat_template="{{ messages }}")
    done = subprocess.run(
        [BIN / "tabby", "serve", "--model", "Mouse", "--port", "0"],
        env=environment(registry, root),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 101 and "it does not have a prompt template" in done.stderr
    assert registry.ranges(".gguf") == [], "the kind is looked at before gigabytes are fetched"


def serve_fails(directory, words, root):
    done = subprocess.run(
        [BIN / "tabby", "serve", "--model", directory, "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "TABBY_ROOT": str(root)},
    )
    assert done.returncode == 101, done.stderr
    for word in words:
        assert word in done.stderr


def local(tmp_path, content, metadata='{"prompt_template": "{prefix}"}', name=ONE[0]):
    directory = tmp_path / "local"
    (directory / "ggml").mkdir(parents=True)
    if metadata is not None:
        (directory / "tabby.json").write_text(metadata)
    if content is not None:
        (directory / "ggml" / name).write_bytes(content)
    return directory


def test_a_local_directory_is_a_model(tmp_path, root, weights):
    directory = local(tmp_path, weights)
    with Tabby("--model", directory, root=root) as tabby:
        assert tabby.get("/v1/health").json()["models"]["completion"]["local"]["model_id"] == str(directory)


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda w: w[: len(w) // 2], ["is cut short", "download it again"]),
        (lambda w: w[:1000], ["is cut short"]),
        (lambda w: b"<html>404 not found</html>" * 100, ["no GGUF file"]),
        (lambda w: b"", ["is empty"]),
        (lambda w: b"GGUF\x09" + w[5:], ["GGUF of version 9"]),
        (lambda w: None, ["no model-00001-of-*.gguf in"]),
    ],
)
def test_model_files_that_cannot_be_served(tmp_path, root, weights, content, words):
    serve_fails(local(tmp_path, content(weights)), words, root)


def test_a_missing_or_short_part_is_named(tmp_path, root, weights):
    directory = local(tmp_path, weights, name="model-00001-of-00002.gguf")
    serve_fails(directory, ["model-00002-of-00002.gguf is missing"], root)
    (directory / "ggml/model-00002-of-00002.gguf").write_bytes(weights[:4000])
    serve_fails(directory, ["model-00002-of-00002.gguf", "is cut short"], root)


@pytest.mark.parametrize(
    "metadata, words",
    [
        (None, ["Invalid metadata file", "tabby.json"]),
        ("{", ["Invalid metadata file", "line 1"]),
        ("[]", ["it holds no object"]),
        ('{"prompt_template": 3}', ["prompt_template is not a string"]),
        ('{"prompt_template": "no place"}', ["{prefix}"]),
        ("{}", ["it does not have a prompt template"]),
    ],
)
def test_metadata_that_is_wrong(tmp_path, root, weights, metadata, words):
    serve_fails(local(tmp_path, weights, metadata), words, root)


def test_a_model_in_parts_is_served(registry, root, weights):
    registry.add("Mouse", split(weights, 3), prompt_template="{prefix}")
    with Tabby("--model", "Mouse", env=environment(registry, root)) as tabby:
        whole = tabby.text("import os\n\ndef main():\n    print(", temperature=0)
        assert files(root) == [f"model-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
        before = tabby.rss()
        tabby.process.send_signal(signal.SIGUSR1)
        wait_for("the pages of all parts to be given back", lambda: tabby.rss() < before - (60 << 20))
    with Tabby("--model", SMALL) as tabby:
        assert tabby.text("import os\n\ndef main():\n    print(", temperature=0) == whole


def test_a_packaged_model_stands_in_where_no_hub_answers(registry, root, weights):
    away = {"COPYCAT_PACKAGED_MODEL": str(SMALL), "COPYCAT_REGISTRY_URL": "http://127.0.0.1:9"}
    done = download(registry, root, env=away)
    assert done.returncode == 0 and "could not be fetched" in done.stdout
    assert f"the packaged one, {SMALL}, is served under its name" in done.stdout
    env = environment(registry, root, COPYCAT_PACKAGED_MODEL=str(SMALL))
    with Tabby("--model", "Mouse", env=env) as tabby:
        assert registry.asked == [], "what `download` found out is not asked again at each start"
        health = tabby.get("/v1/health").json()
        assert health["model"] == "Mouse"
        assert health["models"]["completion"]["local"]["packaged"] == SMALL.name
        assert tabby.text("def fib(n):\n    ")
        assert "is served under its name" in tabby.errors()

    registry.add("Mouse", [weights], prompt_template="{prefix}")
    done = download(registry, root, "Rat", env={"COPYCAT_PACKAGED_MODEL": str(SMALL)})
    assert done.returncode == 101 and "Invalid `model_id`" in done.stderr, "a hub that answers is believed"
    assert download(registry, root, env={"COPYCAT_PACKAGED_MODEL": str(SMALL)}).returncode == 0
    with Tabby("--model", "Mouse", env=env) as tabby:
        assert "packaged" not in tabby.get("/v1/health").json()["models"]["completion"]["local"]

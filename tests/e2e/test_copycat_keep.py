"""What stood before the cursor is kept, computed, from one `tabby serve` to the next; never where it does not
fit."""

import signal

from tabby import REAL, SMALL, Tabby

TEXT = "".join(f"def number_{i}():\n    return {i}\n\n\n" for i in range(12)) + "def number_12"


def started(root, text=TEXT, model=SMALL, **more):
    """How many documents were restored, and how many tokens the first completion after the start found."""
    with Tabby("--model", model, root=root, **more) as tabby:
        tabby.text(text)
        found = tabby.metrics()
        assert found['copycat_first_token_seconds_bucket{le="+Inf"}'] == 1  # Prometheus' form
        assert found["copycat_job_seconds_count"] == 1
        return found["copycat_documents_restored"], found["copycat_prompt_tokens_reused_total"]


def files(kept):
    return sorted(kept.glob("*/*"), key=lambda file: file.stat().st_mtime_ns)


def test_a_document_is_kept_over_an_end(tmp_path):
    kept = tmp_path / "kept/completion"
    assert started(tmp_path, extra_env={"COPYCAT_KEEP_MB": 1}) == (0, 0)
    assert files(kept) == []  # it would be longer than that
    assert started(tmp_path) == (0, 0)
    assert [(f.name, f.stat().st_mode & 0o777) for f in files(kept)] == [("0.kv", 0o600)]
    documents, tokens = started(tmp_path)
    assert documents == 1 and tokens > 100
    with Tabby("--model", SMALL, root=tmp_path) as tabby:
        tabby.stop(signal.SIGKILL)
    assert started(tmp_path)[0] == 1
    assert started(tmp_path, extra_env={"COPYCAT_KEEP_MB": 0}) == (0, 0)


def test_what_does_not_fit_is_computed_anew(tmp_path):
    started(tmp_path)
    (file,) = files(tmp_path / "kept/completion")
    data = file.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    for damaged in (data[:middle], data[:-1], flipped, b""):
        file.write_bytes(damaged)
        assert started(tmp_path, "x =") == (0, 0)
        file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)
    assert started(tmp_path, "x =")[0] == 1


def test_each_model_keeps_its_own_and_the_oldest_go_first(tmp_path):
    kept = tmp_path / "kept/completion"
    started(tmp_path)
    (first,) = files(kept)
    assert started(tmp_path, model=REAL) == (0, 0)
    older, newer = files(kept)
    assert older == first
    # Room for one alone: that of the model that was used last.
    room = {"COPYCAT_KEEP_MB": first.stat().st_size // 2**20 + 1}
    assert started(tmp_path, extra_env=room)[0] == 1
    assert files(kept) == [first] and not newer.parent.exists()

"""What docs/ says is so: its manifests are taken, its tables have every key, its curl lines are answered."""

import json
import re
import subprocess

import pytest
from conftest import BIN, ROOT, free_port, tiny_yaml

MANIFEST = (ROOT / "docs/manifest.md").read_text()
CLI = (ROOT / "docs/cli.md").read_text()


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def catnap_says(*words):
    return subprocess.run([str(BIN / "catnap"), *words], capture_output=True, text=True, timeout=60).stdout


def examples():
    texts = MANIFEST + (ROOT / "README.md").read_text()
    return [block for block in blocks(texts, "yaml") if block.startswith("app:")]


@pytest.mark.parametrize("yaml", examples(), ids=lambda yaml: yaml.split()[1])
def test_the_examples_are_taken(catnap, yaml):
    yaml = re.sub(r"publish: \d+", lambda _: f"publish: {free_port()}", yaml)
    catnap.up(yaml)
    assert catnap.ps()["apps"][0]["app"] == yaml.split()[1]


def test_the_examples_show_all_there_is():
    shown = "\n".join(examples())
    unshown = {"image", "writable_rootfs", "gpu", "min_containers", "pin", "socket_activation"}
    for key in keys_of_functions() - unshown:
        assert re.search(rf"^ +{key}:", shown, re.M), f"no example has {key}"


def keys_of_functions():
    fields = (ROOT / "src/manifest/fields.c").read_text()
    keys = set(re.findall(r'^    \{"(\w+)", FIELD_', fields, re.M))
    assert len(keys) > 30
    return keys


def documented(text):
    """Names in the first column of tables."""
    rows = re.findall(r"^\| (`[^|]*`) \|", text, re.M)
    return {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}


def test_every_key_of_a_manifest_is_there_and_no_other():
    functions, daemon = MANIFEST.split("## The daemon's own file")
    assert documented(functions) - {"app", "functions"} == keys_of_functions()
    usage = catnap_says("serve", "--help")
    told = re.search(r"keys of the file: (.*?)\nexample", usage, re.S).group(1).replace("of the gateway:", "")
    assert documented(daemon) == set(re.sub(r"\(.*?\)", "", told).split())


def test_the_daemons_file_of_the_docs_is_taken(tmp_path):
    text = next(block for block in blocks(MANIFEST, "yaml") if "catnapd.yaml" in block)
    path = tmp_path / "catnapd.yaml"
    path.write_text(text + "unknown_so_that_it_ends: 1\n")
    done = subprocess.run(
        [str(BIN / "catnap"), "serve", "--config", str(path)], capture_output=True, text=True
    )
    assert f":{len(text.splitlines()) + 1}: unknown_so_that_it_ends" in done.stderr


def test_every_verb_and_option_is_there():
    verbs = re.findall(r"^  (\w+) +\S", catnap_says("help"), re.M)
    assert {"ps", "top", "logs", "up"} <= set(verbs)
    for verb in verbs:
        heading = re.search(rf"^### .*\b{verb}\b.*$", CLI, re.M)
        assert heading, f"docs/cli.md has no heading of {verb}"
        section = CLI[heading.start() :].split("\n### ")[0]
        completed = catnap_says("complete", verb, "-").split()
        for option in re.findall(r"(?<!\S)(--[\w-]+)", catnap_says("help", verb).split("example")[0]):
            assert option in section, f"docs/cli.md, {verb}: {option}"
            assert option in completed, f"completion of {verb}: {option}"


def test_the_curl_lines_are_answered(catnap, tiny):
    catnap.up(tiny_yaml(tiny, app="APP", function="f").replace("app: APP", "app: app"))
    lines = re.findall(r"^\| `(api .*?)` \|", CLI, re.M)
    assert len(lines) >= 7
    for line in lines:
        if "-N" in line:
            line = line.replace("api -N", "api -N --max-time 1") + " || [ $? = 28 ]"
        script = f'api() {{ curl -sSf --unix-socket {catnap.api} "$@"; }}\n{line.replace("APP", "app")}\n'
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        if "DELETE" in line:
            assert json.loads(done.stdout)["removed"]
            catnap.up(tiny_yaml(tiny, app="app", function="f"))
        elif "metrics" in line:
            for name in re.findall(r"`(catnap_\w+)`", CLI):
                assert f'{name}{{app="app",function="f"}}' in done.stdout
        else:
            for text in done.stdout.splitlines():
                json.loads(text)


def test_every_key_of_ps_is_there(catnap, tiny):
    port = free_port()
    catnap.up(tiny_yaml(tiny, publish=port, example='"curl {url}"'))
    catnap.get(port)
    function = catnap.function("tiny", "web")
    table = CLI.split("and of each function:")[1].split("###")[0]
    for key in function:
        assert f"`{key}`" in table, key
    for key in function["containers"][0]:
        assert f"`{key}`" in table, key

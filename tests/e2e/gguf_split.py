"""Splits a GGUF file into parts as llama.cpp's own tool does: the first has all the metadata, each has its
share of the tensors."""

import struct

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
STRING, ARRAY = 8, 9
ALIGNMENT = 32


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, kind):
        (value,) = struct.unpack_from("<" + kind, self.data, self.at)
        self.at += struct.calcsize(kind)
        return value

    def skip_string(self):
        size = self.number("Q")
        self.at += size

    def skip_value(self, kind):
        if kind == STRING:
            self.skip_string()
        elif kind == ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner in SIZES:
                self.at += SIZES[inner] * count
            else:
                for _ in range(count):
                    self.skip_value(inner)
        else:
            self.at += SIZES[kind]


def string(text):
    return struct.pack("<Q", len(text)) + text


def round_up(n):
    return (n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def read(data):
    reader = Reader(data)
    reader.at = 8
    tensor_count, pair_count = reader.number("Q"), reader.number("Q")
    begin = reader.at
    for _ in range(pair_count):
        reader.skip_string()
        reader.skip_value(reader.number("I"))
    pairs = data[begin : reader.at]
    tensors = []
    for _ in range(tensor_count):
        begin = reader.at
        reader.skip_string()
        dimensions = reader.number("I")
        reader.at += 8 * dimensions + 4
        tensors.append((data[begin : reader.at], reader.number("Q")))
    body = round_up(reader.at)
    ends = sorted(offset for _, offset in tensors) + [len(data) - body]
    sized = [
        (head, data[body + offset : body + min(e for e in ends if e > offset)]) for head, offset in tensors
    ]
    return pair_count, pairs, sized


def split(data, parts):
    pair_count, pairs, tensors = read(data)
    share = -(-len(tensors) // parts)
    made = []
    for number in range(parts):
        mine = tensors[number * share : (number + 1) * share]
        own = b"".join(
            [
                string(b"split.no") + struct.pack("<IH", 2, number),
                string(b"split.count") + struct.pack("<IH", 2, parts),
                string(b"split.tensors.count") + struct.pack("<Ii", 5, len(tensors)),
            ]
        )
        count = 3 + (pair_count if number == 0 else 0)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(mine), count) + (pairs if number == 0 else b"") + own
        body = bytearray()
        for info, bytes_ in mine:
            head += info + struct.pack("<Q", len(body))
            body += bytes_ + b"\0" * (round_up(len(bytes_)) - len(bytes_))
        made.append(head + b"\0" * (round_up(len(head)) - len(head)) + bytes(body))
    return made

#!/usr/bin/env python3
"""Files as C data, for the build.

embed.py text OUTPUT SYMBOL FILE         const char SYMBOL[]: the text, ended by NUL
embed.py files OUTPUT SYMBOL FILE...     const struct embedded SYMBOL[]: each by its name, ended by a row of
                                         zeros; struct embedded is in "embedded.h", of whom it is for
"""

import hashlib
import os
import sys


def array(name, data, words):
    rows = [", ".join(str(b) for b in data[i : i + 24]) for i in range(0, len(data), 24)]
    return f"{words} {name}[] = {{\n" + ",\n".join(rows) + "};\n"


def text(symbol, paths):
    with open(paths[0], "rb") as file:
        data = file.read()
    declared = f"extern const char {symbol}[];\n"
    return declared + array(symbol, data + b"\0", "const char")


def files(symbol, paths):
    out, table = '#include "embedded.h"\n', ""
    for number, path in enumerate(paths):
        with open(path, "rb") as file:
            data = file.read()
        tag = hashlib.sha256(data).hexdigest()[:16]
        out += array(f"file_{number}", data + b"\0", "static const unsigned char")
        table += f'{{"{os.path.basename(path)}", (const char *)file_{number}, {len(data)}, "\\"{tag}\\""}},\n'
    return out + f"const struct embedded {symbol}[] = {{\n{table}{{0, 0, 0, 0}}}};\n"


def main():
    form, output, symbol, *paths = sys.argv[1:]
    made = {"text": text, "files": files}[form](symbol, paths)
    with open(output, "w", encoding="ascii") as file:
        file.write(made)


main()

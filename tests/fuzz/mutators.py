"""Damaged copies of a file, by its kind: JSON, JSON lines, text, numbers, zip and npz, PNG, safetensors, any bytes.

`mutate(data, rng)` recognises the kind by the first bytes, and damages the structure more often than the bytes.
"""

from __future__ import annotations

import copy
import io
import json
import os
import random
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any

HOSTILE_NUMBERS = [
    0,
    -1,
    1,
    2,
    7,
    -0.0,
    0.5,
    1e-320,
    1e5,
    1e7,
    1e18,
    1e308,
    -1e308,
    2**31,
    2**32,
    2**63,
    2**64,
    -(2**63),
]
HOSTILE_FLOATS = [float("nan"), float("inf"), float("-inf")]
HOSTILE_TEXTS = [
    "",
    " ",
    "\0",
    "\ud800",
    "nan",
    "1e5",
    "-1",
    "a" * 300,
    "word " * 4000,
    "../" * 20 + "etc/passwd",
    "/dev/zero",
    "/etc/passwd",
    "file:///etc/passwd",
    "<image>",
    "<coord><ground><|im_end|>",
    "(" * 2000,
    "1" * 5000,
    "\u202e\u0000\uffff",
    "line\nline\rline\u2028",
    "İıſß",
    "🧨",
    "__class__",
    "$(touch x)",
]
HOSTILE_WORDS = [
    b"nan",
    b"inf",
    b"-inf",
    b"1e999",
    b"1e308",
    b"-1",
    b"0",
    b"1e7",
    b"99999999999999999999",
    b"",
    b"x",
    b",",
]
HOSTILE_BYTES = [0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF, *b'[{"-9e\n\r\t ,:<>']
NODES = 4000  # of a JSON value, among which the place to damage is chosen


def mutate(data: bytes, rng: random.Random) -> bytes:
    """One to four damages of the kind of file that `data` is."""
    if rng.random() < 0.04:
        return rng.choice(
            [b"", b"\0", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, data * 3, data[::-1], b"0" * 70_000]
        )
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        data = _mutate_once(data, rng)
    return data


def _mutate_once(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.15:
        return mutate_bytes(data, rng)
    for applies, function in _KINDS:
        if applies(data):
            try:
                return function(data, rng)
            except Exception:  # damaged before: what is left of it is bytes
                return mutate_bytes(data, rng)
    return mutate_bytes(data, rng)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flipped, inserted, removed, repeated and swapped bytes, extreme integers, an early end."""
    out = bytearray(data)
    at, kind = rng.randrange(len(out) + 1), rng.randrange(9)
    if rng.random() < 0.4:
        at = rng.randrange(min(len(out), 256) + 1)  # headers decide more than contents
    if kind == 0 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1:
        out[at : at + 1] = bytes([rng.choice(HOSTILE_BYTES)])
    elif kind == 2:
        out[at:at] = bytes(rng.choices(HOSTILE_BYTES, k=rng.randint(1, 40)))
    elif kind == 3:
        del out[at : at + rng.choice([1, 2, 4, 40, 400])]
    elif kind == 4:
        del out[at:]
    elif kind == 5:
        out[at : at + 8] = rng.choice(
            [b"\xff" * 8, b"\xff\xff\xff\x7f" * 2, bytes(8), b"\0\0\0\x40" * 2, b"\0\0\xc0\x7f" * 2]
        )
    elif kind == 6:
        out[at : at + 4] = struct.pack(rng.choice(["<f", ">f"]), rng.choice([1e7, 3e38, -3e38, *HOSTILE_FLOATS]))
    elif kind == 7:
        out[at:at] = out[at : at + rng.randint(1, 400)] * rng.choice([1, 1, 20])
    else:
        other = rng.randrange(len(out) + 1)
        out[at : at + 16], out[other : other + 16] = out[other : other + 16], out[at : at + 16]
    return bytes(out)


def mutate_json_value(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one place changed: another type, an extreme value, nesting, a lost entry."""
    value = copy.deepcopy(value)
    places = _places(value)
    if not places or rng.random() < 0.03:
        return hostile_value(rng, value)
    holder, key = rng.choice(places)
    kind, old = rng.randrange(10), holder[key]
    if kind == 0:
        del holder[key]
    elif kind == 1:
        other, other_key = rng.choice(places)
        holder[key] = copy.deepcopy(other[other_key])
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(old))
    elif kind == 2:
        holder[rng.choice(HOSTILE_TEXTS)] = holder.pop(key)
    elif kind == 3 and isinstance(old, str):
        holder[key] = rng.choice(
            [old + rng.choice(HOSTILE_TEXTS), rng.choice(HOSTILE_TEXTS), old[: len(old) // 2], old.upper()]
        )
    elif kind == 3 and isinstance(old, int | float):
        holder[key] = rng.choice([str(old), [old], old * -1, old + 0.5, bool(old), *HOSTILE_NUMBERS, *HOSTILE_FLOATS])
    elif kind == 4:
        holder[key] = _nested(old, rng.choice([1, 2, 3, 30, 300]), rng.random() < 0.5)
    elif kind == 5 and isinstance(old, list) and old:
        holder[key] = (old * 200)[: rng.choice([0, 1, len(old) + 1, 200 * len(old)])]
    else:
        holder[key] = hostile_value(rng, old)
    return value


def hostile_value(rng: random.Random, old: Any = None) -> Any:
    return rng.choice(
        [
            None, True, False, [], {}, [[]], [None], {"": None}, [[[[1]]], {}], [old, old], {"a": old},
            rng.choice(HOSTILE_NUMBERS), rng.choice(HOSTILE_FLOATS), rng.choice(HOSTILE_TEXTS),
            [rng.choice(HOSTILE_NUMBERS)] * rng.choice([1, 3, 6, 16, 5000]), rng.choice(HOSTILE_FLOATS),
        ]
    )  # fmt: skip


def _nested(value: Any, depth: int, in_lists: bool) -> Any:
    for _ in range(depth):
        value = [value] if in_lists else {"a": value}
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of all values inside, breadth first, so that the outermost are always among them."""
    places, queue = [], [value]
    while queue and len(places) < NODES:
        holder = queue.pop(0)
        keys = range(len(holder)) if isinstance(holder, list) else list(holder) if isinstance(holder, dict) else ()
        for key in keys:
            places.append((holder, key))
            if isinstance(holder[key], list | dict):
                queue.append(holder[key])
    return places


def _dump(value: Any) -> bytes:
    return json.dumps(value).encode()


def _mutate_json(data: bytes, rng: random.Random) -> bytes:
    return _dump(mutate_json_value(json.loads(data), rng))


def _mutate_json_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    if rng.random() < 0.1:
        lines[at:at] = [lines[rng.randrange(len(lines))]]
    else:
        lines[at] = _mutate_json(lines[at], rng)
    return b"\n".join(lines) + b"\n"


def _mutate_text(data: bytes, rng: random.Random) -> bytes:
    """A word replaced, a line lost, repeated or made long."""
    kind = rng.randrange(5)
    if kind < 3:
        words = list(re.finditer(rb"[^\s,=\t]+", data))
        word = rng.choice(words)
        new = rng.choice(
            [
                rng.choice(HOSTILE_WORDS),
                rng.choice(HOSTILE_TEXTS).encode("utf-8", "surrogatepass"),
                rng.choice(words)[0],
            ]
        )
        return data[: word.start()] + new + data[word.end() :]
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    lines[at : at + 1] = [[], [lines[at]] * 2, [lines[at] * 500], [b""], [lines[at][: len(lines[at]) // 2]]][
        rng.randrange(5)
    ]
    return b"\n".join(lines)


def _mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """The archive made again with a member damaged, renamed, doubled or lost; members keep a right checksum."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry, archive.read(entry)) for entry in archive.infolist()]
    at = rng.randrange(len(members))
    entry, content = members[at]
    kind = rng.randrange(7)
    if kind == 0:
        del members[at]
    elif kind == 1:
        members.append((entry, content))
    elif kind == 2:
        name = rng.choice(
            [*(t for t in HOSTILE_TEXTS if t.isascii() and len(t) < 400), "../" + entry.filename, "/" + entry.filename]
        )
        members[at] = (zipfile.ZipInfo(name or "_"), content)
    elif kind == 3:
        entry = copy.copy(entry)
        entry.external_attr = rng.choice([0o120777, 0o010644, 0o020644, 0o040755]) << 16
        members[at] = (entry, rng.choice([content, b"/etc/passwd"]))
    else:
        members[at] = (entry, _mutate_once(content, rng))
    buffer = io.BytesIO()
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(buffer, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive,
    ):
        warnings.simplefilter("ignore")  # a member twice is meant
        for entry, content in members:
            archive.writestr(entry, content)
    return buffer.getvalue()


def _mutate_npy(data: bytes, rng: random.Random) -> bytes:
    """Another shape, type or order in the header of a .npy, its length kept."""
    size = int.from_bytes(data[8:10], "little")
    head = data[10 : 10 + size].rstrip()
    shapes = [b"(0,)", b"(9999999999,)", b"(-1,)", b"()", b"(2, 2)"]
    types = [b"|O", b"<f8", b"<i1", b"<U9", b"<c16", b"|V8", b">i4", b"<M8[s]"]
    change = rng.choice(
        [
            (rb"'shape': \([^)]*\)", b"'shape': " + rng.choice(shapes)),
            (rb"'descr': '[^']*'", b"'descr': '" + rng.choice(types) + b"'"),
            (rb"False", b"True"),
        ]
    )
    return data[:10] + re.sub(change[0], lambda _: change[1], head)[:size].ljust(size) + data[10 + size :]


def _mutate_png(data: bytes, rng: random.Random) -> bytes:
    """A chunk damaged, doubled, lost or resized, with the checksum that then belongs to it."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    place = rng.randrange(len(chunks))
    name, content = chunks[place]
    kind = rng.randrange(5)
    if kind == 0:
        del chunks[place]
    elif kind == 1:
        chunks.insert(place, chunks[place])
    elif kind == 2 and name == b"IHDR":
        sizes = [0, 1, 65535, 1 << 31, (1 << 31) - 1, 100_000]
        chunks[place] = (name, struct.pack(">II", rng.choice(sizes), rng.choice(sizes)) + content[8:])
    elif kind == 3:
        chunks[place] = (rng.choice([b"iCCP", b"zTXt", b"PLTE", b"tRNS", b"acTL", b"eXIf"]), content)
    else:
        chunks[place] = (name, mutate_bytes(content, rng))
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks]
    return data[:8] + b"".join(parts)


def _mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """The JSON header changed as JSON, its length right; or the bytes of the tensors."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if rng.random() < 0.2:
        return data[: 8 + size] + mutate_bytes(data[8 + size :], rng)
    meta = header.get("__metadata__")
    texts = [key for key, text in meta.items() if text[:1] in "[{"] if isinstance(meta, dict) else []
    if texts and rng.random() < 0.5:  # JSON inside the metadata
        key = rng.choice(texts)
        meta[key] = json.dumps(mutate_json_value(json.loads(meta[key]), rng))
    else:
        kinds = ["F16", "F32", "F64", "I64", "I32", "U8", "BOOL", "BF16"]
        named = [entry for key, entry in header.items() if key != "__metadata__"]
        if named and rng.random() < 0.4:
            entry = rng.choice(named)
            entry[rng.choice(["dtype", "shape"])] = rng.choice(
                [rng.choice(kinds), [0], [], [1, 1], entry["shape"][::-1]]
            )
        else:
            header = mutate_json_value(header, rng)
    text = _dump(header)
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def _is_json(data: bytes) -> bool:
    if data.lstrip()[:1] not in (b"{", b"["):
        return False
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _is_json_lines(data: bytes) -> bool:
    return data[:1] in (b"{", b"[") and b"\n" in data and _is_json(data.split(b"\n", 1)[0])


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and 2 < int.from_bytes(data[:8], "little") <= len(data) - 8


def _is_text(data: bytes) -> bool:
    return bool(data) and b"\0" not in data[:2000] and sum(byte > 127 for byte in data[:2000]) < 200


_KINDS = [
    (_is_json, _mutate_json),
    (_is_json_lines, _mutate_json_lines),
    (lambda data: data[:4] == b"PK\3\4", _mutate_zip),
    (lambda data: data[:6] == b"\x93NUMPY", _mutate_npy),
    (lambda data: data[:8] == b"\x89PNG\r\n\x1a\n", _mutate_png),
    (_is_safetensors, _mutate_safetensors),
    (_is_text, _mutate_text),
]


def replace_by_no_file(path: Path, rng: random.Random) -> str:
    """Put something that is no regular file in the place of `path`: a FIFO, a folder, a link, nothing; says which."""
    kind = rng.choice(
        ["fifo", "folder", "link to a device", "link to itself", "link to nothing", "nothing", "unreadable"]
    )
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to(rng.choice(["/dev/zero", "/dev/tty", "/dev/stdin"]))
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "link to nothing":
        path.symlink_to(path.with_name("no-such-file"))
    elif kind == "unreadable":
        path.touch(mode=0)
    return kind

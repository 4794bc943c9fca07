"""Labelled pairs of questions: reading them, and keeping a part held out.

    python pairs.py HELD_OUT.jsonl      writes the held-out part, for `calibrate.py`

The sets are for research use and not in the repository. They are looked for under `train/` in the folder that
SPARKLE_EVAL_DATA names, else in `../shared/data` beside the repository.
"""

import argparse
import hashlib
import json
import os
import pathlib
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[3]
DATA = pathlib.Path(os.environ.get("SPARKLE_EVAL_DATA") or ROOT.parent / "shared" / "data") / "train"
# The share of each set that is held out, of its pairs.
HELD_OUT_SHARES = {"qqp_en": 0.08, "lcqmc_zh": 0.2, "bq_zh": 0.2, "oppo_zh": 0.15}
SPLIT_SEED = 7


class Pair(NamedTuple):
    one: str
    other: str
    # 1 if both ask the same, else 0.
    label: int


def read_rows(path):
    """The rows of a file of JSON lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def write_rows(path, rows):
    """Writes objects as JSON lines."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def pairs_of(rows):
    return [Pair(row["a"], row["b"], int(row["label"])) for row in rows]


def is_chinese(text):
    """Whether it has a Han character."""
    return any("\u3400" <= character <= "\u9fff" for character in text)


def components(pairs):
    """For each pair the text that stands for all texts that are connected with it by pairs."""
    parent = {}

    def find(text):
        parent.setdefault(text, text)
        while parent[text] != text:
            parent[text] = parent[parent[text]]
            text = parent[text]
        return text

    for pair in pairs:
        parent[find(pair.one)] = find(pair.other)
    return [find(pair.one) for pair in pairs]


def split():
    """Two objects, what to fit to and what is held out: lists of pairs by set.

    Whole components of texts are held out, over all sets: no held-out text is in the part that is fitted to. The
    split is the same at every call.
    """
    rows = [(name, pair) for name in HELD_OUT_SHARES for pair in read_set(name)]
    fitting, held_out = ({name: [] for name in HELD_OUT_SHARES} for _ in range(2))
    for (name, pair), component in zip(rows, components([pair for _, pair in rows])):
        digest = hashlib.sha256(f"{SPLIT_SEED}:{component}".encode()).hexdigest()
        part = held_out if int(digest[:8], 16) / 2**32 < HELD_OUT_SHARES[name] else fitting
        part[name].append(pair)
    return fitting, held_out


def read_set(name):
    path = DATA / f"{name}.jsonl"
    if not path.is_file():
        raise SystemExit(f"there is no {path} (SPARKLE_EVAL_DATA names the folder that has train/)")
    return pairs_of(read_rows(path))


def main():
    parser = argparse.ArgumentParser(description="Write the held-out part of the training pairs.")
    parser.add_argument("out", help="the file to write, as JSON lines of a, b and label; not for the repository")
    out = parser.parse_args().out
    held_out = split()[1]
    write_rows(out, [{"a": p.one, "b": p.other, "label": p.label} for pairs in held_out.values() for p in pairs])
    print(", ".join(f"{name} {len(pairs)}" for name, pairs in held_out.items()))


if __name__ == "__main__":
    main()

"""Pairs out of `families/`: questions as learners type them, in families of near misses.

    python families.py HELD_OUT.jsonl      writes the pairs of the held-out families, for `calibrate.py`

A line of a file there is a family: {"topic", "groups"}. A group is one question in several forms that have the same
right answer; the groups of a family differ in one thing, so that the answer to one is wrong for the others. All of
them are our own, and part of the repository.
"""

import argparse
import hashlib
import itertools
import random

from pairs import ROOT, Pair, read_rows, write_rows

FOLDER = ROOT / "shared" / "embed" / "tuning" / "families"
HELD_OUT_SHARE = 0.12
SPLIT_SEED = 3
# Of the pairs that ask something else the alikest are the hardest: this share is taken from them, the others by chance.
ALIKE_SHARE = 0.5


def families():
    """Two lists, what to fit to and what is held out: of families, which are lists of groups of forms."""
    fitting, held_out = [], []
    for path in sorted(FOLDER.glob("*.jsonl")):
        for row in read_rows(path):
            digest = hashlib.sha256(f"{SPLIT_SEED}:{row['groups'][0][0]}".encode()).hexdigest()
            part = held_out if int(digest[:8], 16) / 2**32 < HELD_OUT_SHARE else fitting
            part.append(row["groups"])
    return fitting, held_out


def alike(pair):
    """The share of runs of three characters that both have."""
    one, other = ({text[at : at + 3] for at in range(len(text) - 2)} for text in (pair.one, pair.other))
    return len(one & other) / max(1, len(one | other))


def pairs_of_families(chosen, chance):
    """All pairs of forms that ask the same, and as many that do not: of one family."""
    pairs = []
    for groups in chosen:
        same = [Pair(*both, 1) for forms in groups for both in itertools.combinations(forms, 2)]
        different = [
            Pair(one, other, 0)
            for forms, others in itertools.combinations(groups, 2)
            for one, other in itertools.product(forms, others)
        ]
        chance.shuffle(different)
        wanted = min(len(same), len(different))
        alikest = sorted(different, key=alike, reverse=True)[: round(wanted * ALIKE_SHARE)]
        others = [pair for pair in different if pair not in alikest]
        pairs += same + alikest + others[: wanted - len(alikest)]
    return [Pair(p.other, p.one, p.label) if chance.random() < 0.5 else p for p in pairs]


def main():
    parser = argparse.ArgumentParser(description="Write the pairs of the held-out families.")
    parser.add_argument("out", help="the file to write, as JSON lines of a, b and label")
    out = parser.parse_args().out
    fitting, held_out = families()
    pairs = pairs_of_families(held_out, random.Random(SPLIT_SEED))
    write_rows(out, [{"a": p.one, "b": p.other, "label": p.label} for p in pairs])
    print(f"{len(fitting)} families to tune on, {len(held_out)} held out with {len(pairs)} pairs")


if __name__ == "__main__":
    main()

"""Makes a probability of what the verifier says and rules see, and chooses how sure a verdict must be.

    python calibrate.py REAL.jsonl SYNTHETIC.jsonl

Both files are what `cargo bench -p sparkle-tests --bench verdict -- --rows FILE --dump DUMP` dumps of rows that
nothing was tuned on: the held-out files of `pairs.py` and `synthetic.py`. For each language it prints what was found
and the constant for `shared/core/src/cache/verdict/calibration.rs`.

    p = sigmoid(bias + logit * w_logit + similarity * w_similarity - sum of the weights of the differences)

A difference never speaks for a pair: its weight is at least 0. One that is hardly ever seen on pairs that ask the
same is a veto. All is judged on rows that it was not fitted to, in folds that have no text in common.
"""

import argparse
import math
import random
import re

import numpy as np
from scipy.optimize import minimize
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

from pairs import ROOT, components, pairs_of, read_rows

FOLDS = 5
FOLD_SEED = 0
CONFIDENCE = 0.95
# Bounds of the weights, and how strongly those of the differences are drawn to 0.
BIAS, LOGIT, SIMILARITY, DIFFERENCE = (-10, 10), (0.05, 3), (0, 5), (0, 6)
DRAW = 1.0
# While fitting, similarity is counted from here in steps of so much, so that all weights are of one size.
SIMILARITY_CENTRE, SIMILARITY_STEP = 0.5, 0.1
# Smaller weights are left out of the constant: with four decimals they would be 0.
WEIGHT_MIN = 0.0005
# Names of the constants, and the word in dumps.
LANGUAGES = {"ENGLISH": "en", "CHINESE": "zh"}


def difference_names():
    """The kinds of differences, as `shared/core` has them."""
    text = (ROOT / "shared" / "core" / "src" / "cache" / "difference.rs").read_text(encoding="utf-8")
    listed = re.search(r"pub const ALL: \[Self; \d+\] = \[(.*?)\]", text, re.DOTALL)
    if not listed:
        raise SystemExit("difference.rs does not list its kinds as ALL any more")
    return re.findall(r"Self::(\w+)", listed[1])


class Rows:
    """Rows of one language, as columns."""

    def __init__(self, rows, is_real, names):
        self.names = names
        self.label = np.array([float(row["label"]) for row in rows])
        self.is_real = np.array(is_real)
        self.logit = np.array([row["logit"] for row in rows])
        self.similarity = np.array([row["similarity"] for row in rows])
        self.plain = np.array([row["plain"] for row in rows])
        self.differences = np.zeros((len(rows), len(names)))
        for at, row in enumerate(rows):
            for name in row["differences"]:
                if name not in names:
                    raise SystemExit(f"a row has the difference {name}, which difference.rs does not list")
                self.differences[at, names.index(name)] = 1
        self.fold = folds(components(pairs_of(rows)))

    def counted(self):
        """The rows on which a threshold is judged: the real ones and the synthetic traps. Synthetic pairs that ask
        the same are easy, and would make any threshold look safer than it is."""
        return self.is_real | (self.label == 0)


def folds(groups):
    """For each row its fold: whole groups, the folds about equally large."""
    members = {}
    for at, group in enumerate(groups):
        members.setdefault(group, []).append(at)
    ordered = list(members.values())
    random.Random(FOLD_SEED).shuffle(ordered)
    fold, sizes = np.zeros(len(groups), int), [0] * FOLDS
    for rows in sorted(ordered, key=len, reverse=True):
        smallest = sizes.index(min(sizes))
        fold[rows] = smallest
        sizes[smallest] += len(rows)
    return fold


class Calibration:
    """What is fitted to the chosen rows."""

    def __init__(self, rows, chosen, veto_share):
        self.vetoes = vetoes(rows, chosen, veto_share)
        fitted = chosen & ~rows.differences[:, self.vetoes].any(1)
        columns = np.column_stack([
            np.ones(fitted.sum()), rows.logit[fitted],
            (rows.similarity[fitted] - SIMILARITY_CENTRE) / SIMILARITY_STEP, -rows.differences[fitted],
        ])
        bounds = [BIAS, LOGIT, SIMILARITY, *((0, 0) if veto else DIFFERENCE for veto in self.vetoes)]
        label, draw = rows.label[fitted], np.array([0, 0, 0] + [DRAW] * len(rows.names))

        def loss(weights):
            score = columns @ weights
            value = np.sum(np.logaddexp(0, score) - label * score) + 0.5 * np.sum(draw * weights**2)
            return value, columns.T @ (sigmoid(score) - label) + draw * weights

        begin = np.array([0.0, 1.0, 0.0] + [0.0] * len(rows.names))
        found = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds)
        if not found.success:
            raise SystemExit(f"nothing was fitted: {found.message}")
        bias, self.logit, similarity = found.x[:3]
        self.similarity = similarity / SIMILARITY_STEP
        self.bias = bias - self.similarity * SIMILARITY_CENTRE
        self.differences = found.x[3:]

    def probability(self, rows):
        """For each row; 0 where a difference is a veto."""
        score = self.bias + self.logit * rows.logit + self.similarity * rows.similarity
        is_vetoed = rows.differences[:, self.vetoes].any(1)
        return np.where(is_vetoed, 0.0, sigmoid(score - rows.differences @ self.differences))


def sigmoid(score):
    return 0.5 * (1 + np.tanh(0.5 * score))


def vetoes(rows, chosen, share_max):
    """For each kind of difference whether it is a veto: at most so great a share of the pairs that ask the same has
    it, and no smaller a share of the others. So is what was never seen: nothing is known of it."""
    same = rows.differences[chosen & (rows.label == 1)].mean(0)
    different = rows.differences[chosen & (rows.label == 0)].mean(0)
    return (same <= share_max) & (same <= different)


def cross_validated(rows, chosen, veto_share):
    """For each chosen row the probability by what was fitted to the chosen rows of the other folds."""
    probability = np.zeros(len(rows.label))
    for fold in range(FOLDS):
        here = rows.fold == fold
        calibration = Calibration(rows, chosen & ~here, veto_share)
        probability[here] = calibration.probability(rows)[here]
    return probability


def wrong_at_most(wrong, checked):
    """The share that is not exceeded with 95 % confidence: the one-sided bound of Clopper and Pearson."""
    return np.where(wrong >= checked, 1.0, beta.ppf(CONFIDENCE, wrong + 1, np.maximum(checked - wrong, 1e-9)))


def threshold(probability, label, wrong_max):
    """The lowest threshold at which the bound on the share of wrong ones among the served holds; none if there is
    none. It is the best of many that were looked at: what is then seen at it is a little too good."""
    order = np.argsort(-probability, kind="stable")
    probability = probability[order]
    checked, wrong = np.arange(1, len(order) + 1), np.cumsum(label[order] == 0)
    # Rows of the same probability are served together.
    is_last = np.append(probability[:-1] != probability[1:], True)
    holds = is_last & (probability > 0) & (wrong_at_most(wrong, checked) <= wrong_max)
    return probability[np.flatnonzero(holds)[-1]] if holds.any() else None


def seen_elsewhere(rows, wrong_max, veto_share):
    """What is served, and wrong, on rows that neither weights nor thresholds were fitted to: for each fold all is
    done anew without it."""
    checked = wrong = 0
    counted = rows.counted()
    for fold in range(FOLDS):
        others = rows.fold != fold
        probability = cross_validated(rows, others, veto_share)
        sure_min = threshold(probability[others & counted], rows.label[others & counted], wrong_max)
        if sure_min is None:
            continue
        served = ~others & counted & (Calibration(rows, others, veto_share).probability(rows) >= sure_min)
        checked += int(served.sum())
        wrong += int((served & (rows.label == 0)).sum())
    return checked, wrong


def report(rows, probability, sure_min):
    """What the scores are worth, by what was not fitted to the row."""
    real, label = rows.is_real, rows.label
    print(f"{real.sum()} real pairs, {label[real].sum():.0f} of them the same; {(~real).sum()} synthetic ones")
    scores = {"plain": rows.plain, "similarity": rows.similarity, "logit": rows.logit, "probability": probability}
    areas = ", ".join(f"{name} {roc_auc_score(label[real], score[real]):.4f}" for name, score in scores.items())
    print(f"area under the curve, real pairs: {areas}")
    print("\n| probability | said | same | real pairs |\n| --- | --- | --- | --- |")
    for begin in np.arange(10) / 10:
        here = real & (probability >= begin) & ((probability < begin + 0.1) | (begin == 0.9))
        if here.any():
            said, same = probability[here].mean(), label[here].mean()
            print(f"| {begin:.1f} to {begin + 0.1:.1f} | {said:.3f} | {same:.3f} | {here.sum()} |")
    if sure_min is None:
        print("\nno threshold is safe enough")
        return
    served = rows.counted() & (probability >= sure_min)
    wrong, hits = (served & (label == 0)).sum(), (served & real & (label == 1)).sum()
    print(f"\nfrom {sure_min:.6f} on {served.sum()} are served, {wrong} of them wrong "
          f"(at most {wrong_at_most(wrong, served.sum()):.2%}); {hits / (label[real] == 1).sum():.1%} of the real "
          f"pairs that ask the same are served, {(served & ~real).sum()} synthetic traps")


def constant(language, names, calibration, sure_min):
    """The constant for calibration.rs; `cargo fmt` puts it in form."""
    weights = [f"(Difference::{name}, {weight:.4f})"
               for name, weight in zip(names, calibration.differences) if weight >= WEIGHT_MIN]
    vetoed = [f"Difference::{name}" for name, veto in zip(names, calibration.vetoes) if veto]
    digits = "f64::INFINITY"
    if sure_min is not None:
        # Up, so that no more is served.
        digits = re.sub(r"(\.\d{3})", r"\1_", f"{math.ceil(sure_min * 1e6) / 1e6:.6f}")
    return f"""pub(super) const {language}: Calibration = Calibration {{
    bias: {calibration.bias:.4f},
    logit: {calibration.logit:.4f},
    similarity: {calibration.similarity:.4f},
    differences: &[{", ".join(weights)}],
    vetoes: &[{", ".join(vetoed)}],
    sure_min: {digits},
}};"""


def calibrate(language, rows, arguments):
    print(f"\n## {language.capitalize()}\n")
    everything = np.full(len(rows.label), True)
    probability = cross_validated(rows, everything, arguments.veto_share)
    counted = rows.counted()
    sure_min = threshold(probability[counted], rows.label[counted], arguments.wrong_max)
    report(rows, probability, sure_min)
    seen = seen_elsewhere(rows, arguments.wrong_max, arguments.veto_share) if sure_min is not None else (0, 0)
    if seen[0]:
        print(f"with thresholds of other folds {seen[1]} of {seen[0]} served are wrong "
              f"(at most {wrong_at_most(seen[1], seen[0]):.2%})")
    calibration = Calibration(rows, everything, arguments.veto_share)
    print("\n| difference | same | different | weight |\n| --- | --- | --- | --- |")
    for at, name in enumerate(rows.names):
        same, different = (int(rows.differences[rows.label == label, at].sum()) for label in (1, 0))
        weight = "veto" if calibration.vetoes[at] else f"{calibration.differences[at]:.2f}"
        print(f"| {name} | {same} | {different} | {weight} |")
    print(f"\n```rust\n{constant(language, rows.names, calibration, sure_min)}\n```")


def language_of(row):
    for language, word in LANGUAGES.items():
        if row["language"] == word:
            return language
    raise SystemExit(f"a row is of the language {row['language']}, which has no calibration")


def main():
    parser = argparse.ArgumentParser(description="Calibrate verdicts on pairs that nothing was tuned on.")
    parser.add_argument("real", help="dump of the held-out pairs")
    parser.add_argument("synthetic", help="dump of the held-out synthetic pairs")
    parser.add_argument("--wrong-max", type=float, default=0.01,
                        help="the share of wrong ones among the served that is not to be passed")
    parser.add_argument("--veto-share", type=float, default=0.002,
                        help="a difference that at most this share of the pairs that ask the same has is a veto")
    arguments = parser.parse_args()
    names = difference_names()
    rows = [(row, True) for row in read_rows(arguments.real)]
    rows += [(row, False) for row in read_rows(arguments.synthetic)]
    for language in LANGUAGES:
        chosen = [(row, is_real) for row, is_real in rows if language_of(row) == language]
        if len({row["label"] for row, is_real in chosen if is_real}) < 2:
            print(f"\n## {language.capitalize()}\n\ntoo few rows")
            continue
        calibrate(language, Rows([row for row, _ in chosen], [is_real for _, is_real in chosen], names), arguments)


if __name__ == "__main__":
    main()

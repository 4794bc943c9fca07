"""Tunes the verifier.

    python train.py OUT.pt --synthetic FIT.jsonl --synthetic-held-out HELD_OUT.jsonl

OUT.pt has the running average of the weights; every `--report-minutes` it is written and judged on what is held out.
A run that was cut goes on from OUT.pt.resume, if that file is there, when it is started again with the same
arguments. To end a run early, write a number of steps into OUT.pt.cool: the rate falls to 0 over them.
"""

import argparse
import math
import os
import pathlib
import random
import time

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score

from families import families, pairs_of_families
from net import ALONE_LAYERS, LAYERS, REFERENCES, SOURCES, Model, States, Verifier, layers_of, load_state, logits_of
from pairs import pairs_of, read_rows, split

AVERAGE_MAX = 0.998
# Head, inclinations and scales start from nothing: they learn faster than what starts from the model.
NEW_RATE_FACTOR = 5.0
# English held-out pairs that are judged while training; more would only take time.
ENGLISH_JUDGED_MAX = 3_000
# Of the pairs that share fewer words and are labelled different, this share is used: they are too easy.
FAR_OVERLAP, FAR_KEPT = 0.15, 0.3
SERVED_SHARES = (0.1, 0.25, 0.4, 0.6, 0.72, 0.85)


def is_far(pair):
    one, other = set(pair.one.lower().split()), set(pair.other.lower().split())
    return len(one & other) / max(1, len(one | other)) < FAR_OVERLAP


class Rows:
    """What is tuned on, anew for each round: (pair, source)."""

    def __init__(self, arguments, fitting, synthetic, families, states):
        self.arguments, self.fitting, self.synthetic, self.states = arguments, fitting, synthetic, states
        self.families = families

    def round(self, chance):
        english = [p for p in self.fitting["qqp_en"] if p.label or not is_far(p) or chance.random() < FAR_KEPT]
        chance.shuffle(english)
        rows = [(pair, SOURCES["qqp_en"]) for pair in english[: self.arguments.english_rows]]
        for name in ("lcqmc_zh", "bq_zh", "oppo_zh"):
            rows += [(pair, SOURCES[name]) for pair in self.fitting[name]] * getattr(self.arguments, f"{name}_times")
        synthetic = list(self.synthetic)
        chance.shuffle(synthetic)
        rows += [(pair, SOURCES["synthetic"]) for pair in synthetic[: self.arguments.synthetic_rows]]
        for _ in range(self.arguments.families_times):
            rows += [(pair, SOURCES["families"]) for pair in pairs_of_families(self.families, chance)]
        chance.shuffle(rows)
        return rows

    def batches(self, chance):
        """Batches without end, each of pairs of about one length."""
        size = self.arguments.batch_pairs
        while True:
            rows, batches = self.round(chance), []
            for begin in range(0, len(rows), size * 50):
                near = sorted(rows[begin : begin + size * 50], key=lambda row: self.states.length(row[0]))
                batches += [near[at : at + size] for at in range(0, len(near), size)]
            chance.shuffle(batches)
            yield from batches


class Run:
    """A verifier that is being tuned, with its optimizer and the running average of its weights."""

    def __init__(self, arguments, model):
        self.arguments, self.model, self.step, self.cooling = arguments, model, 0, None
        self.verifier = Verifier(model, arguments.alone)
        if arguments.init:
            self.begin_from(load_state(arguments.init))
        self.verifier.set_dropout(arguments.dropout)
        new, old = [], []
        for name, parameter in self.verifier.named_parameters():
            is_new = name.startswith(("head_", "source_")) or name.endswith("attn_cross")
            (new if is_new else old).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [{"params": old, "factor": 1.0}, {"params": new, "factor": NEW_RATE_FACTOR}],
            lr=arguments.rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True,
        )
        self.average = {name: p.detach().clone() for name, p in self.verifier.named_parameters()}
        self.resume_path = pathlib.Path(arguments.out + ".resume")
        if self.resume_path.exists():
            kept = torch.load(self.resume_path)
            self.verifier.load_state_dict(kept["verifier"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.average, self.step, self.cooling = kept["average"], kept["step"], kept["cooling"]
            print(f"going on from step {self.step}", flush=True)

    def begin_from(self, state):
        """Takes the weights of a checkpoint. One with fewer layers has the uppermost ones."""
        missing = len(self.verifier.layers) - layers_of(state)
        if missing < 0:
            raise SystemExit(f"the checkpoint has {-missing} layers too many: give --alone as it was")

        def renamed(name):
            parts = name.split(".")
            return ".".join(["layers", str(int(parts[1]) + missing), *parts[2:]]) if parts[0] == "layers" else name

        self.verifier.load_state_dict({renamed(name): numbers for name, numbers in state.items()}, strict=missing == 0)

    def rate(self):
        """The rate of this step: rises while warming up, then falls to 0 at the last step. None after it."""
        arguments, cool_path = self.arguments, self.arguments.out + ".cool"
        if self.cooling is None and self.step % 10 == 0 and os.path.exists(cool_path):
            self.cooling = (self.step, int(pathlib.Path(cool_path).read_text()))
            print(f"cooling over {self.cooling[1]} steps", flush=True)
        if self.step >= arguments.steps or (self.cooling and self.step >= sum(self.cooling)):
            return None
        rate = arguments.rate * min(1, (self.step + 1) / arguments.warm_steps) * (1 - self.step / arguments.steps)
        return rate * (1 - (self.step - self.cooling[0]) / self.cooling[1]) if self.cooling else rate

    def learn(self, batch, states, rate):
        """One step; the loss."""
        self.verifier.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        labels = torch.tensor([float(pair.label) for pair, _ in batch])
        sources = torch.tensor([source for _, source in batch])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            one = states.batch([pair.one for pair, _ in batch])
            other = states.batch([pair.other for pair, _ in batch])
            logits = self.verifier(*one, *other, sources)
        # A label is not quite sure: the sets have wrong ones.
        labels = labels * (1 - 2 * self.arguments.smooth) + self.arguments.smooth
        loss = F.binary_cross_entropy_with_logits(logits.float(), labels)
        loss.backward()
        self.verifier.source_scale.grad[REFERENCES] = 0
        torch.nn.utils.clip_grad_norm_(self.verifier.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            self.verifier.source_scale[REFERENCES] = torch.tensor([1.0, 0.0])
            kept = min(AVERAGE_MAX, (self.step + 1) / (self.step + 10))
            for name, parameter in self.verifier.named_parameters():
                self.average[name].lerp_(parameter.detach(), 1 - kept)
        return loss.item()

    def save(self):
        arguments = {name: value for name, value in vars(self.arguments).items() if name not in ("out", "init")}
        write(self.arguments.out, {"state": self.average, "arguments": arguments, "step": self.step})
        write(self.resume_path, {
            "verifier": self.verifier.state_dict(), "optimizer": self.optimizer.state_dict(),
            "average": self.average, "step": self.step, "cooling": self.cooling,
        })

    def averaged(self):
        verifier = Verifier(self.model, self.arguments.alone)
        verifier.load_state_dict(self.average)
        return verifier


def write(path, value):
    """Writes it whole or not at all."""
    torch.save(value, f"{path}.part")
    os.replace(f"{path}.part", path)


def judgement(name, pairs, logits):
    """A line on logits: the area under the curve, the log loss, and how many of those served are wrong where
    so great a share of the pairs that ask the same is served."""
    labels = np.array([pair.label for pair in pairs])
    loss = np.mean(np.logaddexp(0, logits) - labels * logits)
    same = np.sort(logits[labels == 1])[::-1]
    wrong = []
    for share in SERVED_SHARES:
        is_served = logits >= same[max(0, math.ceil(share * len(same)) - 1)]
        wrong.append(f"{share:.0%}: {np.mean(labels[is_served] == 0):.3f}")
    return f"   {name}: auc {roc_auc_score(labels, logits):.4f} loss {loss:.3f} wrong at " + ", ".join(wrong)


def parse():
    parser = argparse.ArgumentParser(description="Tune the verifier of pairs of questions.")
    parser.add_argument("out", help="the checkpoint to write")
    parser.add_argument("--init", help="a checkpoint or verifier.gguf to begin from; without it the model's own layers")
    parser.add_argument("--alone", type=int, default=ALONE_LAYERS, help="layers that read each text alone")
    parser.add_argument("--steps", type=int, default=2_400, help="steps after which the rate is 0")
    parser.add_argument("--warm-steps", type=int, default=80, help="steps in which the rate rises")
    parser.add_argument("--rate", type=float, default=1.3e-4, help="the highest learning rate")
    parser.add_argument("--smooth", type=float, default=0.02, help="how unsure a label is, 0 to 0.5")
    parser.add_argument("--dropout", type=float, default=0.1, help="share of numbers dropped in the layers")
    parser.add_argument("--batch-pairs", type=int, default=72)
    parser.add_argument("--english-rows", type=int, default=70_000, help="at most so many of QQP in a round")
    parser.add_argument("--lcqmc-zh-times", type=int, default=3, help="how often a round has LCQMC")
    parser.add_argument("--bq-zh-times", type=int, default=1, help="how often a round has BQ")
    parser.add_argument("--oppo-zh-times", type=int, default=1, help="how often a round has OPPO")
    parser.add_argument("--synthetic", help="rows of synthetic.py to tune on")
    parser.add_argument("--synthetic-held-out", help="rows of synthetic.py to judge on")
    parser.add_argument("--synthetic-rows", type=int, default=14_000, help="at most so many in a round")
    parser.add_argument("--families-times", type=int, default=3, help="how often a round has those of the families")
    parser.add_argument("--report-minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    model = Model()
    fitting, held_out = split()
    held_out["qqp_en"] = held_out["qqp_en"][:ENGLISH_JUDGED_MAX]
    synthetic = pairs_of(read_rows(arguments.synthetic)) if arguments.synthetic else []
    if arguments.synthetic_held_out:
        held_out["synthetic"] = pairs_of(read_rows(arguments.synthetic_held_out))
    taught, held_out_families = families()
    held_out["families"] = pairs_of_families(held_out_families, random.Random(arguments.seed))
    run, states = Run(arguments, model), States(model, arguments.alone)
    parts = [*fitting.values(), *held_out.values(), synthetic]
    states.add([text for pairs in parts for pair in pairs for text in (pair.one, pair.other)])
    states.add([text for groups in taught for forms in groups for text in forms])
    print(f"{len(states.places)} texts read", flush=True)
    chance = random.Random(arguments.seed + run.step)
    begun = reported = time.monotonic()
    losses = []
    for batch in Rows(arguments, fitting, synthetic, taught, states).batches(chance):
        rate = run.rate()
        if rate is None:
            break
        losses.append(run.learn(batch, states, rate))
        if run.step % 100 == 0:
            seconds = time.monotonic() - begun
            print(f"step {run.step} {seconds:.0f} s loss {np.mean(losses):.4f} rate {rate:.2e}", flush=True)
            losses = []
        if time.monotonic() - reported > arguments.report_minutes * 60:
            report(run, states, held_out)
            reported = time.monotonic()
    report(run, states, held_out)
    run.resume_path.unlink()


def report(run, states, held_out):
    run.save()
    print(f"step {run.step}:", flush=True)
    verifier = run.averaged()
    for name, pairs in held_out.items():
        print(judgement(name, pairs, logits_of(verifier, states, pairs)), flush=True)


if __name__ == "__main__":
    main()

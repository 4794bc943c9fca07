"""The network that judges a pair of questions.

The bundled model (multilingual-e5-small) has twelve layers. Its first ALONE_LAYERS read each text alone and stay as
they are; copies of the others read both texts in one sequence and are tuned. In them each token attends to its own
text and, with a learned inclination for each layer and head, to the other. What is made of the last layer is
symmetric, so that the verdict on (a, b) is that on (b, a).

Parameters have the names that their tensors have in the file.
"""

import os
import pathlib

import gguf
import numpy as np
import torch
import torch.nn.functional as F
from gguf.quants import dequantize
from tokenizers import Tokenizer
from torch import nn

from pairs import ROOT

# The layers that read each text alone: what `shared/embed/src/bundled.rs` says (`LOWER`).
ALONE_LAYERS = 0
LAYERS, WIDTH, HEADS, INNER, HIDDEN = 12, 384, 12, 1536, 128
NORM_EPSILON = 1e-12
PREFIX = "query: "
# Tokens of the prefix, which come after <s>; their rows are dropped before texts are compared.
PREFIX_TOKENS = 3
PAD, END = 1, 2
# Longer texts are cut: ids of a text with its prefix, <s> and </s>.
TOKENS_MAX = 64
# Where the rows come from that are tuned on; each source has a scale and a shift of its own.
SOURCES = {"qqp_en": 0, "lcqmc_zh": 1, "bq_zh": 2, "oppo_zh": 3, "synthetic": 4, "families": 5}
# Sources whose labels are strict: theirs is the common scale.
REFERENCES = [SOURCES[name] for name in ("qqp_en", "lcqmc_zh", "synthetic", "families")]
WEIGHTS = ROOT / "shared" / "embed" / "weights"
# A layer's parts, in the order of the file.
PARTS = (
    "attn_q", "attn_k", "attn_v", "attn_output", "attn_output_norm", "ffn_up", "ffn_down", "layer_output_norm",
)
MASKED = -1e9


class Model:
    """The bundled model's tokenizer and tensors, in f32."""

    def __init__(self, folder=WEIGHTS):
        folder = pathlib.Path(folder)
        self.tokenizer = Tokenizer.from_file(os.fspath(folder / "tokenizer.json"))
        self.tensors = {}
        for tensor in gguf.GGUFReader(folder / "model.gguf").tensors:
            numbers = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            shape = tuple(int(size) for size in tensor.shape[::-1])
            self.tensors[tensor.name] = torch.from_numpy(numbers.copy()).reshape(shape)
        if len(self.tokenizer.encode(PREFIX).ids) != PREFIX_TOKENS + 2:
            raise SystemExit(f"the prefix is not {PREFIX_TOKENS} tokens of this tokenizer")

    def ids(self, text):
        """The ids of a text with its prefix, not cut."""
        return self.tokenizer.encode(PREFIX + text).ids


class Layer(nn.Module):
    """A layer of BERT, with the norm after each part, as the model has it in layer `number`."""

    def __init__(self, model, number):
        super().__init__()
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.ffn_up, self.ffn_down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.attn_output_norm, self.layer_output_norm = (nn.LayerNorm(WIDTH, eps=NORM_EPSILON) for _ in range(2))
        for part in PARTS:
            getattr(self, part).weight.data.copy_(model.tensors[f"blk.{number}.{part}.weight"])
            getattr(self, part).bias.data.copy_(model.tensors[f"blk.{number}.{part}.bias"])
        self.dropout = 0.0

    def forward(self, rows, mask):
        """`mask` is added to the scores of attention: (texts, heads or 1, rows or 1, rows)."""
        count, length, _ = rows.shape

        def by_head(numbers):
            return numbers.view(count, length, HEADS, WIDTH // HEADS).transpose(1, 2)

        seen = F.scaled_dot_product_attention(
            by_head(self.attn_q(rows)), by_head(self.attn_k(rows)), by_head(self.attn_v(rows)),
            attn_mask=mask.to(rows.dtype),
        )
        seen = self.attn_output(seen.transpose(1, 2).reshape(count, length, WIDTH))
        rows = self.attn_output_norm(rows + self.dropped(seen)).to(rows.dtype)
        inner = self.ffn_down(F.gelu(self.ffn_up(rows)))
        return self.layer_output_norm(rows + self.dropped(inner)).to(rows.dtype)

    def dropped(self, numbers):
        return F.dropout(numbers, self.dropout, self.training)


class PairLayer(Layer):
    """A layer that reads two texts in one sequence."""

    def __init__(self, model, number):
        super().__init__(model, number)
        # Added to the scores between the texts, for each head. Below 0: at first they hardly see each other.
        self.attn_cross = nn.Parameter(torch.full((HEADS,), -1.5))

    def forward(self, rows, mask, across):
        inclination = self.attn_cross.view(1, -1, 1, 1).to(rows.dtype) * across.to(rows.dtype)
        return super().forward(rows, mask + inclination)


class Reader(nn.Module):
    """The model's first layers, unchanged: reads each text alone."""

    def __init__(self, model, layers=ALONE_LAYERS):
        super().__init__()
        tensors = model.tensors
        self.tokens = nn.Embedding.from_pretrained(tensors["token_embd.weight"], freeze=True)
        self.register_buffer("places", tensors["position_embd.weight"] + tensors["token_types.weight"][0])
        self.norm = nn.LayerNorm(WIDTH, eps=NORM_EPSILON)
        self.norm.weight.data.copy_(tensors["token_embd_norm.weight"])
        self.norm.bias.data.copy_(tensors["token_embd_norm.bias"])
        self.layers = nn.ModuleList(Layer(model, number) for number in range(layers))

    def rows(self, ids):
        """The rows of all tokens; `ids` is padded."""
        mask = torch.zeros(ids.shape).masked_fill(ids == PAD, MASKED)[:, None, None, :]
        rows = self.norm(self.tokens(ids) + self.places[: ids.shape[1]])
        if torch.is_autocast_enabled("cpu"):
            rows = rows.bfloat16()
        for layer in self.layers:
            rows = layer(rows, mask)
        return rows

    def forward(self, ids):
        """The rows without those of the prefix."""
        rows = self.rows(ids)
        return torch.cat([rows[:, :1], rows[:, 1 + PREFIX_TOKENS :]], 1)

    def vector(self, ids):
        """The unit vector of a text that is not padded, if this reads with all layers."""
        return F.normalize(self.rows(ids).mean(1), dim=-1)


class Verifier(nn.Module):
    """The layers that read both texts, and the head."""

    def __init__(self, model, alone=ALONE_LAYERS):
        super().__init__()
        self.alone = alone
        self.layers = nn.ModuleList(PairLayer(model, number) for number in range(alone, LAYERS))
        self.head_0, self.head_1 = nn.Linear(4 * WIDTH, HIDDEN), nn.Linear(HIDDEN, 1)
        self.dropout = nn.Dropout(0.1)
        # Only for tuning: scale and shift of the logit for each source, since labels differ in strictness.
        self.source_scale = nn.Parameter(torch.tensor([[1.0, 0.0]] * len(SOURCES)))

    def set_dropout(self, share):
        """The share of numbers that is dropped in the layers while tuning."""
        for layer in self.layers:
            layer.dropout = share

    def forward(self, one, one_lengths, other, other_lengths, sources=None):
        """Logits. `one` and `other` are rows of a Reader, padded: (pairs, rows, WIDTH)."""
        size, other_size = one.shape[1], other.shape[1]
        is_one = torch.arange(size)[None] < one_lengths[:, None]
        is_other = torch.arange(other_size)[None] < other_lengths[:, None]
        is_token = torch.cat([is_one, is_other], 1)
        mask = torch.zeros(is_token.shape).masked_fill(~is_token, MASKED)[:, None, None, :]
        text = torch.cat([torch.zeros(size), torch.ones(other_size)])
        across = (text[:, None] != text[None, :]).float()[None, None]
        rows = torch.cat([one, other], 1)
        for layer in self.layers:
            rows = layer(rows, mask, across)
        one, other = rows.float().split([size, other_size], 1)
        one_mean, other_mean = mean(one, is_one), mean(other, is_other)
        gap, product = (one_mean - other_mean).abs(), one_mean * other_mean
        features = torch.cat([one_mean + other_mean, gap, product, one[:, 0] + other[:, 0]], 1)
        hidden = F.gelu(self.head_0(self.dropout(features)))
        logits = self.head_1(self.dropout(hidden)).squeeze(-1)
        if sources is None:
            return logits
        return logits * self.source_scale[sources, 0] + self.source_scale[sources, 1]


def mean(rows, is_token):
    return (rows * is_token.float()[..., None]).sum(1) / is_token.sum(1, keepdim=True)


class States:
    """The rows that a Reader makes of texts, kept in memory as bf16: about 10 kB a text."""

    BATCH_TOKENS = 6144

    def __init__(self, model, alone=ALONE_LAYERS):
        self.model, self.alone = model, alone
        # Of each text: which block, the first row in it, and how many.
        self.places, self.blocks = {}, []

    @torch.inference_mode()
    def add(self, texts):
        """Reads the texts that were not read yet."""
        texts = [text for text in dict.fromkeys(texts) if text not in self.places]
        if not texts:
            return
        encoded = [encoding.ids for encoding in self.model.tokenizer.encode_batch([PREFIX + t for t in texts])]
        encoded = [ids if len(ids) <= TOKENS_MAX else ids[: TOKENS_MAX - 1] + [END] for ids in encoded]
        reader, batch = Reader(self.model, self.alone).eval(), []
        for at in sorted(range(len(texts)), key=lambda at: len(encoded[at])):
            if batch and (len(batch) + 1) * len(encoded[at]) > self.BATCH_TOKENS:
                self.read(reader, batch)
                batch = []
            batch.append((texts[at], encoded[at]))
        self.read(reader, batch)

    def read(self, reader, batch):
        ids = torch.full((len(batch), len(batch[-1][1])), PAD)
        for at, (_, text_ids) in enumerate(batch):
            ids[at, : len(text_ids)] = torch.tensor(text_ids)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rows = reader(ids).bfloat16()
        kept, first = [], 0
        for at, (text, text_ids) in enumerate(batch):
            count = len(text_ids) - PREFIX_TOKENS
            self.places[text] = (len(self.blocks), first, count)
            kept.append(rows[at, :count])
            first += count
        self.blocks.append(torch.cat(kept))

    def batch(self, texts):
        """The rows of these texts, padded, and how many each has."""
        places = [self.places[text] for text in texts]
        lengths = [count for _, _, count in places]
        rows = torch.zeros(len(texts), max(lengths), WIDTH, dtype=torch.bfloat16)
        for at, (block, first, count) in enumerate(places):
            rows[at, :count] = self.blocks[block][first : first + count]
        return rows, torch.tensor(lengths)

    def length(self, pair):
        """Rows of both texts."""
        return self.places[pair.one][2] + self.places[pair.other][2]


@torch.inference_mode()
def logits_of(verifier, states, pairs, batch_pairs=96):
    """The logits of pairs whose texts `states` has, in bf16 arithmetic."""
    verifier.eval()
    logits = np.zeros(len(pairs), np.float32)
    order = sorted(range(len(pairs)), key=lambda at: states.length(pairs[at]))
    for begin in range(0, len(order), batch_pairs):
        chosen = order[begin : begin + batch_pairs]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            one = states.batch([pairs[at].one for at in chosen])
            other = states.batch([pairs[at].other for at in chosen])
            logits[chosen] = verifier(*one, *other).float().numpy()
    return logits


def load_state(path):
    """The parameters of a checkpoint, or of a file with the weights that Sparkle loads."""
    if not os.fspath(path).endswith(".gguf"):
        return torch.load(path)["state"]
    tensors = gguf.GGUFReader(path).tensors
    numbers = {tensor.name: dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in tensors}
    first = min(int(name.split(".")[1]) for name in numbers if name.startswith("blk."))
    state = {"source_scale": torch.tensor([[1.0, 0.0]] * len(SOURCES))}
    for tensor in tensors:
        parts = tensor.name.split(".")
        if parts[0] == "blk":
            kind = parts[2:] if parts[2] != "attn_cross" else ["attn_cross"]
            name = ".".join(["layers", str(int(parts[1]) - first), *kind])
        else:
            name = f"head_{parts[1]}.{parts[2]}"
        shape = tuple(int(size) for size in tensor.shape[::-1])
        state[name] = torch.from_numpy(numbers[tensor.name].copy()).reshape(shape)
    return state


def load_verifier(model, path):
    """The verifier of a checkpoint, with as many layers as it was tuned with."""
    state = load_state(path)
    verifier = Verifier(model, LAYERS - layers_of(state))
    verifier.load_state_dict(state)
    return verifier.eval()


def layers_of(state):
    return 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))

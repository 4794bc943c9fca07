"""Writes what Sparkle loads.

    python export.py CHECKPOINT.pt FOLDER

FOLDER gets `verifier.gguf` (matrices in Q8_0, the rest f32) and `test_vectors.json`: pairs of our own with the
logits of exactly those weights in f32 arithmetic. `shared/embed/weights/README.md` says how to put them in place.
"""

import argparse
import hashlib
import json
import os
import pathlib
import re

import gguf
import torch
from gguf.quants import dequantize, quantize

import net
from pairs import ROOT

Q8_0 = gguf.GGMLQuantizationType.Q8_0
LICENCE = (
    "fine-tuned from multilingual-e5-small (MIT); fitted on research-use pairs (QQP, LCQMC, BQ, OPPO): see README"
)
NOTE = (
    "z in f32 arithmetic with the dequantised weights of model.gguf and verifier.gguf; "
    "a port with int8 activations should agree to about 0.1"
)
# All our own. Each asks the same or nearly so, so that the logits are spread.
QUESTIONS = (
    ("光合作用需要哪些条件？", "植物进行光合作用的条件是什么"),
    ("光合作用需要哪些条件？", "呼吸作用需要哪些条件？"),
    ("怎么把分数化成小数", "如何将分数转换为小数？"),
    ("怎么把分数化成小数", "怎么把小数化成分数"),
    ("请问 Java 的数组怎么排序", "Java数组排序的方法"),
    ("请问 Java 的数组怎么排序", "Rust 的数组怎么排序"),
    ("12乘以15等于多少", "12×15=?"),
    ("12乘以15等于多少", "12乘以16等于多少"),
    ("哪些金属不能被磁铁吸引", "哪些金属能被磁铁吸引"),
    ("How do plants make their food?", "In what way do plants produce food?"),
    ("How do plants make their food?", "Why do plants make their food?"),
    ("What is the area of a circle with radius 7?", "Find the area of a circle of radius 7"),
    ("What is the area of a circle with radius 7?", "What is the area of a circle with radius 9?"),
    ("Did Galileo influence Newton?", "Did Newton influence Galileo?"),
    ("Can I use a calculator in the exam?", "Am I allowed to use a calculator during the exam?"),
    ("Can I use a calculator in the exam?", "Can I do the exam without a calculator?"),
    ("Write a poem about autumn", "write me a short story about autumn please"),
    ("What's the past tense of \"swim\"?", "swim past tense"),
    ("What does 'Umweltschutz' mean?", "德语单词 Umweltschutz 是什么意思？"),
    (
        "I have to give a talk about renewable energy on Friday and I do not know how to begin, what would you advise?",
        "how should I open my presentation on renewable energy",
    ),
)


def write_weights(verifier, path):
    """Writes the weights, and puts into `verifier` what the file holds after rounding."""
    writer = gguf.GGUFWriter(path, "sparkle-verifier")
    writer.add_name("sparkle-verifier")
    writer.add_license(LICENCE)
    writer.add_uint32("verifier.first_layer", verifier.alone)
    writer.add_uint32("verifier.block_count", len(verifier.layers))
    writer.add_uint32("verifier.embedding_length", net.WIDTH)
    writer.add_uint32("verifier.head_count", net.HEADS)
    writer.add_uint32("verifier.feed_forward_length", net.INNER)
    writer.add_float32("verifier.layer_norm_epsilon", net.NORM_EPSILON)
    writer.add_uint32("verifier.prefix_tokens", net.PREFIX_TOKENS)

    def put(name, parameter):
        writer.add_tensor(name, parameter.detach().float().numpy())

    def put_rounded(name, parameter):
        numbers = parameter.detach().float().numpy()
        blocks = quantize(numbers, Q8_0)
        writer.add_tensor(name, blocks, raw_dtype=Q8_0)
        parameter.data.copy_(torch.from_numpy(dequantize(blocks, Q8_0).reshape(numbers.shape)))

    for number, layer in enumerate(verifier.layers, verifier.alone):
        for part in net.PARTS:
            module = getattr(layer, part)
            put_weight = put if part.endswith("norm") else put_rounded
            put_weight(f"blk.{number}.{part}.weight", module.weight)
            put(f"blk.{number}.{part}.bias", module.bias)
        put(f"blk.{number}.attn_cross.bias", layer.attn_cross)
    put_rounded("head.0.weight", verifier.head_0.weight)
    put("head.0.bias", verifier.head_0.bias)
    put("head.1.weight", verifier.head_1.weight)
    put("head.1.bias", verifier.head_1.bias)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@torch.inference_mode()
def test_vectors(model, verifier):
    """Of each pair the ids, the start of what the alone layers make of the first text, logits and cosine."""
    alone, whole = net.Reader(model, verifier.alone).eval(), net.Reader(model, net.LAYERS).eval()
    vectors = []
    for one, other in QUESTIONS:
        ids = [model.ids(text) for text in (one, other)]
        rows = [alone(torch.tensor([of])) for of in ids]
        lengths = [torch.tensor([of.shape[1]]) for of in rows]
        there = verifier(rows[0], lengths[0], rows[1], lengths[1]).item()
        back = verifier(rows[1], lengths[1], rows[0], lengths[0]).item()
        unit = [whole.vector(torch.tensor([of]))[0] for of in ids]
        vectors.append({
            "a": one, "b": other, "ids_a": ids[0], "ids_b": ids[1],
            "lower_a_row0_first4": [round(number, 5) for number in rows[0][0, 0, :4].tolist()],
            "z": round(there, 4), "z_swapped": round(back, 4),
            "raw_cosine": round(float(unit[0] @ unit[1]), 5),
        })
    return {"note": NOTE, "pairs": vectors}


def alone_layers_of_the_program():
    """How many layers read each text alone in Sparkle; none if it cannot be told."""
    text = (ROOT / "shared" / "embed" / "src" / "bundled.rs").read_text(encoding="utf-8")
    found = re.search(r"const LOWER: usize = (\d+);", text)
    return int(found[1]) if found else None


def main():
    parser = argparse.ArgumentParser(description="Write the verifier's weights and test vectors.")
    parser.add_argument("checkpoint", help="of train.py")
    parser.add_argument("folder", type=pathlib.Path, help="where to write")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    model = net.Model()
    verifier = net.load_verifier(model, arguments.checkpoint)
    path = arguments.folder / "verifier.gguf"
    write_weights(verifier, os.fspath(path))
    vectors = json.dumps(test_vectors(model, verifier), ensure_ascii=False, indent=1)
    (arguments.folder / "test_vectors.json").write_text(vectors, encoding="utf-8")
    print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  verifier.gguf")
    print(f"{path.stat().st_size / 1e6:.2f} MB, layers {verifier.alone} to {net.LAYERS - 1} read both texts")
    if (alone := alone_layers_of_the_program()) != verifier.alone:
        print(f"NOT for this program: in bundled.rs LOWER is {alone}, these weights need {verifier.alone}")


if __name__ == "__main__":
    main()

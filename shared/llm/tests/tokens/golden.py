"""Writes golden.json beside it: what OpenAI's own tiktoken makes of texts.json.

pip install tiktoken, then run it. Without a network, TIKTOKEN_CACHE_DIR may name a folder with the two
vocabularies as the crate tiktoken-rs ships them, each under the SHA-1 of its address; tiktoken checks
their SHA-256.
"""

import json
import pathlib

import tiktoken

FAMILIES = {"o200k": "o200k_base", "cl100k": "cl100k_base"}

here = pathlib.Path(__file__).parent
texts = json.loads((here / "texts.json").read_text(encoding="utf-8"))
golden = {}
for word, name in FAMILIES.items():
    encoding = tiktoken.get_encoding(name)
    golden[word] = {
        "plain": [encoding.encode_ordinary(text) for text in texts["plain"]],
        "repeated": [len(encoding.encode_ordinary(text * times)) for text, times in texts["repeated"]],
    }
(here / "golden.json").write_text(json.dumps(golden, separators=(",", ":")).replace("],[", "],\n[") + "\n")
print(f"tiktoken {tiktoken.__version__}: {len(texts['plain'])} texts, {len(texts['repeated'])} long ones")

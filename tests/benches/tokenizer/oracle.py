"""What OpenAI's own tiktoken makes of texts: oracle.py TEXTS.json IDS.json VOCABULARIES

TEXTS.json is a list of texts, VOCABULARIES a folder with the vocabularies as the crate tiktoken-rs ships
them. tiktoken looks for them in a cache, each under the SHA-1 of its address, and checks their SHA-256.
"""

import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile

import tiktoken

ADDRESS = "https://openaipublic.blob.core.windows.net/encodings/"

texts, ids, vocabularies = (pathlib.Path(argument) for argument in sys.argv[1:])
said = json.loads(texts.read_text(encoding="utf-8"))
found = {}
with tempfile.TemporaryDirectory() as cache:
    os.environ["TIKTOKEN_CACHE_DIR"] = cache
    for word in ("o200k", "cl100k"):
        file = f"{word}_base.tiktoken"
        shutil.copy(vocabularies / file, pathlib.Path(cache) / hashlib.sha1((ADDRESS + file).encode()).hexdigest())
        encoding = tiktoken.get_encoding(f"{word}_base")
        found[word] = [encoding.encode_ordinary(text) for text in said]
ids.write_text(json.dumps(found), encoding="utf-8")
print(tiktoken.__version__)

"""Every crate that is linked in comes under a licence that lets it be."""

import json
import re
import subprocess
import sys

ALLOWED = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC",
    "Unicode-3.0", "Zlib", "CC0-1.0", "0BSD", "CDLA-Permissive-2.0", "BSL-1.0", "Unlicense", "blessing",
}


def acceptable(expression):
    """Whether one side of an OR, or every side of an AND, is allowed."""
    expression = expression.replace("/", " OR ")
    while "(" in expression:
        expression = re.sub(
            r"\(([^()]*)\)", lambda inner: "MIT" if acceptable(inner[1]) else "no", expression
        )
    return any(
        all(part.strip() in ALLOWED for part in side.split(" AND ")) for side in expression.split(" OR ")
    )


metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
refused = [
    f"{package['name']} {package['version']}: {package['license']}"
    for package in metadata["packages"]
    if not acceptable(package["license"] or "none")
]
print("\n".join(refused) or f"{len(metadata['packages'])} packages, all under permissive licences")
sys.exit(bool(refused))

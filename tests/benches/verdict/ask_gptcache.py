"""What GPTCache serves with its defaults: lines "LABEL COSINE" of pairs come in, one line goes out.

    pip install gptcache

Its own evaluation judges the distance of two unit vectors, as its vector store reports it (squared L2), and its own
default threshold decides. The vectors are those of the bundled model, which stands for GPTCache's own, which would be
fetched from elsewhere.
"""

import sys

from gptcache import Config
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

evaluation = SearchDistanceEvaluation()
least, most = evaluation.range()
threshold = (most - least) * Config().similarity_threshold
served = {0: 0, 1: 0}
pairs = {0: 0, 1: 0}
for line in sys.stdin:
    label, cosine = int(line.split()[0]), float(line.split()[1])
    distance = 2 - 2 * cosine
    rank = evaluation.evaluation(None, {"search_result": (distance, None)})
    pairs[label] += 1
    served[label] += rank >= threshold
total = served[0] + served[1]
print(
    f"serves {served[1]} of {pairs[1]} that ask the same and {served[0]} of {pairs[0]} that do not: "
    f"{100 * served[0] / max(total, 1):.1f} % of the served are wrong (default threshold {Config().similarity_threshold})"
)

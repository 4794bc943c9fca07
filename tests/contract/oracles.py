"""Other engines as oracles: what they say of the same."""


def run():
    raise SystemExit("no oracle yet")

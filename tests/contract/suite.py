"""What the contract suite is made of: expectations, each with its source, and the two clouds to hold them against."""

import asyncio
import inspect
import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "tests/contract/probe/template.yaml"
PATIENCE = 30.0
UNCONFIRMED = "unconfirmed"

EXPECTATIONS = []


def expect(identifier, sentence, source, shortened=False):
    """Registers a check of `sentence`. `source` is the AWS page or model that says so, or "unconfirmed".
    `shortened`: needs time limits that only the local cloud can shorten."""

    def register(check):
        assert all(known["id"] != identifier for known in EXPECTATIONS), identifier
        EXPECTATIONS.append(
            {"id": identifier, "sentence": sentence, "source": source, "check": check, "shortened": shortened}
        )
        return check

    return register


def same(actual, expected):
    assert actual == expected, f"{actual!r} is not {expected!r}"


async def until(look, what):
    """What `look` returns once it returns something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = look()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"never: {what}")


class Cloud:
    """Addresses, names and clients of a deployed `probe/template.yaml`."""

    def marker(self):
        return "m" + uuid.uuid4().hex

    def client(self, service, endpoint, **options):
        config = Config(retries={"total_max_attempts": 1}, read_timeout=60, **options)
        return boto3.client(service, endpoint_url=endpoint, config=config, **self.session)

    def clients(self, http, sqs, dynamodb, management):
        self.lambda_ = self.client("lambda", http)
        self.sqs = self.client("sqs", sqs)
        self.dynamodb = self.client("dynamodb", dynamodb)
        self.management = self.client("apigatewaymanagementapi", management)

    async def seen(self, marker, count=1):
        """The events with this marker that the function has logged, once there are so many."""

        def look():
            events = [event for event in self.logged(marker) if "probe" in event]
            return events if len(events) >= count else None

        return await until(look, f"{count} events with {marker}")

    def order(self, kind="contract", **order):
        return json.dumps({"type": kind, **order})

    def invoke(self, payload, **options):
        options.setdefault("FunctionName", self.function)
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.lambda_.invoke(Payload=body, **options)


class Local(Cloud):
    """The local cloud, started for the suite."""

    name = "local"
    session = {"region_name": "us-east-1", "aws_access_key_id": "owner", "aws_secret_access_key": "owner"}

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name) / "log"
        program = ROOT / "target/debug/sparkle"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "--template", TEMPLATE, "--port", "0", "--json", "--ephemeral", *arguments],
                stdout=subprocess.PIPE, stderr=log, cwd=ROOT,
            )
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.addresses = json.loads(line)
        self.url = self.addresses["ws"]
        self.http = self.addresses["http"]
        self.function, self.table = "probe", "Table"
        self.clients(self.http, self.addresses["sqs"], self.addresses["dynamodb"], self.http)
        url = lambda name: self.sqs.get_queue_url(QueueName=name)["QueueUrl"]
        self.queues = {
            "Standard": url("StandardQueue"), "StandardDead": url("StandardDeadLetterQueue"),
            "Ordered": url("OrderedQueue.fifo"), "OrderedDead": url("OrderedDeadLetterQueue.fifo"),
            "Free": url("FreeQueue"), "FreeOrdered": url("FreeOrderedQueue.fifo"),
        }

    def logged(self, marker):
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if marker in line and line.startswith("{")]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.folder.cleanup()


class Aws(Cloud):
    """A stack deployed from the same template; see README.md."""

    name = "AWS"

    def __init__(self, stack_name, region):
        self.session = {"region_name": region}
        cloudformation = boto3.client("cloudformation", **self.session)
        stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.url, self.function, self.table = outputs["WebSocketUrl"], outputs["Function"], outputs["Table"]
        self.clients(None, None, None, self.url.replace("wss://", "https://"))
        self.logs = boto3.client("logs", **self.session)
        self.began_ms = int(time.time() * 1000)
        self.queues = {
            short: outputs[f"{short}Queue".replace("DeadQueue", "DeadLetterQueue")]
            for short in ["Standard", "StandardDead", "Ordered", "OrderedDead", "Free", "FreeOrdered"]
        }

    def logged(self, marker):
        found = self.logs.filter_log_events(
            logGroupName=f"/aws/lambda/{self.function}", startTime=self.began_ms, filterPattern=f'"{marker}"'
        )
        lines = [event["message"].strip() for event in found["events"]]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def stop(self):
        pass


def short_cloud():
    """A local cloud with short time limits; none if it cannot shorten them."""
    flags = subprocess.run(
        [ROOT / "target/debug/sparkle", "--help"], capture_output=True, text=True, check=True
    ).stdout
    if not re.search(r"--idle-timeout", flags):
        return None
    return Local("--integration-timeout", "1s", "--idle-timeout", "2s", "--connection-life", "4s")


async def run(cloud, only):
    """Checks every expectation and prints what came of it. Whether all hold."""
    short = None
    rows, begun = [], time.monotonic()
    for expectation in EXPECTATIONS:
        if only and not re.search(only, expectation["id"]):
            continue
        target, result, why = cloud, "holds", ""
        if expectation["shortened"]:
            if cloud.name == "AWS":
                target, result, why = None, "skipped", "takes up to two hours on AWS"
            else:
                short = short or short_cloud()
                target = short
                if short is None:
                    result, why = "skipped", "this sparkle cannot shorten times"
        if target is not None:
            try:
                await asyncio.wait_for(expectation["check"](target), 120)
            except Exception as error:  # whatever it is, the next expectation is checked
                result, why = "FAILS", f"{type(error).__name__}: {str(error)[:600]}"
        rows.append((expectation, result, why))
        mark = {"holds": "ok  ", "skipped": "SKIP", "FAILS": "FAIL"}[result]
        print(f"{mark} {expectation['id']:<34} {expectation['sentence']}  [{expectation['source']}]", flush=True)
        if why:
            print(f"       {why}", flush=True)
    if short:
        short.stop()
    count = lambda wanted: sum(result == wanted for _, result, _ in rows)
    unconfirmed = [row[0]["id"] for row in rows if row[0]["source"] == UNCONFIRMED]
    print(f"\n{len(rows)} expectations of {cloud.name}: {count('holds')} hold, {count('FAILS')} fail, "
          f"{count('skipped')} skipped, in {time.monotonic() - begun:.0f} s")
    print(f"{len(unconfirmed)} are unconfirmed, since no page or model of AWS's was found that says so:")
    for identifier in unconfirmed:
        print(f"  {identifier}")
    return count("FAILS") == 0

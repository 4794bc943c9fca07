"""The clouds that expectations are held against: what differs between a laptop and AWS is here, nowhere else."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.parse
import uuid

import boto3
import websockets
from botocore.config import Config

from expectation import Left

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "tests/contract/probe/template.yaml"
STAGE = "contract"
START_SECONDS_MAX = 600

# Time limits of a stack that is started for what would take hours: its flags, and the same in seconds.
SHORTENED = {"--integration-timeout": "2s", "--idle-timeout": "4s", "--connection-life": "9s"}


class Cloud:
    """What both clouds do alike. `lines` is the probe's log so far, each line read as JSON."""

    slowness = 1
    log_every_seconds = 0.05
    integration_timeout_seconds, idle_timeout_seconds, life_seconds = 29, 600, 7200

    def __init__(self):
        self.lines = []
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    # ---- the probe's log ---------------------------------------------------------------------
    async def found(self, wanted, count=1):
        """The first lines for which `wanted` holds, waiting until there are that many."""
        while True:
            async with self._reading:
                if time.monotonic() - self._read_at >= self.log_every_seconds:
                    self.lines.extend(map(readable, await asyncio.to_thread(self._new_lines)))
                    self._read_at = time.monotonic()
            matching = [line for line in self.lines if wanted(line)]
            if len(matching) >= count:
                return matching
            await asyncio.sleep(self.log_every_seconds)

    async def event(self, wanted):
        """The first event for which `wanted` holds."""
        return (await self.found(lambda line: line["probe"] == "begin" and wanted(line["event"])))[0]["event"]

    async def end_of(self, begin):
        """The line that ends what that line began."""
        request = begin["context"]["request_id"]
        ends = lambda line: line["probe"] == "end" and line["context"]["request_id"] == request
        return (await self.found(ends))[0]

    async def seen(self, wanted):
        """The events for which `wanted` holds, once everything that has begun by now is in the log."""
        mark = unique()
        await self.invoke({"mark": mark})
        await self.event(lambda event: event.get("mark") == mark)
        lines = (line for line in self.lines if line["probe"] == "begin")
        return [line["event"] for line in lines if wanted(line["event"])]

    # ---- sockets -----------------------------------------------------------------------------
    def handshake(self, connect=None, authorizer=None, headers=(), query=(), **options):
        """A `websockets` connection to be opened, and the tag by which its events are known."""
        tag = unique()
        orders = [("connect", connect), ("authorizer", authorizer)]
        query = [*query, *((name, json.dumps(order)) for name, order in orders if order is not None)]
        url = self.ws_url + (f"?{urllib.parse.urlencode(query)}" if query else "")
        options = {
            "ping_interval": None, "compression": None, "max_size": None, "open_timeout": 60, "close_timeout": 5,
            "proxy": None, **options,
        }
        return Handshake(self, tag, websockets.connect(url, additional_headers=[("X-Tag", tag), *headers], **options))

    async def refusal(self, **handshake):
        """The tag and the response of a handshake that must be refused."""
        shake = self.handshake(**handshake)
        try:
            async with shake:
                pass
        except websockets.exceptions.InvalidStatus as refused:
            return shake.tag, refused.response
        raise AssertionError("the handshake was accepted")

    # ---- functions ---------------------------------------------------------------------------
    async def call(self, service, operation, **parameters):
        """One call by boto3, on a thread of its own."""
        return await asyncio.to_thread(getattr(self.client(service), operation), **parameters)

    async def invoke(self, event, **parameters):
        parameters = {"FunctionName": self.function, "Payload": json.dumps(event), **parameters}
        answer = await self.call("lambda", "invoke", **parameters)
        answer["Payload"] = await asyncio.to_thread(answer["Payload"].read)
        return answer

    async def queue_attributes(self, url):
        answer = await self.call("sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["All"])
        return answer["Attributes"]


class Handshake:
    """An async context that is the open socket, with `connection_id` and the events of its connection."""

    def __init__(self, cloud, tag, connecting):
        self.cloud, self.tag, self.connecting = cloud, tag, connecting
        self.socket = None

    async def __aenter__(self):
        self.socket = await self.connecting
        event = await self.cloud.event(lambda event: is_connect(event, self.tag))
        self.connection_id = event["requestContext"]["connectionId"]
        return self

    async def __aexit__(self, *_):
        if self.socket is not None:
            await self.socket.close()

    async def send(self, message):
        await self.socket.send(message if isinstance(message, (str, bytes, list)) else json.dumps(message))

    async def receive(self):
        return await self.socket.recv()

    async def closed(self):
        """The close code and reason that this client was sent; None if the connection just ended."""
        await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason

    async def begin(self, route, body=None):
        """The line with the first event of this connection on a route, and with this body if one is given."""

        def wanted(line):
            event = line.get("event", {}) if line["probe"] == "begin" else {}
            context = event.get("requestContext", {})
            mine = context.get("connectionId") == self.connection_id and context.get("routeKey") == route
            return mine and event.get("type") is None and body in (None, event.get("body"))

        return (await self.cloud.found(wanted))[0]

    async def event(self, route, body=None):
        return (await self.begin(route, body))["event"]

    async def handled(self, route, body=None):
        """The line that the function wrote when it was done with that event."""
        return await self.cloud.end_of(await self.begin(route, body))

    async def post(self, data):
        return await self.cloud.call(
            "apigatewaymanagementapi", "post_to_connection", ConnectionId=self.connection_id, Data=data
        )


def readable(line):
    """The line, its event an object: any other is of no use to those who look for members."""
    if "event" in line and not isinstance(line["event"], dict):
        line["event"] = {"whole": line["event"]}
    return line


def is_connect(event, tag):
    context = event.get("requestContext", {})
    mine = event.get("headers", {}).get("X-Tag", event.get("headers", {}).get("x-tag")) == tag
    return mine and context.get("routeKey") == "$connect" and "type" not in event


def is_authorizer(event, tag):
    return event.get("type") == "REQUEST" and tag in (event.get("headers") or {}).values()


def unique():
    return uuid.uuid4().hex


class Local(Cloud):
    """A stack on this machine, started for the suite."""

    name = "the local cloud"
    is_aws = False

    def __init__(self, sparkle, flags=(), template=TEMPLATE):
        super().__init__()
        self.program = sparkle
        self.flags = dict(zip(flags[::2], flags[1::2]))
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="contract-"))
        self.log_path = self.home / "stack.log"
        self._clients, self._log_at, self._rest = {}, 0, b""
        command = [sparkle, "--template", template, "--port", "0", "--json", "--ephemeral", *flags]
        environment = {**os.environ, "SPARKLE_LLM_SCRIPTED": "1"}
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the stack does not start:\n{self.log_path.read_text()[-3000:]}")
        self.addresses = json.loads(line)
        self.ws_url = f"{self.addresses['ws'].rstrip('/')}/{STAGE}"
        self.http_url = f"{self.addresses['http']}/{STAGE}"
        self.function, self.table = "probe", "Table"
        seconds = {flag: int(value.rstrip("s")) for flag, value in self.flags.items() if flag in SHORTENED}
        self.integration_timeout_seconds = seconds.get("--integration-timeout", self.integration_timeout_seconds)
        self.idle_timeout_seconds = seconds.get("--idle-timeout", self.idle_timeout_seconds)
        self.life_seconds = seconds.get("--connection-life", self.life_seconds)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def endpoint(self, service):
        return {
            "dynamodb": self.addresses["dynamodb"], "sqs": self.addresses["sqs"],
            "lambda": self.addresses["http"], "apigatewaymanagementapi": self.http_url,
        }[service]

    def client(self, service):
        if service not in self._clients:
            self._clients[service] = local_client(service, self.endpoint(service))
        return self._clients[service]

    def queue_url(self, output):
        name = output if output.startswith("Standard") else f"{output}.fifo"
        return f"{self.addresses['sqs']}/000000000000/{name}"

    def command_line(self):
        """Environment and arguments with which the AWS CLI meets this cloud."""
        return local_environment(), ["--endpoint-url", self.addresses["http"]]

    def _new_lines(self):
        with open(self.log_path, "rb") as log:
            log.seek(self._log_at)
            fresh = log.read()
        self._log_at += len(fresh)
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        return [json.loads(line) for line in whole if line.startswith(b"{") and b'"probe":' in line]


class Aws(Cloud):
    """The same template, deployed."""

    name = "AWS"
    is_aws = True
    # CloudWatch shows a line some seconds after it was written.
    slowness = 4
    log_every_seconds = 3

    def __init__(self, stack_name, region):
        super().__init__()
        self.session = boto3.Session(region_name=region)
        stacks = self.session.client("cloudformation").describe_stacks(StackName=stack_name)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in stacks[0]["Outputs"]}
        self.ws_url = self.outputs["WebSocketUrl"]
        self.http_url = self.ws_url.replace("wss://", "https://", 1)
        self.function, self.table = self.outputs["Function"], self.outputs["Table"]
        self._clients, self._begun_ms, self._read = {}, int(time.time() * 1000) - 5_000, set()

    def stop(self):
        return 0

    def client(self, service):
        if service not in self._clients:
            endpoint = self.http_url if service == "apigatewaymanagementapi" else None
            self._clients[service] = self.session.client(service, endpoint_url=endpoint, config=patient())
        return self._clients[service]

    def queue_url(self, output):
        return self.outputs[output]

    def command_line(self):
        return dict(os.environ, AWS_DEFAULT_REGION=self.session.region_name), []

    def _new_lines(self):
        pages = self.client("logs").get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{self.function}", startTime=self._begun_ms, filterPattern='"probe"'
        )
        fresh = [event for page in pages for event in page["events"] if event["eventId"] not in self._read]
        self._read.update(event["eventId"] for event in fresh)
        return [json.loads(event["message"]) for event in fresh if event["message"].startswith("{")]


def patient():
    """One try for each call, since a repeated one would hide an answer; the API's parameters unchecked."""
    return Config(
        retries={"total_max_attempts": 1}, parameter_validation=False, max_pool_connections=64, read_timeout=90,
    )


def local_environment():
    own = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**os.environ, **own, "AWS_EC2_METADATA_DISABLED": "true"}


def local_client(service, endpoint):
    return boto3.client(
        service, endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="local",
        aws_secret_access_key="local", config=patient(),
    )


def only_local(cloud, why):
    if cloud.is_aws:
        raise Left(why)

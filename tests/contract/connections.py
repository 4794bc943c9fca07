"""@connections: what a backend does to an open connection, through boto3 and by plain HTTP."""

import asyncio
import datetime
import json
import urllib.error
import urllib.parse
import urllib.request

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import websockets
from botocore.exceptions import ClientError

from cloud import is_connect, only_local
from expectation import When, expect, holds, model, page, same, unconfirmed

MANAGEMENT = "apigatewaymanagementapi"
CALLBACK = page("apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html")
QUOTAS = page("apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
GONE = model(MANAGEMENT, "GoneException")
FRAME_BYTES_MAX, MESSAGE_BYTES_MAX = 32 * 1024, 128 * 1024


async def refused(cloud, operation, status, code, **parameters):
    try:
        await cloud.call(MANAGEMENT, operation, **parameters)
    except ClientError as error:
        same(error.response["ResponseMetadata"]["HTTPStatusCode"], status, "the status")
        same(error.response["Error"]["Code"], code, "the error")
        return
    raise AssertionError("it was not refused")


async def plain(cloud, path, data, signed=True):
    """The status of a POST without an SDK, so that the path is exactly that."""

    def send():
        request = urllib.request.Request(cloud.http_url + path, data, method="POST")
        if signed:
            whole = botocore.awsrequest.AWSRequest("POST", request.full_url, data=data)
            credentials = cloud.client(MANAGEMENT)._request_signer._credentials
            region = cloud.client(MANAGEMENT).meta.region_name
            botocore.auth.SigV4Auth(credentials, "execute-api", region).add_auth(whole)
            for name, value in whole.headers.items():
                request.add_header(name, value)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return await asyncio.to_thread(send)


@expect("connections.post", "POST answers 200, and the client gets its data as one text message.", CALLBACK)
async def _(cloud):
    async with cloud.handshake() as socket:
        answer = await socket.post("你好 🌍".encode())
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 200, "the status")
        same(await socket.receive(), "你好 🌍", "the message")


@expect("connections.post.bytes", "What is posted is sent as text, bytes that are no UTF-8 as U+FFFD.",
        unconfirmed("a comment in another emulator; AWS's page on binary types speaks of payloads to clients as text"))
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.post(b"a\xffb")
        same(await socket.receive(), "a\ufffdb", "the message")


@expect("connections.post.largest", "128 KiB are posted, and arrive in frames of up to 32 KiB.", QUOTAS)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.post(b"x" * MESSAGE_BYTES_MAX)
        sizes = [len(piece) async for piece in socket.socket.recv_streaming()]
    same(sum(sizes), MESSAGE_BYTES_MAX, "the message's size")
    holds(max(sizes) <= FRAME_BYTES_MAX, f"the frames have {sizes} bytes")


@expect("connections.post.too-large", "More than 128 KiB: 413, and the connection stays.",
        model(MANAGEMENT, "PayloadTooLargeException"))
async def _(cloud):
    async with cloud.handshake() as socket:
        data, code = b"x" * (MESSAGE_BYTES_MAX + 1), "PayloadTooLargeException"
        await refused(cloud, "post_to_connection", 413, code, ConnectionId=socket.connection_id, Data=data)
        await socket.post(b"after")
        same(await socket.receive(), "after", "the next message")


@expect("connections.post.order", "Messages posted one after the other arrive in that order.",
        unconfirmed("AWS says nothing of order"))
async def _(cloud):
    async with cloud.handshake() as socket:
        for number in range(50):
            await socket.post(str(number).encode())
        same([await socket.receive() for _ in range(50)], [str(number) for number in range(50)], "the messages")


@expect("connections.get", "GET tells when the connection began, who it is, and when it was last active.",
        model(MANAGEMENT, "GetConnectionResponse"))
async def _(cloud):
    async with cloud.handshake(user_agent_header="probe/1") as socket:
        answer = await cloud.call(MANAGEMENT, "get_connection", ConnectionId=socket.connection_id)
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 200, "the status")
        answer.pop("ResponseMetadata")
        same(set(answer), {"ConnectedAt", "Identity", "LastActiveAt"}, "the members")
        same(answer["Identity"]["UserAgent"], "probe/1", "UserAgent")
        event = await socket.event("$connect")
        same(answer["Identity"]["SourceIp"], event["requestContext"]["identity"]["sourceIp"], "SourceIp")
        connected = datetime.datetime.fromtimestamp(
            event["requestContext"]["connectedAt"] / 1000, datetime.timezone.utc
        )
        holds(abs(answer["ConnectedAt"] - connected).total_seconds() < 1, "ConnectedAt is not connectedAt")


@expect("connections.get.active", "A message of either direction makes lastActiveAt later.",
        model(MANAGEMENT, "GetConnectionResponse$LastActiveAt"))
async def _(cloud):
    async with cloud.handshake() as socket:
        async def active():
            answer = await cloud.call(MANAGEMENT, "get_connection", ConnectionId=socket.connection_id)
            return answer["LastActiveAt"]

        first = await active()
        await asyncio.sleep(1.1)
        await socket.send({"type": "named"})
        await socket.event("named")
        second = await active()
        await asyncio.sleep(1.1)
        await socket.post(b"x")
        await socket.receive()
        third = await active()
        holds(first < second < third, f"it was {first}, {second}, {third}")


@expect("connections.delete", "DELETE answers 204 and closes the connection.", CALLBACK)
async def _(cloud):
    async with cloud.handshake() as socket:
        answer = await cloud.call(MANAGEMENT, "delete_connection", ConnectionId=socket.connection_id)
        same(answer["ResponseMetadata"]["HTTPStatusCode"], 204, "the status")
        await socket.closed()
    await socket.event("$disconnect")


@expect("connections.delete.code", "The client whose connection is deleted is told 1000.",
        unconfirmed("from memory; no page says it"))
async def _(cloud):
    async with cloud.handshake() as socket:
        await cloud.call(MANAGEMENT, "delete_connection", ConnectionId=socket.connection_id)
        same((await socket.closed())[0], 1000, "the close code")


@expect("connections.gone", "Of a connection that has ended each call answers 410.", GONE)
async def _(cloud):
    async with cloud.handshake() as socket:
        pass
    await socket.event("$disconnect")
    connection = {"ConnectionId": socket.connection_id}
    await refused(cloud, "post_to_connection", 410, "GoneException", Data=b"x", **connection)
    await refused(cloud, "get_connection", 410, "GoneException", **connection)
    await refused(cloud, "delete_connection", 410, "GoneException", **connection)


@expect("connections.gone.unknown", "Of a connection that never was, with an id of the form of one: 410.",
        unconfirmed("github.com/localstack/localstack issue 4694"))
async def _(cloud):
    await refused(cloud, "post_to_connection", 410, "GoneException", ConnectionId="L0SM9cOFvHcCIhw=", Data=b"x")


@expect("connections.malformed", "An id that is of no such form: BadRequestException, 400.",
        unconfirmed("github.com/localstack/localstack issue 4694, github.com/dherault/serverless-offline issue 749"))
async def _(cloud):
    malformed = {"ConnectionId": "cjy8i76bx002884le6n17d49b"}
    await refused(cloud, "post_to_connection", 400, "BadRequestException", Data=b"x", **malformed)


@expect("connections.gone.connecting", "While $connect still runs a post answers 410.",
        page("re:Post knowledge-center: api-gateway 410-gone"), patience_seconds=60)
async def _(cloud):
    wait_ms = 20_000 if cloud.is_aws else 2_500
    shake = cloud.handshake(connect={"ms": wait_ms})

    async def post():
        event = await cloud.event(lambda event: is_connect(event, shake.tag))
        connection = event["requestContext"]["connectionId"]
        await refused(cloud, "post_to_connection", 410, "GoneException", ConnectionId=connection, Data=b"x")

    posting = asyncio.create_task(post())
    async with shake as socket:
        holds(posting.done(), "the connection was open before the post was answered")
        await posting
        await socket.post(b"now")
        same(await socket.receive(), "now", "the message")


@expect("connections.disconnect", "While $disconnect runs a post answers 410.",
        page("apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html"))
async def _(cloud):
    async with cloud.handshake() as socket:
        pass
    await socket.event("$disconnect")
    await refused(cloud, "post_to_connection", 410, "GoneException", ConnectionId=socket.connection_id, Data=b"x")


@expect("connections.encoded", "The connection's id may be URL-encoded in the path, `=` as %3D.", CALLBACK)
async def _(cloud):
    async with cloud.handshake() as socket:
        status, _ = await plain(cloud, f"/@connections/{urllib.parse.quote(socket.connection_id, safe='')}", b"x")
        same(status, 200, "the status")
        same(await socket.receive(), "x", "the message")


@expect("connections.unsigned", "A call without a signature: 403.", model(MANAGEMENT, "ForbiddenException"))
async def _(cloud):
    async with cloud.handshake() as socket:
        path = f"/@connections/{urllib.parse.quote(socket.connection_id, safe='')}"
        status, body = await plain(cloud, path, b"x", signed=False)
        same(status, 403, "the status")
        same(json.loads(body), {"message": "Missing Authentication Token"}, "the body")


@expect("connections.other-stage", "A call of a stage that there is not: 403.",
        unconfirmed("what API Gateway answers to unknown stages in general"))
async def _(cloud):
    async with cloud.handshake() as socket:
        path = f"-not/@connections/{urllib.parse.quote(socket.connection_id, safe='')}"
        same((await plain(cloud, path, b"x"))[0], 403, "the status")


@expect("connections.slow-client", "A client that does not read has posts to it answered with 429 in the end.",
        model(MANAGEMENT, "LimitExceededException"), patience_seconds=90)
async def _(cloud):
    async with cloud.handshake(max_queue=1) as socket:
        socket.socket.transport.pause_reading()
        try:
            for _ in range(600):
                await socket.post(b"x" * MESSAGE_BYTES_MAX)
        except ClientError as error:
            same(error.response["ResponseMetadata"]["HTTPStatusCode"], 429, "the status")
            same(error.response["Error"]["Code"], "LimitExceededException", "the error")
            return
        finally:
            socket.socket.transport.abort()
        raise AssertionError("75 MiB were taken for a client that reads nothing")


@expect("connections.new-per-second", "More than 500 new connections at once: some get 429.", QUOTAS, When.ALONE)
async def _(cloud):
    only_local(cloud, "it would take the whole account's quota from others")
    host = cloud.http_url.split("/")[2]
    # Upgrades that lack their key: they count, and cost no function anything.
    request = f"GET /contract HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()

    async def pipeline():
        reader, writer = await asyncio.open_connection(*host.split(":"))
        writer.write(request * 200)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 200 and (chunk := await reader.read(65536)):
            answers += chunk
        writer.close()
        return answers.count(b"HTTP/1.1 429"), answers.count(b"HTTP/1.1 ")

    counts = await asyncio.gather(*(pipeline() for _ in range(20)))
    many, all_answers = sum(c[0] for c in counts), sum(c[1] for c in counts)
    holds(all_answers - many >= 500, f"only {all_answers - many} of {all_answers} were let through")
    holds(many > 0, f"all {all_answers} were let through")
    await asyncio.sleep(1.1)
    async with cloud.handshake():
        pass

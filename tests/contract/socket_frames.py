"""Frames: which route they take, how large they may be, what becomes of answers and errors."""

import asyncio
import json

import websockets

from expectation import Unmet, expect, holds, page, same, unconfirmed

ROUTES = page("apigateway/latest/developerguide/websocket-api-develop-routes.html")
OVERVIEW = page("apigateway/latest/developerguide/apigateway-websocket-api-overview.html")
QUOTAS = page("apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
BINARY = page("apigateway/latest/developerguide/websocket-api-develop-binary-media-types.html")
RESPONSES = page("apigateway/latest/developerguide/apigateway-websocket-api-route-response.html")
INFERRED = unconfirmed("follows from the description of route selection; no page says it")
RFC = unconfirmed("RFC 6455; AWS's pages say nothing of it")
FRAME_BYTES_MAX, MESSAGE_BYTES_MAX = 32 * 1024, 128 * 1024


async def taken(cloud, *messages):
    """The route that each message takes, in their order."""
    async with cloud.handshake() as socket:
        for message in messages:
            await socket.send(message)

        def mine(line):
            context = line["event"].get("requestContext", {}) if line["probe"] == "begin" else {}
            return context.get("connectionId") == socket.connection_id and context["eventType"] == "MESSAGE"

        lines = await cloud.found(mine, len(messages))
    routes = {line["event"]["body"]: line["event"]["requestContext"]["routeKey"] for line in lines}
    return [routes.get(message if isinstance(message, str) else json.dumps(message)) for message in messages]


async def nothing_follows(cloud, order):
    """Sees to it that the client gets no frame after a message with that order: the first frame it gets is
    the gateway's own about the message after it."""
    async with cloud.handshake() as socket:
        first, second = ({"type": "named", **order, "n": 1}, {"type": "named", "do": "fail", "n": 2})
        await socket.send(first)
        await socket.handled("named", json.dumps(first))
        await socket.send(second)
        frame = await socket.receive()
        event = await socket.event("named", json.dumps(second))
        holds(event["requestContext"]["requestId"] in frame, f"the client got {frame}")


@expect("frame.route", "A message takes the route that its property names.", ROUTES)
async def _(cloud):
    same(await taken(cloud, {"type": "named"}), ["named"], "the route")


@expect("frame.route.default", "A message whose property names no route takes $default.", ROUTES)
async def _(cloud):
    messages = [{"type": "unknown"}, {"other": "named"}, {"type": "NAMED"}, {"nested": {"type": "named"}}]
    same(await taken(cloud, *messages), ["$default"] * 4, "the routes")


@expect("frame.route.no-json", "A message that is no JSON takes $default.", OVERVIEW)
async def _(cloud):
    same(await taken(cloud, "words", "{", "type: named"), ["$default"] * 3, "the routes")


@expect("frame.route.number", "The property is read as text: the number 17 takes the route \"17\".", INFERRED)
async def _(cloud):
    same(await taken(cloud, {"type": 17}, {"type": "17"}), ["17", "17"], "the routes")


@expect("frame.route.no-text", "JSON that is no object, and a property without a text, take $default.", INFERRED)
async def _(cloud):
    messages = ["[]", "17", '"named"', "null", '{"type": null}', '{"type": {}}', '{"type": ["named"]}']
    same(await taken(cloud, *messages), ["$default"] * len(messages), "the routes")


@expect("frame.route.reserved", "No message reaches $connect or $disconnect by naming them.", INFERRED)
async def _(cloud):
    messages = [{"type": "$connect"}, {"type": "$disconnect"}, {"type": "$default"}]
    same(await taken(cloud, *messages), ["$default"] * 3, "the routes")


@expect("frame.at-once", "A connection's messages are handled at once: a slow one does not hold up the next.",
        unconfirmed("each message is said to be an invocation of its own; no page speaks of order"))
async def _(cloud):
    async with cloud.handshake() as socket:
        slow, quick = ({"type": "named", "ms": 3000, "n": 1}, {"type": "named", "n": 2})
        await socket.send(slow)
        await socket.event("named", json.dumps(slow))
        await socket.send(quick)
        await socket.event("named", json.dumps(quick))
        end = await socket.handled("named", json.dumps(slow))
        first = await socket.begin("named", json.dumps(slow))
        second = await socket.begin("named", json.dumps(quick))
    holds(second["at_unix_ms"] < end["at_unix_ms"], "the second began when the first had ended")
    holds(first["context"]["process"] != second["context"]["process"] or cloud.is_aws, "one instance had both")


@expect("frame.answer-dropped", "Without a route response what a function returns goes nowhere.", RESPONSES)
async def _(cloud):
    await nothing_follows(cloud, {})


@expect("frame.binary", "A binary frame closes the connection with 1003.", BINARY)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send(b"bytes")
        same((await socket.closed())[0], 1003, "the close code")


@expect("frame.largest", "A frame of 32 KiB arrives.", QUOTAS)
async def _(cloud):
    await arrives(cloud, [padded(FRAME_BYTES_MAX)])


@expect("frame.too-large", "A frame over 32 KiB closes the connection with 1009.", QUOTAS)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send(padded(FRAME_BYTES_MAX + 1))
        same((await socket.closed())[0], 1009, "the close code")


@expect("frame.message.largest", "A message of 128 KiB in frames of 32 KiB arrives whole.", QUOTAS)
async def _(cloud):
    text = padded(MESSAGE_BYTES_MAX)
    await arrives(cloud, [text[at:at + FRAME_BYTES_MAX] for at in range(0, len(text), FRAME_BYTES_MAX)])


@expect("frame.message.too-large", "A message over 128 KiB closes the connection with 1009.", QUOTAS)
async def _(cloud):
    async with cloud.handshake() as socket:
        text = padded(MESSAGE_BYTES_MAX + 1)
        try:
            await socket.send([text[at:at + FRAME_BYTES_MAX] for at in range(0, len(text), FRAME_BYTES_MAX)])
        except websockets.exceptions.ConnectionClosed:
            pass
        same((await socket.closed())[0], 1009, "the close code")


@expect("frame.fragments", "A message in many small frames arrives as one, between them a ping is answered.", RFC)
async def _(cloud):
    text = padded(300)
    async with cloud.handshake() as socket:
        async def pieces():
            for at in range(0, len(text), 7):
                yield text[at:at + 7]
                if at == 70:
                    await asyncio.wait_for(await socket.socket.ping(b"between"), 20)

        await socket.socket.send(pieces())
        same((await socket.event("named"))["body"], text, "the body")


@expect("frame.text", "Text that is not UTF-8 closes the connection with 1007.", RFC)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.socket.send(b"\xff\xfe{", text=True)
        same((await socket.closed())[0], 1007, "the close code")


@expect("frame.ping", "A ping is answered with a pong of the same content, and reaches no function.", RFC)
async def _(cloud):
    async with cloud.handshake() as socket:
        await asyncio.wait_for(await socket.socket.ping(b"are you there"), 20)
        await socket.socket.pong(b"unasked")
        mine = lambda event: event.get("requestContext", {}).get("connectionId") == socket.connection_id
        seen = await cloud.seen(lambda event: mine(event) and event["requestContext"]["eventType"] == "MESSAGE")
        same(seen, [], "its messages")


async def error_frame(cloud, order):
    """The gateway's own frame after a message with that order."""
    async with cloud.handshake() as socket:
        await socket.send({"type": "named", **order})
        frame = json.loads(await socket.receive())
        event = await socket.event("named")
        same(set(frame), {"message", "connectionId", "requestId"}, "the frame's members")
        same(frame["connectionId"], socket.connection_id, "connectionId")
        same(frame["requestId"], event["requestContext"]["requestId"], "requestId")
        await socket.send({"type": "named", "n": 2})
        await socket.event("named", json.dumps({"type": "named", "n": 2}))
        return frame["message"]


CLIENTS = unconfirmed("frames that clients of real APIs report; no AWS page has them")


@expect("frame.error", "A function that fails has its client told `Internal server error`; the connection stays.",
        CLIENTS)
async def _(cloud):
    for do in ("fail", "panic", "exit"):
        same(await error_frame(cloud, {"do": do}), "Internal server error", f"the message after {do}")


@expect("frame.error.garbage", "So does an answer that is no proxy answer.",
        unconfirmed("github.com/middyjs/middy issue 1219"))
async def _(cloud):
    for answer in (42, "ok", {"statusCode": 200, "Data": "x"}, {"statusCode": 200, "body": {}}, {}):
        same(await error_frame(cloud, {"answer": answer}), "Internal server error", f"the message after {answer}")


@expect("frame.error.status", "An answer with a status under 500 has no frame follow, one of 500 has.", CLIENTS)
async def _(cloud):
    same(await error_frame(cloud, {"answer": {"statusCode": 500}}), "Internal server error", "the message")

    for status in (200, 400, 404):
        await nothing_follows(cloud, {"answer": {"statusCode": status}})


@expect("frame.integration-timeout",
        "After 29 s the client is told `Endpoint request timed out`; the function runs on.",
        page("apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html"),
        patience_seconds=90)
async def _(cloud):
    order = {"type": "named", "ms": cloud.integration_timeout_seconds * 1000 + 1500}
    async with cloud.handshake() as socket:
        await socket.send(order)
        frame = json.loads(await asyncio.wait_for(socket.receive(), 60))
        same(frame["message"], "Endpoint request timed out", "the message")
        begin, end = await socket.begin("named"), await socket.handled("named")
        waited_ms = end["at_unix_ms"] - begin["at_unix_ms"]
        holds(waited_ms >= order["ms"], f"the function ran only {waited_ms} ms")


def padded(length):
    """A message for the named route of exactly that many bytes."""
    empty = json.dumps({"type": "named", "pad": ""})
    return json.dumps({"type": "named", "pad": "x" * (length - len(empty))})


async def arrives(cloud, frames):
    async with cloud.handshake() as socket:
        await socket.send(frames)
        event = await socket.event("named")
        if event["body"] != "".join(frames):
            raise Unmet(f"a body of {len(event['body'])} characters arrived")

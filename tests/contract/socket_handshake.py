"""Who is let in: the authorizer, $connect, the subprotocol, and what a refused client is told."""

import asyncio
import json
import time

import websockets

from cloud import is_authorizer, is_connect
from expectation import expect, holds, page, same, unconfirmed

ROUTES = page("apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html")
OUTPUT = page("apigateway/latest/developerguide/api-gateway-lambda-authorizer-output.html")
SUBPROTOCOL = page("apigateway/latest/developerguide/websocket-connect-route-subprotocol.html")
QUOTAS = page("apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
REPORTED = unconfirmed("reported by clients; no AWS page says which status")


async def refused(cloud, status, message=None, **handshake):
    tag, response = await cloud.refusal(**handshake)
    same(response.status_code, status, "the status")
    if message is not None:
        said = json.loads(bytes(response.body))
        same(next(iter(said.values())), message, "the message")
    return tag


@expect("handshake.denied", "A policy that denies is answered with 403.", ROUTES)
async def _(cloud):
    await refused(cloud, 403, authorizer={"policy": "deny"})


@expect("handshake.denied.message", "The 403 of an explicit deny says so.", REPORTED)
async def _(cloud):
    message = "User is not authorized to access this resource with an explicit deny"
    await refused(cloud, 403, message, authorizer={"policy": "deny"})


@expect("handshake.not-allowed", "A policy that allows something else is answered with 403.", ROUTES)
async def _(cloud):
    await refused(cloud, 403, authorizer={"policy": "other"})


@expect("handshake.not-allowed.message", "The 403 of a missing allow says so.", REPORTED)
async def _(cloud):
    await refused(cloud, 403, "User is not authorized to access this resource", authorizer={"policy": "other"})


@expect("handshake.unauthorized", "An authorizer that fails with `Unauthorized` has its client answered with 401.",
        ROUTES)
async def _(cloud):
    await refused(cloud, 401, "Unauthorized", authorizer={"do": "unauthorized"})


@expect("handshake.authorizer-fails", "An authorizer that fails otherwise: 500.", REPORTED)
async def _(cloud):
    await refused(cloud, 500, authorizer={"do": "fail"})


@expect("handshake.authorizer-garbage", "An authorizer's answer that is no policy: 500.",
        unconfirmed("github.com/serverless/examples issue 557"))
async def _(cloud):
    await refused(cloud, 500, authorizer={"answer": 42})
    await refused(cloud, 500, authorizer={"answer": {"statusCode": 401}})


@expect("handshake.authorizer-nested", "A context with an object in it is not accepted: 500.", OUTPUT)
async def _(cloud):
    await refused(cloud, 500, authorizer={"policy": "nested"})


@expect("handshake.authorizer-long", "An authorizer's answer over 8 KB is not accepted.", QUOTAS)
async def _(cloud):
    await refused(cloud, 500, authorizer={"policy": "long"})


@expect("handshake.denied.no-connect", "A client whom the authorizer refuses does not reach $connect.", ROUTES)
async def _(cloud):
    tag = await refused(cloud, 403, authorizer={"policy": "deny"})
    same(len(await cloud.seen(lambda event: is_authorizer(event, tag))), 1, "the number of its authorizer's events")
    same(await cloud.seen(lambda event: is_connect(event, tag)), [], "its $connect events")


@expect("handshake.connect-refuses", "The client is answered with the status 401 or 403 that $connect answers.",
        ROUTES)
async def _(cloud):
    await refused(cloud, 401, connect={"status": 401})
    await refused(cloud, 403, connect={"status": 403})


@expect("handshake.connect-refuses.other", "So it is with other statuses.", REPORTED)
async def _(cloud):
    for status in (400, 429, 500, 503):
        await refused(cloud, status, connect={"status": status})


@expect("handshake.connect-fails", "If $connect fails there is no connection.", ROUTES)
async def _(cloud):
    for order in ({"do": "fail"}, {"do": "panic"}, {"answer": 42}):
        _, response = await cloud.refusal(connect=order)
        holds(response.status_code >= 500, f"the status is {response.status_code}")


@expect("handshake.connect-fails.status", "The status of a $connect that failed or answered in no proxy form is 502.",
        unconfirmed("github.com/michalkvasnicak/aws-lambda-graphql issue 107"))
async def _(cloud):
    for order in ({"do": "fail"}, {"answer": 42}, {"answer": None}):
        await refused(cloud, 502, connect=order)


@expect("handshake.refused.no-disconnect", "A client whom $connect refused has no $disconnect.",
        unconfirmed("$disconnect is said to follow the end of a connection, which there was none of"))
async def _(cloud):
    tag = await refused(cloud, 403, connect={"status": 403})
    event = await cloud.event(lambda event: is_connect(event, tag))
    connection = event["requestContext"]["connectionId"]
    ends = await cloud.seen(lambda event: event.get("requestContext", {}).get("connectionId") == connection
                            and event["requestContext"]["eventType"] == "DISCONNECT")
    same(ends, [], "its $disconnect events")


@expect("handshake.pending", "The upgrade is pending until $connect has answered.", ROUTES)
async def _(cloud):
    began = time.monotonic()
    async with cloud.handshake(connect={"ms": 1500}) as socket:
        holds(time.monotonic() - began >= 1.5, "it was answered before")
        await socket.socket.ping()


@expect("handshake.connect-times-out", "A $connect over the integration timeout: 504.", REPORTED, patience_seconds=70)
async def _(cloud):
    await refused(cloud, 504, connect={"ms": cloud.integration_timeout_seconds * 1000 + 1500})


@expect("handshake.subprotocol", "The client gets the subprotocol that $connect chooses.", SUBPROTOCOL)
async def _(cloud):
    async with cloud.handshake(connect={"protocol": "second"}, subprotocols=["first", "second"]) as socket:
        same(socket.socket.subprotocol, "second", "the subprotocol")
        event = await socket.event("$connect")
    headers = {name.lower(): value for name, value in event["headers"].items()}
    same(headers["sec-websocket-protocol"].replace(" ", ""), "first,second", "the header that $connect gets")


@expect("handshake.subprotocol.none", "If $connect chooses none, the client gets none.", SUBPROTOCOL)
async def _(cloud):
    async with cloud.handshake(subprotocols=["first"]) as socket:
        same(socket.socket.subprotocol, None, "the subprotocol")


@expect("handshake.no-compression", "permessage-deflate is offered in vain.",
        unconfirmed("asked for since 2019; no AWS page says that it is supported"))
async def _(cloud):
    async with cloud.handshake(compression="deflate") as socket:
        same(socket.socket.response.headers.get("Sec-WebSocket-Extensions"), None, "the extensions")


@expect("handshake.uri-too-long", "A URL over 4,096 characters is refused.", QUOTAS)
async def _(cloud):
    async with cloud.handshake(query=[("q", "x" * 3500)]):
        pass
    _, response = await cloud.refusal(query=[("q", "x" * 4096)])
    holds(400 <= response.status_code < 500, f"the status is {response.status_code}")


@expect("handshake.other-path", "An upgrade of a path that is no stage: 403.", REPORTED)
async def _(cloud):
    try:
        async with websockets.connect(f"{cloud.ws_url}-not", proxy=None):
            raise AssertionError("it was accepted")
    except websockets.exceptions.InvalidStatus as refusal:
        same(refusal.response.status_code, 403, "the status")


@expect("handshake.many", "Connections have ids of their own, and each its own events.", ROUTES)
async def _(cloud):
    async def one(number):
        async with cloud.handshake() as socket:
            await socket.send({"type": "named", "number": number})
            event = await socket.event("named")
            return socket.connection_id, json.loads(event["body"])["number"]

    told = await asyncio.gather(*map(one, range(10)))
    same(len({connection for connection, _ in told}), 10, "the number of ids")
    same([number for _, number in told], list(range(10)), "what the functions got")

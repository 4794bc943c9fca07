"""What API Gateway hands to a function: the events of a WebSocket API, member by member."""

import json
import re
import time

from cloud import is_authorizer, unique
from expectation import expect, holds, page, same, unconfirmed

LAMBDA_AUTH = page("apigateway/latest/developerguide/apigateway-websocket-api-lambda-auth.html")
CONTEXT = page("apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html")
ROUTES = page("apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html")
LOGGED = unconfirmed("events that others logged from real APIs")

TEXT, NUMBER, OBJECT = str, int, dict
REQUEST_CONTEXT = {
    "routeKey": TEXT, "eventType": TEXT, "extendedRequestId": TEXT, "requestTime": TEXT, "messageDirection": TEXT,
    "stage": TEXT, "connectedAt": NUMBER, "requestTimeEpoch": NUMBER, "identity": OBJECT, "requestId": TEXT,
    "domainName": TEXT, "connectionId": TEXT, "apiId": TEXT,
}
AUTHORIZED = {**REQUEST_CONTEXT, "authorizer": OBJECT}
ID = re.compile(r"[A-Za-z0-9_-]{10,}={0,2}")


def shape(value):
    return {name: type(member) for name, member in value.items()}


async def opened(cloud, **handshake):
    """The events of a handshake: the authorizer's and that of $connect."""
    async with cloud.handshake(**handshake) as socket:
        authorizer = await cloud.event(lambda event: is_authorizer(event, socket.tag))
        return authorizer, await socket.event("$connect"), socket


@expect("socket-event.authorizer", "The authorizer's event has exactly AWS's members.", LAMBDA_AUTH)
async def _(cloud):
    event, _, _ = await opened(cloud, query=[("a", "1")])
    members = {
        "type": TEXT, "methodArn": TEXT, "headers": OBJECT, "multiValueHeaders": OBJECT, "stageVariables": OBJECT,
        "queryStringParameters": OBJECT, "multiValueQueryStringParameters": OBJECT, "requestContext": OBJECT,
    }
    same(shape(event), members, "the event")
    same(shape(event["requestContext"]), REQUEST_CONTEXT, "requestContext")
    same(event["type"], "REQUEST", "type")
    same(event["stageVariables"], {}, "stageVariables")
    arn = r"arn:aws[a-z-]*:execute-api:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9]+/contract/\$connect"
    holds(re.fullmatch(arn, event["methodArn"]), f"the method ARN is {event['methodArn']}")


@expect("socket-event.authorizer.no-query", "Without a query the authorizer's query members are empty objects.",
        unconfirmed("Lambda authorizers of REST APIs are said to get null; logged WebSocket events have {}"))
async def _(cloud):
    event, _, _ = await opened(cloud)
    same(event["queryStringParameters"], {}, "queryStringParameters")
    same(event["multiValueQueryStringParameters"], {}, "multiValueQueryStringParameters")


@expect("socket-event.connect", "The event of $connect has exactly AWS's members.", LOGGED)
async def _(cloud):
    _, event, _ = await opened(cloud, query=[("a", "1")])
    members = {
        "headers": OBJECT, "multiValueHeaders": OBJECT, "requestContext": OBJECT, "isBase64Encoded": bool,
        "queryStringParameters": OBJECT, "multiValueQueryStringParameters": OBJECT,
    }
    same(shape(event), members, "the event")
    same(shape(event["requestContext"]), AUTHORIZED, "requestContext")
    context = event["requestContext"]
    told = {name: context[name] for name in ("routeKey", "eventType", "messageDirection", "stage")}
    same(told, {"routeKey": "$connect", "eventType": "CONNECT", "messageDirection": "IN", "stage": "contract"})
    same(event["isBase64Encoded"], False, "isBase64Encoded")


@expect("socket-event.connect.no-query", "Without a query the event of $connect has no query members.", LOGGED)
async def _(cloud):
    _, event, _ = await opened(cloud)
    same(set(event), {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}, "the event's members")


@expect("socket-event.headers", "The handshake's headers are handed on, with AWS's own four.", LAMBDA_AUTH)
async def _(cloud):
    authorizer, connect, _ = await opened(cloud, headers=[("HeaderAuth1", "headerValue1")])
    for event in (authorizer, connect):
        headers = {name.lower(): value for name, value in event["headers"].items()}
        same(headers["headerauth1"], "headerValue1", "the header")
        for name in ("host", "sec-websocket-key", "sec-websocket-version", "x-amzn-trace-id", "x-forwarded-for",
                     "x-forwarded-port", "x-forwarded-proto"):
            holds(headers.get(name), f"there is no header {name}")
        all_values = event["multiValueHeaders"]
        same({name: values[-1] for name, values in all_values.items()}, event["headers"], "multiValueHeaders")


@expect("socket-event.headers.upgrade", "The authorizer is shown the headers of the upgrade itself.", LAMBDA_AUTH)
async def _(cloud):
    event, _, _ = await opened(cloud)
    told = {name: event["headers"].get(name) for name in ("Connection", "content-length", "Upgrade")}
    same(told, {"Connection": "upgrade", "content-length": "0", "Upgrade": "websocket"}, "the headers")


@expect("socket-event.headers.no-upgrade", "$connect is not shown them.", LOGGED)
async def _(cloud):
    _, event, _ = await opened(cloud)
    names = {name.lower() for name in event["headers"]}
    same(names & {"connection", "content-length", "upgrade"}, set(), "the headers of the upgrade")


@expect("socket-event.headers.case", "Header names keep the letters in which they were sent.", LAMBDA_AUTH)
async def _(cloud):
    authorizer, _, _ = await opened(cloud, headers=[("HeaderAuth1", "headerValue1"), ("x-lower", "1")])
    names = set(authorizer["headers"])
    holds({"HeaderAuth1", "x-lower"} <= names, f"the names are {sorted(names)}")


@expect("socket-event.headers.repeated", "Of a header sent twice `headers` has the last, `multiValueHeaders` both.",
        unconfirmed("as REST APIs do"))
async def _(cloud):
    _, event, _ = await opened(cloud, headers=[("X-Twice", "1"), ("X-Twice", "2")])
    values = {name.lower(): value for name, value in event["multiValueHeaders"].items()}
    same(values["x-twice"], ["1", "2"], "multiValueHeaders")
    same({name.lower(): value for name, value in event["headers"].items()}["x-twice"], "2", "headers")


@expect("socket-event.query", "Query parameters arrive decoded, the last of a name, and all of them.", LAMBDA_AUTH)
async def _(cloud):
    query = [("name", "a b&c=é"), ("twice", "1"), ("twice", "2")]
    for event in (await opened(cloud, query=query))[:2]:
        same(event["queryStringParameters"], {"name": "a b&c=é", "twice": "2"}, "queryStringParameters")
        same(event["multiValueQueryStringParameters"], {"name": ["a b&c=é"], "twice": ["1", "2"]}, "all values")


@expect("socket-event.message", "A message's event has exactly AWS's members, no headers among them.", LOGGED)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send({"type": "named", "text": "你好 🌍 \" \\ \u0000"})
        event = await socket.event("named")
    same(shape(event), {"requestContext": OBJECT, "body": TEXT, "isBase64Encoded": bool}, "the event")
    same(shape(event["requestContext"]), {**AUTHORIZED, "messageId": TEXT}, "requestContext")
    same(event["requestContext"]["eventType"], "MESSAGE", "eventType")
    same(event["isBase64Encoded"], False, "isBase64Encoded")


@expect("socket-event.message.body", "A message's body is its text, to the letter.", CONTEXT)
async def _(cloud):
    body = ' { "type" : "named", "text": "你好 🌍 \\u0041", "n": 1.0 }\n'
    async with cloud.handshake() as socket:
        await socket.send(body)
        same((await socket.event("named"))["body"], body, "the body")


@expect("socket-event.disconnect", "The event of $disconnect has exactly AWS's members.", LOGGED)
async def _(cloud):
    async with cloud.handshake() as socket:
        pass
    event = await socket.event("$disconnect")
    members = {"headers": OBJECT, "multiValueHeaders": OBJECT, "requestContext": OBJECT, "isBase64Encoded": bool}
    same(shape(event), members, "the event")
    context = {**AUTHORIZED, "disconnectStatusCode": NUMBER, "disconnectReason": TEXT}
    same(shape(event["requestContext"]), context, "requestContext")
    same(event["requestContext"]["eventType"], "DISCONNECT", "eventType")
    same(set(event["headers"]), {"Host", "x-api-key", "X-Forwarded-For", "x-restapi"}, "the headers' names")


@expect("socket-event.ids", "Connection, request and message ids have AWS's form, and the first stays.", CONTEXT)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send({"type": "named", "n": 1})
        await socket.send({"type": "named", "n": 2})
        events = [await socket.event("$connect")]
        events += [await socket.event("named", json.dumps({"type": "named", "n": n})) for n in (1, 2)]
    events.append(await socket.event("$disconnect"))
    contexts = [event["requestContext"] for event in events]
    same({context["connectionId"] for context in contexts}, {socket.connection_id}, "the connection's id")
    ids = [context["requestId"] for context in contexts] + [context["messageId"] for context in contexts[1:3]]
    same(len(set(ids)), 6, "the number of different ids")
    for one in [*ids, socket.connection_id]:
        holds(ID.fullmatch(one), f"an id is {one}")
    for context in contexts:
        same(context["extendedRequestId"], context["requestId"], "extendedRequestId")


@expect("socket-event.time", "Times are Unix milliseconds and the Common Log Format of the same instant.", CONTEXT)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send({"type": "named"})
        first, second = await socket.event("$connect"), await socket.event("named")
    first, second = first["requestContext"], second["requestContext"]
    same(second["connectedAt"], first["connectedAt"], "connectedAt")
    holds(first["connectedAt"] <= first["requestTimeEpoch"] <= second["requestTimeEpoch"], "time goes back")
    holds(abs(second["requestTimeEpoch"] / 1000 - time.time()) < 300, "the time is not now")
    instant = time.gmtime(second["requestTimeEpoch"] / 1000)
    same(second["requestTime"], time.strftime("%d/%b/%Y:%H:%M:%S +0000", instant), "requestTime")


@expect("socket-event.identity", "Each event says the client's address and user agent.", CONTEXT)
async def _(cloud):
    agent = f"probe/{unique()}"
    async with cloud.handshake(user_agent_header=agent) as socket:
        await socket.send({"type": "named"})
        events = [await socket.event("$connect"), await socket.event("named")]
    events.append(await socket.event("$disconnect"))
    for event in events:
        identity = event["requestContext"]["identity"]
        same(identity["userAgent"], agent, "userAgent")
        holds(re.fullmatch(r"[0-9a-f.:]+", identity["sourceIp"]), f"sourceIp is {identity['sourceIp']}")
        same(set(identity), {"sourceIp", "userAgent"}, "identity's members")


@expect("socket-event.authorizer-context",
        "Every later event says what the authorizer did: its context as texts, and the principal.", CONTEXT)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send({"type": "named"})
        events = [await socket.event("$connect"), await socket.event("named")]
    events.append(await socket.event("$disconnect"))
    for event in events:
        told = dict(event["requestContext"]["authorizer"])
        told.pop("integrationLatency", None)
        expected = {"principalId": "the principal", "text": "words", "number": "17", "flag": "true"}
        same(told, expected, "requestContext.authorizer")


@expect("socket-event.authorizer-latency", "requestContext.authorizer also has integrationLatency, a number.", LOGGED)
async def _(cloud):
    _, event, _ = await opened(cloud)
    same(type(event["requestContext"]["authorizer"].get("integrationLatency")), int, "its type")


@expect("socket-event.domain", "domainName and stage are where @connections is reached.",
        page("apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html"))
async def _(cloud):
    _, event, _ = await opened(cloud)
    context = event["requestContext"]
    same(f"{context['domainName']}/{context['stage']}", cloud.http_url.split("//")[1], "domainName/stage")

"""How a connection ends: by the client, the gateway, the backend or the clock, and what $disconnect is told."""

import asyncio
import time

from expectation import When, expect, holds, page, same, unconfirmed

ROUTES = page("apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html")
QUOTAS = page("apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html")
LOGGED = unconfirmed("events that others logged from real APIs")


async def told(socket):
    context = (await socket.event("$disconnect"))["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


@expect("close.disconnect", "After a connection has ended $disconnect runs, once.", ROUTES)
async def _(cloud):
    async with cloud.handshake() as socket:
        pass
    await socket.event("$disconnect")
    mine = lambda event: event.get("requestContext", {}).get("connectionId") == socket.connection_id
    ends = await cloud.seen(lambda event: mine(event) and event["requestContext"]["routeKey"] == "$disconnect")
    same(len(ends), 1, "the number of its $disconnect events")


@expect("close.by-client", "$disconnect is told the client's own close code and reason.", LOGGED)
async def _(cloud):
    for code, reason in ((1000, "bye"), (1001, "leaving"), (4001, "你好")):
        async with cloud.handshake() as socket:
            await socket.socket.close(code, reason)
            same(socket.socket.close_code, code, "the code that the client gets back")
        same(await told(socket), (code, reason), "what $disconnect is told")


@expect("close.by-client.no-code", "Without a code $disconnect is told 1005.", LOGGED)
async def _(cloud):
    async with cloud.handshake() as socket:
        # A close frame without a payload, masked with zeros.
        socket.socket.transport.write(b"\x88\x80\x00\x00\x00\x00")
        await socket.closed()
    same(await told(socket), (1005, "Client-side close frame status not set"), "what $disconnect is told")


@expect("close.lost", "A client that vanishes: $disconnect is told 1006.", LOGGED)
async def _(cloud):
    async with cloud.handshake() as socket:
        socket.socket.transport.abort()
    same((await told(socket))[0], 1006, "the code that $disconnect is told")


@expect("close.gateway", "What the gateway closes for is what $disconnect is told.", LOGGED)
async def _(cloud):
    for message, code in ((b"bytes", 1003), ("x" * 40_000, 1009)):
        async with cloud.handshake() as socket:
            await socket.send(message)
            same((await socket.closed())[0], code, "the close code")
        same((await told(socket))[0], code, "the code that $disconnect is told")


@expect("close.fails", "A $disconnect that fails is nobody's business: the next client is served.", ROUTES)
async def _(cloud):
    async with cloud.handshake() as socket:
        await socket.send({"type": "named", "do": "exit"})
        await socket.event("named")
    await socket.event("$disconnect")
    async with cloud.handshake() as socket:
        await socket.send({"type": "named"})
        await socket.event("named")


@expect("close.idle", "A connection without messages is closed after the idle time.", QUOTAS, When.SHORT, 660)
async def _(cloud):
    async with cloud.handshake() as socket:
        began = time.monotonic()
        code, _ = await socket.closed()
        waited = time.monotonic() - began
        same(code, 1001, "the close code")
        holds(waited > cloud.idle_timeout_seconds - 1, f"it was closed after {waited:.1f} s")
        holds(waited < cloud.life_seconds - 1, f"it was closed only after {waited:.1f} s")
    same(await told(socket), (1001, "Going away"), "what $disconnect is told")


@expect("close.idle.messages", "Messages of either direction keep it open past the idle time.",
        QUOTAS, When.SHORT, 1300)
async def _(cloud):
    async with cloud.handshake() as socket:
        await asyncio.sleep(cloud.idle_timeout_seconds * 0.7)
        await socket.send({"type": "named"})
        await asyncio.sleep(cloud.idle_timeout_seconds * 0.7)
        await socket.post(b"still there")
        same(await socket.receive(), "still there", "the frame")


@expect("close.idle.pings", "Pings do not keep it open.",
        unconfirmed("AWS says `idle` and no more; the local cloud takes the stricter reading"), When.SHORT, 700)
async def _(cloud):
    async with cloud.handshake() as socket:
        began = time.monotonic()
        while socket.socket.close_code is None and time.monotonic() - began < cloud.idle_timeout_seconds * 1.5:
            await asyncio.sleep(cloud.idle_timeout_seconds / 8)
            if socket.socket.close_code is None:
                await socket.socket.ping()
        same(socket.socket.close_code, 1001, "the close code")


@expect("close.life", "A connection is closed after its life, however busy.", QUOTAS, When.SHORT, 7300)
async def _(cloud):
    async with cloud.handshake() as socket:
        began = time.monotonic()
        while socket.socket.close_code is None and time.monotonic() - began < cloud.life_seconds * 1.3:
            await asyncio.sleep(cloud.idle_timeout_seconds / 4)
            if socket.socket.close_code is None:
                await socket.send({"type": "named"})
        same(socket.socket.close_code, 1001, "the close code")
        holds(time.monotonic() - began > cloud.life_seconds - 1, "it was closed too early")
    same(await told(socket), (1001, "Going away"), "what $disconnect is told")

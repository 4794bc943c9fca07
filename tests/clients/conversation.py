"""Ten turns each in JSON and in Protobuf, plain and deflated, in Chinese and English, and answers over sockets
that are cut, with clients that are not ours: the `websockets` library, zlib, and Google's Protobuf, compiled
from proto/sparkle/ws.proto.

    python tests/clients/conversation.py < the object that `cargo run -- --json` prints

The stack must have been started with SPARKLE_LLM_SCRIPTED=1. Needs websockets, protobuf and grpcio-tools from PyPI.
"""

import asyncio
import base64
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
import zlib

import websockets

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUESTIONS = [
    "勾股定理是什么?",
    "What is photosynthesis?",
    "什么是导数?",
    "How does a for loop work?",
    "谢谢",
    "What did I ask before?",
    "牛顿第一定律是什么?",
    "Explain the water cycle.",
    "平方差公式怎么用?",
    "Thanks!",
]


def compile_proto():
    out = tempfile.mkdtemp()
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT}/proto", f"--python_out={out}", "sparkle/ws.proto"],
        check=True,
    )
    sys.path.insert(0, out)
    return importlib.import_module("sparkle.ws_pb2")


class Plain:
    word = ""

    def encode(self, payload):
        return payload


class Deflate:
    word = "deflate"
    inflated = 0

    def encode(self, payload):
        deflater = zlib.compressobj(wbits=-15)
        return deflater.compress(payload) + deflater.flush()

    def decode(self, payload):
        self.inflated += 1
        return zlib.decompress(payload, wbits=-15)


class Json:
    name = "json"

    def __init__(self, encoding):
        self.encoding = encoding

    def frame(self, kind, request_id, payload):
        frame = {"version": "2.0", "type": kind, "request_id": request_id, "payload": payload}
        if self.encoding.word:
            deflated = self.encoding.encode(json.dumps(payload, ensure_ascii=False).encode())
            frame |= {"encoding": self.encoding.word, "payload": base64.b64encode(deflated).decode()}
        return json.dumps(frame, ensure_ascii=False)

    def chat(self, request_id, session_id, message):
        return self.frame("chat", request_id, {"session_id": session_id, "message": message})

    def history(self, request_id, session_id):
        return self.frame("history", request_id, {"session_id": session_id, "limit": 100})

    def resume(self, request_id, resumed_id, after_seq):
        return self.frame("resume", request_id, {"request_id": resumed_id, "after_seq": after_seq})

    def read(self, text):
        frame = json.loads(text)
        if frame.get("encoding"):
            frame["payload"] = json.loads(self.encoding.decode(base64.b64decode(frame["payload"], validate=True)))
        return frame, frame.get("payload", {})


class Protobuf:
    name = "protobuf"

    def __init__(self, encoding, ws):
        self.encoding = encoding
        self.ws = ws
        self.types = {
            "ack": ws.Ack, "status": ws.Status, "delta": ws.Delta, "usage": ws.Usage,
            "done": ws.Done, "history": ws.History, "error": ws.Error,
        }

    def frame(self, kind, request_id, payload):
        message = self.ws.WebSocketMessage(
            version="2.0", type=kind, request_id=request_id, encoding=self.encoding.word,
            payload=self.encoding.encode(payload.SerializeToString()),
        )
        return base64.b64encode(message.SerializeToString()).decode()

    def chat(self, request_id, session_id, message):
        return self.frame("chat", request_id, self.ws.ChatMessage(session_id=session_id, message=message))

    def history(self, request_id, session_id):
        return self.frame("history", request_id, self.ws.HistoryRequest(session_id=session_id, limit=100))

    def resume(self, request_id, resumed_id, after_seq):
        return self.frame("resume", request_id, self.ws.ResumeRequest(request_id=resumed_id, after_seq=after_seq))

    def read(self, text):
        message = self.ws.WebSocketMessage.FromString(base64.b64decode(text, validate=True))
        bytes_ = self.encoding.decode(message.payload) if message.encoding else message.payload
        payload = self.types[message.type].FromString(bytes_)
        as_dict = lambda m: {field.name: value for field, value in m.ListFields()}
        frame = as_dict(message)
        body = as_dict(payload)
        if message.type == "history":
            body["entries"] = [as_dict(entry) for entry in payload.entries]
        return frame, body


def connect(address):
    return websockets.connect(address["ws"], subprotocols=["sparkle.v2", f"bearer.{address['token']}"])


async def turn(socket, codec, request_id, session_id, question):
    await socket.send(codec.chat(request_id, session_id, question))
    answer, acked, usage, stream, last_seq = "", False, None, None, 0
    while True:
        frame, payload = codec.read(await asyncio.wait_for(socket.recv(), 30))
        if frame["type"] == "ack":
            assert frame["request_id"] == request_id and payload["session_id"] == session_id
            acked = True
            continue
        stream = stream or frame["stream"]
        assert frame["stream"] == stream and frame["seq"] == last_seq + 1, frame
        last_seq = frame["seq"]
        if frame["type"] == "delta":
            answer += payload["text"]
        elif frame["type"] == "usage":
            usage = payload
        elif frame["type"] == "error":
            raise AssertionError(payload)
        elif frame["type"] == "done":
            assert frame["request_id"] == request_id and payload["finish_reason"] == "stop"
            cache = payload["cache"]
            break
    assert answer
    if cache == "none":
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    else:
        # What another of these conversations has asked costs nothing.
        assert usage["saved_tokens"] > 0 and not usage.get("total_tokens") and not usage.get("cost_microusd")
    if not acked:
        frame, _ = codec.read(await asyncio.wait_for(socket.recv(), 30))
        assert frame["type"] == "ack"
    return answer


async def conversation(address, codec):
    name = codec.name + codec.encoding.word
    session_id = f"conversation-{name}"
    async with connect(address) as socket:
        assert socket.subprotocol == "sparkle.v2"
        answers = []
        for number, question in enumerate(QUESTIONS):
            answer = await turn(socket, codec, f"{name}-{number}", session_id, question)
            print(f"[{name}] {question}\n    {answer[:100]!r}")
            answers.append(answer)
        await socket.send(codec.history(f"{name}-history", session_id))
        _, history = codec.read(await socket.recv())
        said = [entry["text"] for entry in history["entries"]]
        expected = [text for pair in zip(QUESTIONS, answers) for text in pair]
        assert said == expected, "the history is not what was said"


class Stream:
    """One answer, over as many sockets as it takes."""

    def __init__(self, codec, request_id):
        self.codec, self.request_id, self.resumes = codec, request_id, []
        self.last_seq, self.answer, self.usage, self.done = 0, "", None, None

    def resume(self):
        self.resumes.append(f"{self.request_id}-resume-{len(self.resumes)}")
        return self.codec.resume(self.resumes[-1], self.request_id, self.last_seq)

    async def read(self, socket, until_seq=None):
        """Reads until the answer is over or has a frame; returns the payload of the last `ack` that came."""
        ack = None
        while self.done is None and (until_seq is None or self.last_seq < until_seq or ack is None):
            frame, payload = self.codec.read(await asyncio.wait_for(socket.recv(), 30))
            if frame["type"] == "ack":
                assert frame["request_id"] in [self.request_id, *self.resumes] and frame["stream"], frame
                ack = payload
                continue
            assert frame["type"] != "error", payload
            assert frame["seq"] == self.last_seq + 1, f"{frame} after {self.last_seq}"
            self.last_seq = frame["seq"]
            if frame["type"] == "delta":
                self.answer = ("" if payload.get("restart") else self.answer) + payload["text"]
            elif frame["type"] == "usage":
                self.usage = payload
            elif frame["type"] == "done":
                self.done = payload
        return ack


async def interrupted(address, codec):
    """An answer whose socket is cut twice, once without a goodbye; a second device follows from the beginning."""
    name = codec.name + codec.encoding.word
    pieces = [f"第 {number} 片 / piece {number}\n" for number in range(30)]
    question = "#script " + json.dumps({"pieces": pieces, "pause_ms": 60})
    phone = Stream(codec, f"{name}-cut")
    async with connect(address) as socket:
        await socket.send(codec.chat(phone.request_id, f"cut-{name}", question))
        await phone.read(socket, until_seq=3)
        socket.transport.abort()
    async with connect(address) as socket:
        await socket.send(phone.resume())
        ack = await phone.read(socket, until_seq=8)
        assert not ack.get("finished"), "the answer was over before it was resumed"
    async with connect(address) as socket, connect(address) as other:
        tablet = Stream(codec, phone.request_id)
        await socket.send(phone.resume())
        await other.send(tablet.resume())
        await asyncio.gather(phone.read(socket), tablet.read(other))
        for stream in (phone, tablet):
            assert stream.answer == "".join(pieces), stream.answer
            assert stream.usage and stream.done["finish_reason"] == "stop"
        assert phone.last_seq == tablet.last_seq
        # Over, all of it can be had again; after its end there is the `ack` only.
        late = Stream(codec, phone.request_id)
        await other.send(late.resume())
        await late.read(other)
        assert late.answer == phone.answer
        await socket.send(phone.resume())
        frame, ack = codec.read(await asyncio.wait_for(socket.recv(), 30))
        assert frame["type"] == "ack" and ack["finished"] and ack["last_seq"] == phone.last_seq, frame
    print(f"[{name}] {phone.last_seq} frames over 3 sockets and a second device")


async def main():
    address = json.load(sys.stdin)
    ws = compile_proto()
    passed = 0
    for encoding in (Plain, Deflate):
        for codec in (Json(encoding()), Protobuf(encoding(), ws)):
            await conversation(address, codec)
            await interrupted(address, codec)
            assert not codec.encoding.word or codec.encoding.inflated, "nothing came deflated"
            passed += len(QUESTIONS) + 1
    print(f"{passed} passed, 0 failed")


asyncio.run(main())

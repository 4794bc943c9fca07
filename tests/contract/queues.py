"""SQS with boto3: standard and FIFO queues, as far as the functions and their sources rely on them."""

import asyncio
import contextlib
import hashlib
import json
import time

from botocore.exceptions import ClientError

from cloud import unique
from expectation import expect, holds, model, page, same, unconfirmed

GUIDE = "AWSSimpleQueueService/latest/SQSDeveloperGuide/"
SEND, RECEIVE = model("sqs", "SendMessage"), model("sqs", "ReceiveMessage")
VISIBILITY = page(f"{GUIDE}sqs-visibility-timeout.html")
QUOTAS = page(f"{GUIDE}quotas-messages.html")
FIFO = page(f"{GUIDE}FIFO-queues-understanding-logic.html")
ONCE = page(f"{GUIDE}FIFO-queues-exactly-once-processing.html")
DEAD_LETTERS = page(f"{GUIDE}sqs-dead-letter-queues.html")
MESSAGE_BYTES_MAX = 1_048_576


class Queue:
    """A queue of the suite's own."""

    def __init__(self, cloud, name, url):
        self.cloud, self.name, self.url = cloud, name, url

    async def call(self, operation, **parameters):
        return await self.cloud.call("sqs", operation, QueueUrl=self.url, **parameters)

    async def send(self, body, **parameters):
        if self.name.endswith(".fifo") and "MessageGroupId" not in parameters:
            parameters |= {"MessageGroupId": "g", "MessageDeduplicationId": unique()}
        return await self.call("send_message", MessageBody=body, **parameters)

    async def receive(self, **parameters):
        parameters = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 5, **parameters}
        every = {"MessageSystemAttributeNames": ["All"], "MessageAttributeNames": ["All"]}
        return (await self.call("receive_message", **every, **parameters)).get("Messages", [])

    async def none(self):
        """Sees to it that nothing can be received now."""
        same([message["Body"] for message in await self.receive(WaitTimeSeconds=1)], [], "what is received")

    async def bodies(self, count, **parameters):
        """Receives until so many messages have come."""
        bodies = []
        while len(bodies) < count:
            for message in await self.receive(**parameters):
                bodies.append(message["Body"])
                await self.delete(message)
        return bodies

    async def delete(self, message):
        await self.call("delete_message", ReceiptHandle=message["ReceiptHandle"])

    async def refused(self, operation, code, **parameters):
        try:
            await self.call(operation, **parameters)
        except ClientError as error:
            same(error.response["Error"]["Code"], code, "the error")
            return
        raise AssertionError(f"{operation} was not refused")


@contextlib.asynccontextmanager
async def queue(cloud, fifo="", **attributes):
    name = f"contract-{unique()}{fifo and '.fifo'}"
    attributes = {key: str(value) for key, value in attributes.items()} | ({"FifoQueue": "true"} if fifo else {})
    url = (await cloud.call("sqs", "create_queue", QueueName=name, Attributes=attributes))["QueueUrl"]
    try:
        yield Queue(cloud, name, url)
    finally:
        await cloud.call("sqs", "delete_queue", QueueUrl=url)


@expect("queue.message", "A message comes with its id, digest, times and count.", RECEIVE)
async def _(cloud):
    async with queue(cloud) as q:
        body = "你好 🌍 \t\r\n <&>\""
        sent = await q.send(body)
        same(sent["MD5OfMessageBody"], hashlib.md5(body.encode()).hexdigest(), "MD5OfMessageBody")
        [message] = await q.receive()
        same((message["MessageId"], message["Body"]), (sent["MessageId"], body), "id and body")
        same(message["MD5OfBody"], sent["MD5OfMessageBody"], "MD5OfBody")
        names = {"SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"}
        same(set(message["Attributes"]), names, "the attributes' names")
        same(message["Attributes"]["ApproximateReceiveCount"], "1", "ApproximateReceiveCount")
        holds(abs(int(message["Attributes"]["SentTimestamp"]) / 1000 - time.time()) < 300, "SentTimestamp is not now")


@expect("queue.attributes", "Message attributes come back, and their digest is AWS's.",
        page(f"{GUIDE}sqs-message-metadata.html"))
async def _(cloud):
    attributes = {
        "text": {"DataType": "String", "StringValue": "你好"}, "count": {"DataType": "Number", "StringValue": "17"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    async with queue(cloud) as q:
        sent = await q.send("x", MessageAttributes=attributes)
        # Each with the lengths of its parts, sorted by name, as AWS describes it.
        digest = hashlib.md5()
        for name in sorted(attributes):
            kind, *values = attributes[name].values()
            for part in (name.encode(), kind.encode()):
                digest.update(len(part).to_bytes(4, "big") + part)
            value = values[0] if isinstance(values[0], bytes) else values[0].encode()
            digest.update((b"\x02" if kind == "Binary" else b"\x01") + len(value).to_bytes(4, "big") + value)
        same(sent["MD5OfMessageAttributes"], digest.hexdigest(), "MD5OfMessageAttributes")
        [message] = await q.receive()
        same(message["MessageAttributes"], attributes, "MessageAttributes")
        same(message["MD5OfMessageAttributes"], digest.hexdigest(), "the received digest")


@expect("queue.trace", "AWSTraceHeader travels as a system attribute.", model("sqs", "MessageSystemAttributeName"))
async def _(cloud):
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    async with queue(cloud) as q:
        await q.send("x", MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}})
        [message] = await q.receive()
        same(message["Attributes"]["AWSTraceHeader"], header, "AWSTraceHeader")


@expect("queue.long-poll", "A long poll returns when a message comes, and empty-handed after its time.",
        page(f"{GUIDE}sqs-short-and-long-polling.html"))
async def _(cloud):
    async with queue(cloud) as q:
        began = time.monotonic()
        same(await q.receive(WaitTimeSeconds=2), [], "what comes of an empty queue")
        holds(time.monotonic() - began > 1.8, "it did not wait")
        waiting = asyncio.create_task(q.receive(WaitTimeSeconds=20))
        await asyncio.sleep(0.3)
        await q.send("x")
        same([message["Body"] for message in await waiting], ["x"], "what it returns")


@expect("queue.visibility", "A received message is hidden, and comes again with a higher count and another handle.",
        VISIBILITY)
async def _(cloud):
    async with queue(cloud, VisibilityTimeout=2) as q:
        await q.send("x")
        [first] = await q.receive()
        await q.none()
        [second] = await q.receive()
        same(second["MessageId"], first["MessageId"], "the message's id")
        same(second["Attributes"]["ApproximateReceiveCount"], "2", "the count")
        holds(second["ReceiptHandle"] != first["ReceiptHandle"], "the handle is the same")
        await q.delete(second)


@expect("queue.visibility.change", "ChangeMessageVisibility shows a message at once, or hides it longer.", VISIBILITY)
async def _(cloud):
    async with queue(cloud, VisibilityTimeout=2) as q:
        await q.send("x")
        [message] = await q.receive()
        await q.call("change_message_visibility", ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
        [message] = await q.receive(WaitTimeSeconds=0)
        await q.call("change_message_visibility", ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=30)
        same(await q.receive(WaitTimeSeconds=3), [], "what is received after the first timeout")


@expect("queue.visibility.over", "The visibility of a message that is not in flight cannot be changed.",
        page("AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html"))
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("x")
        [message] = await q.receive()
        change = {"ReceiptHandle": message["ReceiptHandle"]}
        await q.call("change_message_visibility", VisibilityTimeout=0, **change)
        code = "AWS.SimpleQueueService.MessageNotInflight"
        await q.refused("change_message_visibility", code, VisibilityTimeout=5, **change)


@expect("queue.delete", "A deleted message does not come again; deleting it twice is no error.", model("sqs",
        "DeleteMessage"))
async def _(cloud):
    async with queue(cloud, VisibilityTimeout=1) as q:
        await q.send("x")
        [message] = await q.receive()
        await q.delete(message)
        await q.delete(message)
        same(await q.receive(WaitTimeSeconds=2), [], "what is received")


@expect("queue.delay", "A delayed message comes after its time, not before.", SEND)
async def _(cloud):
    async with queue(cloud) as q:
        began = time.monotonic()
        await q.send("x", DelaySeconds=2)
        await q.none()
        await q.bodies(1)
        holds(time.monotonic() - began >= 1.9, "it came before its time")


@expect("queue.counts", "A queue tells how many messages are visible, in flight and delayed.", model("sqs",
        "QueueAttributeName"))
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("a")
        await q.send("b")
        await q.send("c", DelaySeconds=60)
        while not await q.receive(MaxNumberOfMessages=1):
            pass
        expected = {"": "1", "NotVisible": "1", "Delayed": "1"}
        while True:  # on AWS the figures follow within a minute
            told = await cloud.queue_attributes(q.url)
            if {name: told[f"ApproximateNumberOfMessages{name}"] for name in expected} == expected:
                return
            await asyncio.sleep(0.5)


@expect("queue.batch", "A batch tells what became of each entry; a bad one fails alone.", model("sqs",
        "SendMessageBatch"))
async def _(cloud):
    async with queue(cloud) as q:
        entries = [{"Id": "good", "MessageBody": "x"}, {"Id": "bad", "MessageBody": "a\u0000b"}]
        answer = await q.call("send_message_batch", Entries=entries)
        same([entry["Id"] for entry in answer["Successful"]], ["good"], "the successful")
        [failed] = answer["Failed"]
        same((failed["Id"], failed["SenderFault"]), ("bad", True), "the failed")
        same(failed["Code"], "InvalidMessageContents", "its code")
        same(await q.bodies(1), ["x"], "what is received")


@expect("queue.batch.limits", "A batch has 1 to 10 entries with different ids.", model("sqs",
        "BatchEntryIdsNotDistinct"))
async def _(cloud):
    entry = lambda name: {"Id": name, "MessageBody": "x"}
    async with queue(cloud) as q:
        batch = lambda entries, code: q.refused("send_message_batch", code, Entries=entries)
        await batch([], "AWS.SimpleQueueService.EmptyBatchRequest")
        await batch([entry(str(n)) for n in range(11)], "AWS.SimpleQueueService.TooManyEntriesInBatchRequest")
        await batch([entry("a"), entry("a")], "AWS.SimpleQueueService.BatchEntryIdsNotDistinct")
        await batch([entry("a b")], "AWS.SimpleQueueService.InvalidBatchEntryId")


@expect("queue.batch.delete", "Deleting in a batch tells which handle is none.", model("sqs", "DeleteMessageBatch"))
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("x")
        [message] = await q.receive()
        entries = [{"Id": "good", "ReceiptHandle": message["ReceiptHandle"]}, {"Id": "bad", "ReceiptHandle": "none"}]
        answer = await q.call("delete_message_batch", Entries=entries)
        same([entry["Id"] for entry in answer["Successful"]], ["good"], "the successful")
        same([(entry["Id"], entry["SenderFault"]) for entry in answer["Failed"]], [("bad", True)], "the failed")


@expect("queue.size", "A message has up to 1 MiB.", QUOTAS)
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("x" * MESSAGE_BYTES_MAX)
        await q.refused("send_message", "InvalidParameterValue", MessageBody="x" * (MESSAGE_BYTES_MAX + 1))
        entries = [{"Id": str(n), "MessageBody": "x" * 600_000} for n in range(2)]
        await q.refused("send_message_batch", "AWS.SimpleQueueService.BatchRequestTooLong", Entries=entries)
        [message] = await q.receive()
        same(len(message["Body"]), MESSAGE_BYTES_MAX, "the received size")


@expect("queue.characters", "Characters that XML does not know are refused, and an empty message.", SEND)
async def _(cloud):
    async with queue(cloud) as q:
        for body in ("a\u0000b", "\u001b", "\uffff"):
            await q.refused("send_message", "InvalidMessageContents", MessageBody=body)
        await q.refused("send_message", "MissingParameter", MessageBody="")


@expect("queue.unknown", "A queue that does not exist: AWS.SimpleQueueService.NonExistentQueue.", model("sqs",
        "QueueDoesNotExist"))
async def _(cloud):
    async with queue(cloud) as q:
        there = q.url
        q.url = f"{there}-not"
        await q.refused("send_message", "AWS.SimpleQueueService.NonExistentQueue", MessageBody="x")
        await q.refused("receive_message", "AWS.SimpleQueueService.NonExistentQueue")
        q.url = there
    try:
        await cloud.call("sqs", "get_queue_url", QueueName=f"{q.name}-not")
        raise AssertionError("it has a URL")
    except cloud.client("sqs").exceptions.QueueDoesNotExist:
        pass


@expect("queue.handle", "A receipt handle that is none is refused.", model("sqs", "ReceiptHandleIsInvalid"))
async def _(cloud):
    async with queue(cloud) as q:
        await q.refused("delete_message", "ReceiptHandleIsInvalid", ReceiptHandle="none")
        change = {"ReceiptHandle": "none", "VisibilityTimeout": 0}
        await q.refused("change_message_visibility", "ReceiptHandleIsInvalid", **change)


@expect("queue.ranges", "Numbers out of range are refused.", RECEIVE)
async def _(cloud):
    async with queue(cloud) as q:
        for wrong in ({"MaxNumberOfMessages": 11}, {"MaxNumberOfMessages": 0}, {"WaitTimeSeconds": 21},
                      {"VisibilityTimeout": 43_201}):
            await q.refused("receive_message", "InvalidParameterValue", **wrong)
        await q.refused("send_message", "InvalidParameterValue", MessageBody="x", DelaySeconds=901)


@expect("queue.purge", "A purged queue is empty.", model("sqs", "PurgeQueue"), patience_seconds=90)
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("x")
        await q.call("purge_queue")
        if cloud.is_aws:
            await asyncio.sleep(60)
        await q.none()


@expect("queue.dead-letter",
        "A message received maxReceiveCount times goes to the dead-letter queue at the next receive.",
        DEAD_LETTERS)
async def _(cloud):
    async with queue(cloud) as dead:
        arn = (await cloud.queue_attributes(dead.url))["QueueArn"]
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
        async with queue(cloud, VisibilityTimeout=1, RedrivePolicy=policy) as q:
            sent = await q.send("x")
            for count in ("1", "2"):
                [message] = await q.receive()
                same(message["Attributes"]["ApproximateReceiveCount"], count, "the count")
            while not (moved := await dead.receive(WaitTimeSeconds=1)):
                same(await q.receive(WaitTimeSeconds=1), [], "what its own queue still gives")
            same((moved[0]["MessageId"], moved[0]["Body"]), (sent["MessageId"], "x"), "the moved message")
            source = (await cloud.queue_attributes(q.url))["QueueArn"]
            same(moved[0]["Attributes"].get("DeadLetterQueueSourceArn"), source, "DeadLetterQueueSourceArn")


# ---- FIFO ---------------------------------------------------------------------------------------
@expect("fifo.order", "A group's messages come in the order in which they were sent, several at once.", FIFO)
async def _(cloud):
    async with queue(cloud, "fifo") as q:
        numbers = [int((await q.send(str(n)))["SequenceNumber"]) for n in range(12)]
        same(numbers, sorted(set(numbers)), "the sequence numbers")
        first = await q.receive()
        same([message["Body"] for message in first], [str(n) for n in range(len(first))], "the first batch")
        holds(len(first) > 1 or cloud.is_aws, "a batch has one message")
        for message in first:
            await q.delete(message)
        same(await q.bodies(12 - len(first)), [str(n) for n in range(len(first), 12)], "the rest")


@expect("fifo.blocked", "While a message is in flight the rest of its group waits, another group's does not.", FIFO)
async def _(cloud):
    async with queue(cloud, "fifo", VisibilityTimeout=3) as q:
        group = lambda name: {"MessageGroupId": name, "MessageDeduplicationId": unique()}
        for body in ("a1", "a2"):
            await q.send(body, **group("a"))
        [first] = await q.receive(MaxNumberOfMessages=1)
        same(first["Body"], "a1", "the first")
        await q.send("b1", **group("b"))
        [other] = await q.receive()
        same(other["Body"], "b1", "the other group's")
        await q.delete(other)
        await q.none()
        # Its visibility over, the first comes again, before the second.
        same([message["Body"] for message in await q.receive(MaxNumberOfMessages=1)], ["a1"], "what comes next")


@expect("fifo.deduplication", "A deduplication id sent again is accepted, answered with the first's id, delivered once.",
        ONCE)
async def _(cloud):
    async with queue(cloud, "fifo") as q:
        same_id = {"MessageGroupId": "g", "MessageDeduplicationId": "once"}
        first = await q.send("a", **same_id)
        second = await q.send("b", **same_id)
        same((second["MessageId"], second["SequenceNumber"]), (first["MessageId"], first["SequenceNumber"]), "the answer")
        [message] = await q.receive()
        same(message["Body"], "a", "what is received")
        await q.delete(message)
        await q.send("c", **same_id)
        await q.none()


@expect("fifo.deduplication.queue", "By default an id counts in the whole queue.", ONCE)
async def _(cloud):
    async with queue(cloud, "fifo") as q:
        for group in ("a", "b"):
            await q.send(group, MessageGroupId=group, MessageDeduplicationId="once")
        same(await q.bodies(1), ["a"], "what is received")
        await q.none()


@expect("fifo.deduplication.group", "With DeduplicationScope messageGroup it counts in its group.",
        page(f"{GUIDE}high-throughput-fifo.html"))
async def _(cloud):
    attributes = {"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId"}
    async with queue(cloud, "fifo", **attributes) as q:
        for group in ("a", "b", "b"):
            await q.send(group, MessageGroupId=group, MessageDeduplicationId="once")
        same(sorted(await q.bodies(2)), ["a", "b"], "what is received")
        await q.none()


@expect("fifo.deduplication.content", "With ContentBasedDeduplication the body is the id.", ONCE)
async def _(cloud):
    async with queue(cloud, "fifo", ContentBasedDeduplication="true") as q:
        for body in ("a", "a", "b"):
            await q.call("send_message", MessageBody=body, MessageGroupId="g")
        [first, _] = await q.receive()
        same(first["Attributes"]["MessageDeduplicationId"], hashlib.sha256(b"a").hexdigest(), "the id")


@expect("fifo.required", "A FIFO queue wants a group and a deduplication id, and takes no delay of one message.",
        SEND)
async def _(cloud):
    async with queue(cloud, "fifo") as q:
        await q.refused("send_message", "MissingParameter", MessageBody="x")
        await q.refused("send_message", "InvalidParameterValue", MessageBody="x", MessageGroupId="g")
        await q.refused("send_message", "InvalidParameterValue", MessageBody="x", MessageGroupId="g",
                        MessageDeduplicationId="d", DelaySeconds=5)


@expect("fifo.form", "Received messages have sequence (20 digits), group and deduplication id.", RECEIVE)
async def _(cloud):
    async with queue(cloud, "fifo") as q:
        sent = await q.send("x", MessageGroupId="group", MessageDeduplicationId="id")
        [message] = await q.receive()
        told = {name: message["Attributes"][name] for name in ("SequenceNumber", "MessageGroupId", "MessageDeduplicationId")}
        expected = {"SequenceNumber": sent["SequenceNumber"], "MessageGroupId": "group", "MessageDeduplicationId": "id"}
        same(told, expected, "the attributes")
        holds(sent["SequenceNumber"].isdigit() and len(sent["SequenceNumber"]) == 20, "it has no 20 digits")


@expect("fifo.name", "A FIFO queue's name ends in .fifo, no other's does.", model("sqs", "CreateQueue"))
async def _(cloud):
    for name, attributes in ((unique(), {"FifoQueue": "true"}), (f"{unique()}.fifo", {})):
        try:
            await cloud.call("sqs", "create_queue", QueueName=name, Attributes=attributes)
        except ClientError as error:
            same(error.response["Error"]["Code"], "InvalidParameterValue", "the error")
            continue
        raise AssertionError(f"{name} was created")


@expect("fifo.groups-standard", "A standard queue takes a group too, for fairness.",
        page(f"{GUIDE}sqs-fair-queues.html"))
async def _(cloud):
    async with queue(cloud) as q:
        await q.send("x", MessageGroupId="tenant")
        [message] = await q.receive()
        same(message["Attributes"].get("MessageGroupId"), "tenant", "MessageGroupId")


@expect("fifo.received-again", "The order of a group holds also for what comes again.",
        unconfirmed("follows from the description of the order"))
async def _(cloud):
    async with queue(cloud, "fifo", VisibilityTimeout=1) as q:
        for n in range(3):
            await q.send(str(n))
        for _ in range(2):
            bodies = [message["Body"] for message in await q.receive()]
            same(bodies, [str(n) for n in range(len(bodies))], "what is received")
        same(await q.bodies(3), ["0", "1", "2"], "what is received and deleted")

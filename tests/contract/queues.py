"""Expectations of SQS, as far as the functions rely on them."""

import asyncio
import hashlib
import json

import botocore.exceptions
from suite import UNCONFIRMED, expect, same, until

SEND = "SQS API reference, SendMessage"
RECEIVE = "SQS API reference, ReceiveMessage"
FIFO = "SQS developer guide, FIFO-queues-understanding-logic"
DEDUPLICATION = "SQS developer guide, using-messagededuplicationid-property"
QUOTAS = "SQS developer guide, quotas-messages"


def queue(cloud, name="Free"):
    return cloud.queues[name]


async def send(cloud, body, name="Free", **options):
    return await asyncio.to_thread(cloud.sqs.send_message, QueueUrl=queue(cloud, name), MessageBody=body, **options)


async def receive(cloud, name="Free", **options):
    options = {"WaitTimeSeconds": 2, "MaxNumberOfMessages": 10, **options}
    answer = await asyncio.to_thread(
        cloud.sqs.receive_message, QueueUrl=queue(cloud, name), AttributeNames=["All"],
        MessageAttributeNames=["All"], **options)
    return answer.get("Messages", [])


async def take(cloud, marker, name="Free", count=1):
    """Receives and deletes until `count` messages with the marker have come."""
    taken = []

    async def look():
        for message in await receive(cloud, name, VisibilityTimeout=30):
            if marker in message["Body"]:
                taken.append(message)
                await asyncio.to_thread(
                    cloud.sqs.delete_message, QueueUrl=queue(cloud, name), ReceiptHandle=message["ReceiptHandle"])
        return len(taken) >= count

    await until(look, f"{count} messages")
    return taken


async def refused(call, code):
    try:
        await call
    except botocore.exceptions.ClientError as error:
        same(error.response["Error"]["Code"].split(".")[-1], code)
        return
    raise AssertionError("it was taken")


@expect("sqs.message", "a message comes with its digest, attributes and times", SEND)
async def _(cloud):
    marker = cloud.marker()
    sent = await send(cloud, marker, MessageAttributes={"n": {"DataType": "Number", "StringValue": "17"}})
    same(sent["MD5OfMessageBody"], hashlib.md5(marker.encode()).hexdigest())
    [message] = await take(cloud, marker)
    same((message["MessageId"], message["MessageAttributes"]["n"]["StringValue"]), (sent["MessageId"], "17"))
    same(message["Attributes"]["ApproximateReceiveCount"], "1")


@expect("sqs.long-poll", "a long poll returns as soon as a message is there", RECEIVE)
async def _(cloud):
    marker = cloud.marker()
    waiting = asyncio.create_task(receive(cloud, WaitTimeSeconds=20, VisibilityTimeout=0))
    await asyncio.sleep(0.5)
    await send(cloud, marker)
    messages = await asyncio.wait_for(waiting, 10)
    assert messages
    await take(cloud, marker)


@expect("sqs.visibility", "an undeleted message comes again, its receive count raised", "SQS developer guide, sqs-visibility-timeout")
async def _(cloud):
    marker = cloud.marker()
    await send(cloud, marker)
    async def counts():
        for message in await receive(cloud):
            if marker in message["Body"] and message["Attributes"]["ApproximateReceiveCount"] == "2":
                return True
    await until(counts, "the second time")
    await take(cloud, marker)


@expect("sqs.visibility.change", "a changed visibility hides and shows at once", "SQS API reference, ChangeMessageVisibility")
async def _(cloud):
    marker = cloud.marker()
    await send(cloud, marker, "FreeOrdered", MessageGroupId=marker, MessageDeduplicationId=marker)
    async def first():
        return [m for m in await receive(cloud, "FreeOrdered", VisibilityTimeout=60) if marker in m["Body"]]
    [message] = await until(first, "the message")
    await asyncio.to_thread(cloud.sqs.change_message_visibility, QueueUrl=queue(cloud, "FreeOrdered"),
                            ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    await take(cloud, marker, "FreeOrdered")


@expect("sqs.delay", "a delayed message is not there before its time", SEND)
async def _(cloud):
    marker = cloud.marker()
    await send(cloud, marker, DelaySeconds=2)
    early = await receive(cloud, WaitTimeSeconds=0)
    assert not any(marker in message["Body"] for message in early)
    await take(cloud, marker)


@expect("sqs.batch", "a batch reports each entry, and one bad entry fails alone", "SQS API reference, SendMessageBatch")
async def _(cloud):
    marker = cloud.marker()
    entries = [{"Id": "good", "MessageBody": marker}, {"Id": "bad", "MessageBody": "a\u0000b"}]
    answer = await asyncio.to_thread(cloud.sqs.send_message_batch, QueueUrl=queue(cloud), Entries=entries)
    same([entry["Id"] for entry in answer["Successful"]], ["good"])
    [failed] = answer["Failed"]
    same((failed["Id"], failed["SenderFault"]), ("bad", True))
    await take(cloud, marker)


@expect("sqs.size", "a message of 1 MiB is taken, a larger one refused", QUOTAS)
async def _(cloud):
    marker = cloud.marker()
    await send(cloud, marker + "x" * (1024 * 1024 - len(marker)))
    await take(cloud, marker)
    await refused(send(cloud, "x" * (1024 * 1024 + 1)), "InvalidParameterValue")


@expect("sqs.characters", "characters that XML does not know are refused", SEND)
async def _(cloud):
    await refused(send(cloud, "a\u0000b"), "InvalidMessageContents")


@expect("sqs.unknown", "a queue that does not exist is QueueDoesNotExist", "botocore model sqs 2012-11-05")
async def _(cloud):
    url = queue(cloud).replace("Free", "Nowhere")
    call = asyncio.to_thread(cloud.sqs.send_message, QueueUrl=url, MessageBody="x")
    try:
        await call
        raise AssertionError("it was taken")
    except cloud.sqs.exceptions.QueueDoesNotExist:
        pass


@expect("sqs.fifo.required", "a FIFO queue wants a group and a deduplication id", SEND)
async def _(cloud):
    await refused(send(cloud, "x", "FreeOrdered"), "MissingParameter")
    await refused(send(cloud, "x", "FreeOrdered", MessageGroupId="g"), "InvalidParameterValue")


@expect("sqs.fifo.order", "a group's messages come in order, and none while one is in flight", FIFO)
async def _(cloud):
    marker = cloud.marker()
    for n in range(3):
        await send(cloud, f"{marker} {n}", "FreeOrdered", MessageGroupId=marker, MessageDeduplicationId=f"{marker}{n}")
    options = {"MaxNumberOfMessages": 1, "VisibilityTimeout": 30}
    mine = lambda messages: [message for message in messages if marker in message["Body"]]
    async def next_one():
        return mine(await receive(cloud, "FreeOrdered", **options))
    [first] = await until(next_one, "the first")
    same(first["Body"][-1], "0")
    same(mine(await receive(cloud, "FreeOrdered", WaitTimeSeconds=1)), [])
    await asyncio.to_thread(cloud.sqs.delete_message, QueueUrl=queue(cloud, "FreeOrdered"), ReceiptHandle=first["ReceiptHandle"])
    rest = await take(cloud, marker, "FreeOrdered", 2)
    same([message["Body"][-1] for message in rest], ["1", "2"])


@expect("sqs.fifo.deduplication", "the same deduplication id in a group is accepted and delivered once", DEDUPLICATION)
async def _(cloud):
    marker = cloud.marker()
    options = {"MessageGroupId": marker, "MessageDeduplicationId": marker}
    first = await send(cloud, f"{marker} a", "FreeOrdered", **options)
    second = await send(cloud, f"{marker} b", "FreeOrdered", **options)
    same(second["MessageId"], first["MessageId"])
    [message] = await take(cloud, marker, "FreeOrdered")
    same(message["Body"], f"{marker} a")
    again = await receive(cloud, "FreeOrdered", WaitTimeSeconds=1)
    assert not any(marker in message["Body"] for message in again)


@expect("sqs.fifo.deduplication.scope", "with the scope messageGroup another group's id is another", DEDUPLICATION)
async def _(cloud):
    marker = cloud.marker()
    for group in ["a", "b"]:
        await send(cloud, f"{marker} {group}", "FreeOrdered", MessageGroupId=marker + group, MessageDeduplicationId=marker)
    await take(cloud, marker, "FreeOrdered", 2)


@expect("sqs.trace", "AWSTraceHeader travels as a system attribute", "SQS developer guide, sqs-message-metadata")
async def _(cloud):
    marker, header = cloud.marker(), "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    await send(cloud, marker, MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": header}})
    [message] = await take(cloud, marker)
    same(message["Attributes"]["AWSTraceHeader"], header)

"""SQS event sources of a function: records, batches, windows, failures, order, dead letters."""

import asyncio
import hashlib
import json

from cloud import unique
from expectation import Unmet, expect, holds, page, same, unconfirmed

EVENT = page("lambda/latest/dg/with-sqs.html")
FAILURES = page("lambda/latest/dg/services-sqs-errorhandling.html")
BATCHES = page("lambda/latest/dg/services-sqs-configure.html")
ORDER = page("AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html")
DEAD_LETTERS = page("AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html")
# What fails a whole batch fails whoever shares it: such messages have a queue of their own, one kind at a time.
POISON = asyncio.Lock()
# A failed message stays hidden for the queue's 31 s.
RETRY_PATIENCE_SECONDS = 120
RECORD = {
    "messageId", "receiptHandle", "body", "attributes", "messageAttributes", "md5OfBody", "eventSource",
    "eventSourceARN", "awsRegion",
}


class Sent:
    """Messages that were sent to a queue of the function, found again by their mark."""

    def __init__(self, cloud, queue):
        self.cloud, self.queue, self.url, self.mark = cloud, queue, cloud.queue_url(queue), unique()

    async def send(self, *orders, group=None, **parameters):
        entries = []
        for number, order in enumerate(orders):
            entry = {"Id": str(number), "MessageBody": json.dumps({"mark": self.mark, **order}), **parameters}
            if self.queue != "StandardQueue":
                entry |= {"MessageGroupId": group or self.mark, "MessageDeduplicationId": unique()}
            entries.append(entry)
        answer = await self.cloud.call("sqs", "send_message_batch", QueueUrl=self.url, Entries=entries)
        same(answer.get("Failed", []), [], "the failed entries")
        return {entry["Id"]: entry for entry in answer["Successful"]}

    def records_of(self, line):
        records = line.get("event", {}).get("Records", []) if line["probe"] == "begin" else []
        return [record for record in records if self.mark in record["body"]]

    async def deliveries(self, count):
        """The first deliveries of these messages: (line, record), once there are so many."""
        while True:
            lines = await self.cloud.found(self.records_of)
            told = [(line, record) for line in lines for record in self.records_of(line)]
            if len(told) >= count:
                return told
            await asyncio.sleep(0.2)

    async def delivered(self, enough):
        """The deliveries so far, once `enough` holds of them."""
        while not enough(told := await self.deliveries(1)):
            await asyncio.sleep(0.2)
        return told

    async def settled(self, count):
        """All deliveries, once there are so many and no message of the queue is left for the function."""
        await self.deliveries(count)
        while True:
            attributes = await self.cloud.queue_attributes(self.url)
            left = [int(attributes[name]) for name in
                    ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")]
            if left == [0, 0]:
                return await self.deliveries(count)
            await asyncio.sleep(1)

    async def dead(self, dead_letter_queue):
        """The message with this mark from the dead-letter queue."""
        url = self.cloud.queue_url(dead_letter_queue)
        while True:
            answer = await self.cloud.call(
                "sqs", "receive_message", QueueUrl=url, WaitTimeSeconds=2, MaxNumberOfMessages=10,
                MessageSystemAttributeNames=["All"], VisibilityTimeout=1,
            )
            for message in answer.get("Messages", []):
                if self.mark in message["Body"]:
                    parameters = {"QueueUrl": url, "ReceiptHandle": message["ReceiptHandle"]}
                    await self.cloud.call("sqs", "delete_message", **parameters)
                    return message


def number(record):
    return json.loads(record["body"])["n"]


def times(record):
    return int(record["attributes"]["ApproximateReceiveCount"])


@expect("source.record", "A message becomes a record with exactly AWS's members.", EVENT)
async def _(cloud):
    sent = Sent(cloud, "StandardQueue")
    ids = await sent.send({"n": 1})
    _, record = (await sent.deliveries(1))[0]
    same(set(record), RECORD, "the record's members")
    same(record["messageId"], ids["0"]["MessageId"], "messageId")
    same(record["md5OfBody"], hashlib.md5(record["body"].encode()).hexdigest(), "md5OfBody")
    same(record["eventSource"], "aws:sqs", "eventSource")
    same(record["eventSourceARN"], (await cloud.queue_attributes(sent.url))["QueueArn"], "eventSourceARN")
    same(record["awsRegion"], cloud.client("sqs").meta.region_name, "awsRegion")
    names = {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"}
    same(set(record["attributes"]), names, "the attributes' names")
    same({type(value) for value in record["attributes"].values()}, {str}, "the attributes' type")
    same(record["messageAttributes"], {}, "messageAttributes")


@expect("source.record.fifo", "A record of a FIFO queue also has its sequence, group and deduplication id.", EVENT)
async def _(cloud):
    sent = Sent(cloud, "OrderedQueue")
    ids = await sent.send({"n": 1})
    _, record = (await sent.deliveries(1))[0]
    same(set(record), RECORD, "the record's members")
    names = {"ApproximateReceiveCount", "SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp",
             "SequenceNumber", "MessageGroupId", "MessageDeduplicationId"}
    same(set(record["attributes"]), names, "the attributes' names")
    same(record["attributes"]["SequenceNumber"], ids["0"]["SequenceNumber"], "SequenceNumber")
    same(record["attributes"]["MessageGroupId"], sent.mark, "MessageGroupId")


@expect("source.record.attributes",
        "Message attributes come with type and value, a trace header as a system attribute.",
        EVENT)
async def _(cloud):
    sent, header = Sent(cloud, "StandardQueue"), "Root=1-5759e988-bd862e3fe1be46a994272793"
    attributes = {
        "text": {"DataType": "String", "StringValue": "v"}, "count": {"DataType": "Number", "StringValue": "17"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    }
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": header}}
    await sent.send({"n": 1}, MessageAttributes=attributes, MessageSystemAttributes=trace)
    _, record = (await sent.deliveries(1))[0]
    empty = {"stringListValues": [], "binaryListValues": []}
    expected = {
        "text": {**empty, "dataType": "String", "stringValue": "v"},
        "count": {**empty, "dataType": "Number", "stringValue": "17"},
        "bytes": {**empty, "dataType": "Binary", "binaryValue": "AP8="},
    }
    same(record["messageAttributes"], expected, "messageAttributes")
    same(record["attributes"]["AWSTraceHeader"], header, "AWSTraceHeader")


@expect("source.record.attributes-digest", "With message attributes a record has md5OfMessageAttributes.",
        unconfirmed("not in AWS's example event, but in events that others logged"))
async def _(cloud):
    sent = Sent(cloud, "StandardQueue")
    await sent.send({"n": 1}, MessageAttributes={"text": {"DataType": "String", "StringValue": "v"}})
    _, record = (await sent.deliveries(1))[0]
    holds("md5OfMessageAttributes" in record, f"its members are {sorted(record)}")


@expect("source.batch", "A batch has up to BatchSize messages, of one queue.", BATCHES)
async def _(cloud):
    sent = Sent(cloud, "StandardQueue")
    await sent.send(*({"n": n} for n in range(10)))
    told = await sent.deliveries(10)
    same(sorted(number(record) for _, record in told), list(range(10)), "what was delivered")
    for line, _ in told:
        holds(len(line["event"]["Records"]) <= 5, f"a batch has {len(line['event']['Records'])} messages")


@expect("source.window", "Messages that come within the window come in one batch.",
        unconfirmed("AWS polls from several places: there a batch may be smaller"))
async def _(cloud):
    sent = Sent(cloud, "StandardQueue")
    for n in range(3):
        await sent.send({"n": n})
    told = await sent.deliveries(3)
    largest = max(len(line["event"]["Records"]) for line, _ in told)
    holds(largest > 1, "each message had an invocation of its own")


@expect("source.success", "Messages that the function does not name are deleted: they do not come again.", FAILURES,
        patience_seconds=RETRY_PATIENCE_SECONDS)
async def _(cloud):
    sent = Sent(cloud, "OrderedQueue")
    await sent.send(*({"n": n} for n in range(3)))
    told = await sent.settled(3)
    same([(number(record), times(record)) for _, record in told], [(0, 1), (1, 1), (2, 1)], "the deliveries")


@expect("source.partial", "Only the messages that the function names come again.", FAILURES,
        patience_seconds=RETRY_PATIENCE_SECONDS)
async def _(cloud):
    sent = Sent(cloud, "StandardQueue")
    await sent.send({"n": 0}, {"n": 1, "report": "once"}, {"n": 2})
    told = [(number(record), times(record)) for _, record in await sent.deliveries(4)]
    same(sorted(told), [(0, 1), (1, 1), (1, 2), (2, 1)], "the deliveries")


@expect("source.error", "If the function fails, every message of the batch comes again.", FAILURES,
        patience_seconds=3 * RETRY_PATIENCE_SECONDS)
async def _(cloud):
    async with POISON:
        sent = Sent(cloud, "PoisonedQueue")
        await sent.send({"n": 0}, {"n": 1, "do": "fail"})
        told = await sent.deliveries(4)
    same([(number(r), times(r)) for _, r in told[:4]], [(0, 1), (1, 1), (0, 2), (1, 2)], "the deliveries")


@expect("source.malformed", "An answer that names no message of the batch fails all of them.", FAILURES,
        patience_seconds=3 * RETRY_PATIENCE_SECONDS)
async def _(cloud):
    unknown = [{"batchItemFailures": [{"itemIdentifier": "nobody"}]}, {"batchItemFailures": [{"itemIdentifier": ""}]},
               {"batchItemFailures": [{"itemIdentifier": None}]}, {"batchItemFailures": [{"wrong": "name"}]}]

    async def again(answer):
        sent = Sent(cloud, "PoisonedQueue")
        await sent.send({"n": 0, "answer": answer})
        told = await sent.deliveries(2)
        same([times(record) for _, record in told[:2]], [1, 2], f"the deliveries after {answer}")

    async with POISON:
        await asyncio.gather(*map(again, unknown))


@expect("source.empty", "Null, an empty object and an empty list mean that all is well.", FAILURES,
        patience_seconds=3 * RETRY_PATIENCE_SECONDS)
async def _(cloud):
    async def once(answer):
        sent = Sent(cloud, "PoisonedQueue")
        await sent.send({"n": 0, "answer": answer})
        same(len(await sent.settled(1)), 1, f"the number of deliveries after {answer}")

    answers = [None, {}, {"batchItemFailures": None}, {"batchItemFailures": []}]
    async with POISON:
        await asyncio.gather(*map(once, answers))


@expect("source.order", "A group's messages come in order, one batch after the other.", ORDER)
async def _(cloud):
    sent = Sent(cloud, "OrderedQueue")
    for at in range(0, 12, 6):
        await sent.send(*({"n": n, "ms": 50} for n in range(at, at + 6)))
    told = await sent.deliveries(12)
    same([number(record) for _, record in told], list(range(12)), "the order")
    batches = list({id(line): line for line, _ in told}.values())
    for earlier, later in zip(batches, batches[1:]):
        end = await cloud.end_of(earlier)
        holds(end["at_unix_ms"] <= later["at_unix_ms"], "a batch began before the one before it had ended")


@expect("source.order.failed", "A failed message holds up its group and no other.", ORDER,
        patience_seconds=RETRY_PATIENCE_SECONDS)
async def _(cloud):
    sent, other = Sent(cloud, "OrderedQueue"), Sent(cloud, "OrderedQueue")
    # The function names the failed message and what it left undone, as Lambda's page asks of it.
    await sent.send({"n": 0}, {"n": 1, "report": "once"}, {"n": 2, "report": "once"})
    await sent.deliveries(1)
    await other.send({"n": 0})
    begun = (await other.deliveries(1))[0][0]["at_unix_ms"]
    of = lambda told: [(number(record), times(record)) for _, record in told]
    told = await sent.delivered(lambda told: (2, 2) in of(told))
    done = [delivery for delivery in of(told) if delivery in ((0, 1), (1, 2), (2, 2))]
    same(done, [(0, 1), (1, 2), (2, 2)], "the order of what succeeded")
    holds(begun < told[of(told).index((1, 2))][0]["at_unix_ms"], "the other group waited")


@expect("source.order.named", "Also of a FIFO queue only what the function names comes again, not what follows it.",
        FAILURES, patience_seconds=RETRY_PATIENCE_SECONDS)
async def _(cloud):
    sent = Sent(cloud, "OrderedQueue")
    await sent.send({"n": 0}, {"n": 1, "report": "once"}, {"n": 2})
    told = await sent.settled(4)
    same(sorted((number(r), times(r)) for _, r in told), [(0, 1), (1, 1), (1, 2), (2, 1)], "the deliveries")


@expect("source.groups", "Messages of different groups are handled at once.", ORDER)
async def _(cloud):
    sent = Sent(cloud, "OrderedQueue")
    for group in range(3):
        await sent.send({"n": group, "ms": 3000}, group=f"{sent.mark}-{group}")
    told = await sent.deliveries(3)
    lines = {line["context"]["request_id"]: line for line, _ in told}
    if len(lines) == 1:
        raise Unmet("one invocation had all three groups")
    ends = [(await cloud.end_of(line))["at_unix_ms"] for line in lines.values()]
    begins = [line["at_unix_ms"] for line in lines.values()]
    holds(max(begins) < min(ends), "the invocations did not overlap")


@expect("source.dead-letter", "A message that fails maxReceiveCount times moves to the dead-letter queue.",
        DEAD_LETTERS,
        patience_seconds=2 * RETRY_PATIENCE_SECONDS)
async def _(cloud):
    async def dies(queue, dead_letter_queue):
        sent = Sent(cloud, queue)
        ids = await sent.send({"n": 0, "report": True})
        message = await sent.dead(dead_letter_queue)
        same(message["MessageId"], ids["0"]["MessageId"], "the message's id")
        told = await sent.deliveries(2)
        same([times(record) for _, record in told], [1, 2], "its deliveries")
        arn = (await cloud.queue_attributes(sent.url))["QueueArn"]
        same(message["Attributes"].get("DeadLetterQueueSourceArn"), arn, "DeadLetterQueueSourceArn")

    await asyncio.gather(
        dies("StandardQueue", "StandardDeadLetterQueue"), dies("OrderedQueue", "OrderedDeadLetterQueue")
    )

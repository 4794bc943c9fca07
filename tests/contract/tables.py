"""DynamoDB, as far as the expressions in shared/aws/src/table rely on it; held also against DynamoDB Local."""

import json

from botocore.exceptions import ClientError

from cloud import unique
from expectation import expect, holds, model, page, same

GUIDE = "amazondynamodb/latest/developerguide/"
CONDITIONS = page(f"{GUIDE}Expressions.ConditionExpressions.html")
GRAMMAR = page(f"{GUIDE}Expressions.OperatorsAndFunctions.html")
UPDATES = page(f"{GUIDE}Expressions.UpdateExpressions.html")
TRANSACTIONS = page(f"{GUIDE}transaction-apis.html")
LIMITS = page(f"{GUIDE}Constraints.html")
INDEXES = page(f"{GUIDE}LSI.html")


def key(owner, position=1):
    return {"owner": {"S": owner}, "position": {"N": str(position)}}


def numbers(**values):
    return {f":{name}": {"N": str(value)} for name, value in values.items()}


async def call(cloud, operation, **parameters):
    if operation not in ("transact_write_items", "batch_write_item"):
        parameters = {"TableName": cloud.table, **parameters}
    return await cloud.call("dynamodb", operation, **parameters)


async def refused(cloud, code, operation, **parameters):
    try:
        await call(cloud, operation, **parameters)
    except ClientError as error:
        same(error.response["Error"]["Code"], code, "the error")
        return error.response
    raise AssertionError(f"{operation} was not refused")


async def stored(cloud, owner, position=1):
    answer = await call(cloud, "get_item", Key=key(owner, position), ConsistentRead=True)
    return answer.get("Item")


@expect("table.put-once", "A put on the condition that there is nothing succeeds once; ALL_OLD shows what there is.",
        CONDITIONS)
async def _(cloud):
    owner = unique()
    put = {"Item": {**key(owner), "state": {"S": "first"}}, "ConditionExpression": "attribute_not_exists(#p)",
           "ExpressionAttributeNames": {"#p": "position"}}
    await call(cloud, "put_item", **put)
    all_old = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    told = await refused(cloud, "ConditionalCheckFailedException", "put_item", **put, **all_old)
    same(told["Item"], put["Item"], "the item that is there")
    told = await refused(cloud, "ConditionalCheckFailedException", "put_item", **put)
    same("Item" in told, False, "an item without ALL_OLD")


@expect("table.put-once.nothing", "A failed condition on nothing shows nothing, also with ALL_OLD.", CONDITIONS)
async def _(cloud):
    told = await refused(
        cloud, "ConditionalCheckFailedException", "update_item", Key=key(unique()), UpdateExpression="SET a = :one",
        ConditionExpression="attribute_exists(a)", ExpressionAttributeValues=numbers(one=1),
        ReturnValuesOnConditionCheckFailure="ALL_OLD",
    )
    same("Item" in told, False, "an item")


@expect("table.expiry", "A condition `… OR expires_at <= :now` lets one write replace what has expired.", CONDITIONS)
async def _(cloud):
    owner = unique()
    put = lambda state, now, end: {
        "Item": {**key(owner), "state": {"S": state}, "expires_at": {"N": str(end)}},
        "ConditionExpression": "attribute_not_exists(#p) OR expires_at <= :now",
        "ExpressionAttributeNames": {"#p": "position"}, "ExpressionAttributeValues": numbers(now=now),
    }
    far = 4_000_000_000
    await call(cloud, "put_item", **put("first", far, far + 10))
    await refused(cloud, "ConditionalCheckFailedException", "put_item", **put("second", far + 9, far + 20))
    await call(cloud, "put_item", **put("third", far + 10, far + 20))
    same((await stored(cloud, owner))["state"]["S"], "third", "the state")


@expect("table.in", "`IN` and `AND` decide on a state; an absent attribute compares as false.", GRAMMAR)
async def _(cloud):
    owner = unique()
    update = {
        "Key": key(owner), "UpdateExpression": "SET #s = :running, attempts = attempts + :one",
        "ConditionExpression": "#s IN (:queued, :running) AND expires_at > :now", "ReturnValues": "ALL_NEW",
        "ExpressionAttributeNames": {"#s": "state"},
        "ExpressionAttributeValues": {":queued": {"S": "queued"}, ":running": {"S": "running"}, **numbers(one=1, now=5)},
    }
    await refused(cloud, "ConditionalCheckFailedException", "update_item", **update)
    item = {**key(owner), "state": {"S": "queued"}, "attempts": {"N": "0"}, "expires_at": {"N": "6"}}
    await call(cloud, "put_item", Item=item)
    for attempts in ("1", "2"):
        told = await call(cloud, "update_item", **update)
        same(told["Attributes"], {**item, "state": {"S": "running"}, "attempts": {"N": attempts}}, "the new item")
    await call(cloud, "put_item", Item={**item, "state": {"S": "done"}})
    await refused(cloud, "ConditionalCheckFailedException", "update_item", **update)


@expect("table.arithmetic", "A condition has no arithmetic: `remaining + :n <= :top` is refused.", GRAMMAR)
async def _(cloud):
    for condition in ("remaining + :n <= :top", "remaining <= :top - :n"):
        await refused(
            cloud, "ValidationException", "update_item", Key=key(unique()), UpdateExpression="SET used = :n",
            ConditionExpression=condition, ExpressionAttributeValues=numbers(n=1, top=2),
        )


@expect("table.update", "`SET a = a + :n` needs an `a`; `if_not_exists` gives one; both return what they made.",
        UPDATES)
async def _(cloud):
    owner = unique()
    update = lambda expression, **values: call(
        cloud, "update_item", Key=key(owner), UpdateExpression=expression, ReturnValues="UPDATED_NEW",
        ExpressionAttributeValues=numbers(**values),
    )
    await refused(cloud, "ValidationException", "update_item", Key=key(owner),
                  UpdateExpression="SET arrival = arrival + :n", ExpressionAttributeValues=numbers(n=1))
    told = await update("SET remaining = if_not_exists(remaining, :all) - :n", all=10, n=3)
    same(told["Attributes"], {"remaining": {"N": "7"}}, "what it made")
    told = await update("SET remaining = if_not_exists(remaining, :all) - :n", all=10, n=3)
    same(told["Attributes"], {"remaining": {"N": "4"}}, "what it made")
    same((await update("ADD used :n", n=5))["Attributes"], {"used": {"N": "5"}}, "what it made")


@expect("table.update.old", "In one expression every right side is the old value.", UPDATES)
async def _(cloud):
    owner = unique()
    await call(cloud, "put_item", Item={**key(owner), "a": {"N": "1"}, "b": {"N": "2"}})
    await call(cloud, "update_item", Key=key(owner), UpdateExpression="SET a = b, b = a REMOVE c")
    item = await stored(cloud, owner)
    same((item["a"]["N"], item["b"]["N"]), ("2", "1"), "a and b")


@expect("table.update.overlap", "Two actions on one path, and an update of the key, are refused.", UPDATES)
async def _(cloud):
    for expression in ("SET a = :n, a = :n", "SET a = :n REMOVE a", "SET #p = :n"):
        names = {"ExpressionAttributeNames": {"#p": "position"}} if "#p" in expression else {}
        await refused(cloud, "ValidationException", "update_item", Key=key(unique()), UpdateExpression=expression,
                      ExpressionAttributeValues=numbers(n=1), **names)


@expect("table.reserved", "A reserved word is refused as a bare name.", page(f"{GUIDE}ReservedWords.html"))
async def _(cloud):
    for word in ("state", "position", "text", "owner", "time"):
        await refused(cloud, "ValidationException", "update_item", Key=key(unique()),
                      UpdateExpression=f"SET {word} = :n", ExpressionAttributeValues=numbers(n=1))


@expect("table.unused", "A name or value that no expression uses is refused.", model("dynamodb", "UpdateItem"))
async def _(cloud):
    update = {"Key": key(unique()), "UpdateExpression": "SET a = :n"}
    await refused(cloud, "ValidationException", "update_item", **update, ExpressionAttributeValues=numbers(n=1, m=2))
    await refused(cloud, "ValidationException", "update_item", **update, ExpressionAttributeValues=numbers(n=1),
                  ExpressionAttributeNames={"#x": "x"})


@expect("table.numbers", "Numbers keep 38 digits, and lose zeros that say nothing.", LIMITS)
async def _(cloud):
    owner, digits = unique(), "1234567890" * 3 + "12345678"
    await call(cloud, "put_item", Item={**key(owner), "a": {"N": digits}, "b": {"N": "007.50"}, "c": {"N": "-0"}})
    item = await stored(cloud, owner)
    same((item["a"]["N"], item["b"]["N"], item["c"]["N"]), (digits, "7.5", "0"), "the numbers")
    await refused(cloud, "ValidationException", "put_item", Item={**key(owner), "a": {"N": digits + "9"}})
    await refused(cloud, "ValidationException", "put_item", Item={**key(owner), "a": {"N": "x"}})


@expect("table.delete", "A delete on a condition takes only what fulfils it, and nothing is no error.", CONDITIONS)
async def _(cloud):
    owner = unique()
    await call(cloud, "delete_item", Key=key(owner))
    await call(cloud, "put_item", Item={**key(owner), "a": {"N": "1"}})
    delete = {"Key": key(owner), "ConditionExpression": "a = :n", "ReturnValues": "ALL_OLD"}
    await refused(cloud, "ConditionalCheckFailedException", "delete_item", **delete,
                  ExpressionAttributeValues=numbers(n=2))
    told = await call(cloud, "delete_item", **delete, ExpressionAttributeValues=numbers(n=1))
    same(told["Attributes"]["a"]["N"], "1", "what was deleted")
    same(await stored(cloud, owner), None, "what is left")


# ---- transactions -------------------------------------------------------------------------------
def put(cloud, owner, position, **more):
    return {"Put": {"TableName": cloud.table, "Item": key(owner, position), **more}}


def raise_by_one(cloud, owner, position, **more):
    return {"Update": {"TableName": cloud.table, "Key": key(owner, position), "UpdateExpression": "ADD a :n",
                       "ExpressionAttributeValues": numbers(n=1), **more}}


@expect("transaction.all", "A transaction writes all of its items.", TRANSACTIONS)
async def _(cloud):
    owner = unique()
    items = [put(cloud, owner, 1), raise_by_one(cloud, owner, 2), put(cloud, owner, 3)]
    await call(cloud, "transact_write_items", TransactItems=items)
    same([await stored(cloud, owner, n) is not None for n in (1, 2, 3)], [True] * 3, "whether they are there")


@expect("transaction.none", "A failed condition cancels all, with a reason for each item and ALL_OLD where asked.",
        TRANSACTIONS)
async def _(cloud):
    owner = unique()
    await call(cloud, "put_item", Item={**key(owner, 2), "a": {"N": "7"}})
    condition = {"ConditionExpression": "a = :n", "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
    items = [put(cloud, owner, 1), raise_by_one(cloud, owner, 2, **condition), put(cloud, owner, 3)]
    told = await refused(cloud, "TransactionCanceledException", "transact_write_items", TransactItems=items)
    reasons = told["CancellationReasons"]
    same([reason["Code"] for reason in reasons], ["None", "ConditionalCheckFailed", "None"], "the reasons")
    same(reasons[1]["Item"], {**key(owner, 2), "a": {"N": "7"}}, "the item that is there")
    same([await stored(cloud, owner, n) for n in (1, 3)], [None, None], "what was written")


@expect("transaction.check", "A ConditionCheck writes nothing and decides on the rest.", TRANSACTIONS)
async def _(cloud):
    owner = unique()
    check = lambda position: {"ConditionCheck": {
        "TableName": cloud.table, "Key": key(owner, position), "ConditionExpression": "attribute_not_exists(a)"}}
    await call(cloud, "transact_write_items", TransactItems=[check(9), raise_by_one(cloud, owner, 1)])
    same(await stored(cloud, owner, 9), None, "what the check wrote")
    items = [check(1), raise_by_one(cloud, owner, 2)]
    await refused(cloud, "TransactionCanceledException", "transact_write_items", TransactItems=items)


@expect("transaction.token", "The same transaction with the same token again does nothing more.",
        model("dynamodb", "TransactWriteItems$ClientRequestToken"))
async def _(cloud):
    owner = unique()
    for _ in range(2):
        await call(cloud, "transact_write_items", TransactItems=[raise_by_one(cloud, owner, 1)],
                   ClientRequestToken=owner)
    same((await stored(cloud, owner))["a"]["N"], "1", "the number")


@expect("transaction.token.other", "Another transaction with that token is refused.",
        model("dynamodb", "IdempotentParameterMismatchException"))
async def _(cloud):
    owner = unique()
    transact = {"ClientRequestToken": owner}
    await call(cloud, "transact_write_items", TransactItems=[put(cloud, owner, 1)], **transact)
    await refused(cloud, "IdempotentParameterMismatchException", "transact_write_items",
                  TransactItems=[put(cloud, owner, 2)], **transact)


@expect("transaction.same-item", "Two operations on one item are refused.", TRANSACTIONS)
async def _(cloud):
    owner = unique()
    items = [put(cloud, owner, 1), raise_by_one(cloud, owner, 1)]
    await refused(cloud, "ValidationException", "transact_write_items", TransactItems=items)


@expect("transaction.limit", "100 items are taken, 101 refused.", TRANSACTIONS)
async def _(cloud):
    owner = unique()
    items = [put(cloud, owner, n) for n in range(101)]
    await call(cloud, "transact_write_items", TransactItems=items[:100])
    await refused(cloud, "ValidationException", "transact_write_items", TransactItems=items)


# ---- reading ------------------------------------------------------------------------------------
async def filled(cloud, count, size=0):
    owner = unique()
    for at in range(0, count, 25):
        puts = [{"PutRequest": {"Item": {**key(owner, n), "updated_at": {"N": str(1000 - n)}, "pad": {"S": "x" * size}}}}
                for n in range(at, min(at + 25, count))]
        await call(cloud, "batch_write_item", RequestItems={cloud.table: puts})
    return owner


@expect("query.range", "A query takes a range of the sort key as numbers, backwards, page by page.", model("dynamodb",
        "Query"))
async def _(cloud):
    owner = await filled(cloud, 12)
    query = {
        "KeyConditionExpression": "#o = :owner AND #p < :before", "ConsistentRead": True, "ScanIndexForward": False,
        "ExpressionAttributeNames": {"#o": "owner", "#p": "position"}, "Limit": 4,
        "ExpressionAttributeValues": {":owner": {"S": owner}, **numbers(before=11)},
    }
    found, start = [], {}
    while True:
        page_ = await call(cloud, "query", **query, **start)
        found += [int(item["position"]["N"]) for item in page_["Items"]]
        if "LastEvaluatedKey" not in page_:
            break
        start = {"ExclusiveStartKey": page_["LastEvaluatedKey"]}
    same(found, list(range(10, -1, -1)), "what is found")


@expect("query.index", "A local index is read in its own order, also strongly consistent, without what lacks its key.",
        INDEXES)
async def _(cloud):
    owner = await filled(cloud, 5)
    await call(cloud, "put_item", Item=key(owner, 99))
    told = await call(
        cloud, "query", IndexName="by_updated_at", ConsistentRead=True, Limit=3, ScanIndexForward=False,
        KeyConditionExpression="#o = :owner AND updated_at < :before", ExpressionAttributeNames={"#o": "owner"},
        ExpressionAttributeValues={":owner": {"S": owner}, **numbers(before=1000)},
    )
    same([item["position"]["N"] for item in told["Items"]], ["1", "2", "3"], "what is found")
    same(set(told["LastEvaluatedKey"]), {"owner", "position", "updated_at"}, "the members of LastEvaluatedKey")


@expect("query.megabyte", "A page ends at 1 MB.", model("dynamodb", "Query"))
async def _(cloud):
    owner = await filled(cloud, 30, 60_000)
    told = await call(cloud, "query", KeyConditionExpression="#o = :owner", ConsistentRead=True,
                      ExpressionAttributeNames={"#o": "owner"}, ExpressionAttributeValues={":owner": {"S": owner}})
    holds("LastEvaluatedKey" in told, "all 1.8 MB came at once")
    size = sum(len(json.dumps(item)) for item in told["Items"])
    holds(900_000 < size < 1_150_000, f"the page has {size} bytes")


@expect("query.projection", "A projection returns only what it names.", model("dynamodb", "GetItem"))
async def _(cloud):
    owner = unique()
    await call(cloud, "put_item", Item={**key(owner), "a": {"BOOL": True}, "b": {"S": "x"}})
    told = await call(cloud, "get_item", Key=key(owner), ConsistentRead=True, ProjectionExpression="a, lacking")
    same(told["Item"], {"a": {"BOOL": True}}, "the item")
    told = await call(cloud, "get_item", Key=key(unique()), ConsistentRead=True)
    same("Item" in told, False, "an item where there is none")


# ---- limits -------------------------------------------------------------------------------------
@expect("table.batch", "A batch writes 25 items; 26, and one key twice, are refused.", model("dynamodb",
        "BatchWriteItem"))
async def _(cloud):
    owner = unique()
    puts = [{"PutRequest": {"Item": key(owner, n)}} for n in range(26)]
    told = await call(cloud, "batch_write_item", RequestItems={cloud.table: puts[:25]})
    same(told["UnprocessedItems"], {}, "UnprocessedItems")
    await refused(cloud, "ValidationException", "batch_write_item", RequestItems={cloud.table: puts})
    await refused(cloud, "ValidationException", "batch_write_item", RequestItems={cloud.table: puts[:1] * 2})


@expect("table.item-size", "An item has up to 400 KB, the names of its attributes included.", LIMITS)
async def _(cloud):
    owner = unique()
    # The names and values of the key: owner 5 + 32, position 8 + 2 bytes; pad 3 bytes.
    room = 400 * 1024 - (5 + 32) - (8 + 2) - 3
    await call(cloud, "put_item", Item={**key(owner), "pad": {"S": "x" * (room - 8)}})
    await refused(cloud, "ValidationException", "put_item", Item={**key(owner), "pad": {"S": "x" * (room + 8)}})


@expect("table.empty", "An empty string is a value, not a key.", LIMITS)
async def _(cloud):
    owner = unique()
    await call(cloud, "put_item", Item={**key(owner), "a": {"S": ""}})
    same((await stored(cloud, owner))["a"], {"S": ""}, "the value")
    await refused(cloud, "ValidationException", "put_item", Item=key(""))


@expect("table.key-types", "A key of another type, or without its part, is refused.", model("dynamodb", "PutItem"))
async def _(cloud):
    for item in ({"owner": {"S": "x"}}, {"owner": {"N": "1"}, "position": {"N": "1"}},
                 {"owner": {"S": "x"}, "position": {"S": "1"}}):
        await refused(cloud, "ValidationException", "put_item", Item=item)
    wrong_index = {**key(unique()), "updated_at": {"S": "no number"}}
    await refused(cloud, "ValidationException", "put_item", Item=wrong_index)


@expect("table.unknown", "A table that does not exist: ResourceNotFoundException.", model("dynamodb",
        "ResourceNotFoundException"))
async def _(cloud):
    await refused(cloud, "ResourceNotFoundException", "get_item", TableName="nobody-has-it", Key=key("x"))


@expect("table.ttl", "Expiry is on, by the attribute that the template names.", model("dynamodb",
        "DescribeTimeToLive"))
async def _(cloud):
    told = await call(cloud, "describe_time_to_live")
    expected = {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}
    same(told["TimeToLiveDescription"], expected, "the description")


@expect("table.ttl.read", "What has expired may still be read: expiry decides nothing.", page(f"{GUIDE}TTL.html"))
async def _(cloud):
    owner = unique()
    await call(cloud, "put_item", Item={**key(owner), "expires_at": {"N": "1"}})
    item = await stored(cloud, owner)
    holds(item is None or item["expires_at"]["N"] == "1", f"it is {item}")

"""Expectations of DynamoDB, as far as Sparkle's tables rely on them."""

import asyncio

import botocore.exceptions
from suite import expect, same

CONDITION = "DynamoDB developer guide, Expressions.ConditionExpressions"
GRAMMAR = "DynamoDB developer guide, Expressions.OperatorsAndFunctions"
TRANSACTION = "DynamoDB API reference, TransactWriteItems"
QUOTAS = "DynamoDB developer guide, ServiceQuotas"


def key(owner, name="n"):
    return {"owner": {"S": owner}, "name": {"S": name}}


async def call(cloud, operation, **arguments):
    arguments.setdefault("TableName", cloud.table)
    if operation in ("transact_write_items", "batch_write_item"):
        del arguments["TableName"]
    return await asyncio.to_thread(getattr(cloud.dynamodb, operation), **arguments)


async def refused(code, cloud, operation, **arguments):
    try:
        await call(cloud, operation, **arguments)
    except botocore.exceptions.ClientError as error:
        same(error.response["Error"]["Code"], code)
        return error.response
    raise AssertionError("it was taken")


@expect("dynamodb.condition", "a put on the condition that nothing is there succeeds once", CONDITION)
async def _(cloud):
    owner = cloud.marker()
    put = {"Item": {**key(owner), "n": {"N": "1"}}, "ConditionExpression": "attribute_not_exists(#owner)",
           "ExpressionAttributeNames": {"#owner": "owner"}}
    await call(cloud, "put_item", **put)
    told = await refused("ConditionalCheckFailedException", cloud, "put_item", **put,
                         ReturnValuesOnConditionCheckFailure="ALL_OLD")
    same(told["Item"]["n"], {"N": "1"})


@expect("dynamodb.condition.arithmetic", "a condition knows no arithmetic", GRAMMAR)
async def _(cloud):
    await refused("ValidationException", cloud, "update_item", Key=key(cloud.marker()),
                  UpdateExpression="SET used = :n", ConditionExpression="used + :n <= top",
                  ExpressionAttributeValues={":n": {"N": "1"}})


@expect("dynamodb.reserved", "a reserved word is refused as a bare name", "DynamoDB developer guide, ReservedWords")
async def _(cloud):
    await refused("ValidationException", cloud, "update_item", Key=key(cloud.marker()),
                  UpdateExpression="SET position = :n", ExpressionAttributeValues={":n": {"N": "1"}})


@expect("dynamodb.update", "an update with if_not_exists and subtraction returns what it made", "DynamoDB developer guide, Expressions.UpdateExpressions")
async def _(cloud):
    update = {"Key": key(cloud.marker()), "UpdateExpression": "SET remaining = if_not_exists(remaining, :all) - :n",
              "ExpressionAttributeValues": {":all": {"N": "10"}, ":n": {"N": "3"}}, "ReturnValues": "ALL_NEW"}
    same((await call(cloud, "update_item", **update))["Attributes"]["remaining"], {"N": "7"})
    same((await call(cloud, "update_item", **update))["Attributes"]["remaining"], {"N": "4"})


@expect("dynamodb.transaction", "a transaction whose condition fails writes nothing and says which", TRANSACTION)
async def _(cloud):
    owner = cloud.marker()
    puts = [{"Put": {"TableName": cloud.table, "Item": key(owner, "a")}},
            {"Update": {"TableName": cloud.table, "Key": key(owner, "b"), "UpdateExpression": "SET n = :n",
                        "ConditionExpression": "n = :n", "ExpressionAttributeValues": {":n": {"N": "1"}}}}]
    told = await refused("TransactionCanceledException", cloud, "transact_write_items", TransactItems=puts)
    same([reason["Code"] for reason in told["CancellationReasons"]], ["None", "ConditionalCheckFailed"])
    assert "Item" not in await call(cloud, "get_item", Key=key(owner, "a"), ConsistentRead=True)


@expect("dynamodb.transaction.token", "a transaction with the token of one that is done does nothing more", TRANSACTION)
async def _(cloud):
    owner = cloud.marker()
    update = {"Update": {"TableName": cloud.table, "Key": key(owner), "UpdateExpression": "ADD n :n",
                         "ExpressionAttributeValues": {":n": {"N": "1"}}}}
    for _ in range(2):
        await call(cloud, "transact_write_items", TransactItems=[update], ClientRequestToken=owner)
    item = await call(cloud, "get_item", Key=key(owner), ConsistentRead=True)
    same(item["Item"]["n"], {"N": "1"})


@expect("dynamodb.transaction.token.other", "another transaction under that token is IdempotentParameterMismatch", TRANSACTION)
async def _(cloud):
    owner = cloud.marker()
    put = lambda name: [{"Put": {"TableName": cloud.table, "Item": key(owner, name)}}]
    await call(cloud, "transact_write_items", TransactItems=put("a"), ClientRequestToken=owner)
    await refused("IdempotentParameterMismatchException", cloud, "transact_write_items",
                  TransactItems=put("b"), ClientRequestToken=owner)


@expect("dynamodb.transaction.same-item", "a transaction with two writes of one item is refused", TRANSACTION)
async def _(cloud):
    put = {"Put": {"TableName": cloud.table, "Item": key(cloud.marker())}}
    await refused("ValidationException", cloud, "transact_write_items", TransactItems=[put, put])


@expect("dynamodb.query.index", "a local index is read in order, backwards and strongly consistent", "DynamoDB developer guide, LSI")
async def _(cloud):
    owner = cloud.marker()
    for time in [3, 1, 2]:
        await call(cloud, "put_item", Item={**key(owner, f"n{time}"), "time": {"N": str(time)}})
    found = await call(cloud, "query", IndexName="by_time", ConsistentRead=True, ScanIndexForward=False, Limit=2,
                       KeyConditionExpression="#owner = :owner AND #time < :before",
                       ExpressionAttributeNames={"#owner": "owner", "#time": "time"},
                       ExpressionAttributeValues={":owner": {"S": owner}, ":before": {"N": "99"}})
    same([item["time"]["N"] for item in found["Items"]], ["3", "2"])
    assert found["LastEvaluatedKey"]


@expect("dynamodb.batch", "a batch writes 25 items and refuses 26", "DynamoDB API reference, BatchWriteItem")
async def _(cloud):
    owner = cloud.marker()
    puts = [{"PutRequest": {"Item": key(owner, f"n{n}")}} for n in range(26)]
    await call(cloud, "batch_write_item", RequestItems={cloud.table: puts[:25]})
    await refused("ValidationException", cloud, "batch_write_item", RequestItems={cloud.table: puts})


@expect("dynamodb.size", "an item over 400 KB is refused", QUOTAS)
async def _(cloud):
    item = {**key(cloud.marker()), "text": {"S": "x" * (400 * 1024)}}
    await refused("ValidationException", cloud, "put_item", Item=item)


@expect("dynamodb.empty-key", "an empty key is refused", QUOTAS)
async def _(cloud):
    await refused("ValidationException", cloud, "put_item", Item=key(""))


@expect("dynamodb.ttl", "expiry is switched on by the attribute that the template names", "DynamoDB API reference, DescribeTimeToLive")
async def _(cloud):
    told = await call(cloud, "describe_time_to_live")
    same(told["TimeToLiveDescription"], {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"})

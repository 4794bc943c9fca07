//! The embedded engines without their sockets: tables, queues, and what a call to them says.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use dynoxide::{Database, DynoxideError};
use http::{Request, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sparkle_local::{sqs::Sqs, template::Template};

use crate::clock::Clock;

/// Where a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    Dynamo,
    Sqs,
    Sockets,
}

/// One call of a function, as the wire shows it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) service: Service,
    pub(crate) operation: String,
    /// Table and key, queue, or connection.
    pub(crate) about: String,
    pub(crate) body: Value,
    pub(crate) request: Request<Bytes>,
    /// What its process asked, if it asks something else now.
    meant: Option<Value>,
}

impl Call {
    pub(crate) fn read(request: Request<Bytes>) -> Self {
        let target = request.headers().get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let (service, operation) = match target.and_then(|target| target.split_once('.')) {
            Some(("AmazonSQS", operation)) => (Service::Sqs, operation.to_owned()),
            Some((_, operation)) => (Service::Dynamo, operation.to_owned()),
            None => (Service::Sockets, request.method().as_str().to_owned()),
        };
        let body = match service {
            Service::Sockets => Value::Null,
            _ => serde_json::from_slice(request.body()).unwrap_or_default(),
        };
        let about = match service {
            Service::Dynamo => about_tables(&operation, &body),
            Service::Sqs => String::new(),
            Service::Sockets => {
                let path = request.uri().path();
                path.rsplit('/').next().unwrap_or_default().to_owned()
            }
        };
        Self {
            service,
            operation,
            about,
            body,
            request,
            meant: None,
        }
    }

    /// Changes what is asked.
    pub(crate) fn rewrite(&mut self, change: impl FnOnce(&mut Value)) {
        self.meant.get_or_insert_with(|| self.body.clone());
        change(&mut self.body);
        *self.request.body_mut() = Bytes::from(self.body.to_string());
    }

    /// What its process asked, whatever a mutation has made of it.
    pub(crate) fn meant(&self) -> &Value {
        self.meant.as_ref().unwrap_or(&self.body)
    }

    pub(crate) fn table(&self) -> &str {
        self.body["TableName"].as_str().unwrap_or_default()
    }
}

fn about_tables(operation: &str, body: &Value) -> String {
    if operation == "TransactWriteItems" {
        let items = body["TransactItems"].as_array().into_iter().flatten();
        let parts = items.flat_map(|item| item.as_object().into_iter().flatten());
        let about = parts.map(|(_, part)| about_table(part));
        return about.collect::<Vec<_>>().join("+");
    }
    about_table(body)
}

fn about_table(body: &Value) -> String {
    let table = body["TableName"].as_str().unwrap_or_default();
    let key = body.get("Key").or_else(|| body.get("Item"));
    let part = |name: &str| key.and_then(|key| text(&key[name]));
    let parts = [
        "session_id",
        "request_id",
        "turn",
        "seq",
        "position",
        "connection_id",
        "call_id",
        "call",
    ];
    let mut key: Vec<&str> = parts.into_iter().filter_map(part).collect();
    if table == "AccountsTable" {
        key.extend(part("user_id"));
    }
    format!("{}/{}", table.trim_end_matches("Table"), key.join("/"))
}

/// What a string or number of DynamoDB's holds.
pub(crate) fn text(value: &Value) -> Option<&str> {
    value["S"].as_str().or_else(|| value["N"].as_str())
}

/// Tables and queues of the template, in memory.
pub(crate) struct Engines {
    clock: Clock,
    dynamo: Database,
    /// A copy that is behind, where a run is to read one.
    replica: Option<Replica>,
    pub(crate) sqs: Sqs,
}

/// A database that does every write later.
struct Replica {
    dynamo: Database,
    writes: Mutex<VecDeque<(u64, String, Bytes)>>,
}

/// How far a replica is behind.
const LAG_MS: u64 = 800;

impl Engines {
    pub(crate) fn open(template: &Template, clock: Clock, is_replicated: bool) -> Self {
        let dynamo = tables(template, clock);
        let replica = is_replicated.then(|| Replica {
            dynamo: tables(template, clock),
            writes: Mutex::default(),
        });
        let ticks = Arc::new(move || clock.unix_ms());
        let queues = template.queues.clone();
        let sqs = Sqs::open_with_clock(None, queues, "http://sqs".to_owned(), ticks).unwrap();
        Self {
            clock,
            dynamo,
            replica,
            sqs: sqs.on_this_thread(),
        }
    }

    /// Does what a call to a table or queue asks.
    pub(crate) async fn answer(&self, call: &Call) -> Response<Bytes> {
        if call.service == Service::Sqs {
            return self.sqs.answer(&call.request).await;
        }
        let body = call.request.body();
        let done = operate(&self.dynamo, &call.operation, body);
        if let (Some(replica), Ok(_)) = (&self.replica, &done) {
            let write = (
                self.clock.elapsed_ms(),
                call.operation.clone(),
                body.clone(),
            );
            replica.writes.lock().unwrap().push_back(write);
        }
        shown(done)
    }

    /// Answers a read from the copy that is behind.
    pub(crate) async fn answer_stale(&self, call: &Call) -> Response<Bytes> {
        let Some(replica) = &self.replica else {
            return self.answer(call).await;
        };
        let until_ms = self.clock.elapsed_ms().saturating_sub(LAG_MS);
        let mut writes = replica.writes.lock().unwrap();
        while let Some((at_ms, operation, body)) = writes.pop_front() {
            if at_ms > until_ms {
                writes.push_front((at_ms, operation, body));
                break;
            }
            operate(&replica.dynamo, &operation, &body).unwrap();
        }
        shown(operate(
            &replica.dynamo,
            &call.operation,
            call.request.body(),
        ))
    }

    /// What a call that is not done is answered with.
    pub(crate) fn pretend(&self, call: &Call) -> String {
        if call.operation != "SendMessage" {
            return "{}".to_owned();
        }
        let body = call.body["MessageBody"].as_str().unwrap_or_default();
        let md5 = format!("{:x}", md5::compute(body));
        json!({ "MessageId": "none", "MD5OfMessageBody": md5 }).to_string()
    }

    /// Asks a table from outside of any function.
    pub(crate) fn ask(&self, operation: &str, body: &Value) -> Value {
        let answer = operate(&self.dynamo, operation, body.to_string().as_bytes());
        serde_json::from_str(&answer.unwrap()).unwrap()
    }

    /// Every item of a table.
    pub(crate) fn items(&self, table: &str) -> Vec<Value> {
        let body = json!({ "TableName": table, "ConsistentRead": true });
        let found = self.ask("Scan", &body);
        found["Items"].as_array().cloned().unwrap_or_default()
    }
}

fn tables(template: &Template, clock: Clock) -> Database {
    let dynamo = Database::memory_with_clock(Arc::new(clock)).unwrap();
    for table in &template.tables {
        let create = serde_json::from_value(table.create.clone()).unwrap();
        dynamo.create_table(create).unwrap();
    }
    dynamo
}

fn shown(done: Result<String, DynoxideError>) -> Response<Bytes> {
    match done {
        Ok(body) => respond(StatusCode::OK, body),
        Err(error) => {
            let status = StatusCode::from_u16(error.status_code()).unwrap();
            respond(status, error.to_json())
        }
    }
}

fn operate(db: &Database, operation: &str, body: &[u8]) -> Result<String, DynoxideError> {
    match operation {
        "GetItem" => through(body, |request| db.get_item(request)),
        "PutItem" => through(body, |request| db.put_item(request)),
        "UpdateItem" => through(body, |request| db.update_item(request)),
        "DeleteItem" => through(body, |request| db.delete_item(request)),
        "Query" => through(body, |request| db.query(request)),
        "Scan" => through(body, |request| db.scan(request)),
        "BatchGetItem" => through(body, |request| db.batch_get_item(request)),
        "BatchWriteItem" => through(body, |request| db.batch_write_item(request)),
        "TransactWriteItems" => through(body, |request| db.transact_write_items(request)),
        "TransactGetItems" => through(body, |request| db.transact_get_items(request)),
        other => panic!("the simulation does not serve {other}"),
    }
}

fn through<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    operate: impl FnOnce(Q) -> Result<A, DynoxideError>,
) -> Result<String, DynoxideError> {
    let request = serde_json::from_slice(body).unwrap();
    Ok(serde_json::to_string(&operate(request)?).unwrap())
}

fn respond(status: StatusCode, body: String) -> Response<Bytes> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/x-amz-json-1.0");
    response.body(Bytes::from(body)).unwrap()
}

/// A member of an item, empty where there is none.
pub(crate) fn word<'a>(item: &'a Value, name: &str) -> &'a str {
    text(&item[name]).unwrap_or_default()
}

/// The same as a number, 0 where there is none.
pub(crate) fn number(item: &Value, name: &str) -> u64 {
    word(item, name).parse().unwrap_or_default()
}

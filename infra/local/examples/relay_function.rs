//! A function for the tests of the local gateway: it hands every event to the test over TCP, and
//! answers what the test says. `RELAY` is the test's address.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(relay)).await
}

async fn relay(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let address = std::env::var_os("RELAY").and_then(|address| address.into_string().ok());
    let address = address.ok_or("RELAY is not set")?;
    let mut test = BufReader::new(TcpStream::connect(address).await?);
    let call = json!({
        "function": event.context.env_config.function_name,
        "trace": event.context.xray_trace_id,
        "event": event.payload,
    });
    test.write_all(format!("{call}\n").as_bytes()).await?;
    let mut said = String::new();
    test.read_line(&mut said).await?;
    let said: Value = serde_json::from_str(&said)?;
    match said.get("error").and_then(Value::as_str) {
        Some(message) => Err(message.into()),
        None => Ok(said.get("answer").cloned().unwrap_or_default()),
    }
}

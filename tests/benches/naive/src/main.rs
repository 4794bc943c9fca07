//! A function that reads a table, writes to it, sends to a queue and posts to a socket.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().json().init();
    let config = aws_config::load_from_env().await;
    let dynamodb = aws_sdk_dynamodb::Client::new(&config);
    let sqs = aws_sdk_sqs::Client::new(&config);
    let gateway = aws_sdk_apigatewaymanagement::Client::new(&config);
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        dynamodb.get_item().table_name("t").send().await?;
        dynamodb.put_item().table_name("t").send().await?;
        dynamodb.update_item().table_name("t").send().await?;
        dynamodb.query().table_name("t").send().await?;
        sqs.send_message().message_body("m").send().await?;
        gateway.post_to_connection().connection_id("c").send().await?;
        Ok::<_, Error>(event.payload)
    }))
    .await
}

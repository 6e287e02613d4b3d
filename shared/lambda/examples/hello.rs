//! The smallest Lambda in Rust: what `tests/bench/startup` compares the functions with.

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    lambda_runtime::run(service_fn(|_: LambdaEvent<Value>| async {
        Ok::<_, gennaker_lambda::Error>(json!({}))
    }))
    .await
}

//! The `receive-webhook` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_function(gennaker_receive_webhook::ReceiveWebhook::connect).await
}

//! The `notify` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_function(gennaker_notify::Notify::connect).await
}

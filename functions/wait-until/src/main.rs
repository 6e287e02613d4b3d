//! The `wait-until` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_wait_until::WaitUntil::connect).await
}

//! The `pin-server-group` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_pin_server_group::PinServerGroup::connect).await
}

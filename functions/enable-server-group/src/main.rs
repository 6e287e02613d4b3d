//! The `enable-server-group` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_enable_server_group::EnableServerGroup::connect).await
}

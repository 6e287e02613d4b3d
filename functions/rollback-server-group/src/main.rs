//! The `rollback-server-group` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_rollback_server_group::RollbackServerGroup::connect).await
}

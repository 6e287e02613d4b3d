//! The `rollback-cluster` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_rollback_cluster::RollbackCluster::connect).await
}

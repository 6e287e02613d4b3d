//! The `apply-source-server-group-capacity` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_apply_source_server_group_capacity::ApplySourceServerGroupCapacity::connect,
    )
    .await
}

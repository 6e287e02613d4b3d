//! The `determine-target-server-group` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_determine_target_server_group::DetermineTargetServerGroup::connect,
    )
    .await
}

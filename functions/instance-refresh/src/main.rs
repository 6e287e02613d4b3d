//! The `instance-refresh` function.

use gennaker_server_groups::Guarded;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(|connection| {
        Guarded::connect(
            connection,
            gennaker_instance_refresh::InstanceRefresh::connect,
        )
    })
    .await
}

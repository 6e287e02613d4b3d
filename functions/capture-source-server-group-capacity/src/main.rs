//! The `capture-source-server-group-capacity` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_capture_source_server_group_capacity::CaptureSourceServerGroupCapacity::connect,
    )
    .await
}

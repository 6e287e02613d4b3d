//! The `poll-builds` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_function(gennaker_poll_builds::PollBuilds::connect).await
}

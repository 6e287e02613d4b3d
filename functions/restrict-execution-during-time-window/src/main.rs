//! The `restrict-execution-during-time-window` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_restrict_execution_during_time_window::RestrictExecutionDuringTimeWindow::connect,
    )
    .await
}

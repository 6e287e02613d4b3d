//! The `find-artifact-from-execution` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_find_artifact_from_execution::FindArtifactFromExecution::connect,
    )
    .await
}

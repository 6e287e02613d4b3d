//! The `evaluate-artifacts` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_evaluate_artifacts::EvaluateArtifacts::connect).await
}

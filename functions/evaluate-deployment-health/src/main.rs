//! The `evaluate-deployment-health` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(
        gennaker_evaluate_deployment_health::EvaluateDeploymentHealth::connect,
    )
    .await
}

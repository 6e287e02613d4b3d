//! The `depends-on-execution` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_depends_on_execution::DependsOnExecution::connect).await
}

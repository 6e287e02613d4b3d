//! The `modify-warm-pool` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_modify_warm_pool::ModifyWarmPool::connect).await
}

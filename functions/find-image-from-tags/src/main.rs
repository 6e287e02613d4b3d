//! The `find-image-from-tags` function.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), gennaker_lambda::Error> {
    gennaker_lambda::run_stage(gennaker_find_image_from_tags::FindImageFromTags::connect).await
}

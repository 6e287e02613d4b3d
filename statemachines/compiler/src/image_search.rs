//! Whether a `findImageFromTags` stage can find anything.

use gennaker_domain::Problem;
use gennaker_domain::deployment::find_image_from_tags::{FindImageFromTags, Unusable};

use crate::parse::Stage;

/// The problem of a stage that fails whatever images there are. A warning: Spinnaker runs it, and it may never start.
///
/// What an expression says is known when the stage starts, and so are the regions of later deploys.
pub fn unusable(stage: &Stage) -> Option<Problem> {
    let open = |field: &str| {
        let value = stage.context.get(field);
        value.is_some_and(|value| value.to_string().contains("${"))
    };
    let later = ["later".to_owned()];
    let error = FindImageFromTags::from_context(&stage.context, &later).err()?;
    let field = error.field();
    if open(field) {
        return None;
    }
    let hint = match error {
        Unusable::Tags(_) => "write `\"tags\": {\"stack\": \"prod\"}`, or leave it out",
        _ => {
            "`packageName` is a part of the images' names, a pattern with `*` and `?`, or an image id"
        }
    };
    Some(
        Problem::warning(
            "image-search-finds-nothing",
            format!("{}.{field}", stage.path),
            error.to_string(),
        )
        .at_stage(&stage.ref_id)
        .with_hint(hint),
    )
}

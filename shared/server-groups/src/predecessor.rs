//! What a group's tags say of the one that it took over from: the way back knows by it which image ran before.

use gennaker_cloud::auto_scaling::Group;
use gennaker_domain::deployment::rollback::PreviousImage;

/// The tag with the predecessor's name.
pub const GROUP_TAG: &str = "gennaker:previous-server-group";
/// The tag with the id of the image that it ran.
pub const IMAGE_TAG: &str = "gennaker:previous-image";
/// The tag with the name of that image, where it is known.
pub const IMAGE_NAME_TAG: &str = "gennaker:previous-image-name";

/// The image that the group's predecessor ran.
#[must_use]
pub fn previous_image(group: &Group) -> Option<PreviousImage> {
    let image_id = group.tags.get(IMAGE_TAG)?.clone();
    Some(PreviousImage {
        image_name: group
            .tags
            .get(IMAGE_NAME_TAG)
            .cloned()
            .unwrap_or_else(|| image_id.clone()),
        image_id,
        build_number: None,
    })
}

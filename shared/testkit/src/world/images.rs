//! The images of the world.

use std::collections::BTreeMap;

use gennaker_cloud::CloudError;
use gennaker_cloud::ec2::{Image, MOST_IMAGES, too_many_images};

use super::{State, World};

/// The account whose images these are, and that reads them.
const OWNER: &str = "123456789012";

impl State {
    pub(super) fn add_image(&mut self, id: &str, name: &str) {
        self.images.push(Image {
            id: id.to_owned(),
            name: name.to_owned(),
            owner: OWNER.to_owned(),
            state: "available".to_owned(),
            created: "2026-01-01T00:00:00.000Z".to_owned(),
            tags: BTreeMap::new(),
        });
    }
}

impl World {
    /// Adds an image that is available in every region.
    pub fn add_image(&self, id: &str, name: &str) {
        self.lock().add_image(id, name);
    }

    /// Registers an image in a region, in place of the one that had its id. One without an owner is the account's own.
    pub fn register_image(&self, region: &str, image: Image) {
        let mut state = self.lock();
        state.images.retain(|known| known.id != image.id);
        state
            .image_regions
            .insert(image.id.clone(), region.to_owned());
        let owner = Some(image.owner.clone()).filter(|owner| !owner.is_empty());
        state.images.push(Image {
            owner: owner.unwrap_or_else(|| OWNER.to_owned()),
            ..image
        });
    }

    /// An image is deregistered: nothing launches from it any more.
    pub fn deregister_image(&self, id: &str) {
        self.lock().images.retain(|image| image.id != id);
    }

    /// A call to EC2 that reads images of this world's region.
    pub(super) fn images_where(
        &self,
        asked: &str,
        wanted: impl Fn(&Image) -> bool,
    ) -> Result<Vec<Image>, CloudError> {
        self.call("ec2:DescribeImages", asked, |state| {
            let here = |image: &&Image| {
                let region = state.image_regions.get(&image.id);
                region.is_none_or(|region| region == self.region())
            };
            let found = state.images.iter().filter(here);
            let found: Vec<Image> = found.filter(|image| wanted(image)).cloned().collect();
            if found.len() > MOST_IMAGES {
                return Err(too_many_images(asked));
            }
            Ok(found)
        })
    }
}

/// Whether one of the owners asked for owns the image.
pub(super) fn is_owned(image: &Image, owners: &[String]) -> bool {
    owners
        .iter()
        .any(|owner| *owner == image.owner || owner == "self" && image.owner == OWNER)
}

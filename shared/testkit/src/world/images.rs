//! The images of the world.

use std::collections::BTreeMap;

use gennaker_cloud::ec2::{Image, MOST_IMAGES, too_many_images};
use gennaker_cloud::{Account, CloudError};

use super::{State, World, refused};

/// The account that the functions run in, and whose images these are unless they are another's.
const OWNER: &str = "123456789012";
/// As many tags an image has in one account.
const MOST_TAGS: usize = 50;

/// Who may launch an image that another account owns.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// Everybody may.
    public: bool,
    /// Why its owner may share it with nobody.
    unshareable: Option<String>,
    /// Accounts that may, each with when it sees the image first.
    permitted: BTreeMap<String, i64>,
    /// The tags that accounts other than its owner gave it.
    tags: BTreeMap<String, BTreeMap<String, String>>,
}

impl Access {
    /// What holds of images that nobody said anything else about.
    fn of_everybody() -> Self {
        Self {
            public: true,
            ..Self::default()
        }
    }
}

impl State {
    /// The image as an account sees it, if it does.
    fn seen(&self, image: &Image, account: &str) -> Option<Image> {
        let Some(access) = self.image_access.get(&image.id) else {
            return Some(image.clone());
        };
        if image.owner == account {
            return Some(image.clone());
        }
        let since = access.permitted.get(account);
        let visible = access.public || since.is_some_and(|since| *since <= self.now);
        visible.then(|| Image {
            public: access.public,
            tags: access.tags.get(account).cloned().unwrap_or_default(),
            ..image.clone()
        })
    }

    /// Whether a launch from the image is no error of the account: what is not known here is not looked at.
    pub(super) fn may_launch(&self, image: &str, account: &str) -> bool {
        let known = self.images.iter().find(|known| known.id == image);
        known.is_none_or(|known| self.seen(known, account).is_some())
    }

    fn access(&mut self, image: &str) -> &mut Access {
        let access = self.image_access.entry(image.to_owned());
        access.or_insert_with(Access::of_everybody)
    }

    /// An account whose role may not be assumed, or whose answers are lost.
    fn is_open(&self, account: &str) -> Result<(), CloudError> {
        match self.closed_accounts.get(account) {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    pub(super) fn add_image(&mut self, id: &str, name: &str) {
        self.images.push(Image {
            id: id.to_owned(),
            name: name.to_owned(),
            owner: OWNER.to_owned(),
            state: "available".to_owned(),
            created: "2026-01-01T00:00:00.000Z".to_owned(),
            ..Image::default()
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

    /// The same world, seen from another account: without a role it is the one that the functions run in.
    #[must_use]
    pub(super) fn in_account(&self, account: &Account) -> Self {
        Self {
            account: account.role.as_ref().map(|_| account.account_id.clone()),
            ..self.clone()
        }
    }

    pub(super) fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(OWNER)
    }

    /// Registers an image that its owner alone sees, in every region.
    pub fn add_private_image(&self, image: Image) {
        let mut state = self.lock();
        state
            .image_access
            .insert(image.id.clone(), Access::default());
        state.images.push(image);
    }

    fn change_access(&self, image: &str, change: impl FnOnce(&mut Access)) {
        change(self.lock().access(image));
    }

    /// Everybody may launch an image.
    pub fn make_public(&self, image: &str) {
        self.change_access(image, |access| access.public = true);
    }

    /// An image is shared with an account, which sees it from now on, without a call.
    pub fn permit(&self, image: &str, account_id: &str) {
        let now = self.now();
        self.change_access(image, |access| {
            access.permitted.insert(account_id.to_owned(), now);
        });
    }

    /// The owner of an image is refused to share it, with these words.
    pub fn refuse_to_share(&self, image: &str, message: &str) {
        self.change_access(image, |access| {
            access.unshareable = Some(message.to_owned())
        });
    }

    /// Every call about images in an account is answered so from now on, as by a role that may not be assumed.
    pub fn close_account(&self, account_id: &str, answer: CloudError) {
        let mut state = self.lock();
        state.closed_accounts.insert(account_id.to_owned(), answer);
    }

    /// Sets a tag of an image in an account that does not own it, without a call.
    pub fn tag_shared_image(&self, image: &str, account_id: &str, key: &str, value: &str) {
        self.change_access(image, |access| {
            let tags = access.tags.entry(account_id.to_owned()).or_default();
            tags.insert(key.to_owned(), value.to_owned());
        });
    }

    /// Each permission to launch an image, with the tags that its account gave the image, sorted; no call, never a fault.
    #[must_use]
    pub fn shares(&self) -> Vec<String> {
        let state = self.lock();
        let of_image = |(image, access): (&String, &Access)| -> Vec<String> {
            let tags = |account: &String| {
                let tags = access.tags.get(account).into_iter().flatten();
                let tags: Vec<String> = tags.map(|(key, value)| format!("{key}={value}")).collect();
                tags.join(", ")
            };
            let permitted = access.permitted.keys();
            permitted
                .map(|account| format!("{image} with {account} [{}]", tags(account)))
                .collect()
        };
        state.image_access.iter().flat_map(of_image).collect()
    }

    /// A call that permits an account to launch an image of this one.
    pub(super) fn permit_launch(&self, id: &str, account_id: &str) -> Result<(), CloudError> {
        const OPERATION: &str = "ec2:ModifyImageAttribute";
        self.call(OPERATION, id, |state| {
            state.is_open(self.account())?;
            let owned = |image: &&super::Image| image.id == id && image.owner == self.account();
            if !state.images.iter().any(|image| owned(&image)) {
                let message = format!("The image id '[{id}]' does not exist");
                return Err(refused(OPERATION, id, "InvalidAMIID.NotFound", &message));
            }
            let visible_at = state.now.saturating_add(state.behaviour.sharing_millis);
            let access = state.access(id);
            if let Some(message) = &access.unshareable {
                return Err(refused(OPERATION, id, "InvalidParameter", message));
            }
            let permitted = &mut access.permitted;
            permitted.entry(account_id.to_owned()).or_insert(visible_at);
            Ok(())
        })
    }

    /// A call that changes the tags that this account gave an image.
    pub(super) fn change_tags(
        &self,
        operation: &str,
        id: &str,
        change: impl FnOnce(&mut BTreeMap<String, String>),
    ) -> Result<(), CloudError> {
        self.call(operation, id, |state| {
            state.is_open(self.account())?;
            let image = state.images.iter().position(|image| image.id == id);
            let seen = image.and_then(|at| state.seen(state.images.get(at)?, self.account()));
            let (Some(at), Some(seen)) = (image, seen) else {
                let message = format!("The image ID '{id}' does not exist");
                return Err(refused(operation, id, "InvalidAMIID.NotFound", &message));
            };
            let before = seen.tags;
            let mut tags = before.clone();
            change(&mut tags);
            let reserved = |tags: &BTreeMap<String, String>| -> BTreeMap<String, String> {
                let own = tags.iter().filter(|(key, _)| key.starts_with("aws:"));
                own.map(|(key, value)| (key.clone(), value.clone()))
                    .collect()
            };
            if reserved(&before) != reserved(&tags) {
                let message = "Tag keys starting with 'aws:' are reserved for internal use";
                return Err(refused(operation, id, "InvalidParameterValue", message));
            }
            if tags.len() > MOST_TAGS {
                let message = "The maximum number of Tags for a resource has been reached";
                return Err(refused(operation, id, "TagLimitExceeded", message));
            }
            match state.images.get_mut(at) {
                Some(image) if image.owner == self.account() => image.tags = tags,
                _ => {
                    let access = state.access(id);
                    access.tags.insert(self.account().to_owned(), tags);
                }
            }
            Ok(())
        })
    }

    /// An image is deregistered: nothing launches from it any more.
    pub fn deregister_image(&self, id: &str) {
        self.lock().images.retain(|image| image.id != id);
    }

    /// A call to EC2 that reads those images of this world's region that the account sees.
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
            state.is_open(self.account())?;
            let found = state.images.iter().filter(here);
            let found: Vec<Image> = found
                .filter(|image| wanted(image))
                .filter_map(|image| state.seen(image, self.account()))
                .collect();
            if found.len() > MOST_IMAGES {
                return Err(too_many_images(asked));
            }
            Ok(found)
        })
    }
}

/// Whether one of the owners asked for owns the image; `account` is the one that asks.
pub(super) fn is_owned(image: &Image, owners: &[String], account: &str) -> bool {
    owners
        .iter()
        .any(|owner| *owner == image.owner || owner == "self" && image.owner == account)
}

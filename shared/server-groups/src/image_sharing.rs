//! An image of another account is shared with the account that is deployed to, with its tags, before anything is launched.
//!
//! Spinnaker's deploy does so (`allowLaunchDescription`). What is visible where it is deployed to is taken as it is. Else
//! the image is looked for among the images that other accounts own (`image_owners`), its owner permits the account to
//! launch it, and the account, whose view lags behind, gives it the owner's tags: tags are per account. A share is announced
//! in the intent log, so that one that died half way is finished by the next try. Nothing takes it back: another
//! execution may rely on the permission.

use futures::StreamExt;
use futures::stream;
use gennaker_cloud::ec2::{Image, ImageRef};
use gennaker_cloud::{Account, CloudError, Ec2, Ec2Clouds};
use gennaker_domain::Intent;
use gennaker_lambda::{Invocation, StageError, Undo};
use serde_json::json;

use crate::Place;
use crate::config::undo_text;
use crate::image_owners::{
    Answers, asked_in_turn, chosen, functions_account, meant, newest_available, tag_changes,
};

/// Begin of the actions of the intents.
const ACTION: &str = "share-image";
/// How long the account may not see an image that was shared with it: ten minutes, where seconds are usual.
const VISIBLE_WITHIN_MILLIS: i64 = 10 * 60 * 1_000;
/// How long an account that gives no answer is asked again: a minute, more than a hiccup takes, and a role that may not be
/// assumed gives none, either.
const ASKED_AGAIN_MILLIS: i64 = 60 * 1_000;
/// Accounts that are asked at the same time.
const AT_ONCE: usize = 8;

/// What a stage wants to launch, and where.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Where it is deployed to.
    pub place: &'a Place,
    /// The image.
    pub image: &'a ImageRef,
    /// The field that an error is about.
    pub field: &'a str,
    /// The account in which an earlier stage found or baked the image, by name or id, if it says so.
    pub upstream: Option<&'a str>,
    /// What earlier tries of the stage announced.
    pub intents: &'a [Intent],
}

/// Whether the image can be launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Launchable {
    /// It can.
    Now(Image),
    /// Not yet, and why.
    Waiting(String),
}

/// A share that an earlier try of the stage announced.
struct Share {
    image: String,
    owner: String,
    at: i64,
    done: bool,
}

impl Share {
    fn action(region: &str, image: &str) -> String {
        format!("{ACTION} {region} {image}")
    }

    /// The newest one of the image that is wanted: once decided, it stays the same image, whatever else gets its name.
    fn begun(wanted: &Wanted<'_>) -> Option<Self> {
        let is_about = |intent: &&Intent| {
            let begin = format!("{ACTION} {} ", wanted.place.region);
            intent.action.starts_with(&begin)
                && undo_text(intent, "account") == wanted.place.account.name
                && undo_text(intent, "asked") == wanted.image.as_str()
        };
        let intent = wanted.intents.iter().rev().find(is_about)?;
        Some(Self {
            image: undo_text(intent, "image").to_owned(),
            owner: undo_text(intent, "owner").to_owned(),
            at: intent.at,
            done: intent.done,
        })
    }

    /// The record of the owner's account.
    async fn owner(&self, invocation: &Invocation<'_>) -> Result<Account, StageError> {
        if self.owner.is_empty() {
            return Ok(functions_account());
        }
        crate::clouds::account_named(invocation, &self.owner).await
    }
}

/// The image, visible where it is deployed to and with its owner's tags if this stage had to share it.
///
/// # Errors
/// [`StageError::InvalidConfiguration`] where nobody has it, with everyone who was asked and everyone who could not be, or
/// where it stays invisible; and those of EC2: an image that its owner may not share is refused by it.
pub async fn launchable(
    invocation: &Invocation<'_>,
    clouds: &dyn Ec2Clouds,
    wanted: &Wanted<'_>,
) -> Result<Launchable, StageError> {
    let Wanted { place, image, .. } = *wanted;
    let ec2 = clouds
        .ec2(&place.account, &place.region, invocation.run)
        .await;
    let begun = Share::begun(wanted);
    let decided = begun.as_ref().map(|b| ImageRef::Id(b.image.clone()));
    let asked = decided.as_ref().unwrap_or(image);
    let seen = visible(&*ec2, asked).await?;
    let open = begun.filter(|share| !share.done);
    let named = match asked {
        ImageRef::Id(_) => seen.first(),
        ImageRef::Name(_) => {
            let others = |seen: &Image| seen.owner != place.account.account_id;
            let known = match seen.iter().any(others) {
                true => Account::all(invocation.store()).await?,
                false => Vec::new(),
            };
            meant(&seen, &place.account, &known)
        }
    };
    match (named, open) {
        (Some(image), open) if image.state == "available" => {
            let Some(share) = open else {
                return Ok(Launchable::Now(image.clone()));
            };
            invocation.may_change()?;
            let owner = share.owner(invocation).await?;
            finish(invocation, clouds, wanted, &owner, image).await?;
            Ok(Launchable::Now(image.clone()))
        }
        (Some(other), _) => Err(StageError::invalid(
            wanted.field,
            format!("image `{image}` is {} in {place:?}", other.state),
        )),
        (None, open) => {
            // Not by a glance: what others own is asked for by a call that may share it.
            invocation.may_change()?;
            let (owner, id) = match open {
                Some(share) if invocation.now > share.at.saturating_add(VISIBLE_WITHIN_MILLIS) => {
                    return Err(stays_invisible(wanted, &share));
                }
                Some(share) => (share.owner(invocation).await?, share.image),
                None => match search(invocation, clouds, wanted, seen).await? {
                    Search::Found(owner, id) => (owner, id),
                    Search::AskAgain(reason) => return Ok(Launchable::Waiting(reason)),
                },
            };
            share(invocation, clouds, wanted, &owner, &id).await
        }
    }
}

/// The undo of a share, if the intent is one: the permission stays.
#[must_use]
pub fn undo(intent: &Intent) -> Option<Undo> {
    intent.action.starts_with(ACTION).then(|| Undo::Done {
        result: format!(
            "image `{}` stays shared with account `{}`",
            undo_text(intent, "image"),
            undo_text(intent, "account")
        ),
    })
}

fn stays_invisible(wanted: &Wanted<'_>, share: &Share) -> StageError {
    let place = wanted.place;
    let minutes = VISIBLE_WITHIN_MILLIS / 60_000;
    StageError::invalid(
        wanted.field,
        format!(
            "image `{}` does not show in {place:?} {minutes} minutes after it was shared with account {}; \
             whether its owner still permits it, `aws ec2 describe-image-attribute --attribute launchPermission` tells",
            share.image, place.account.account_id
        ),
    )
}

/// The images that an account may launch.
async fn visible(ec2: &dyn Ec2, image: &ImageRef) -> Result<Vec<Image>, CloudError> {
    match image {
        ImageRef::Id(id) => ec2.images(std::slice::from_ref(id)).await,
        ImageRef::Name(name) => ec2.images_named(name).await,
    }
}

/// Permits the account to launch the image, and finishes the share if the account sees it already.
async fn share(
    invocation: &Invocation<'_>,
    clouds: &dyn Ec2Clouds,
    wanted: &Wanted<'_>,
    owner: &Account,
    id: &str,
) -> Result<Launchable, StageError> {
    let place = wanted.place;
    let action = Share::action(&place.region, id);
    let undo = json!({
        "account": place.account.name,
        "region": place.region,
        "asked": wanted.image.as_str(),
        "image": id,
        "owner": owner.name,
    });
    invocation.intend(&action, undo).await?;
    let ec2 = clouds.ec2(owner, &place.region, invocation.run).await;
    ec2.share_image(id, &place.account.account_id).await?;
    tracing::info!(execution = %invocation.run.execution, stage = invocation.stage.ref_id, image = id, owner = owner.name, account = place.account.name, region = place.region, "image shared");
    let ec2 = clouds
        .ec2(&place.account, &place.region, invocation.run)
        .await;
    let seen = visible(&*ec2, &ImageRef::Id(id.to_owned())).await?;
    let Some(image) = newest_available(&seen) else {
        return Ok(Launchable::Waiting(format!(
            "image `{id}` was shared with account `{}` and does not show there yet",
            place.account.name
        )));
    };
    finish(invocation, clouds, wanted, owner, image).await?;
    Ok(Launchable::Now(image.clone()))
}

/// Gives the image the owner's tags in the account that sees it now, and marks the share as done.
async fn finish(
    invocation: &Invocation<'_>,
    clouds: &dyn Ec2Clouds,
    wanted: &Wanted<'_>,
    owner: &Account,
    image: &Image,
) -> Result<(), StageError> {
    let place = wanted.place;
    let ec2 = clouds.ec2(owner, &place.region, invocation.run).await;
    let owners = ec2.own_images(&ImageRef::Id(image.id.clone())).await?;
    let owners = owners.into_iter().next().unwrap_or_default();
    let changes = tag_changes(&owners.tags, &image.tags);
    let ec2 = clouds
        .ec2(&place.account, &place.region, invocation.run)
        .await;
    // First off: an image has fifty tags at most.
    if !changes.off.is_empty() {
        ec2.untag_image(&image.id, &changes.off).await?;
    }
    if !changes.on.is_empty() {
        ec2.tag_image(&image.id, &changes.on).await?;
    }
    let action = Share::action(&place.region, &image.id);
    invocation.done(&action).await?;
    Ok(())
}

/// What the search among other accounts ends with.
enum Search {
    /// The owner, and the image's id.
    Found(Account, String),
    /// Somebody gave no answer, who may yet.
    AskAgain(String),
}

/// Looks for the image among those that other accounts own.
async fn search(
    invocation: &Invocation<'_>,
    clouds: &dyn Ec2Clouds,
    wanted: &Wanted<'_>,
    strangers: Vec<Image>,
) -> Result<Search, StageError> {
    let Wanted { place, image, .. } = *wanted;
    let known = Account::all(invocation.store()).await?;
    let mut all = Answers {
        strangers,
        ..Answers::default()
    };
    let mut unanswered = false;
    for turn in asked_in_turn(&known, &place.account, &place.region, wanted.upstream) {
        let owned = turn
            .into_iter()
            .map(|account| owned_by(invocation, clouds, wanted, account));
        let mut answers = stream::iter(owned.collect::<Vec<_>>()).buffered(AT_ONCE);
        while let Some((account, answer)) = answers.next().await {
            match answer {
                Ok(images) if images.is_empty() => all.without.push(account),
                Ok(images) => {
                    let of = |image| (account.clone(), image);
                    all.found.extend(images.into_iter().map(of));
                }
                Err(error @ (CloudError::Refused { .. } | CloudError::NoAnswer { .. })) => {
                    unanswered |= error.is_passing();
                    all.failed.push((account, error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
        }
        // An id has one owner; of a name somebody who gave no answer may have a newer image.
        let settled = matches!(image, ImageRef::Id(_)) || !unanswered;
        if let Some((owner, image)) = chosen(&all.found)
            && (settled || invocation.spent() > ASKED_AGAIN_MILLIS)
        {
            return Ok(Search::Found(owner.clone(), image.id.clone()));
        }
    }
    let said = all.not_found(image, &format!("{place:?}"));
    if unanswered && invocation.spent() <= ASKED_AGAIN_MILLIS {
        return Ok(Search::AskAgain(said));
    }
    Err(StageError::invalid(wanted.field, said))
}

/// The images of an account that are wanted.
async fn owned_by(
    invocation: &Invocation<'_>,
    clouds: &dyn Ec2Clouds,
    wanted: &Wanted<'_>,
    account: Account,
) -> (Account, Result<Vec<Image>, CloudError>) {
    let region = &wanted.place.region;
    let ec2 = clouds.ec2(&account, region, invocation.run).await;
    let images = ec2.own_images(wanted.image).await;
    (account, images)
}

//! Whose image is launched where the account that is deployed to does not see one: who is asked, and what the answers
//! mean. All pure.

use std::collections::BTreeMap;

use gennaker_cloud::Account;
use gennaker_cloud::ec2::{Image, ImageRef};

/// Tags of AWS's own: nobody else may set them or take them off.
const RESERVED: &str = "aws:";

/// AWS's names for owners whose images are what they are called.
const VOUCHED_FOR: [&str; 2] = ["amazon", "aws-marketplace"];

/// Whose image it is that an account sees, nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The account's own.
    Own,
    /// That of another account that has a record.
    Known,
    /// Amazon's, or that of a seller in its marketplace.
    Amazon,
    /// That of somebody else, who shares it with the account.
    Shared,
    /// That of somebody else, who shares it with everybody.
    Stranger,
}

impl Origin {
    /// Of an image that `account` sees.
    #[must_use]
    pub fn of(image: &Image, account: &Account, known: &[Account]) -> Self {
        let alias = image.owner_alias.as_deref();
        if image.owner == account.account_id {
            Self::Own
        } else if known.iter().any(|known| known.account_id == image.owner) {
            Self::Known
        } else if alias.is_some_and(|alias| VOUCHED_FOR.contains(&alias)) {
            Self::Amazon
        } else if image.public {
            Self::Stranger
        } else {
            Self::Shared
        }
    }
}

/// Of the images of one name that `account` sees the one that is meant: one that is available before any other, then that
/// of the nearest origin, then the newest. Never a stranger's: anybody can give a public image any name, and a newer one
/// would be launched instead of the team's.
#[must_use]
pub fn meant<'a>(seen: &'a [Image], account: &Account, known: &[Account]) -> Option<&'a Image> {
    seen.iter()
        .map(|image| (Origin::of(image, account, known), image))
        .filter(|(origin, _)| *origin != Origin::Stranger)
        .min_by(|(a, one), (b, other)| {
            let is_away = |image: &Image| image.state != "available";
            is_away(one)
                .cmp(&is_away(other))
                .then_with(|| a.cmp(b))
                .then_with(|| other.created.cmp(&one.created))
        })
        .map(|(_, image)| image)
}

/// The newest of these images that is available.
#[must_use]
pub fn newest_available(images: &[Image]) -> Option<&Image> {
    images
        .iter()
        .filter(|image| image.state == "available")
        .max_by(|a, b| a.created.cmp(&b.created))
}

/// The account that the functions run in, where no record says so: bakes run there.
#[must_use]
pub fn functions_account() -> Account {
    Account::default()
}

/// An account as an error names it.
fn name_of(account: &Account) -> &str {
    match account.name.as_str() {
        "" => "the functions' own account",
        name => name,
    }
}

/// Whether both are one AWS account: without a role it is the one that the functions run in.
fn is_same(one: &Account, other: &Account) -> bool {
    let known = !one.account_id.is_empty();
    one.role.is_none() && other.role.is_none() || known && one.account_id == other.account_id
}

/// The accounts that may own the image, in the order in which they are asked: whoever is asked later has an image of that
/// name only if nobody before has.
///
/// First the account that an earlier stage named, by its name or id, then the functions' own, then all others that have the
/// region. Never the account that is deployed to, under whatever name: it sees its own images.
#[must_use]
pub fn asked_in_turn(
    known: &[Account],
    target: &Account,
    region: &str,
    upstream: Option<&str>,
) -> Vec<Vec<Account>> {
    let is_other = |account: &&Account| !is_same(account, target);
    // All without a role are one account, which is asked once, and also where nobody may deploy to.
    let own = match known.iter().find(|account| account.role.is_none()) {
        Some(own) => Some(own).filter(is_other).cloned(),
        None => target.role.is_some().then(functions_account),
    };
    let others = known
        .iter()
        .filter(|account| account.role.is_some() && account.has_region(region))
        .filter(is_other)
        .cloned();
    let is_upstream = |account: &Account| {
        upstream.is_some_and(|named| named == account.name || named == account.account_id)
    };
    let (first, rest): (Vec<Account>, Vec<Account>) = others.partition(is_upstream);
    let mut turns = vec![first, own.into_iter().collect(), rest];
    turns.retain(|turn| !turn.is_empty());
    turns
}

/// Of several accounts' images the one that is launched: the newest; of those made at the same time the one whose account's
/// id, then name, comes first.
#[must_use]
pub fn chosen(found: &[(Account, Image)]) -> Option<&(Account, Image)> {
    found
        .iter()
        .filter(|(_, image)| image.state == "available")
        .min_by(|(a, one), (b, other)| {
            let by_age = other.created.cmp(&one.created);
            by_age
                .then_with(|| a.account_id.cmp(&b.account_id))
                .then_with(|| a.name.cmp(&b.name))
        })
}

/// What makes one account's tags of an image equal to its owner's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagChanges {
    /// Keys to take off.
    pub off: Vec<String>,
    /// Tags to give.
    pub on: BTreeMap<String, String>,
}

/// What is to change so that the tags `theirs` of an image are its owner's.
///
/// An owner who shows no tag at all takes none off, as in Spinnaker: descriptions of tags lag behind.
#[must_use]
pub fn tag_changes(
    owners: &BTreeMap<String, String>,
    theirs: &BTreeMap<String, String>,
) -> TagChanges {
    let own = |key: &String| !key.starts_with(RESERVED);
    let wanted: BTreeMap<&String, &String> = owners.iter().filter(|(key, _)| own(key)).collect();
    if wanted.is_empty() {
        return TagChanges::default();
    }
    let stale = theirs
        .keys()
        .filter(|key| own(key) && !wanted.contains_key(key));
    let missing = wanted
        .iter()
        .filter(|(key, value)| theirs.get(**key) != Some(value));
    TagChanges {
        off: stale.cloned().collect(),
        on: missing
            .map(|(key, value)| ((*key).clone(), (*value).clone()))
            .collect(),
    }
}

/// What the accounts said that were asked for an image.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Their images.
    pub found: Vec<(Account, Image)>,
    /// Those that own none.
    pub without: Vec<Account>,
    /// Those that could not be asked, and why.
    pub failed: Vec<(Account, String)>,
    /// Images of that name which strangers share with everybody.
    pub strangers: Vec<Image>,
}

impl Answers {
    /// That nobody has the image, in whole: what was asked for, where it was looked for and who could not be asked.
    #[must_use]
    pub fn not_found(&self, image: &ImageRef, place: &str) -> String {
        let mut said = format!("image `{image}` not found in {place}");
        if !self.without.is_empty() {
            let asked: Vec<&str> = self.without.iter().map(name_of).collect();
            let asked = asked.join(", ");
            said.push_str(&format!(", nor among the images of {asked}"));
        }
        for (account, image) in &self.found {
            let (of, state) = (name_of(account), &image.state);
            said.push_str(&format!("; that of {of}, {}, is {state}", image.id));
        }
        for (account, why) in &self.failed {
            let of = name_of(account);
            said.push_str(&format!("; {of} could not be asked: {why}"));
        }
        for Image { id, owner, .. } in &self.strangers {
            said.push_str(&format!(
                "; {id} of that name is public and of account {owner}, which is not known here: who wants it names it by its id"
            ));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, id: &str, regions: &[&str]) -> Account {
        Account {
            name: name.to_owned(),
            account_id: id.to_owned(),
            role: Some(format!("arn:aws:iam::{id}:role/gennaker-managed")),
            regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        }
    }

    fn own(name: &str) -> Account {
        Account {
            role: None,
            ..account(name, "100000000000", &[])
        }
    }

    fn image(id: &str, created: &str, state: &str) -> Image {
        Image {
            id: id.to_owned(),
            created: created.to_owned(),
            state: state.to_owned(),
            ..Image::default()
        }
    }

    fn tags(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn accounts_are_asked_in_turn_and_never_the_one_that_is_deployed_to() {
        let prod = account("prod", "200000000000", &[]);
        let again = account("prod-eu", "200000000000", &[]);
        let bake = account("bake", "300000000000", &["us-east-1"]);
        let test = account("test", "400000000000", &[]);
        let far = account("far", "500000000000", &["eu-west-1"]);
        let all = [prod.clone(), again, bake, test, far];
        let with_own: Vec<Account> = [&[own("mgmt")], &all[..]].concat();
        let turns = |known: &[Account], target: &Account, upstream| -> Vec<Vec<String>> {
            asked_in_turn(known, target, "us-east-1", upstream)
                .iter()
                .map(|turn| turn.iter().map(|a| name_of(a).to_owned()).collect())
                .collect()
        };
        const OWN: &str = "the functions' own account";
        for (known, target, upstream, expected) in [
            // Without a record the functions' account is asked as well.
            (&all[..], &prod, None, vec![vec![OWN], vec!["bake", "test"]]),
            (
                &with_own[..],
                &prod,
                None,
                vec![vec!["mgmt"], vec!["bake", "test"]],
            ),
            (
                &all[..],
                &prod,
                Some("test"),
                vec![vec!["test"], vec![OWN], vec!["bake"]],
            ),
            (
                &all[..],
                &prod,
                Some("300000000000"),
                vec![vec!["bake"], vec![OWN], vec!["test"]],
            ),
            (
                &all[..],
                &prod,
                Some("prod"),
                vec![vec![OWN], vec!["bake", "test"]],
            ),
            // Deployed to where the functions run.
            (
                &with_own[..],
                &own("mgmt"),
                None,
                vec![vec!["prod", "prod-eu", "bake", "test"]],
            ),
            (&[own("mgmt"), own("also")], &own("mgmt"), None, vec![]),
            (&[], &prod, None, vec![vec![OWN]]),
        ] {
            assert_eq!(turns(known, target, upstream), expected, "{upstream:?}");
        }
    }

    #[test]
    fn the_newest_available_image_is_taken_and_then_the_first_account() {
        let (a, b) = (
            account("z", "100000000000", &[]),
            account("a", "200000000000", &[]),
        );
        for (first, second, expected) in [
            (
                ("2026-01-01", "available"),
                ("2026-02-01", "available"),
                Some("ami-2"),
            ),
            (
                ("2026-02-01", "available"),
                ("2026-02-01", "available"),
                Some("ami-1"),
            ),
            (
                ("2026-01-01", "available"),
                ("2026-02-01", "pending"),
                Some("ami-1"),
            ),
            (("2026-01-01", "failed"), ("2026-02-01", "pending"), None),
        ] {
            let found = [
                (a.clone(), image("ami-1", first.0, first.1)),
                (b.clone(), image("ami-2", second.0, second.1)),
            ];
            let backwards = [found[1].clone(), found[0].clone()];
            for found in [found, backwards] {
                assert_eq!(chosen(&found).map(|(_, image)| image.id.as_str()), expected);
            }
        }
        let own = [
            image("ami-1", "2026-01-01", "available"),
            image("ami-2", "2026-02-01", "available"),
            image("ami-3", "2026-03-01", "pending"),
        ];
        assert_eq!(newest_available(&own).unwrap().id, "ami-2");
        assert_eq!(newest_available(&own[2..]), None);
    }

    #[test]
    fn of_one_name_the_nearest_available_image_is_meant_and_never_a_strangers() {
        let prod = account("prod", "200000000000", &[]);
        let known = [prod.clone(), account("bake", "300000000000", &[])];
        let of =
            |id: &str, owner: &str, (alias, public): (Option<&str>, bool), state: &str| Image {
                owner: owner.to_owned(),
                owner_alias: alias.map(str::to_owned),
                public,
                ..image(id, "2026-01-01", state)
            };
        let own = of("own", "200000000000", (None, true), "available");
        let bake = of("bake", "300000000000", (None, true), "available");
        let amazon = of(
            "amazon",
            "800000000000",
            (Some("amazon"), true),
            "available",
        );
        let shared = of("shared", "900000000000", (None, false), "available");
        let stranger = of("stranger", "900000000000", (None, true), "available");
        let unheard = of("odd", "900000000000", (Some("unheard"), true), "available");
        let newer = Image {
            created: "2026-02-01".to_owned(),
            ..shared.clone()
        };
        let pending = of("pending", "200000000000", (None, false), "pending");
        for (seen, expected) in [
            (vec![&stranger, &shared, &amazon, &bake, &own], Some("own")),
            (vec![&stranger, &shared, &amazon, &bake], Some("bake")),
            (vec![&stranger, &newer, &amazon], Some("amazon")),
            (vec![&stranger, &shared], Some("shared")),
            (vec![&stranger, &unheard], None),
            (vec![&pending, &shared], Some("shared")),
            (vec![&pending, &stranger], Some("pending")),
            (vec![], None),
        ] {
            let seen: Vec<Image> = seen.into_iter().cloned().collect();
            let backwards: Vec<Image> = seen.iter().rev().cloned().collect();
            for seen in [seen, backwards] {
                let found = meant(&seen, &prod, &known).map(|image| image.id.as_str());
                assert_eq!(found, expected, "{seen:?}");
            }
        }
        let seen = [shared, newer];
        assert_eq!(
            meant(&seen, &prod, &known).unwrap().created,
            "2026-02-01",
            "the newer one"
        );
    }

    #[test]
    fn tags_become_the_owners_and_those_of_aws_stay_as_they_are() {
        for (owners, theirs, off, on) in [
            (tags(&[]), tags(&[]), vec![], tags(&[])),
            (tags(&[("a", "1")]), tags(&[]), vec![], tags(&[("a", "1")])),
            (tags(&[("a", "1")]), tags(&[("a", "1")]), vec![], tags(&[])),
            (
                tags(&[("a", "1"), ("b", "2")]),
                tags(&[("a", "0"), ("c", "3")]),
                vec!["c"],
                tags(&[("a", "1"), ("b", "2")]),
            ),
            (
                tags(&[("a", "1"), ("aws:cloudformation:stack-id", "s")]),
                tags(&[("aws:backup", "x")]),
                vec![],
                tags(&[("a", "1")]),
            ),
            // Nothing is known of the owner's.
            (tags(&[]), tags(&[("c", "3")]), vec![], tags(&[])),
            (
                tags(&[("aws:x", "1")]),
                tags(&[("c", "3")]),
                vec![],
                tags(&[]),
            ),
        ] {
            let changes = tag_changes(&owners, &theirs);
            assert_eq!(changes.off, off, "{owners:?} {theirs:?}");
            assert_eq!(changes.on, on, "{owners:?} {theirs:?}");
        }
    }

    #[test]
    fn who_has_no_image_and_who_could_not_be_asked_is_told_at_once() {
        let answers = Answers {
            found: vec![(
                account("bake", "300000000000", &[]),
                image("ami-1", "", "pending"),
            )],
            without: vec![functions_account(), account("test", "400000000000", &[])],
            failed: vec![(account("ci", "500000000000", &[]), "denied".to_owned())],
            strangers: vec![Image {
                owner: "900000000000".to_owned(),
                ..image("ami-9", "", "available")
            }],
        };
        let wanted = ImageRef::of("shop-1.0");
        assert_eq!(
            answers.not_found(&wanted, "prod/us-east-1"),
            "image `shop-1.0` not found in prod/us-east-1, nor among the images of the functions' own account, test; \
             that of bake, ami-1, is pending; ci could not be asked: denied; ami-9 of that name is public and of account \
             900000000000, which is not known here: who wants it names it by its id"
        );
        assert_eq!(
            Answers::default().not_found(&wanted, "prod/us-east-1"),
            "image `shop-1.0` not found in prod/us-east-1"
        );
    }
}

//! How often AWS answers in one region: token buckets, and an SDK in front of them that asks again.

use std::collections::BTreeMap;

use gennaker_cloud::CloudError;

use super::World;

/// What one call takes from a bucket: it is counted in thousandths, so that a millisecond adds whole ones.
const TOKEN: i64 = 1_000;
/// The SDK's standard mode: the longest pause before the second attempt; each later one may be twice as long.
const FIRST_PAUSE_MILLIS: i64 = 1_000;

/// A token bucket in each region of the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The beginning of the names of the operations that it is about, such as `autoscaling:`.
    pub of: String,
    /// Whether each of them has a bucket of its own.
    pub each: bool,
    /// Calls a second, for ever.
    pub per_second: i64,
    /// Calls at once.
    pub burst: i64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Less than none where a later attempt has its token already.
    tokens: i64,
    at: i64,
}

/// The buckets, and what they did.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    /// By region, limit and, where each has its own, operation.
    filled: BTreeMap<(String, usize, String), Bucket>,
    throttled: BTreeMap<String, u64>,
    /// What the SDK has waited since somebody last asked.
    waited: i64,
    chance: u64,
}

impl Buckets {
    /// Numbers that look like chance and are the same every time.
    fn below(&mut self, bound: i64) -> i64 {
        self.chance = self
            .chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.chance >> 33).unwrap_or(0) % bound.max(1)
    }

    /// One call with all its attempts. The clock stands still meanwhile: what the SDK waits is added up, and a later
    /// attempt takes its token in advance.
    fn admit(
        &mut self,
        limits: &[Limit],
        attempts: u32,
        region: &str,
        operation: &str,
        now: i64,
    ) -> Result<(), CloudError> {
        let mut all = limits.iter().enumerate();
        let Some((at, limit)) = all.find(|(_, limit)| operation.starts_with(&limit.of)) else {
            return Ok(());
        };
        let of = if limit.each { operation } else { "" };
        let key = (region.to_owned(), at, of.to_owned());
        let full = limit.burst.saturating_mul(TOKEN);
        let mut bucket = self.filled.get(&key).copied().unwrap_or(Bucket {
            tokens: full,
            at: now,
        });
        let elapsed = now.saturating_sub(bucket.at).max(0);
        bucket.at = bucket.at.max(now);
        let refilled = elapsed.saturating_mul(limit.per_second);
        bucket.tokens = bucket.tokens.saturating_add(refilled).min(full);
        let mut longest = FIRST_PAUSE_MILLIS;
        let mut admitted = false;
        for attempt in 0..attempts.max(1) {
            if attempt > 0 {
                self.waited = self.waited.saturating_add(self.below(longest));
                longest = longest.saturating_mul(2);
            }
            let meanwhile = self.waited.saturating_mul(limit.per_second);
            if bucket.tokens.saturating_add(meanwhile).min(full) >= TOKEN {
                bucket.tokens = bucket.tokens.saturating_sub(TOKEN);
                admitted = true;
                break;
            }
            *self.throttled.entry(operation.to_owned()).or_default() += 1;
        }
        self.filled.insert(key, bucket);
        if admitted {
            return Ok(());
        }
        Err(CloudError::Throttled {
            operation: operation.to_owned(),
            message: "Rate exceeded".to_owned(),
        })
    }
}

impl World {
    /// Asked before each call: whether AWS answers it, at the first attempt or a later one.
    pub(super) fn admit(&self, operation: &str) -> Result<(), CloudError> {
        let mut state = self.peek();
        let state = &mut *state;
        let (behaviour, now) = (&state.behaviour, state.now);
        let (limits, attempts) = (&behaviour.limits, behaviour.attempts);
        let region = self.region();
        state
            .buckets
            .admit(limits, attempts, region, operation, now)
    }

    /// How often each operation was throttled, every attempt counted.
    #[must_use]
    pub fn throttled(&self) -> BTreeMap<String, u64> {
        self.peek().buckets.throttled.clone()
    }

    /// How many milliseconds the SDK has waited between attempts since this was last asked: a call of a function takes so
    /// much longer.
    #[must_use]
    pub fn take_waited(&self) -> i64 {
        std::mem::take(&mut self.peek().buckets.waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Behaviour, Faults};

    fn world(attempts: u32, each: bool) -> World {
        let limit = Limit {
            of: "autoscaling:".to_owned(),
            each,
            per_second: 2,
            burst: 3,
        };
        let behaviour = Behaviour {
            limits: vec![limit],
            attempts,
            ..Behaviour::default()
        };
        World::new(0, behaviour, Faults::none())
    }

    const LOOKS: &str = "autoscaling:DescribeAutoScalingGroups";

    /// How many of ten calls at once are answered.
    fn answered(world: &World, operation: &str) -> usize {
        (0..10).filter(|_| world.admit(operation).is_ok()).count()
    }

    #[test]
    fn a_bucket_answers_what_it_holds_and_fills_with_time_up_to_its_brim() {
        let world = world(1, false);
        assert_eq!(answered(&world, LOOKS), 3);
        world.advance(1_000);
        assert_eq!(answered(&world, LOOKS), 2);
        world.advance(60_000);
        assert_eq!(answered(&world, LOOKS), 3);
        assert_eq!(world.throttled().get(LOOKS), Some(&22));
    }

    #[test]
    fn regions_and_where_it_is_said_operations_have_buckets_of_their_own() {
        let one = world(1, false);
        assert_eq!(answered(&one, LOOKS), 3);
        assert_eq!(answered(&one, "autoscaling:CreateOrUpdateTags"), 0);
        assert_eq!(answered(&one, "cloudwatch:DescribeAlarms"), 10);
        assert_eq!(answered(&one.in_region("eu-west-1"), LOOKS), 3);
        let each = world(1, true);
        assert_eq!(answered(&each, LOOKS), 3);
        assert_eq!(answered(&each, "autoscaling:CreateOrUpdateTags"), 3);
    }

    #[test]
    fn a_later_attempt_waits_for_its_token_and_nobody_else_gets_it() {
        let world = world(20, false);
        assert_eq!(answered(&world, LOOKS), 10);
        // Seven were not there: at two a second they are after three and a half.
        let waited = world.take_waited();
        assert!(waited >= 3_500, "{waited}");
        assert_eq!(world.take_waited(), 0);
        let calls_then = 3 + 2 * waited / 1_000;
        assert!(calls_then >= 10, "{calls_then}");
    }
}

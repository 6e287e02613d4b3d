//! The world as one process of a function sees it: what it has seen is kept for its next calls.

use std::sync::Arc;

use async_trait::async_trait;
use gennaker_cloud::Account;
use gennaker_domain::Run;
use gennaker_server_groups::{Clouds, Observations, Place};

use super::World;

/// A process of a function, warm for as long as it is kept.
#[derive(Debug)]
pub struct Process {
    world: World,
    observations: Observations,
}

impl World {
    /// A new process in this world.
    #[must_use]
    pub fn process(&self) -> Arc<Process> {
        Arc::new(Process {
            world: self.clone(),
            observations: Observations::default(),
        })
    }
}

#[async_trait]
impl Clouds for Process {
    async fn at(&self, account: &Account, region: &str, run: &Run) -> Place {
        self.world.at(account, region, run).await
    }

    fn observations(&self) -> Option<&Observations> {
        Some(&self.observations)
    }
}

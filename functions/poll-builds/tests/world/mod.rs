//! What is polled, and the functions that are called.

use std::sync::Arc;

use gennaker_cloud::Store;
use gennaker_cloud::store::builds::{BuildMaster, BuildService};
use gennaker_poll_builds::PollBuilds;
use gennaker_testkit::{
    Faults, MemoryFunctions, MemoryHttp, MemoryRegistry, MemorySecrets, MemoryTable, sample,
};
use gennaker_trigger::Trigger;
use serde_json::{Value, json};

pub const NOW: i64 = 1_795_143_600_000;

/// Where the password of every master is.
const SECRET: &str = "ssm:/g/ci";

pub struct World {
    pub faults: Faults,
    pub functions: MemoryFunctions,
    pub http: MemoryHttp,
    /// Looks without being counted.
    pub store: Store,
    pub poll: PollBuilds,
}

/// A master or registry of the user `spin`, whose password is `hunter2`.
pub fn master(name: &str, service: BuildService, address: &str) -> BuildMaster {
    BuildMaster {
        name: name.to_owned(),
        service,
        address: address.to_owned(),
        user: Some("spin".to_owned()),
        token: Some(SECRET.to_owned()),
        repositories: Vec::new(),
    }
}

impl World {
    /// With this master, and the pipeline `p-1` that hears this trigger.
    pub async fn new(master: &BuildMaster, trigger: Value) -> Self {
        let faults = Faults::none();
        let table = MemoryTable::with_faults(faults.clone());
        let store = Store::new(Arc::new(table.without_faults()));
        let plan = sample::plan(json!([{"refId": "1", "type": "wait"}]));
        let heard = sample::entries(&[trigger]);
        sample::save(&store, &plan, &heard).await.unwrap();
        store.save_build_master(master).await.unwrap();
        let secrets = MemorySecrets::with_faults(faults.clone());
        assert!(secrets.put(SECRET, "hunter2"));
        let http = MemoryHttp::with_faults(faults.clone());
        let functions = MemoryFunctions::with_faults(faults.clone());
        Self {
            poll: PollBuilds::new(
                Store::new(Arc::new(table)),
                Arc::new(http.clone()),
                Arc::new(secrets),
                Arc::new(functions.clone()),
                "g",
            ),
            faults,
            functions,
            http,
            store,
        }
    }

    /// What `trigger` was given, each event once, at this place of its payload.
    pub fn handed(&self, place: &str) -> Vec<Value> {
        let distinct = self.functions.distinct();
        let at = |(_, payload): &(String, Value)| payload.pointer(place).unwrap().clone();
        distinct.iter().map(at).collect()
    }

    /// What `start` is given after `trigger` has taken every event.
    pub async fn started(&self) -> Vec<Value> {
        let registry = Arc::new(MemoryRegistry::new());
        let functions = Arc::new(self.functions.clone());
        let trigger = Trigger::new(self.store.clone(), registry, functions, "g");
        self.functions.serve("g-trigger:live", Arc::new(trigger));
        for _ in 0..2 {
            self.functions.deliver(0).await;
        }
        let called = self.functions.distinct().into_iter();
        called
            .filter(|(function, _)| function == "g-start:live")
            .map(|(_, payload)| payload)
            .collect()
    }
}

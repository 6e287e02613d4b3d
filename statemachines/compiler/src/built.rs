//! The functions that exist in this release. A stage type whose function is not here compiles, plans and simulates,
//! and is refused with `stage-not-built` when it is saved or run.

/// Kebab-case names: the folders of `functions/` that serve a stage.
pub const BUILT: &[&str] = &[
    "apply-source-server-group-capacity",
    "bake",
    "capture-source-server-group-capacity",
    "check-preconditions",
    "create-server-group",
    "depends-on-execution",
    "destroy-server-group",
    "determine-target-server-group",
    "disable-cluster",
    "disable-server-group",
    "enable-server-group",
    "find-image",
    "kayenta-canary",
    "manual-judgment",
    "monitor-pipeline",
    "pipeline",
    "resize-server-group",
    "scale-down-cluster",
    "shrink-cluster",
    "wait",
];

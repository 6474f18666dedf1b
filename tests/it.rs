//! The integration tests, in one binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test ends where it finds something unexpected, and prints what it saw and how long it took"
)]

#[path = "it/architecture.rs"]
mod architecture;
#[path = "it/crds.rs"]
mod crds;
#[path = "it/fuzz_corpus.rs"]
mod fuzz_corpus;
#[path = "it/program.rs"]
mod program;
#[path = "it/replicate_follower.rs"]
mod replicate_follower;
#[path = "it/replicate_images.rs"]
mod replicate_images;
#[path = "it/replicate_support.rs"]
mod replicate_support;
#[path = "it/rights.rs"]
mod rights;
#[path = "it/snapshots.rs"]
mod snapshots;

#[path = "it/protocol_contents.rs"]
mod protocol_contents;
#[path = "it/protocol_details.rs"]
mod protocol_details;
#[path = "it/protocol_emulators.rs"]
mod protocol_emulators;
#[path = "it/protocol_floods.rs"]
mod protocol_floods;
#[path = "it/protocol_hostile.rs"]
mod protocol_hostile;
#[path = "it/protocol_http2.rs"]
mod protocol_http2;
#[path = "it/protocol_idle.rs"]
mod protocol_idle;
#[path = "it/protocol_process.rs"]
mod protocol_process;
#[path = "it/protocol_rows.rs"]
mod protocol_rows;
#[path = "it/protocol_rows_blobs.rs"]
mod protocol_rows_blobs;
#[path = "it/protocol_rows_manifests.rs"]
mod protocol_rows_manifests;
#[path = "it/protocol_store.rs"]
mod protocol_store;
#[path = "it/protocol_suite.rs"]
mod protocol_suite;
#[path = "it/protocol_support.rs"]
mod protocol_support;
#[path = "it/protocol_table.rs"]
mod protocol_table;
#[path = "it/protocol_threats.rs"]
mod protocol_threats;
#[path = "it/protocol_wire.rs"]
mod protocol_wire;
#[path = "it/reference.rs"]
mod reference;
#[path = "it/registry_access.rs"]
mod registry_access;
#[path = "it/registry_boot.rs"]
mod registry_boot;
#[path = "it/registry_faults.rs"]
mod registry_faults;
#[path = "it/registry_protocol.rs"]
mod registry_protocol;
#[path = "it/registry_runs.rs"]
mod registry_runs;
#[path = "it/registry_serving.rs"]
mod registry_serving;
#[path = "it/registry_settings.rs"]
mod registry_settings;
#[path = "it/registry_support.rs"]
mod registry_support;
#[cfg(feature = "otel")]
#[path = "it/registry_traces.rs"]
mod registry_traces;
#[path = "it/replicate_copy.rs"]
mod replicate_copy;
#[path = "it/replicate_defects.rs"]
mod replicate_defects;
#[path = "it/replicate_follow.rs"]
mod replicate_follow;

#[path = "it/stores_commands.rs"]
mod stores_commands;
#[path = "it/stores_emulators.rs"]
mod stores_emulators;
#[path = "it/stores_exchanges.rs"]
mod stores_exchanges;
#[path = "it/stores_fake.rs"]
mod stores_fake;
#[path = "it/stores_options.rs"]
mod stores_options;
#[path = "it/stores_platform.rs"]
mod stores_platform;
#[path = "it/stores_registry.rs"]
mod stores_registry;
#[path = "it/stores_replicas.rs"]
mod stores_replicas;
#[path = "it/stores_s3.rs"]
mod stores_s3;
#[path = "it/stores_services.rs"]
mod stores_services;
#[path = "it/stores_signed.rs"]
mod stores_signed;
#[path = "it/stores_suite.rs"]
mod stores_suite;
#[path = "it/stores_support.rs"]
mod stores_support;
#[path = "it/stores_swift.rs"]
mod stores_swift;
#[path = "it/stores_uploads.rs"]
mod stores_uploads;
#[path = "it/stores_walks.rs"]
mod stores_walks;

#[path = "it/survival_acts.rs"]
mod survival_acts;
#[path = "it/survival_bucket.rs"]
mod survival_bucket;
#[path = "it/survival_budgets.rs"]
mod survival_budgets;
#[path = "it/survival_checker.rs"]
mod survival_checker;
#[path = "it/survival_cuts.rs"]
mod survival_cuts;
#[path = "it/survival_disk.rs"]
mod survival_disk;
#[path = "it/survival_fsync.rs"]
mod survival_fsync;
#[path = "it/survival_fuse.rs"]
mod survival_fuse;
#[path = "it/survival_hangs.rs"]
mod survival_hangs;
#[path = "it/survival_history.rs"]
mod survival_history;
#[path = "it/survival_kill.rs"]
mod survival_kill;
#[path = "it/survival_late.rs"]
mod survival_late;
#[path = "it/survival_ledger.rs"]
mod survival_ledger;
#[path = "it/survival_nfs.rs"]
mod survival_nfs;
#[path = "it/survival_power.rs"]
mod survival_power;
#[path = "it/survival_process.rs"]
mod survival_process;
#[path = "it/survival_replicas.rs"]
mod survival_replicas;
#[path = "it/survival_rights.rs"]
mod survival_rights;
#[path = "it/survival_scene.rs"]
mod survival_scene;
#[path = "it/survival_seed.rs"]
mod survival_seed;
#[path = "it/survival_server.rs"]
mod survival_server;
#[path = "it/survival_store.rs"]
mod survival_store;
#[path = "it/survival_volume.rs"]
mod survival_volume;

/// The operator against a real API server: modules that have modules of their own.
mod it {
    mod operator;
    pub(super) mod support;
}

use it::support;

#[path = "it/clients.rs"]
mod clients;
#[path = "it/e2e_demo.rs"]
mod e2e_demo;
#[path = "it/e2e_image_change.rs"]
mod e2e_image_change;
#[path = "it/e2e_namespace.rs"]
mod e2e_namespace;
#[path = "it/e2e_operator.rs"]
mod e2e_operator;
#[path = "it/e2e_push.rs"]
mod e2e_push;
#[path = "it/e2e_replicator.rs"]
mod e2e_replicator;
#[path = "it/e2e_samples.rs"]
mod e2e_samples;
#[path = "it/e2e_single_volume.rs"]
mod e2e_single_volume;
#[path = "it/e2e_support.rs"]
mod e2e_support;
#[path = "it/e2e_upgrade.rs"]
mod e2e_upgrade;

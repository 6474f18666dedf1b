//! build: the Job of a run. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Affinity, Container, EnvVar, PodAffinity, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;
use sha2::{Digest, Sha256};

use super::dereference::Volume;
use super::validate::{Run, argument};
use crate::admin::runs::RUN_VARIABLE;
use crate::api::{ANNOTATION_REQUESTED_AT, AccessMode, CollectionMode, GarbageCollection, LABEL_COLLECTION, Registry};
use crate::operator::labels::{self, Component};
use crate::operator::registry::build::pod::{self, Mount};

/// What a Job that ended is kept for, should nobody tidy it.
const TTL_SECONDS: i32 = 7 * 24 * 3600;

/// The name of the Job for a request: the same whoever asks, however often.
pub fn job_name(object: &GarbageCollection, request: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(object.uid().unwrap_or_default());
    hash.update([0]);
    hash.update(request);
    let hash = hex::encode(&hash.finalize()[..8]);
    let name: String = object.name_any().chars().take(40).collect();
    format!("{}-{hash}", name.trim_end_matches(['-', '.']).replace('.', "-"))
}

/// The Job.
pub fn job(object: &GarbageCollection, registry: &Registry, volume: &Volume, run: &Run, request: &str) -> Job {
    let mounts = [Mount::data(&volume.plan.claim())];
    let mut template =
        pod::template(&volume.plan, Component::Collector, container(volume, run, &job_name(object, request)), &mounts);
    if let Some(spec) = &mut template.spec {
        spec.restart_policy = Some("Never".to_owned());
        // Nobody is beside what is not there: with such an affinity the pod would never be scheduled.
        let bound = volume.mode == AccessMode::ReadWriteOnce && volume.has_pods;
        spec.affinity = bound.then(|| beside(&registry.name_any()));
    }
    Job {
        metadata: metadata(object, volume, request),
        spec: Some(JobSpec {
            // The operator has a backoff of its own; a run that failed is a fact to be shown.
            backoff_limit: Some(0),
            ttl_seconds_after_finished: Some(TTL_SECONDS),
            template,
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn metadata(object: &GarbageCollection, volume: &Volume, request: &str) -> ObjectMeta {
    let mut labels = labels::labels(&volume.plan.name, &volume.plan.uid, Component::Collector);
    labels.insert(LABEL_COLLECTION.to_owned(), labels::label_value(&object.name_any()));
    ObjectMeta {
        name: Some(job_name(object, request)),
        namespace: object.namespace(),
        labels: Some(labels),
        annotations: Some(BTreeMap::from([(ANNOTATION_REQUESTED_AT.to_owned(), request.to_owned())])),
        owner_references: Some(vec![labels::owner_reference::<GarbageCollection>(
            &object.name_any(),
            &object.uid().unwrap_or_default(),
        )]),
        ..ObjectMeta::default()
    }
}

fn container(volume: &Volume, run: &Run, name: &str) -> Container {
    let mode = match run.mode {
        CollectionMode::ReadOnly => "read-only",
    };
    let mut args = vec![
        "gc".to_owned(),
        format!("--root={}", pod::DATA),
        format!("--mode={mode}"),
        format!("--grace-period={}", argument(run.grace_period)),
        format!("--undelete-window={}", argument(run.undelete_window)),
        "--summary=/dev/termination-log".to_owned(),
    ];
    if run.dry_run {
        args.push("--dry-run".to_owned());
    }
    if run.untagged {
        args.push("--untagged".to_owned());
    }
    Container {
        env: Some(vec![EnvVar { name: RUN_VARIABLE.to_owned(), value: Some(name.to_owned()), value_from: None }]),
        ..pod::container("collector", &volume.image, args)
    }
}

/// On the node that has the volume.
fn beside(registry: &str) -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: Some(labels::selector(registry, Component::Registry)),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_affinity: Some(PodAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAffinity::default()
        }),
        ..Affinity::default()
    }
}

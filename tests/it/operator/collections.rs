//! Collections: a Job for each request and no request twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, Pod, ServiceAccount};
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::program::regatta;
use crate::support::eventually;
use crate::support::kubelet::Kubelet;
use crate::support::layers::Control;
use crate::support::objects::{of_kind, registry};
use crate::support::world::World;

async fn request(world: &World, value: &str) {
    let annotation = json!({ "metadata": { "annotations": { "regatta.dev/requested-at": value } } });
    world.patch("GarbageCollection", "gc", annotation).await.expect("annotated");
}

async fn handled(world: &World, value: &str) -> Value {
    eventually(&format!("the request {value} is handled"), || async {
        let object = world.kind("GarbageCollection").get("gc").await.map_err(|error| error.to_string())?;
        let status = object.data["status"].clone();
        if status["lastHandledRequest"] == value { Ok(status) } else { Err(status.to_string()) }
    })
    .await
}

async fn world(name: &str) -> World {
    let world = World::new(name).await;
    world.create(&registry("hq")).await;
    let spec = json!({
        "registryRef": { "name": "hq" }, "mode": "ReadOnly", "untagged": true,
        "gracePeriod": "1h30m", "undeleteWindow": "0s",
    });
    world.create(&of_kind("GarbageCollection", "gc", spec)).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_runs_once_and_its_outcome_is_in_the_status() {
    let world = world("collection").await;
    let _operator = world.operator().await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Idle").await;
    request(&world, "one").await;
    let job = eventually("a Job is there", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        jobs.items.into_iter().next().ok_or_else(|| "no Job".to_owned())
    })
    .await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    world.condition("GarbageCollection", "gc", "LastRunSucceeded", "Unknown", "Running").await;
    let container = container(&job);
    insta::assert_snapshot!(container.args.clone().expect("arguments").join(" "));
    // Under this name the registry keeps what the run did, should its pod be lost.
    assert_eq!(environment(&container), [("REGATTA_RUN".to_owned(), job.name_any())]);
    let kubelet = Kubelet::start(&world);
    let status = handled(&world, "one").await;
    assert_eq!(status["lastRun"]["bytesFreed"], 42);
    assert_eq!(status["lastRun"]["job"], job.name_any());
    world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    for value in ["two", "three", "four", "five"] {
        request(&world, value).await;
        handled(&world, value).await;
    }
    let status = handled(&world, "five").await;
    assert_eq!(status["history"].as_array().expect("history").len(), 5);
    eventually("three good Jobs are kept", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        let names: Vec<String> = jobs.items.iter().map(ResourceExt::name_any).collect();
        if names.len() == 3 { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
    drop(kubelet);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_collections_of_a_registry_take_turns() {
    let world = world("turns").await;
    let mut second =
        of_kind("GarbageCollection", "second", json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" }));
    second.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "now".to_owned())].into());
    let _operator = world.operator().await;
    request(&world, "one").await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    world.create(&second).await;
    world.condition("GarbageCollection", "second", "Ready", "True", "RegistryBusy").await;
    let _kubelet = Kubelet::start(&world);
    handled(&world, "one").await;
    world.condition("GarbageCollection", "second", "LastRunSucceeded", "True", "Succeeded").await;
}

/// What a Job controller writes when a Job is over its deadline.
pub(super) async fn fail(world: &World, name: &str) {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).expect("a time").to_string();
    let condition = |kind: &str| {
        json!({
            "type": kind, "status": "True", "reason": "DeadlineExceeded", "lastProbeTime": now, "lastTransitionTime": now,
        })
    };
    let status = json!({ "status": {
        "startTime": now, "failed": 1, "conditions": [condition("FailureTarget"), condition("Failed")],
    } });
    world.api::<Job>().patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

/// A pod of a Job whose image cannot be pulled.
pub(super) async fn pod_without_image(world: &World, job: &Job) {
    let name = job.name_any();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "batch.kubernetes.io/job-name": name } },
        "spec": job.spec.as_ref().map(|spec| &spec.template.spec),
    });
    pod["spec"]["serviceAccountName"] = json!("default");
    pod["spec"]["serviceAccount"] = json!("default");
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
    let params = PatchParams::apply("kubelet").force();
    world.api::<ServiceAccount>().patch("default", &params, &Patch::Apply(account)).await.expect("an account");
    world.api::<Pod>().patch(&name, &params, &Patch::Apply(&pod)).await.expect("a pod");
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } });
    let container = json!({
        "name": "collector", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": waiting,
    });
    let status = json!({ "status": { "phase": "Pending", "containerStatuses": [container] } });
    world.api::<Pod>().patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
}

pub(super) async fn the_job(world: &World) -> Job {
    eventually("a Job is there", || async {
        let jobs = world.api::<Job>().list(&ListParams::default()).await.map_err(|error| error.to_string())?;
        jobs.items.into_iter().next().ok_or_else(|| "no Job".to_owned())
    })
    .await
}

/// A collection that has the registry, and another that waits for it.
async fn world_with_two(name: &str) -> World {
    let world = world(name).await;
    let operator = world.operator().await;
    request(&world, "one").await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    let mut second =
        of_kind("GarbageCollection", "second", json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" }));
    second.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "now".to_owned())].into());
    world.create(&second).await;
    world.condition("GarbageCollection", "second", "Ready", "True", "RegistryBusy").await;
    drop(operator);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_does_not_start_says_why_and_is_given_up_so_that_the_next_may_run() {
    let world = world_with_two("pending").await;
    let job = the_job(&world).await;
    pod_without_image(&world, &job).await;
    let mut settings = world.settings("undisturbed");
    settings.start_patience = Duration::ZERO;
    let patient = world.operator_with(&Control::counting(), settings.clone()).await;
    let message = world.stalled("GarbageCollection", "gc", "NotStarted").await;
    assert!(
        message.contains(&job.name_any()) && message.contains("ImagePullBackOff: Back-off pulling image"),
        "{message}"
    );
    let untouched: Job = world.exists(&job.name_any()).await;
    assert_eq!(untouched.spec.and_then(|spec| spec.active_deadline_seconds), None);
    drop(patient);

    settings.start_deadline = Duration::ZERO;
    let _operator = world.operator_with(&Control::counting(), settings).await;
    eventually("the run is given up", || async {
        let job = world.api::<Job>().get(&job.name_any()).await.map_err(|error| error.to_string())?;
        let deadline = job.spec.and_then(|spec| spec.active_deadline_seconds);
        if deadline == Some(1) { Ok(()) } else { Err(format!("{deadline:?}")) }
    })
    .await;
    fail(&world, &job.name_any()).await;
    let status = handled(&world, "one").await;
    assert_eq!(status["lastRun"]["succeeded"], false);
    let message = world.condition("GarbageCollection", "gc", "LastRunSucceeded", "False", "RunFailed").await;
    assert!(message.contains("did not start") && message.contains("ImagePullBackOff"), "{message}");
    eventually("the second has the registry", || async {
        let second = world.kind("GarbageCollection").get("second").await.map_err(|error| error.to_string())?;
        let running = second.data["status"]["running"]["job"].clone();
        if running.is_string() { Ok(()) } else { Err(second.data["status"].to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_a_collection_whose_run_does_not_start_lets_the_next_run() {
    let world = world_with_two("deleted").await;
    let _operator = world.operator().await;
    world.delete("GarbageCollection", "gc").await;
    world.collect_garbage().await;
    world.condition("GarbageCollection", "second", "Ready", "True", "Running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_beside_the_pods_of_a_volume_of_one_node_where_there_are_any() {
    for (replicas, beside) in [(1, true), (0, false)] {
        let world = World::new("beside").await;
        let mut hq = registry("hq");
        hq.data["spec"]["managed"]["replicas"] = json!(replicas);
        hq.data["spec"]["managed"]["storage"]["claimTemplate"]["accessModes"] = json!(["ReadWriteOnce"]);
        world.create(&hq).await;
        // Its 63rd character is none that a label may end in.
        let name = format!("{}-{}", "a".repeat(62), "b".repeat(60));
        let mut collection =
            of_kind("GarbageCollection", &name, json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly" }));
        collection.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "now".to_owned())].into());
        world.create(&collection).await;
        let _operator = world.operator().await;
        let job = the_job(&world).await;
        let affinity = job.spec.and_then(|spec| spec.template.spec).and_then(|pod| pod.affinity);
        assert_eq!(affinity.is_some(), beside, "{replicas} replicas");
    }
}

/// A run whose Job is complete, and which no operator has seen end.
async fn ended_unseen(name: &str) -> (World, Kubelet, String) {
    let world = world(name).await;
    let operator = world.operator().await;
    request(&world, "one").await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    world.exists::<Deployment>("hq-registry").await;
    drop(operator);
    let job = the_job(&world).await.name_any();
    let kubelet = Kubelet::start(&world);
    kubelet.admin("hq").await;
    eventually("the Job is complete", || async {
        let job = world.api::<Job>().get(&job).await.map_err(|error| error.to_string())?;
        job.status.and_then(|status| status.completion_time).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    (world, kubelet, job)
}

async fn lose_the_pod(world: &World, job: &str) {
    world.api::<Pod>().delete(job, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    eventually("the pod is gone", || async {
        let found = world.api::<Pod>().get_opt(job).await.map_err(|error| error.to_string())?;
        if found.is_none() { Ok(()) } else { Err("still there".to_owned()) }
    })
    .await;
}

fn container(job: &Job) -> Container {
    job.spec.as_ref().expect("spec").template.spec.as_ref().expect("pod").containers[0].clone()
}

fn environment(container: &Container) -> Vec<(String, String)> {
    let variables = container.env.iter().flatten();
    variables.map(|variable| (variable.name.clone(), variable.value.clone().unwrap_or_default())).collect()
}

/// A blob on a volume that no manifest needs.
fn of_nobody(root: &Path) -> PathBuf {
    let nobody_needs = root.join("docker/registry/v2/blobs/sha256/11").join("11".repeat(32));
    std::fs::create_dir_all(&nobody_needs).expect("a directory");
    let data = nobody_needs.join("data");
    std::fs::write(&data, "of nobody").expect("a file");
    data
}

/// What the pod of a run would do, had it not been there; but of what is young too.
async fn collect(world: &World, root: &Path, job: &str) {
    of_nobody(root);
    let job = world.api::<Job>().get(job).await.expect("the Job");
    let mut collector = regatta();
    collector.arg("gc").arg("--root").arg(root).args(["--grace-period=0s", "--undelete-window=0s"]);
    assert!(collector.envs(environment(&container(&job))).status().expect("it runs").success());
}

/// Does what a Job's pod would, on this volume, and says what it left.
fn run(job: &Job, root: &Path) -> Value {
    let container = container(job);
    let files = tempfile::tempdir().expect("a directory");
    let summary = files.path().join("summary");
    let mut collector = regatta();
    for argument in container.args.as_ref().expect("arguments") {
        collector.arg(match argument.as_str() {
            "--root=/data" => format!("--root={}", root.display()),
            "--summary=/dev/termination-log" => format!("--summary={}", summary.display()),
            other => other.to_owned(),
        });
    }
    assert!(collector.envs(environment(&container)).status().expect("it runs").success());
    serde_json::from_slice(&std::fs::read(summary).expect("a summary")).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_takes_nothing_away_and_the_run_after_it_does() {
    let world = World::new("dry-run").await;
    world.create(&registry("hq")).await;
    let spec = json!({
        "registryRef": { "name": "hq" }, "mode": "ReadOnly", "dryRun": true,
        "gracePeriod": "0s", "undeleteWindow": "0s",
    });
    world.create(&of_kind("GarbageCollection", "gc", spec)).await;
    let kubelet = Kubelet::start(&world);
    let _operator = world.operator().await;
    kubelet.admin("hq").await;
    let volume = kubelet.volume("hq");
    let blob = of_nobody(&volume);
    for (value, dry) in [("dry", true), ("real", false)] {
        world.patch("GarbageCollection", "gc", json!({ "spec": { "dryRun": dry } })).await.expect("patched");
        request(&world, value).await;
        let status = handled(&world, value).await;
        let name = status["lastRun"]["job"].as_str().expect("a Job").to_owned();
        let summary = run(&world.api::<Job>().get(&name).await.expect("the Job"), &volume);
        assert_eq!((&summary["dryRun"], &summary["bytesFreed"]), (&json!(dry), &json!(9)), "{summary}");
        assert_eq!(blob.exists(), dry, "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_collection_runs_nothing_however_it_is_asked() {
    let world = World::new("suspended").await;
    world.create(&registry("hq")).await;
    let spec = json!({ "registryRef": { "name": "hq" }, "mode": "ReadOnly", "suspend": true });
    let mut gc = of_kind("GarbageCollection", "gc", spec);
    gc.metadata.annotations = Some([("regatta.dev/requested-at".to_owned(), "now".to_owned())].into());
    world.create(&gc).await;
    let _operator = world.operator().await;
    world.condition("GarbageCollection", "gc", "Ready", "True", "Suspended").await;
    let jobs = world.api::<Job>().list(&ListParams::default()).await.expect("Jobs");
    assert_eq!(jobs.items, Vec::<Job>::new());
    world.patch("GarbageCollection", "gc", json!({ "spec": { "suspend": false } })).await.expect("patched");
    world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
    the_job(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_pod_is_lost_before_anybody_looked_has_lost_nothing() {
    let (world, kubelet, job) = ended_unseen("lost-pod").await;
    lose_the_pod(&world, &job).await;
    collect(&world, &kubelet.volume("hq"), &job).await;
    let _operator = world.operator().await;
    let status = handled(&world, "one").await;
    let run = &status["lastRun"];
    assert_eq!((&run["succeeded"], &run["bytesFreed"], &run["purged"]["blobs"]), (&json!(true), &json!(9), &json!(1)));
    let message = world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    assert!(message.starts_with("freed 9 bytes"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_run_of_which_nothing_is_left_is_not_called_a_failure() {
    let (world, _kubelet, job) = ended_unseen("no-summary").await;
    lose_the_pod(&world, &job).await;
    let _operator = world.operator().await;
    assert_eq!(handled(&world, "one").await["lastRun"]["succeeded"], true);
    let message = world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    assert!(message.contains("what it did is not known"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_did_is_asked_of_a_registry_that_is_away_until_it_is_back() {
    let (world, kubelet, job) = ended_unseen("away").await;
    lose_the_pod(&world, &job).await;
    collect(&world, &kubelet.volume("hq"), &job).await;
    kubelet.freeze("hq").await;
    let _operator = world.operator().await;
    eventually("it is said whom it waits for", || async {
        let message = world.condition("GarbageCollection", "gc", "Ready", "True", "Running").await;
        if message.contains("asked of the registry, which does not answer yet") { Ok(()) } else { Err(message) }
    })
    .await;
    let found = world.kind("GarbageCollection").get("gc").await.expect("it is there");
    assert_eq!(found.data["status"]["lastHandledRequest"], Value::Null, "nothing is known of it yet");
    kubelet.thaw("hq").await;
    assert_eq!(handled(&world, "one").await["lastRun"]["bytesFreed"], 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_registry_that_does_not_come_back_it_is_said_that_nobody_could_be_asked() {
    let (world, kubelet, job) = ended_unseen("gone").await;
    lose_the_pod(&world, &job).await;
    drop(kubelet);
    let mut settings = world.settings("undisturbed");
    settings.summary_patience = Duration::from_secs(1);
    let _operator = world.operator_with(&Control::counting(), settings).await;
    assert_eq!(handled(&world, "one").await["lastRun"]["succeeded"], true);
    let message = world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    let said = "what it did is not known: its pod left no summary, and the registry did not answer within 1 min";
    assert!(message.contains(said), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_waited_for_where_a_registry_is_to_have_no_pods() {
    let (world, kubelet, job) = ended_unseen("no-replicas").await;
    lose_the_pod(&world, &job).await;
    drop(kubelet);
    world.patch("Registry", "hq", json!({ "spec": { "managed": { "replicas": 0 } } })).await.expect("patched");
    let _operator = world.operator().await;
    assert_eq!(handled(&world, "one").await["lastRun"]["succeeded"], true);
    let message = world.condition("GarbageCollection", "gc", "LastRunSucceeded", "True", "Succeeded").await;
    assert!(message.contains("spec.managed.replicas of the Registry is 0"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_pod_had_no_room_to_say_is_read_from_the_registry() {
    let (world, kubelet, job) = ended_unseen("cut").await;
    let api = world.api::<Pod>();
    let said = |pod: &Pod| {
        let container = &pod.status.as_ref()?.container_statuses.as_ref()?[0];
        serde_json::from_str::<Value>(container.state.as_ref()?.terminated.as_ref()?.message.as_ref()?).ok()
    };
    let mut pod = api.get(&job).await.expect("its pod");
    let mut summary = said(&pod).expect("a summary");
    summary["message"] = json!("the first error, and why it came about");
    let runs = kubelet.volume("hq").join("regatta/v1/runs");
    std::fs::create_dir_all(&runs).expect("a directory");
    std::fs::write(runs.join(&job), summary.to_string()).expect("a file");
    (summary["message"], summary["truncated"]) = (json!("the first"), json!(true));
    let containers = pod.status.as_mut().and_then(|status| status.container_statuses.as_mut()).expect("containers");
    let state = containers[0].state.as_mut().and_then(|state| state.terminated.as_mut()).expect("it has ended");
    state.message = Some(summary.to_string());
    let status = json!({ "status": pod.status });
    api.patch_status(&job, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    let operator = world.operator().await;
    assert_eq!(handled(&world, "one").await["lastRun"]["message"], "the first error, and why it came about");
    drop(operator);
}

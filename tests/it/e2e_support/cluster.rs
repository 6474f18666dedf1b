//! Real clusters of this process's own, brought up when the first test wants one.
//!
//! Their names have this process's number, so that they disturb nobody: not a demo that somebody has running, not the
//! tests of another checkout. They are taken down by a shell that waits for the end of this process, whatever ends it
//! (libtest runs nothing at the end, and a process that is killed could not).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, Once, OnceLock};
use std::time::Instant;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::process::{helm, image_archive, in_tree, kubectl, script, succeed, succeed_with_input};

/// What a cluster is for.
#[derive(Debug, Clone, Copy)]
pub enum Role {
    /// Most tests side by side, a namespace each. Two nodes, so that where a pod runs means something.
    Shared,
    /// The test that kills the operator, which nobody else could bear.
    Unruly,
    /// The test that upgrades the operator: it begins with the chart of an older release.
    Upgraded,
}

/// A cluster with the operator in it.
#[derive(Debug)]
pub struct Cluster {
    pub name: String,
    pub kubeconfig: PathBuf,
    /// Where NodePorts answer.
    pub address: String,
}

/// Where the operator is.
pub const SYSTEM: &str = "regatta-system";

/// What every namespace here is labelled with: the strictest of the Pod Security levels.
pub const RESTRICTED: [(&str, &str); 2] =
    [("pod-security.kubernetes.io/enforce", "restricted"), ("pod-security.kubernetes.io/enforce-version", "latest")];

/// The first part of the names of everything that this process brings up; at most 12 characters.
pub fn prefix() -> String {
    format!("{PREFIX}{}", std::process::id())
}

const PREFIX: &str = "test-";

impl Role {
    /// The cluster of this process that has this role.
    pub fn cluster(self) -> &'static Cluster {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        static UNRULY: OnceLock<Cluster> = OnceLock::new();
        static UPGRADED: OnceLock<Cluster> = OnceLock::new();
        match self {
            Self::Shared => SHARED.get_or_init(|| Cluster::up("shared", 2).with_operator()),
            Self::Unruly => UNRULY.get_or_init(|| Cluster::up("unruly", 1).with_operator()),
            Self::Upgraded => UPGRADED.get_or_init(|| Cluster::up("upgraded", 1)),
        }
    }
}

impl Cluster {
    /// A cluster whose nodes have the image.
    fn up(role: &str, nodes: u32) -> Self {
        let (began, archive) = (Instant::now(), image_archive());
        let cluster = Self::bare(role, nodes);
        cluster.load(&archive);
        println!("cluster {}: after {:.1} s", cluster.name, began.elapsed().as_secs_f32());
        cluster
    }

    /// A cluster with nothing of ours in it.
    pub fn bare(role: &str, nodes: u32) -> Self {
        take_down_what_was_left();
        let name = format!("{}-{role}", prefix());
        let mut down = script("cluster.sh");
        down.args(["down", &name]);
        at_the_end_of_this_process(&down);
        succeed(script("cluster.sh").args(["up", &name, "--nodes", &nodes.to_string()]));
        let ask = |what: &str| succeed(script("cluster.sh").args([what, &name]));
        Self { kubeconfig: PathBuf::from(ask("kubeconfig")), address: ask("address"), name }
    }

    /// The same, with the tree's operator.
    fn with_operator(self) -> Self {
        self.install_operator(&in_tree("charts/regatta"), &[]);
        self
    }

    /// Gives the nodes the very same image under another name: what is rolled is all the same to Kubernetes.
    pub fn load_renamed(&self, name: &str) {
        let copy = std::env::temp_dir().join(format!("{}-renamed.tar", self.name));
        let _ = fs::remove_file(&copy);
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--quiet", &format!("docker-archive:{}", image_archive().display())]);
        succeed(skopeo.arg(format!("docker-archive:{}:{name}", copy.display())));
        let loaded = self.load(&copy);
        fs::remove_file(&copy).unwrap();
        assert_eq!(loaded, name);
    }

    /// Gives the nodes an image; its name.
    pub fn load(&self, archive: &Path) -> String {
        succeed(script("cluster.sh").args(["load", &self.name]).arg(archive))
    }

    /// Installs or upgrades the operator from a chart, as people do; comes back when its pods are ready.
    pub fn install_operator(&self, chart: &Path, values: &[&str]) {
        succeed(script("parts.sh").arg("helm"));
        succeed_with_input(
            kubectl(&self.kubeconfig).args(["apply", "--server-side", "-f", "-"]),
            &namespace(SYSTEM).to_string(),
        );
        let mut install = helm(&self.kubeconfig);
        install.args(["upgrade", "--install", "regatta"]).arg(chart);
        install.args(values.iter().map(|value| format!("--set={value}")));
        succeed(install.args(["--namespace", SYSTEM, "--wait", "--timeout", "3m"]));
    }

    /// A client in the runtime of the test that asks.
    pub async fn client(&self) -> Client {
        crate::program::like_main();
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Where the data of a claim is on this machine.
    pub fn data_of(&self, claim: &PersistentVolumeClaim) -> PathBuf {
        let volume = claim.spec.as_ref().unwrap().volume_name.as_deref().expect("the claim is bound");
        self.kubeconfig.parent().unwrap().join("volumes").join(volume)
    }
}

/// A namespace of the restricted level.
pub fn namespace(name: &str) -> serde_json::Value {
    let labels: std::collections::BTreeMap<_, _> = RESTRICTED.into();
    serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// Has this run when this process has ended, however that came about: a shell waits for a pipe to close.
pub fn at_the_end_of_this_process(command: &Command) {
    use std::os::unix::process::CommandExt as _;
    static SHELLS: Mutex<Vec<Child>> = Mutex::new(Vec::new());
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // In a process group of its own: Ctrl-C at the terminal is not for it.
    let waiting = shell.stdin(Stdio::piped()).stdout(Stdio::null()).process_group(0).spawn().unwrap();
    // Its end of the pipe is kept with it, and closed by the kernel.
    SHELLS.lock().unwrap().push(waiting);
}

/// Clusters of processes that are gone and whose shell was killed too.
fn take_down_what_was_left() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let state = std::env::var_os("REGATTA_STATE").unwrap_or_else(|| "/var/lib/regatta-e2e".into());
        let names =
            fs::read_dir(state).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        for name in names.filter(|name| is_left_over(name)) {
            succeed(script("cluster.sh").args(["down", &name]));
        }
    });
}

fn is_left_over(cluster: &str) -> bool {
    let number = cluster.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
    number.and_then(|text| text.parse::<u32>().ok()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

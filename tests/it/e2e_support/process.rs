//! Other programs: the scripts of `e2e/`, kubectl, helm, skopeo; and ending the program of a pod.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

/// A file of the tree.
pub fn in_tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Where `make image` and the demo put what they make.
pub fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(target)
}

/// The archive that `make image` makes.
pub fn image_archive() -> PathBuf {
    let archive = target().join("image/regatta.tar");
    assert!(archive.exists(), "{} is missing, and the end-to-end tests need it: run make image", archive.display());
    archive
}

/// A script of `e2e/`.
pub fn script(name: &str) -> Command {
    Command::new(in_tree("e2e").join(name))
}

/// The path of a part that `parts.sh` built.
fn part(name: &str) -> PathBuf {
    PathBuf::from(succeed(script("parts.sh").args(["path", name])))
}

pub fn kubectl(kubeconfig: &Path) -> Command {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PATH.get_or_init(|| part("kubectl")));
    command.arg("--kubeconfig").arg(kubeconfig);
    command
}

pub fn helm(kubeconfig: &Path) -> Command {
    let mut command = Command::new(part("helm"));
    command.env("KUBECONFIG", kubeconfig);
    command
}

/// Runs a command that must succeed; gives what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    printed(command, &output)
}

/// Runs a command that must succeed, with this on its standard input.
pub fn succeed_with_input(command: &mut Command, input: &str) -> String {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    printed(command, &output)
}

fn printed(command: &Command, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.trim().to_owned()
}

/// SIGKILL to every process of Regatta's in the pod with this UID, as when the machine has no memory left. The
/// kubelet names the pod's control group after it, and from here the processes of all nodes are seen.
pub fn kill_pod(uid: &str) {
    let pids = pids_of_pod(uid);
    assert!(!pids.is_empty(), "no process of the pod {uid} is there");
    let status = Command::new("kill").arg("-KILL").args(pids.iter().map(u32::to_string)).status().unwrap();
    assert!(status.success(), "the processes {pids:?} could not be killed");
}

fn pids_of_pod(uid: &str) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| is_of_pod(*pid, uid)).collect()
}

fn is_of_pod(pid: u32, uid: &str) -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    read("comm").trim() == "regatta" && read("cgroup").contains(uid)
}

//! What a mount says of how soon it shows what another machine did.
//!
//! An NFS client answers look-ups and listings from memory for as long as it takes a directory's attributes to be good,
//! which is up to `acdirmax` seconds (nfs(5), "Data and metadata coherence"). Creating by link is the server's to decide
//! even so: two writers never both succeed. What is read may be late.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where nothing else is said: NFS_DEF_ACDIRMAX of Linux, in seconds.
const ACDIRMAX: u64 = 60;

/// For how long names below this directory may be answered from memory; `None` where they are not.
pub(super) fn staleness(root: &Path) -> Option<Duration> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    of(&mounts, root)
}

fn of(mounts: &str, root: &Path) -> Option<Duration> {
    // Of two mounts on one place the later one is seen.
    let mounts = mounts.lines().filter_map(Mount::parse).filter(|mount| root.starts_with(&mount.place));
    let mount = mounts.max_by_key(|mount| mount.place.components().count())?;
    matches!(mount.kind, "nfs" | "nfs4").then(|| mount.cached()).flatten()
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
struct Mount<'a> {
    place: PathBuf,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (ours, of_the_filesystem) = line.split_once(" - ")?;
        let place = unescape(ours.split(' ').nth(4)?);
        let mut fields = of_the_filesystem.split(' ');
        Some(Self { place, kind: fields.next()?, options: fields.nth(1)? })
    }

    fn cached(&self) -> Option<Duration> {
        let options = || self.options.split(',');
        // `noac` has its own name here; `actimeo` is shown as what it stands for.
        if options().any(|option| option == "noac") {
            return None;
        }
        let seconds = options().find_map(|option| option.strip_prefix("acdirmax=")?.parse().ok()).unwrap_or(ACDIRMAX);
        let forgets = options().any(|option| option == "lookupcache=none");
        match seconds {
            0 if forgets => None,
            // The directory is looked at each time, and told to be the same by a time stamp of the server's.
            0 => Some(Duration::from_secs(1)),
            seconds => Some(Duration::from_secs(seconds)),
        }
    }
}

/// Spaces and the like are written in octal.
fn unescape(text: &str) -> PathBuf {
    let mut parts = text.split('\\');
    let mut path = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|code| u8::from_str_radix(code, 8).ok());
        match (code, part.get(3..)) {
            (Some(code), Some(rest)) => {
                path.push(char::from(code));
                path.push_str(rest);
            }
            _ => path.push_str(part),
        }
    }
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "192.0.2.1:/export";

    fn check(options: &str, expected: Option<u64>) {
        let mounts = format!(
            "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
             40 22 0:50 / /data\\040of\\040us rw,relatime shared:9 - nfs4 {SERVER} {options}\n\
             41 40 0:51 / /data\\040of\\040us/fast rw - tmpfs tmpfs rw\n"
        );
        let at = |root: &str| of(&mounts, Path::new(root));
        assert_eq!(at("/data of us/registry"), expected.map(Duration::from_secs), "{options}");
        assert_eq!((at("/data of us/fast"), at("/elsewhere"), at("/data of usual")), (None, None, None));
    }

    #[test]
    fn an_nfs_mount_says_for_how_long_names_are_remembered() {
        check("rw,vers=4.2,rsize=1048576,hard,proto=tcp,local_lock=none,addr=192.0.2.1", Some(60));
        check("rw,vers=4.2,acregmin=1,acdirmin=1,acdirmax=5,hard", Some(5));
        check("rw,vers=4.2,acdirmin=0,acdirmax=0,lookupcache=none,hard", None);
        check("rw,vers=3,acregmin=0,acregmax=0,acdirmin=0,acdirmax=0,noac,hard", None);
        check("rw,vers=4.2,acdirmin=0,acdirmax=0,hard", Some(1));
        check("rw,vers=4.2,acdirmin=0,acdirmax=0,lookupcache=pos,hard", Some(1));
        check("rw,vers=4.2,lookupcache=none,hard", Some(60));
    }

    #[test]
    fn this_machine_can_be_asked() {
        assert_eq!(staleness(Path::new("/proc")), None);
    }
}

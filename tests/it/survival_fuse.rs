//! The disk of `survival_disk`, mounted with FUSE: what a server does to it goes through the kernel, as on any volume.
//! It fails on command: full, unreadable, read-only, or not answering at all.

#[path = "survival_fuse_kernel.rs"]
mod kernel;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use fuser::{BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Generation, INodeNo, MountOption};

use self::kernel::Mounted;
use crate::survival_disk::{Content, Disk, Id, Inode, Place, ROOT};

/// Nothing is cached: the kernel asks every time.
const NO_TIME: Duration = Duration::ZERO;
const BLOCK: u32 = 4096;
const BLOCKS: u64 = 1 << 20;

/// What a volume can be told to do wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults {
    /// ENOSPC for whatever needs space.
    pub full: bool,
    /// EIO for reading whatever has this in its path.
    pub unreadable: Option<String>,
    /// EROFS for every change.
    pub read_only: bool,
    /// EACCES for every change.
    pub denied: bool,
    /// No answer at all about whatever has this in its path, until it is taken back.
    pub hangs: Option<String>,
    /// No answer to the sync of whatever has this in its path.
    pub sync_hangs: Option<String>,
    /// Such an error to the sync of whatever has this in its path: what was written to it is lost, and its next sync succeeds.
    pub sync_fails: Option<(String, Errno)>,
    /// ESTALE to so many requests about files and directories, as from an NFS server that does not know a handle.
    pub stale: usize,
    /// Links are made, and answered with an error: the answer to the first try was lost, and this is the second.
    pub link_answers: Option<Errno>,
}

/// How many requests the kernel made of the disk: nothing is cached, so that each stands for a system call, or for a
/// step of one along its path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Look-ups of names, attributes, opening.
    pub looks: usize,
    /// Of files and of directories.
    pub reads: usize,
    /// Writes, and whatever makes a name.
    pub grows: usize,
    /// Removals and changed attributes.
    pub changes: usize,
    pub syncs: usize,
}

impl Counts {
    fn count(&mut self, what: What) {
        let counter = match what {
            What::Look => &mut self.looks,
            What::Read => &mut self.reads,
            What::Grow => &mut self.grows,
            What::Change => &mut self.changes,
            What::Sync => &mut self.syncs,
        };
        *counter += 1;
    }
}

/// A mounted disk; unmounted when dropped.
pub struct Volume {
    shared: Arc<Mutex<Shared>>,
    session: Option<BackgroundSession>,
    directory: tempfile::TempDir,
}

type Parked = Box<dyn FnOnce(&mut Shared) + Send>;

struct Shared {
    disk: Disk,
    faults: Faults,
    counts: Counts,
    numbers: Numbers,
    listings: HashMap<u64, Vec<(OsString, u64, FileType)>>,
    handles: u64,
    parked: Vec<(Asked, Parked)>,
}

/// What is asked for, to see whether a fault meets it.
#[derive(Debug, Clone)]
struct Asked {
    path: PathBuf,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Look,
    Read,
    /// Needs space.
    Grow,
    Change,
    Sync,
}

/// Inode numbers, given away again as soon as nobody knows them any more, and to the same path if that is made again:
/// the worst that ext4 may do.
#[derive(Default)]
struct Numbers {
    by_number: BTreeMap<u64, Known>,
    by_id: HashMap<Id, u64>,
    by_path: HashMap<PathBuf, u64>,
    generations: HashMap<u64, u64>,
}

struct Known {
    id: Id,
    lookups: u64,
}

impl Numbers {
    fn id(&self, number: INodeNo) -> Option<Id> {
        if number == INodeNo::ROOT { Some(ROOT) } else { self.by_number.get(&number.0).map(|known| known.id) }
    }

    fn number(&mut self, id: Id, path: PathBuf) -> u64 {
        if id == ROOT {
            return INodeNo::ROOT.0;
        }
        if let Some(number) = self.by_id.get(&id) {
            return *number;
        }
        let is_free = |number: &u64| !self.by_number.contains_key(number);
        let again = self.by_path.get(&path).copied().filter(is_free);
        let taken = self.by_path.len() as u64;
        let number = again.unwrap_or_else(|| (taken + 2..u64::MAX).find(is_free).unwrap());
        self.by_path.insert(path, number);
        self.by_number.insert(number, Known { id, lookups: 0 });
        self.by_id.insert(id, number);
        *self.generations.entry(number).or_default() += 1;
        number
    }

    fn free(&mut self, number: u64) {
        if let Some(known) = self.by_number.remove(&number) {
            self.by_id.remove(&known.id);
        }
    }
}

impl Volume {
    /// An error where FUSE cannot be mounted; says so.
    pub fn mount() -> io::Result<Self> {
        let directory = tempfile::tempdir()?;
        let shared = Arc::new(Mutex::new(Shared {
            disk: Disk::default(),
            faults: Faults::default(),
            counts: Counts::default(),
            numbers: Numbers::default(),
            listings: HashMap::new(),
            handles: 0,
            parked: Vec::new(),
        }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("regatta-test".into()), MountOption::NoAtime];
        let session = fuser::spawn_mount(Mounted(Arc::clone(&shared)), directory.path(), &config)?;
        Ok(Self { shared, session: Some(session), directory })
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    pub fn with_disk<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> T {
        work(&mut self.lock().disk)
    }

    /// Fails like this from now on; what hung and hangs no more is answered.
    pub fn fail(&self, faults: Faults) {
        let mut shared = self.lock();
        shared.faults = faults;
        for (asked, work) in std::mem::take(&mut shared.parked) {
            if shared.hangs(&asked) {
                shared.parked.push((asked, work));
            } else {
                work(&mut shared);
            }
        }
    }

    /// What was counted since this was asked for last.
    pub fn counts(&self) -> Counts {
        std::mem::take(&mut self.lock().counts)
    }

    /// How much of what was to fail only so many times has not yet.
    pub fn stale_left(&self) -> usize {
        self.lock().faults.stale
    }

    /// How many requests of the kernel's wait for an answer.
    pub fn hanging(&self) -> usize {
        self.lock().parked.len()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Whoever still waits would keep the kernel from unmounting.
        self.fail(Faults::default());
        if let Some(session) = self.session.take()
            && let Err(error) = session.umount_and_join()
        {
            // A process that was killed may not be gone yet: the rest is done when it is.
            println!("{} is unmounted by and by: {error}", self.directory.path().display());
            let _ = std::process::Command::new("umount").arg("--lazy").arg(self.directory.path()).status();
        }
    }
}

/// A test that failed with the lock held has said why already.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Shared {
    fn path(&self, id: Id) -> PathBuf {
        self.disk.path(id)
    }

    fn hangs(&self, asked: &Asked) -> bool {
        let names = |part: &Option<String>| {
            part.as_ref().is_some_and(|part| asked.path.to_string_lossy().contains(part.as_str()))
        };
        names(&self.faults.hangs) || (asked.what == What::Sync && names(&self.faults.sync_hangs))
    }

    fn fault(&mut self, asked: &Asked) -> Option<Errno> {
        if matches!(asked.what, What::Look | What::Read) && self.faults.stale > 0 {
            self.faults.stale -= 1;
            return Some(Errno::ESTALE);
        }
        let names = |part: &str| asked.path.to_string_lossy().contains(part);
        let is_unreadable = self.faults.unreadable.as_deref().is_some_and(names);
        let unsynced = self.faults.sync_fails.as_ref().filter(|(part, _)| names(part)).map(|(_, error)| *error);
        match asked.what {
            What::Sync => unsynced,
            What::Read if is_unreadable => Some(Errno::EIO),
            What::Grow | What::Change if self.faults.read_only => Some(Errno::EROFS),
            What::Grow | What::Change if self.faults.denied => Some(Errno::EACCES),
            What::Grow if self.faults.full => Some(Errno::ENOSPC),
            What::Look | What::Read | What::Grow | What::Change => None,
        }
    }

    fn find(&self, number: INodeNo) -> Result<Id, Errno> {
        self.numbers.id(number).ok_or(Errno::ESTALE)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Result<Id, Errno> {
        self.disk.lookup(self.find(parent)?, name).ok_or(Errno::ENOENT)
    }

    fn free_place(&self, parent: INodeNo, name: &OsStr) -> Result<Place, Errno> {
        let directory = self.find(parent)?;
        let inode = self.disk.get(directory).ok_or(Errno::ENOENT)?;
        // A directory that was removed takes nothing any more.
        if inode.links == 0 {
            return Err(Errno::ENOENT);
        }
        match self.disk.lookup(directory, name) {
            Some(_) => Err(Errno::EEXIST),
            None => Ok(Place { directory, name: name.to_owned() }),
        }
    }

    fn attributes(&mut self, id: Id) -> FileAttr {
        let path = self.path(id);
        let number = self.numbers.number(id, path);
        let inode = self.disk.get(id).expect("an inode that is there");
        let (kind, size, perm) = match &inode.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len() as u64, 0o644),
            Content::Directory(_) => (FileType::Directory, 0, 0o755),
        };
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: inode.modified,
            mtime: inode.modified,
            ctime: inode.modified,
            crtime: inode.modified,
            kind,
            perm,
            nlink: inode.links,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK,
            flags: 0,
        }
    }

    /// Told to the kernel with an entry, which counts.
    fn looked_up(&mut self, id: Id) -> (FileAttr, Generation) {
        let attributes = self.attributes(id);
        if let Some(known) = self.numbers.by_number.get_mut(&attributes.ino.0) {
            known.lookups += 1;
        }
        (attributes, Generation(self.numbers.generations.get(&attributes.ino.0).copied().unwrap_or_default()))
    }

    fn forget(&mut self, number: u64, lookups: u64) {
        let Some(known) = self.numbers.by_number.get_mut(&number) else { return };
        known.lookups = known.lookups.saturating_sub(lookups);
        let is_known = known.lookups > 0;
        let id = known.id;
        self.free_if_gone(id, is_known);
    }

    fn free_if_gone(&mut self, id: Id, is_known: bool) {
        if !is_known
            && self.disk.get(id).is_none_or(|inode| inode.links == 0)
            && let Some(number) = self.numbers.by_id.get(&id).copied()
        {
            self.numbers.free(number);
        }
    }

    fn leave(&mut self, parent: INodeNo, name: &OsStr, want_directory: bool) -> Result<(), Errno> {
        let id = self.child(parent, name)?;
        match self.disk.get(id).and_then(Inode::entries) {
            Some(_) if !want_directory => return Err(Errno::EISDIR),
            None if want_directory => return Err(Errno::ENOTDIR),
            Some(entries) if !entries.is_empty() => return Err(Errno::ENOTEMPTY),
            Some(_) | None => {}
        }
        self.disk.leave(Place { directory: self.find(parent)?, name: name.to_owned() });
        Ok(())
    }

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr), no_replace: bool) -> Result<(), Errno> {
        let from = Place { directory: self.find(from.0)?, name: from.1.to_owned() };
        self.disk.lookup(from.directory, &from.name).ok_or(Errno::ENOENT)?;
        if !no_replace && self.disk.lookup(self.find(to.0)?, to.1).is_some() {
            // Whoever loses what was there before, without what comes in its place, finds it out.
            self.disk.leave(Place { directory: self.find(to.0)?, name: to.1.to_owned() });
        }
        let to = self.free_place(to.0, to.1)?;
        self.disk.rename(from, to);
        Ok(())
    }

    fn opened(&mut self) -> FileHandle {
        self.handles += 1;
        FileHandle(self.handles)
    }
}

//! The disk of `survival_disk`, mounted with FUSE: what a server does to it goes through the kernel, as on any volume.
//! It fails on command: full, unreadable, read-only, or not answering at all.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

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
        let unreadable = self.faults.unreadable.as_ref();
        let is_unreadable = unreadable.is_some_and(|part| asked.path.to_string_lossy().contains(part.as_str()));
        match asked.what {
            What::Read if is_unreadable => Some(Errno::EIO),
            What::Grow | What::Change if self.faults.read_only => Some(Errno::EROFS),
            What::Grow | What::Change if self.faults.denied => Some(Errno::EACCES),
            What::Grow if self.faults.full => Some(Errno::ENOSPC),
            What::Look | What::Read | What::Grow | What::Change | What::Sync => None,
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
        match self.free_place(to.0, to.1) {
            Ok(to) => {
                self.disk.rename(from, to);
                Ok(())
            }
            Err(error) if no_replace => Err(error),
            // The store never renames over anything.
            Err(_) => Err(Errno::EINVAL),
        }
    }

    fn opened(&mut self) -> FileHandle {
        self.handles += 1;
        FileHandle(self.handles)
    }
}

struct Mounted(Arc<Mutex<Shared>>);

impl Mounted {
    /// Does what the kernel asks for, or fails it, now; or later, if it is to hang.
    fn answer<R: Send + 'static>(
        &self,
        node: INodeNo,
        name: Option<&OsStr>,
        what: What,
        reply: R,
        fail: fn(R, Errno),
        work: impl FnOnce(&mut Shared, R) -> Result<(), (R, Errno)> + Send + 'static,
    ) {
        let mut shared = lock(&self.0);
        let Some(id) = shared.numbers.id(node) else { return fail(reply, Errno::ESTALE) };
        let path = shared.path(id);
        let path = name.map_or_else(|| path.clone(), |name| path.join(name));
        let asked = Asked { path, what };
        shared.counts.count(what);
        let again = asked.clone();
        let work = move |shared: &mut Shared| match shared.fault(&again) {
            Some(error) => fail(reply, error),
            None => {
                if let Err((reply, error)) = work(shared, reply) {
                    fail(reply, error);
                }
            }
        };
        if shared.hangs(&asked) {
            shared.parked.push((asked, Box::new(work)));
        } else {
            work(&mut shared);
        }
    }
}

/// Answers with what was done, or hands the reply back with the error.
fn tell<R, T>(result: Result<T, Errno>, reply: R, good: impl FnOnce(R, T)) -> Result<(), (R, Errno)> {
    match result {
        Ok(value) => {
            good(reply, value);
            Ok(())
        }
        Err(error) => Err((reply, error)),
    }
}

fn entry(reply: ReplyEntry, (attributes, generation): (FileAttr, Generation)) {
    reply.entry(&NO_TIME, &attributes, generation);
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let wanted = name.to_owned();
        self.answer(parent, Some(name), What::Look, reply, ReplyEntry::error, move |shared, reply| {
            let found = shared.child(parent, &wanted).map(|id| shared.looked_up(id));
            tell(found, reply, entry)
        });
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        lock(&self.0).forget(node.0, lookups);
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.answer(node, None, What::Look, reply, ReplyAttr::error, move |shared, reply| {
            let found = shared.find(node).map(|id| shared.attributes(id));
            tell(found, reply, |reply, attributes| reply.attr(&NO_TIME, &attributes))
        });
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.answer(node, None, What::Change, reply, ReplyAttr::error, move |shared, reply| {
            let done = shared.find(node).map(|id| {
                if let Some(size) = size {
                    shared.disk.resize(id, usize::try_from(size).unwrap());
                }
                match modified {
                    Some(TimeOrNow::SpecificTime(time)) => shared.disk.set_modified(id, time),
                    Some(TimeOrNow::Now) => shared.disk.set_modified(id, SystemTime::now()),
                    None => {}
                }
                shared.attributes(id)
            });
            tell(done, reply, |reply, attributes| reply.attr(&NO_TIME, &attributes))
        });
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let wanted = name.to_owned();
        self.answer(parent, Some(name), What::Grow, reply, ReplyEntry::error, move |shared, reply| {
            let made = shared.free_place(parent, &wanted).map(|place| {
                let id = shared.disk.make(place, true);
                shared.looked_up(id)
            });
            tell(made, reply, entry)
        });
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let wanted = name.to_owned();
        self.answer(parent, Some(name), What::Grow, reply, ReplyCreate::error, move |shared, reply| {
            let made = shared.free_place(parent, &wanted).map(|place| {
                let id = shared.disk.make(place, false);
                (shared.looked_up(id), shared.opened())
            });
            tell(made, reply, |reply, ((attributes, generation), handle)| {
                reply.created(&NO_TIME, &attributes, generation, handle, FopenFlags::empty());
            })
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let wanted = name.to_owned();
        self.answer(parent, Some(name), What::Change, reply, ReplyEmpty::error, move |shared, reply| {
            tell(shared.leave(parent, &wanted, false), reply, |reply, ()| reply.ok())
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let wanted = name.to_owned();
        self.answer(parent, Some(name), What::Change, reply, ReplyEmpty::error, move |shared, reply| {
            tell(shared.leave(parent, &wanted, true), reply, |reply, ()| reply.ok())
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = (name.to_owned(), new_name.to_owned());
        let no_replace = flags.contains(RenameFlags::RENAME_NOREPLACE);
        self.answer(parent, Some(name), What::Change, reply, ReplyEmpty::error, move |shared, reply| {
            let done = shared.rename((parent, &from), (new_parent, &to), no_replace);
            tell(done, reply, |reply, ()| reply.ok())
        });
    }

    fn link(&self, _: &Request, node: INodeNo, new_parent: INodeNo, new_name: &OsStr, reply: ReplyEntry) {
        let wanted = new_name.to_owned();
        self.answer(new_parent, Some(new_name), What::Grow, reply, ReplyEntry::error, move |shared, reply| {
            let linked = shared.find(node).and_then(|id| {
                let place = shared.free_place(new_parent, &wanted)?;
                shared.disk.link(id, place);
                shared.faults.link_answers.map_or_else(|| Ok(shared.looked_up(id)), Err)
            });
            tell(linked, reply, entry)
        });
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(node, None, What::Look, reply, ReplyOpen::error, move |shared, reply| {
            let handle = shared.opened();
            reply.opened(handle, FopenFlags::FOPEN_DIRECT_IO);
            Ok(())
        });
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.answer(node, None, What::Read, reply, ReplyData::error, move |shared, reply| {
            let id = shared.find(node);
            let content = id.map(|id| shared.disk.get(id).map(|inode| &inode.content));
            match content {
                Ok(Some(Content::File(bytes))) => {
                    let from = usize::try_from(offset).unwrap().min(bytes.len());
                    let to = (from + usize::try_from(size).unwrap()).min(bytes.len());
                    reply.data(&bytes[from..to]);
                    Ok(())
                }
                Ok(Some(Content::Directory(_))) => Err((reply, Errno::EISDIR)),
                Ok(None) => Err((reply, Errno::ENOENT)),
                Err(error) => Err((reply, error)),
            }
        });
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = data.to_vec();
        self.answer(node, None, What::Grow, reply, ReplyWrite::error, move |shared, reply| {
            let written = shared.find(node).map(|id| {
                shared.disk.write(id, usize::try_from(offset).unwrap(), &data);
                u32::try_from(data.len()).unwrap()
            });
            tell(written, reply, ReplyWrite::written)
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.answer(node, None, What::Sync, reply, ReplyEmpty::error, move |shared, reply| {
            let synced = shared.find(node).map(|id| shared.disk.sync(id));
            tell(synced, reply, |reply, ()| reply.ok())
        });
    }

    fn fsyncdir(&self, request: &Request, node: INodeNo, handle: FileHandle, data: bool, reply: ReplyEmpty) {
        self.fsync(request, node, handle, data, reply);
    }

    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.answer(node, None, What::Look, reply, ReplyOpen::error, move |shared, reply| {
            let listing = shared.find(node).and_then(|id| {
                let entries = shared.disk.get(id).and_then(Inode::entries).ok_or(Errno::ENOTDIR)?;
                let listing = entries.iter().map(|(name, id)| {
                    let is_directory = shared.disk.get(*id).is_some_and(|inode| inode.entries().is_some());
                    let kind = if is_directory { FileType::Directory } else { FileType::RegularFile };
                    (name.clone(), *id + 1, kind)
                });
                Ok(listing.collect::<Vec<_>>())
            });
            match listing {
                Ok(listing) => {
                    let handle = shared.opened();
                    shared.listings.insert(handle.0, listing);
                    reply.opened(handle, FopenFlags::empty());
                    Ok(())
                }
                Err(error) => Err((reply, error)),
            }
        });
    }

    fn readdir(&self, _: &Request, node: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        self.answer(node, None, What::Read, reply, ReplyDirectory::error, move |shared, mut reply| {
            let listing = shared.listings.get(&handle.0).map(Vec::as_slice).unwrap_or_default();
            let rest = (1..).zip(listing).skip(usize::try_from(offset).unwrap());
            for (next, (name, number, kind)) in rest {
                if reply.add(INodeNo(*number), next, *kind, name) {
                    break;
                }
            }
            reply.ok();
            Ok(())
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.0).listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        self.answer(node, None, What::Look, reply, ReplyStatfs::error, |shared, reply| {
            let free = if shared.faults.full { 0 } else { BLOCKS / 2 };
            reply.statfs(BLOCKS, free, free, BLOCKS, free, BLOCK, 255, BLOCK);
            Ok(())
        });
    }
}

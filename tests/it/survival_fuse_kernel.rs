//! What the kernel asks of the disk, and what it is answered.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{Asked, BLOCK, BLOCKS, NO_TIME, Shared, What, lock};
use crate::survival_disk::{Content, Inode};

/// The disk, as the kernel asks for it.
pub(super) struct Mounted(pub(super) Arc<Mutex<Shared>>);

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
            Some(error) => {
                if what == What::Sync {
                    shared.disk.sync_failed(id);
                }
                fail(reply, error);
            }
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

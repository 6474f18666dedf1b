//! A disk that remembers in which order it was written to, and what of that was synced; and what it may look like
//! after its power was cut.
//!
//! What survives: the bytes of a file that were written before its last sync, and the entries of a directory that were
//! made or removed before that directory's last sync. Everything else survives or is lost independently of everything
//! else: more than any real filesystem loses, so that what holds here holds on each of them. Syncing a file does not
//! sync its name; syncing a directory does not sync its own name, nor the bytes of what is in it. A rename is done,
//! not done, or has left both names; never neither.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// A file or a directory for ever: unlike the number that a program sees, it is never used again.
pub type Id = u64;

/// The root directory.
pub const ROOT: Id = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    File(Vec<u8>),
    Directory(BTreeMap<OsString, Id>),
}

#[derive(Debug, Clone)]
pub struct Inode {
    pub content: Content,
    pub links: u32,
    pub modified: SystemTime,
}

impl Inode {
    fn new(content: Content) -> Self {
        Self { content, links: 0, modified: SystemTime::now() }
    }

    pub fn entries(&self) -> Option<&BTreeMap<OsString, Id>> {
        match &self.content {
            Content::Directory(entries) => Some(entries),
            Content::File(_) => None,
        }
    }
}

/// A directory and a name in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub directory: Id,
    pub name: OsString,
}

/// Something that was done to the disk.
#[derive(Debug, Clone)]
pub enum Op {
    Enter {
        at: Place,
        id: Id,
        is_directory: bool,
    },
    Leave {
        at: Place,
        id: Id,
    },
    Move {
        from: Place,
        to: Place,
        id: Id,
    },
    Write {
        id: Id,
        offset: usize,
        bytes: Arc<[u8]>,
    },
    Resize {
        id: Id,
        size: usize,
    },
    Sync {
        id: Id,
    },
    /// What was not synced by then never is: the kernel takes it for written (fsync(2)).
    SyncFailed {
        id: Id,
    },
    /// Nothing for the disk: a moment of the test's.
    Mark(usize),
}

/// What a power cut did to something that was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Lost,
    /// Half of the bytes, or both names of what was moved.
    Half,
    Done,
}

/// A file's bytes, or `None` for a directory, by path.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

#[derive(Debug, Clone)]
pub struct Disk {
    inodes: HashMap<Id, Inode>,
    /// The name that each got last, for paths.
    parents: HashMap<Id, Place>,
    next: Id,
    /// What was there, and durable, when the trace began.
    base: HashMap<Id, Inode>,
    trace: Vec<Op>,
}

impl Default for Disk {
    fn default() -> Self {
        let mut root = Inode::new(Content::Directory(BTreeMap::new()));
        root.links = 1;
        let inodes: HashMap<Id, Inode> = [(ROOT, root)].into();
        Self { base: inodes.clone(), inodes, parents: HashMap::new(), next: ROOT + 1, trace: Vec::new() }
    }
}

impl Disk {
    pub fn get(&self, id: Id) -> Option<&Inode> {
        self.inodes.get(&id)
    }

    pub fn lookup(&self, directory: Id, name: &OsStr) -> Option<Id> {
        self.get(directory)?.entries()?.get(name).copied()
    }

    /// The path from the root; empty for what has no name any more.
    pub fn path(&self, id: Id) -> PathBuf {
        self.parents.get(&id).map_or_else(PathBuf::new, |at| self.path(at.directory).join(&at.name))
    }

    fn entries_mut(&mut self, directory: Id) -> &mut BTreeMap<OsString, Id> {
        let inode = self.inodes.get_mut(&directory).expect("a directory that is there");
        inode.modified = SystemTime::now();
        match &mut inode.content {
            Content::Directory(entries) => entries,
            Content::File(_) => panic!("{directory} is no directory"),
        }
    }

    fn bytes_mut(&mut self, id: Id) -> &mut Vec<u8> {
        let inode = self.inodes.get_mut(&id).expect("a file that is there");
        inode.modified = SystemTime::now();
        match &mut inode.content {
            Content::File(bytes) => bytes,
            Content::Directory(_) => panic!("{id} is no file"),
        }
    }

    /// Makes a file or a directory. The name must be free.
    pub fn make(&mut self, at: Place, is_directory: bool) -> Id {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, Inode::new(empty(is_directory)));
        self.enter(at, id, is_directory);
        id
    }

    /// Another name for a file. The name must be free.
    pub fn link(&mut self, id: Id, at: Place) {
        self.enter(at, id, false);
    }

    fn enter(&mut self, at: Place, id: Id, is_directory: bool) {
        let before = self.entries_mut(at.directory).insert(at.name.clone(), id);
        assert_eq!(before, None, "{at:?} is taken");
        self.inodes.get_mut(&id).unwrap().links += 1;
        self.parents.insert(id, at.clone());
        self.trace.push(Op::Enter { at, id, is_directory });
    }

    /// Removes a name that is there.
    pub fn leave(&mut self, at: Place) {
        let id = self.entries_mut(at.directory).remove(&at.name).expect("a name that is there");
        self.inodes.get_mut(&id).unwrap().links -= 1;
        self.trace.push(Op::Leave { at, id });
    }

    /// Renames to a name that is free.
    pub fn rename(&mut self, from: Place, to: Place) {
        let id = self.entries_mut(from.directory).remove(&from.name).expect("a name that is there");
        let before = self.entries_mut(to.directory).insert(to.name.clone(), id);
        assert_eq!(before, None, "{to:?} is taken");
        self.parents.insert(id, to.clone());
        self.trace.push(Op::Move { from, to, id });
    }

    pub fn write(&mut self, id: Id, offset: usize, bytes: &[u8]) {
        put(self.bytes_mut(id), offset, bytes);
        self.trace.push(Op::Write { id, offset, bytes: bytes.into() });
    }

    pub fn resize(&mut self, id: Id, size: usize) {
        self.bytes_mut(id).resize(size, 0);
        self.trace.push(Op::Resize { id, size });
    }

    /// Ages are not part of what a power cut can change: the registry decides nothing that matters by them.
    pub fn set_modified(&mut self, id: Id, modified: SystemTime) {
        self.inodes.get_mut(&id).unwrap().modified = modified;
    }

    pub fn sync(&mut self, id: Id) {
        self.trace.push(Op::Sync { id });
    }

    pub fn sync_failed(&mut self, id: Id) {
        self.trace.push(Op::SyncFailed { id });
    }

    pub fn mark(&mut self, moment: usize) {
        self.trace.push(Op::Mark(moment));
    }

    /// Everything so far is on disk: the trace begins anew.
    pub fn settle(&mut self) {
        self.base.clone_from(&self.inodes);
        self.trace.clear();
    }

    /// The trace as it stands, to be cut wherever one likes.
    pub fn cut(&self) -> PowerCuts {
        PowerCuts { base: self.base.clone(), trace: self.trace.clone() }
    }
}

fn empty(is_directory: bool) -> Content {
    if is_directory { Content::Directory(BTreeMap::new()) } else { Content::File(Vec::new()) }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Everything that a power cut could have left of a trace.
#[derive(Debug)]
pub struct PowerCuts {
    base: HashMap<Id, Inode>,
    trace: Vec<Op>,
}

impl PowerCuts {
    /// Where it is worth cutting, as numbers of operations done: before each sync, and at the end. An operation that
    /// was lost is as one that was not done yet, so that these have everything that any other moment has.
    pub fn moments(&self) -> Vec<usize> {
        let syncs = self.trace.iter().enumerate().filter(|(_, op)| matches!(op, Op::Sync { .. }));
        syncs.map(|(at, _)| at).chain([self.trace.len()]).collect()
    }

    /// The marks that were passed by then.
    pub fn marks(&self, moment: usize) -> Vec<usize> {
        let marks = self.trace[..moment].iter().map(|op| if let Op::Mark(mark) = op { Some(*mark) } else { None });
        marks.flatten().collect()
    }

    /// The operations of which a cut at `moment` may have left various things, and what.
    pub fn pending(&self, moment: usize) -> Vec<(usize, &'static [Fate])> {
        use Fate::{Done, Half, Lost};
        let done = &self.trace[..moment];
        let mut last_sync: HashMap<Id, usize> = HashMap::new();
        for (at, op) in done.iter().enumerate() {
            if let Op::Sync { id } = op {
                last_sync.insert(*id, at);
            }
        }
        let is_sync = |op: &Op, of: Id| matches!(op, Op::Sync { id } if *id == of);
        let failed = |op: &Op, of: Id| matches!(op, Op::SyncFailed { id } if *id == of);
        let has_failed = done.iter().any(|op| matches!(op, Op::SyncFailed { .. }));
        let forgotten = |id: &Id, at: usize| {
            has_failed
                && done[at..].iter().find(|op| is_sync(op, *id) || failed(op, *id)).is_some_and(|op| failed(op, *id))
        };
        let synced = |id: &Id, at: usize| last_sync.get(id).is_some_and(|sync| *sync > at) && !forgotten(id, at);
        let fates = |at: usize, op: &Op| -> &'static [Fate] {
            match op {
                Op::Enter { at: place, .. } | Op::Leave { at: place, .. } if synced(&place.directory, at) => &[],
                Op::Move { from, .. } if synced(&from.directory, at) => &[],
                Op::Move { to, .. } if synced(&to.directory, at) => &[Half, Done],
                Op::Write { id, .. } | Op::Resize { id, .. } if synced(id, at) => &[],
                Op::Enter { .. } | Op::Leave { .. } | Op::Resize { .. } => &[Lost, Done],
                Op::Move { .. } | Op::Write { .. } => &[Lost, Half, Done],
                Op::Sync { .. } | Op::SyncFailed { .. } | Op::Mark(_) => &[],
            }
        };
        let fates = done.iter().enumerate().map(|(at, op)| (at, fates(at, op)));
        fates.filter(|(_, fates)| !fates.is_empty()).collect()
    }

    /// The directory that an operation was done in, or the first that the written file was named in.
    pub fn directory_of(&self, at: usize) -> PathBuf {
        let directory = match &self.trace[at] {
            Op::Enter { at, .. } | Op::Leave { at, .. } | Op::Move { to: at, .. } => Some(at.directory),
            Op::Write { id, .. } | Op::Resize { id, .. } => self.first_parent(*id).map(|(directory, _)| directory),
            Op::Sync { .. } | Op::SyncFailed { .. } | Op::Mark(_) => None,
        };
        directory.map(|directory| self.path_of(directory)).unwrap_or_default()
    }

    fn first_parent(&self, id: Id) -> Option<(Id, OsString)> {
        let in_base = self.base.iter().find_map(|(directory, inode)| {
            let (name, _) = inode.entries()?.iter().find(|(_, entry)| **entry == id)?;
            Some((*directory, name.clone()))
        });
        in_base.or_else(|| {
            self.trace.iter().find_map(|op| match op {
                Op::Enter { at, id: entered, .. } if *entered == id => Some((at.directory, at.name.clone())),
                _ => None,
            })
        })
    }

    fn path_of(&self, id: Id) -> PathBuf {
        match self.first_parent(id) {
            Some((parent, name)) => self.path_of(parent).join(name),
            None => PathBuf::new(),
        }
    }

    /// What is there after a cut at `moment` that did this to the operations named; the others were done.
    pub fn tree(&self, moment: usize, fates: &HashMap<usize, Fate>) -> Tree {
        let mut inodes = self.base.clone();
        for (at, op) in self.trace[..moment].iter().enumerate() {
            apply(&mut inodes, op, fates.get(&at).copied().unwrap_or(Fate::Done));
        }
        let mut tree = Tree::new();
        walk(&inodes, ROOT, Path::new(""), &mut tree);
        tree
    }
}

fn apply(inodes: &mut HashMap<Id, Inode>, op: &Op, fate: Fate) {
    match op {
        Op::Enter { at, id, is_directory } => {
            // What has no name yet can be written to all the same.
            inodes.entry(*id).or_insert_with(|| Inode::new(empty(*is_directory)));
            if fate == Fate::Done {
                insert(inodes, at, *id);
            }
        }
        Op::Leave { at, id } if fate == Fate::Done => remove(inodes, at, *id),
        Op::Move { from, to, id } => {
            if fate != Fate::Lost {
                insert(inodes, to, *id);
            }
            if fate == Fate::Done {
                remove(inodes, from, *id);
            }
        }
        Op::Write { id, offset, bytes } => {
            let Some(Inode { content: Content::File(file), .. }) = inodes.get_mut(id) else { return };
            match fate {
                Fate::Lost => {}
                Fate::Half => {
                    put(file, *offset, &vec![0; bytes.len()]);
                    put(file, *offset, &bytes[..bytes.len() / 2]);
                }
                Fate::Done => put(file, *offset, bytes),
            }
        }
        Op::Resize { id, size } if fate == Fate::Done => {
            if let Some(Inode { content: Content::File(file), .. }) = inodes.get_mut(id) {
                file.resize(*size, 0);
            }
        }
        Op::Leave { .. } | Op::Resize { .. } | Op::Sync { .. } | Op::SyncFailed { .. } | Op::Mark(_) => {}
    }
}

fn insert(inodes: &mut HashMap<Id, Inode>, at: &Place, id: Id) {
    if let Some(Inode { content: Content::Directory(entries), .. }) = inodes.get_mut(&at.directory) {
        entries.insert(at.name.clone(), id);
    }
}

fn remove(inodes: &mut HashMap<Id, Inode>, at: &Place, id: Id) {
    if let Some(Inode { content: Content::Directory(entries), .. }) = inodes.get_mut(&at.directory)
        && entries.get(&at.name) == Some(&id)
    {
        entries.remove(&at.name);
    }
}

fn walk(inodes: &HashMap<Id, Inode>, directory: Id, path: &Path, tree: &mut Tree) {
    let Some(entries) = inodes.get(&directory).and_then(Inode::entries) else { return };
    for (name, id) in entries {
        let path = path.join(name);
        match inodes.get(id).map(|inode| &inode.content) {
            Some(Content::Directory(_)) => {
                tree.insert(path.clone(), None);
                walk(inodes, *id, &path, tree);
            }
            Some(Content::File(bytes)) => {
                tree.insert(path, Some(bytes.clone()));
            }
            None => {}
        }
    }
}

//! What is asked of a store, by name: for those who count, and for tests that watch.

/// One of the operations of [`super::Backend`] and [`super::Writer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`super::Backend::put_new`]
    PutNew,
    /// [`super::Backend::read`]
    Read,
    /// [`super::Backend::open`]
    Open,
    /// [`super::Backend::head`]
    Head,
    /// [`super::Backend::children`]
    Children,
    /// [`super::Backend::delete`]
    Delete,
    /// [`super::Backend::temporary`]
    Temporary,
    /// [`super::Writer::write`]
    Write,
    /// [`super::Writer::finish`]
    Finish,
    /// [`super::Backend::compose`], by the name of the whole.
    Compose,
    /// [`super::Backend::publish`], by the name that is made.
    Publish,
    /// [`super::Backend::replace`], by the name whose bytes are replaced.
    Replace,
    /// [`super::Backend::make_durable`]
    MakeDurable,
    /// [`super::Backend::rename`], by the name that is moved.
    Rename,
    /// [`super::Backend::now`]
    Now,
    /// [`super::Backend::capacity`]
    Capacity,
    /// [`super::Backend::redirect`]
    Redirect,
}

impl Operation {
    /// All of them, in the order of the variants.
    pub const ALL: [Self; 17] = [
        Self::PutNew,
        Self::Read,
        Self::Open,
        Self::Head,
        Self::Children,
        Self::Delete,
        Self::Temporary,
        Self::Write,
        Self::Finish,
        Self::Compose,
        Self::Publish,
        Self::Replace,
        Self::MakeDurable,
        Self::Rename,
        Self::Now,
        Self::Capacity,
        Self::Redirect,
    ];

    /// As it is in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PutNew => "put_new",
            Self::Read => "read",
            Self::Open => "open",
            Self::Head => "head",
            Self::Children => "children",
            Self::Delete => "delete",
            Self::Temporary => "temporary",
            Self::Write => "write",
            Self::Finish => "finish",
            Self::Compose => "compose",
            Self::Publish => "publish",
            Self::Replace => "replace",
            Self::MakeDurable => "make_durable",
            Self::Rename => "rename",
            Self::Now => "now",
            Self::Capacity => "capacity",
            Self::Redirect => "redirect",
        }
    }

    /// Whether the store is another one afterwards.
    pub const fn changes(self) -> bool {
        match self {
            Self::PutNew
            | Self::Delete
            | Self::Temporary
            | Self::Write
            | Self::Finish
            | Self::Compose
            | Self::Publish
            | Self::Replace
            | Self::Rename => true,
            Self::Read
            | Self::Open
            | Self::Head
            | Self::Children
            | Self::MakeDurable
            | Self::Now
            | Self::Capacity
            | Self::Redirect => false,
        }
    }
}

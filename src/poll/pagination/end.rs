//! Why a list is not read further, in words that are counted.

/// Why the last page was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is one page only.
    Single,
    /// It was empty.
    Empty,
    /// It was not full.
    Short,
    /// The source said that it is the last.
    LastPage,
    /// It had no token, and no link to another.
    NoToken,
    /// Everything older was read before.
    Known,
    /// The poll may have no more pages; the next one goes on here.
    PageLimit,
    /// The poll may not take longer; the next one goes on here.
    OutOfTime,
}

impl End {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Empty => "empty",
            Self::Short => "short",
            Self::LastPage => "last_page",
            Self::NoToken => "no_token",
            Self::Known => "known",
            Self::PageLimit => "page_limit",
            Self::OutOfTime => "out_of_time",
        }
    }

    /// Whether pages are left: the next poll goes on, the answer's validators tell nothing.
    pub fn is_truncated(self) -> bool {
        matches!(self, Self::PageLimit | Self::OutOfTime)
    }
}

/// Why the walk cannot go on, though the list has no end yet. The next poll begins anew at the cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The next page is one that was asked for already.
    SameToken,
    /// The page is the one before it once more.
    SamePage,
    /// The next request would be the last one once more.
    NoProgress,
    /// The token or link cannot be used: it is too long, or of a kind that does not fit its place.
    BadToken,
    /// The page has items, and the last one no value for the cursor.
    NoCursor,
}

impl Stuck {
    /// The word for metrics, JSON and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::SameToken => "same_token",
            Self::SamePage => "same_page",
            Self::NoProgress => "no_progress",
            Self::BadToken => "bad_token",
            Self::NoCursor => "no_cursor",
        }
    }
}

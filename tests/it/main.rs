//! Everything that needs a running gateway, in one binary: one file a story.

mod conf;
mod support;
mod tidy;

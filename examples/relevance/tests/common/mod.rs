//! What both test binaries share.

pub(crate) mod golden;
pub(crate) mod jobs;

//! Helpers of both test binaries.

pub(crate) mod golden;
pub(crate) mod jobs;

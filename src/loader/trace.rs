//! Spans of the loader's work, for subscribers of the crate `tracing`. Without the feature of that name, they are
//! empty.

use crate::shard::SampleId;

/// A span of the level DEBUG and the target `maskstream`. It lasts until it is dropped.
pub(super) struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

macro_rules! span {
    ($name:literal, $($field:ident),*) => {{
        #[cfg(not(feature = "tracing"))]
        {
            let _ = ($($field,)*);
            Span {}
        }
        #[cfg(feature = "tracing")]
        Span { span: tracing::debug_span!(target: "maskstream", $name, $($field),*) }
    }};
}

impl Span {
    /// The feed thread reads a sample.
    pub(super) fn read(step: u64, SampleId { shard, entry }: SampleId) -> Self {
        span!("read", step, shard, entry)
    }

    /// A worker inflates a sample, and decodes its labels.
    pub(super) fn labels(step: u64, SampleId { shard, entry }: SampleId) -> Self {
        span!("labels", step, shard, entry)
    }

    /// A worker decodes an image, perhaps beside others: these spans overlap, and none is entered.
    pub(super) fn image(step: u64, SampleId { shard, entry }: SampleId) -> Self {
        span!("image", step, shard, entry)
    }

    /// The consumer waits for a batch.
    pub(super) fn wait(step: u64) -> Self {
        span!("wait", step)
    }

    /// The consumer's thread converts a batch.
    pub(super) fn convert(step: u64) -> Self {
        span!("convert", step)
    }

    /// Works within the span.
    pub(super) fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        #[cfg(feature = "tracing")]
        return self.span.in_scope(work);
        #[cfg(not(feature = "tracing"))]
        work()
    }
}

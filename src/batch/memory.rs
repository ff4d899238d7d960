//! The memory of a batch: zeroed buffers for a layout, on the heap or page-locked, with advice to use huge pages.
//!
//! There are two kinds because two kinds of consumers use them without a copy. A framework on the CPU becomes the owner
//! of a `Vec` of its own number type, so nothing is recycled. A device copies from page-locked memory that is reused
//! for batch after batch: an anonymous mapping on huge pages, faulted in once, locked if the system allows. Huge pages
//! matter more than the lock: with pages of 4 KiB, the page faults of a fresh batch cost more than filling it.
//!
//! `unsafe` is used for one `madvise` call.

#![allow(unsafe_code)]

use bytemuck::cast_slice_mut;
use half::{bf16, f16};
use memmap2::MmapMut;

use super::BatchLayout;
use crate::dtype::DType;
use crate::{Error, Result};

/// Buffers of at least this many bytes are worth huge pages (2 MiB each on x86-64 and aarch64).
const HUGE_BYTES: usize = 4 << 20;

/// Where batches are allocated.
///
/// ```
/// use maskstream::{Loader, Memory};
///
/// let settings = Loader::builder().memory(Memory::Pinned); // for batches that are copied to a device
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Memory {
    /// Heap vectors, which become CPU tensors without a copy.
    #[default]
    Heap,
    /// Page-locked mappings (best effort, see [`PinState`]), reused once a batch is dropped or copied to a device. They
    /// are not registered with the CUDA driver, so CUDA does not copy from them directly.
    Pinned,
}

/// Whether the pages of a batch are locked in memory. Display prints `locked`, or `pageable: ` and the reason.
///
/// ```
/// use maskstream::{Batch, PinState};
///
/// fn warn_if_pageable(batch: &Batch) {
///     if let PinState::Pageable(_) = batch.pin_state() {
///         eprintln!("copies to the device will be slower: {}", batch.pin_state());
///     }
/// }
/// # let reason = "mlock of 4096 bytes: Cannot allocate memory".to_owned();
/// # assert_eq!(PinState::Pageable(reason.clone()).to_string(), format!("pageable: {reason}"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PinState {
    /// Locked by the operating system (`mlock`).
    Locked,
    /// Not locked, for this reason.
    Pageable(String),
}

impl std::fmt::Display for PinState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked => f.write_str("locked"),
            Self::Pageable(reason) => write!(f, "pageable: {reason}"),
        }
    }
}

/// One buffer.
#[derive(Debug)]
pub(crate) enum Buffer {
    U8(Vec<u8>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    F32(Vec<f32>),
    U32(Vec<u32>),
    I64(Vec<i64>),
    /// Small fields of several number types, in units of eight bytes so that each of them is aligned.
    Mixed(Vec<u64>),
    /// A page-locked mapping.
    Slab(MmapMut),
}

/// All the buffers of one batch.
#[derive(Debug)]
pub(crate) struct BatchBuffers {
    /// The buffers of the large fields, in the order of the layout.
    pub(super) large: Vec<Buffer>,
    pub(super) small: Buffer,
    pub(super) pin_state: PinState,
}

impl BatchBuffers {
    /// Fresh buffers of this layout, all zero.
    pub(crate) fn new(layout: &BatchLayout, memory: Memory) -> Result<Self> {
        let on_heap = || "on the heap, so that CPU tensors own it without a copy".to_owned();
        let mut refused = (memory == Memory::Heap).then(on_heap);
        let mut buffer = |dtype: Option<DType>, bytes: usize| match memory {
            Memory::Heap => Buffer::heap(dtype, bytes),
            Memory::Pinned => {
                let (slab, lock) = slab(bytes)?;
                if let Err(reason) = lock {
                    refused.get_or_insert(reason);
                }
                Ok(Buffer::Slab(slab))
            }
        };
        let large = layout.large().map(|spec| buffer(Some(spec.dtype), spec.bytes())).collect::<Result<Vec<_>>>()?;
        let small = buffer(None, layout.small_bytes())?;
        let pin_state = refused.map_or(PinState::Locked, PinState::Pageable);
        Ok(Self { large, small, pin_state })
    }
}

impl Buffer {
    /// A zeroed vector of this number type; `None` means several types.
    fn heap(dtype: Option<DType>, bytes: usize) -> Result<Self> {
        let mut buffer = match dtype {
            Some(DType::U8) => Self::U8(zeroed(bytes)?),
            Some(DType::F16) => Self::F16(zeroed(bytes / 2)?),
            Some(DType::Bf16) => Self::Bf16(zeroed(bytes / 2)?),
            Some(DType::F32) => Self::F32(zeroed(bytes / 4)?),
            Some(DType::U32) => Self::U32(zeroed(bytes / 4)?),
            Some(DType::I64) => Self::I64(zeroed(bytes / 8)?),
            None => Self::Mixed(zeroed(bytes.div_ceil(8))?),
        };
        advise_huge(buffer.bytes_mut());
        Ok(buffer)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::U8(v) => v,
            Self::F16(v) => bytemuck::cast_slice(v),
            Self::Bf16(v) => bytemuck::cast_slice(v),
            Self::F32(v) => bytemuck::cast_slice(v),
            Self::U32(v) => bytemuck::cast_slice(v),
            Self::I64(v) => bytemuck::cast_slice(v),
            Self::Mixed(v) => bytemuck::cast_slice(v),
            Self::Slab(map) => map,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::U8(v) => v,
            Self::F16(v) => cast_slice_mut(v),
            Self::Bf16(v) => cast_slice_mut(v),
            Self::F32(v) => cast_slice_mut(v),
            Self::U32(v) => cast_slice_mut(v),
            Self::I64(v) => cast_slice_mut(v),
            Self::Mixed(v) => cast_slice_mut(v),
            Self::Slab(map) => map,
        }
    }
}

fn zeroed<T: bytemuck::Zeroable>(len: usize) -> Result<Vec<T>> {
    let refused = |()| Error::limit(format!("no memory for a buffer of {len} x {} bytes", size_of::<T>()));
    bytemuck::allocation::try_zeroed_slice_box(len).map(<[T]>::into_vec).map_err(refused)
}

/// An anonymous mapping, faulted in, and the result of locking it.
fn slab(bytes: usize) -> Result<(MmapMut, Result<(), String>)> {
    let map = MmapMut::map_anon(bytes.max(1)).map_err(|e| Error::io(format!("cannot map {bytes} bytes"), e))?;
    #[cfg(target_os = "linux")]
    {
        // Advice only: if the kernel refuses, pages are small and are faulted in one by one.
        let _ = map.advise(memmap2::Advice::HugePage);
        let _ = map.advise(memmap2::Advice::PopulateWrite);
    }
    #[cfg(unix)]
    let lock = map.lock().map_err(|e| format!("mlock of {bytes} bytes: {e}{}", lock_limit()));
    #[cfg(not(unix))]
    let lock = Err("page locking is not supported on this system".to_owned());
    Ok((map, lock))
}

#[cfg(unix)]
fn lock_limit() -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    limit.map_or_else(String::new, |bytes| format!(" (the limit is {bytes} bytes, see `ulimit -l`)"))
}

/// Advises the kernel to use huge pages for a new heap buffer.
fn advise_huge(bytes: &mut [u8]) {
    #[cfg(target_os = "linux")]
    if bytes.len() >= HUGE_BYTES {
        let page = rustix::param::page_size();
        // Whole pages inside the buffer: the first and the last may be shared with other allocations.
        let skip = bytes.as_ptr().align_offset(page).min(bytes.len());
        let inner = &mut bytes[skip..];
        let len = inner.len() / page * page;
        // SAFETY: the range lies within memory that is borrowed exclusively, and the advice changes neither its content
        // nor its protection.
        let _ = unsafe { rustix::mm::madvise(inner.as_mut_ptr().cast(), len, rustix::mm::Advice::LinuxHugepage) };
    }
    let _ = (bytes, HUGE_BYTES);
}

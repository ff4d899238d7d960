//! Compiles a function twice, for any processor and for one with AVX2, and chooses at run time.
//!
//! Both are the same source, so both give the same results to the last bit: that is why no function here uses fused
//! multiplication and addition, which only some processors have.
//!
//! # Safety
//!
//! The only `unsafe` code is the call of a safe function that requires the instructions which [`Simd::best`] has found.

/// The instructions that may be used. Only [`Simd::best`] makes one that allows more than the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd {
    is_avx2: bool,
}

impl Simd {
    /// Code for any processor of the target.
    pub const PORTABLE: Self = Self { is_avx2: false };

    /// The best that this processor can do.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            let is_avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("movbe")
                && is_x86_feature_detected!("popcnt");
            Self { is_avx2 }
        }
        #[cfg(not(target_arch = "x86_64"))]
        Self::PORTABLE
    }

    /// Whether AVX2 may be used.
    #[inline]
    pub fn is_avx2(self) -> bool {
        self.is_avx2
    }
}

/// Defines a function of the same arguments as `$body`, with a [`Simd`] before them. `$body` must be `inline(always)`.
macro_rules! multiversion {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$doc])*
        $vis fn $name(simd: $crate::image::simd::Simd, $($arg: $type),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            if simd.is_avx2() {
                #[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe,popcnt")]
                fn avx2($($arg: $type),*) $(-> $ret)? {
                    $body($($arg),*)
                }
                // SAFETY: a `Simd` says so only if this processor has all of these instructions.
                #[allow(unsafe_code)]
                return unsafe { avx2($($arg),*) };
            }
            let _ = simd;
            $body($($arg),*)
        }
    };
}
pub(crate) use multiversion;

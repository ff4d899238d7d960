//! What docs/tensors.md says about Burn, on its CPU backend: each surprising behaviour as it is today, and that the
//! advice gives the right value. If a version of Burn changes such a behaviour, its test fails: then update the page.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use burn_core::tensor::activation::{relu, softmax};
use burn_core::tensor::kind::Basic;
use burn_core::tensor::{Bool, DType, Device, FloatDType, Int, IntDType, Tensor, TensorData};
use maskstream::{BurnBatch, BurnImages, DType as FieldDType};

use crate::tensors::{SIDE, assert_compiled, every_field, squares};

// The code blocks of the page, word for word.

/// The mean of `[B, K, h, w]` over the real masks alone, 0 if there is none; `valid` is `[B, K]`.
fn mean_over_valid(loss: Tensor<4>, valid: Tensor<2, Int>) -> Tensor<1> {
    let per_mask: Tensor<2> = loss.mean_dims(&[2, 3]).squeeze_dims(&[2, 3]);
    let per_mask = per_mask.mask_fill(valid.clone().equal_elem(0), 0.0);
    let count = valid.float().sum().clamp_min(1.0).cast(per_mask.dtype());
    per_mask.sum() / count
}

// End of the code blocks.

/// Images in [0, 1], for any type of the batch's images.
fn unit(images: BurnImages) -> Tensor<4> {
    match images {
        BurnImages::Bytes(bytes) => bytes.float() / 255.0,
        BurnImages::Floats(floats) => floats,
    }
}

/// Binary cross-entropy of each cell; both are `[B, K, h, w]`.
fn cross_entropy_of_masks(logits: Tensor<4>, masks: Tensor<4, Int>) -> Tensor<4> {
    let targets = masks.float().cast(logits.dtype());
    let softplus = relu(logits.clone()) + (logits.clone().abs().neg().exp() + 1.0).log();
    softplus - logits * targets
}

/// Checks that Burn does what the page says; if it fails, update the page.
#[track_caller]
fn documented<T: PartialEq + Debug>(what: &str, found: T, says: T) {
    assert!(found == says, "docs/tensors.md says {what} gives {says:?}, and it gives {found:?}; update it");
}

/// The numbers of an integer tensor and their type.
fn ints<const D: usize>(tensor: Tensor<D, Int>) -> (DType, Vec<i64>) {
    (tensor.dtype(), tensor.into_data().convert::<i64>().try_to_vec::<i64>().unwrap())
}

/// The numbers of a u8 tensor.
fn bytes<const D: usize>(tensor: Tensor<D, Int>) -> Vec<u8> {
    tensor.into_data().try_to_vec::<u8>().unwrap()
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec::<f32>().unwrap()
}

fn bools<const D: usize>(tensor: Tensor<D, Bool>) -> Vec<u8> {
    ints(tensor.int()).1.into_iter().map(|value| value as u8).collect()
}

/// The message of the panic.
#[track_caller]
fn panicked<const D: usize, K: Basic>(make: impl FnOnce() -> Tensor<D, K>) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| make().into_data())) else {
        panic!("docs/tensors.md says that this panics; update it")
    };
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned())
}

fn u8s(values: &[u8]) -> Tensor<1, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (&Device::flex(), DType::U8))
}

fn f32s(values: &[f32]) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (&Device::flex(), DType::F32))
}

/// [`squares`], with masks as large as the image.
fn batch() -> BurnBatch {
    squares(every_field().mask_size(Some([SIDE, SIDE]))).into_burn(&Device::flex()).unwrap()
}

fn masks() -> Tensor<4, Int> {
    batch().masks.unwrap()
}

#[test]
fn the_code_of_the_page_is_compiled_here() {
    let page = include_str!("../../docs/tensors.md");
    let part = page.split("\n## ").find(|part| part.starts_with("Burn")).unwrap();
    assert_compiled(part, include_str!("tensor_docs_burn.rs"));
}

#[test]
fn scalars_lose_their_fraction_and_their_upper_bits() {
    let inside = bytes(masks());
    let cells = inside.len();
    documented("masks.mul_scalar(0.5)", bytes(masks().mul_scalar(0.5)), vec![0; cells]);
    documented("masks.greater_equal_elem(0.5)", bools(masks().greater_equal_elem(0.5)), vec![1; cells]);
    let values = || u8s(&[0, 1, 128, 255]);
    documented("values / 255", bytes(values() / 255), vec![0, 0, 0, 1]);
    documented("values.div_scalar(255.0)", bytes(values().div_scalar(255.0)), vec![0, 0, 0, 1]);
    documented("values + 300", bytes(values() + 300), vec![44, 45, 172, 43]);
    documented("values * 256", bytes(values() * 256), vec![0; 4]);
    documented("values.greater_equal_elem(256)", bools(values().greater_equal_elem(256)), vec![1; 4]);
    documented("values.equal_elem(511)", bools(values().equal_elem(511)), vec![0, 0, 0, 1]);
    documented("mask_fill of 300", bytes(values().mask_fill(values().bool(), 300)), vec![0, 44, 44, 44]);
    for message in [panicked(|| values() / 256), panicked(|| values().div_scalar(0.5))] {
        documented("a division by 256 or 0.5", message.as_str(), "attempt to divide by zero");
    }
    let message = panicked(|| values().greater_equal_elem(-1));
    documented("greater_equal_elem(-1)", message.contains("cannot be represented"), true);

    // Cast first.
    let expected: Vec<f32> = inside.iter().map(|&v| f32::from(v)).collect();
    assert_eq!(floats(masks().float() * 0.5), expected.iter().map(|v| v * 0.5).collect::<Vec<_>>());
    assert_eq!(bools(masks().float().greater_equal_elem(0.5)), inside);
    assert_eq!(floats(values().float() / 255.0), [0.0, 1.0 / 255.0, 128.0 / 255.0, 1.0]);
    // Without a cast.
    assert_eq!(bools(masks().bool()), inside);
    assert_eq!(bools(masks().greater_equal_elem(1)), inside);
    assert_eq!(bools(values().greater_equal_elem(128)), [0, 0, 1, 1]);
}

#[test]
fn differences_and_products_of_u8_wrap_around() {
    let inside = bytes(masks());
    let outside: Vec<u8> = inside.iter().map(|v| 1 - v).collect();
    assert_eq!(bytes(masks().ones_like() - masks()), outside, "1 - masks is right");
    assert_eq!(bytes(1i32 - masks()), outside, "1 - masks is right");
    let values = || u8s(&[0, 1, 128, 255]);
    documented("-values", bytes(-values()), vec![0, 255, 128, 1]);
    documented("values - 1", bytes(values() - 1), vec![255, 0, 127, 254]);
    documented("values * values", bytes(values() * values()), vec![0, 1, 0, 1]);
    documented("values + values", bytes(values() + values()), vec![0, 2, 0, 254]);
    assert_eq!(floats(values().float() - 1.0), [-1.0, 0.0, 127.0, 254.0]);
    assert_eq!(ints(values().cast(IntDType::I64) - 1), (DType::I64, vec![-1, 0, 127, 254]));
}

#[test]
fn sums_and_means_of_u8_do_not_fit() {
    // 464 of 3456 cells, and 1000 of 1000.
    for (tensor, wrapped) in [(masks().reshape([3456]), 208), (u8s(&[1; 1000]), 232)] {
        let (sum, of_dim) = (tensor.clone(), tensor.clone());
        documented("sum()", bytes(sum.sum()), vec![wrapped]);
        documented("sum_dim()", bytes(of_dim.sum_dim(0)), vec![wrapped]);
        let unsupported = "int_mean: unsupported dtype U8";
        documented("mean()", panicked(|| tensor.clone().mean()).as_str(), unsupported);
    }
    documented("mean_dim() of 1000 ones", bytes(u8s(&[1; 1000]).mean_dim(0)), vec![0]);
    documented("mean_dim() of [255, 255]", bytes(u8s(&[255, 255]).mean_dim(0)), vec![127]);
    documented("mean_dim() of [0, 1]", bytes(u8s(&[0, 1]).mean_dim(0)), vec![0]);
    let flat = || masks().reshape([2, 3, 576]);
    let unsupported = panicked(|| flat().matmul(flat().transpose()));
    documented("matmul", unsupported.as_str(), "int_matmul: unsupported dtype U8");

    assert_eq!(floats(masks().float().sum_dims(&[2, 3])), [400.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(ints(masks().cast(IntDType::I32).sum()), (DType::I32, vec![464]));
    assert_eq!(floats(u8s(&[255, 255]).float().mean_dim(0)), [255.0]);
    assert_eq!(floats(batch().valid.float().mean()), [2.0 / 6.0]);
    // A mean of integers is rounded down in any integer type.
    documented("a mean of [0, 1] as i64", ints(u8s(&[0, 1]).cast(IntDType::I64).mean()).1, vec![0]);
    let shared = flat().float().matmul(flat().float().transpose());
    assert_eq!(floats(shared)[..9], [400.0, 64.0, 0.0, 64.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn number_types_do_not_mix() {
    let mixed = |message: String| message.contains("dtype mismatch");
    documented("u8 + i64", mixed(panicked(|| batch().valid + batch().annotation_ids)), true);
    let halves = || f32s(&[1.0, 2.0]).cast(FloatDType::BF16);
    documented("bf16 * f32", mixed(panicked(|| halves() * f32s(&[1.0, 2.0]))), true);
    // `float()` gives the device's float type, f32, until it is cast.
    assert_eq!(masks().float().dtype(), DType::F32);
    assert_eq!(masks().cast(FloatDType::BF16).dtype(), DType::BF16);
    assert_eq!(ints(batch().valid.cast(IntDType::I64) + batch().annotation_ids).1, [2, 3, 0, 0, 0, 0]);
}

#[test]
fn images_are_0_to_255_or_0_to_1() {
    let of = |dtype| squares(every_field().image_dtype(dtype)).into_burn(&Device::flex()).unwrap().images;
    let largest = |tensor: Tensor<4>| floats(tensor).into_iter().fold(0.0, f32::max);
    documented("float() of u8 images", largest(of(FieldDType::U8).float()) > 100.0, true);
    documented("float() of f32 images", largest(of(FieldDType::F32).float()) <= 1.0, true);
    let difference = unit(of(FieldDType::U8)) - unit(of(FieldDType::F32));
    assert!(largest(difference.abs()) < 1e-6);
}

#[test]
fn indices_and_conditions_of_u8_are_right() {
    let table = Tensor::<1, Int>::arange(0..300, &Device::flex()).float();
    assert_eq!(floats(table.select(0, u8s(&[254, 255]))), [254.0, 255.0]);
    let chosen = f32s(&[1.0, 2.0, 3.0]).mask_fill(u8s(&[0, 1, 255]).equal_elem(0), -1.0);
    assert_eq!(floats(chosen), [-1.0, 2.0, 3.0]);
}

#[test]
fn halves_are_summed_as_floats_and_nan_is_kept() {
    for dtype in [FloatDType::F16, FloatDType::BF16] {
        let ones = || f32s(&[1.0; 4096]).cast(dtype);
        documented("a sum of 4096 halves", floats(ones().sum()), vec![4096.0]);
        documented("a mean of 4096 halves", floats(ones().mean_dim(0)), vec![1.0]);
        documented("a softmax of 4096 halves", floats(softmax(ones(), 0)), vec![1.0 / 4096.0; 4096]);
    }
    let of = |dtype| floats(f32s(&vec![1.0; 100_000]).cast(dtype).sum());
    documented("a sum of 100,000 ones in f16", of(FloatDType::F16), vec![f32::INFINITY]);
    documented("a sum of 100,000 ones in bf16", of(FloatDType::BF16), vec![99_840.0]);
    let nan = || f32s(&[1.0, f32::NAN]);
    let kept = [relu(nan()), nan().clamp(0.0, 1.0), nan().max().reshape([1]), nan().sum().reshape([1])];
    for tensor in kept {
        let last = floats(tensor).pop().unwrap();
        documented("relu, clamp, max or sum of NaN", last.is_nan(), true);
    }
}

#[test]
fn cross_entropy_of_cast_masks_is_right() {
    let of = |logit: f32, target: u8| {
        let loss = cross_entropy_of_masks(f32s(&[logit]).reshape([1, 1, 1, 1]), u8s(&[target]).reshape([1, 1, 1, 1]));
        floats(loss)[0]
    };
    for (logit, target, expected) in
        [(0.0, 1, std::f32::consts::LN_2), (2.0, 1, 0.126_928_01), (100.0, 1, 0.0), (100.0, 0, 100.0), (-100.0, 0, 0.0)]
    {
        let found = of(logit, target);
        assert!((found - expected).abs() < 1e-6, "{logit}, {target}: {found}");
    }
    assert!(of(f32::NAN, 0).is_nan());
}

#[test]
fn a_mean_over_valid_masks_leaves_padding_out() {
    let valid = || batch().valid;
    assert_eq!(bytes(valid()), [1, 1, 0, 0, 0, 0]);
    let per_mask = f32s(&[3.0, 5.0, f32::NAN, 7.0, f32::INFINITY, 9.0]).reshape([2, 3, 1, 1]);
    let loss = || per_mask.clone().expand([2, 3, 24, 24]);
    assert_eq!(floats(mean_over_valid(loss(), valid())), [4.0]);
    assert_eq!(floats(mean_over_valid(loss().cast(FloatDType::BF16), valid())), [4.0]);
    assert_eq!(floats(mean_over_valid(loss(), valid().zeros_like())), [0.0]);
    let of_cells = cross_entropy_of_masks(masks().float().zeros_like() + 100.0, masks());
    let expected = (176.0 + 512.0) / 576.0 * 100.0 / 2.0;
    assert!((floats(mean_over_valid(of_cells, valid()))[0] - expected).abs() < 1e-3);
}

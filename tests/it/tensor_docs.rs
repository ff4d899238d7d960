//! What docs/tensors.md says about candle: each surprising behaviour as it is today, and that the advice gives the
//! right value. If a version of candle changes such a behaviour, its test fails: then update the page.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::loss;
use candle_nn::ops::softmax;
use maskstream::{DType as FieldDType, MaskKind, Normalization};

use crate::tensors::{SIDE, assert_compiled, every_field, squares};

const CPU: &Device = &Device::Cpu;

type Made = candle_core::Result<Tensor>;

// The code blocks of the page, word for word.

/// Binary cross-entropy of each cell, for logits of any size; both are `[B, K, h, w]`.
fn cross_entropy_of_masks(logits: &Tensor, masks: &Tensor) -> candle_core::Result<Tensor> {
    let targets = masks.to_dtype(logits.dtype())?;
    let softplus = (logits.relu()? + (logits.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
    softplus - (logits * targets)?
}

/// The mean of `[B, K, h, w]` over the real masks alone, 0 if there is none; `valid` is `[B, K]`.
fn mean_over_valid(loss: &Tensor, valid: &Tensor) -> candle_core::Result<Tensor> {
    let per_mask = loss.to_dtype(DType::F32)?.mean((2, 3))?;
    let per_mask = valid.where_cond(&per_mask, &per_mask.zeros_like()?)?;
    per_mask.sum_all()? / valid.to_dtype(DType::F32)?.sum_all()?.maximum(1.0)?
}

// End of the code blocks.

/// u8 images as f32, normalized on their device.
fn normalized(images: &Tensor, by: Normalization) -> candle_core::Result<Tensor> {
    let channels = |values: [f32; 3]| Tensor::new(&values, images.device())?.reshape((1, 3, 1, 1));
    let unit = (images.to_dtype(DType::F32)? / 255.0)?;
    unit.broadcast_sub(&channels(by.mean)?)?.broadcast_div(&channels(by.std)?)
}

/// Checks that candle does what the page says; if it fails, update the page.
#[track_caller]
fn documented<T: PartialEq + Debug>(what: &str, found: T, says: T) {
    assert!(found == says, "docs/tensors.md says {what} gives {says:?}, and it gives {found:?}; update it");
}

fn bytes(tensor: Made) -> Vec<u8> {
    tensor.unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn floats(tensor: Made) -> Vec<f32> {
    tensor.unwrap().to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn float(tensor: Made) -> f32 {
    let [value] = floats(tensor)[..] else { panic!("not one number") };
    value
}

/// The first line of the error.
fn error(tensor: Made) -> String {
    tensor.unwrap_err().to_string().lines().next().unwrap().to_owned()
}

/// The message of the panic.
fn panicked(make: impl FnOnce() -> Made) -> String {
    let payload = catch_unwind(AssertUnwindSafe(make)).expect_err("docs/tensors.md says that this panics; update it");
    payload.downcast_ref::<String>().cloned().unwrap_or_else(|| (*payload.downcast_ref::<&str>().unwrap()).to_owned())
}

/// Checks that an integer overflow wraps around in a release build and panics in a debug build.
#[track_caller]
fn overflows(what: &str, make: impl FnOnce() -> Made, wrapped: &[u8]) {
    if cfg!(debug_assertions) {
        let message = panicked(make);
        let is_overflow = message.starts_with("attempt to ") && message.ends_with(" with overflow");
        assert!(is_overflow, "docs/tensors.md says {what} overflows, and it panics: {message}; update it");
    } else {
        documented(what, bytes(make()), wrapped.to_vec());
    }
}

/// Masks `[2, 3, 24, 24]` and `valid` `[2, 3]` of [`squares`], as the loader delivers them.
fn masks_and_valid() -> (Tensor, Tensor) {
    let batch = squares(every_field().mask_size(Some([SIDE, SIDE]))).into_candle(CPU).unwrap();
    (batch.masks.unwrap(), batch.valid)
}

fn u8s(values: &[u8]) -> Tensor {
    Tensor::new(values, CPU).unwrap()
}

fn f32s(values: &[f32]) -> Tensor {
    Tensor::new(values, CPU).unwrap()
}

#[test]
fn the_code_of_the_page_is_compiled_here() {
    let page = include_str!("../../docs/tensors.md");
    let part = page.split("\n## ").find(|part| part.starts_with("candle")).unwrap();
    assert_compiled(part, include_str!("tensor_docs.rs"));
}

#[test]
fn scalars_become_u8_before_they_are_used() {
    let (masks, _) = masks_and_valid();
    let cells = masks.elem_count();
    documented("1.0 - masks", bytes(1.0 - &masks), vec![1; cells]);
    documented("masks / 255.0", bytes(&masks / 255.0), vec![0; cells]);
    documented("masks * 0.5", bytes(&masks * 0.5), vec![0; cells]);
    documented("masks.ge(0.5)", bytes(masks.ge(0.5)), vec![1; cells]);
    documented("masks.lt(0.5)", bytes(masks.lt(0.5)), vec![0; cells]);
    documented("masks - 1.0", bytes(&masks - 1.0), bytes(Ok(masks.clone())));
    // Fractions are cut off, scalars beyond 0 to 255 are clamped; integers of another type lose their upper bits.
    let values = u8s(&[0, 1, 128, 255]);
    documented("values * 1.5", bytes(&values * 1.5), vec![0, 1, 128, 255]);
    documented("values.eq(300.0)", bytes(values.eq(300f64)), vec![0, 0, 0, 1]);
    documented("values.eq(256u32)", bytes(values.eq(256u32)), vec![1, 0, 0, 0]);
    documented("values.clamp(0.0, 0.5)", bytes(values.clamp(0.0, 0.5)), vec![0; 4]);

    // Cast first.
    let cast = masks.to_dtype(DType::F32).unwrap();
    let inside: Vec<f32> = bytes(Ok(masks.clone())).into_iter().map(f32::from).collect();
    assert_eq!(inside.iter().sum::<f32>(), 464.0);
    assert_eq!(floats(1.0 - &cast), inside.iter().map(|v| 1.0 - v).collect::<Vec<_>>());
    assert_eq!(floats(&cast * 0.5), inside.iter().map(|v| v * 0.5).collect::<Vec<_>>());
    assert_eq!(floats(cast.ge(0.5)), inside);
    // Without a cast: compare with a u8.
    assert_eq!(floats(masks.ge(1u8)), inside);
    assert_eq!(floats(masks.eq(0u8)), floats(1.0 - &cast));
    assert_eq!(bytes(values.ge(128u8)), [0, 0, 1, 1]);
}

#[test]
fn sums_and_means_of_u8_do_not_fit() {
    let (masks, valid) = masks_and_valid();
    // 400 and 64 pixels; 464 in all.
    overflows("masks.sum((2, 3))", || masks.sum((2, 3)), &[144, 64, 0, 0, 0, 0]);
    overflows("masks.sum_all()", || masks.sum_all(), &[208]);
    overflows("the sum of 1000 ones", || Tensor::ones(1000, DType::U8, CPU)?.sum_all(), &[232]);
    // A mean multiplies by 1 / n, which is 0 as a u8: also where the sum fits.
    documented("valid.mean_all()", bytes(valid.mean_all()), vec![0]);
    documented("the mean of [100, 100]", bytes(u8s(&[100, 100]).mean_all()), vec![0]);
    documented("avg_pool2d", bytes(u8s(&[60; 4]).reshape((1, 1, 2, 2)).unwrap().avg_pool2d(2)), vec![0]);

    assert_eq!(floats(masks.to_dtype(DType::F32).unwrap().sum((2, 3))), [400.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(floats(masks.to_dtype(DType::U32).unwrap().sum((2, 3))), [400.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(float(valid.to_dtype(DType::F32).unwrap().mean_all()), 2.0 / 6.0);
    // A mean of integers is 0 in any integer type.
    for dtype in [DType::U32, DType::I64] {
        documented("a mean of integers", float(masks.to_dtype(dtype).unwrap().mean_all()), 0.0);
    }
}

#[test]
fn arithmetic_of_two_u8_tensors_overflows() {
    let values = u8s(&[1, 128, 255]);
    let ones = values.ones_like().unwrap();
    overflows("zeros - ones", || values.zeros_like()? - &ones, &[255, 255, 255]);
    overflows("a + a", || &values + &values, &[2, 0, 254]);
    overflows("a * a", || &values * &values, &[1, 0, 1]);
    overflows("a * 2.0", || &values * 2.0, &[2, 0, 254]);
    overflows("a + 1.0", || &values + 1.0, &[2, 129, 0]);
    assert!(panicked(|| &values / values.zeros_like()?).contains("divide by zero"));
    // Of masks of 0 and 1, products and maxima fit: intersection and union.
    let (a, b) = (u8s(&[0, 0, 1, 1]), u8s(&[0, 1, 0, 1]));
    assert_eq!(bytes(&a * &b), [0, 0, 0, 1]);
    assert_eq!(bytes(a.maximum(&b)), [0, 1, 1, 1]);
    assert_eq!(bytes(a.ne(&b)), [0, 1, 1, 0]);

    let (a, b) = (a.to_dtype(DType::F32).unwrap(), b.to_dtype(DType::F32).unwrap());
    assert_eq!(floats(&a - &b), [0.0, -1.0, 1.0, 0.0]);
}

#[test]
fn functions_of_one_u8_tensor_panic_or_are_refused() {
    let (masks, _) = masks_and_valid();
    for (what, message) in [
        ("neg", panicked(|| masks.neg())),
        ("sqr", panicked(|| masks.sqr())),
        ("sqrt", panicked(|| masks.sqrt())),
        ("exp", panicked(|| masks.exp())),
        ("mse", panicked(|| loss::mse(&masks, &masks))),
        ("softmax", panicked(|| softmax(&masks.ones_like()?, 3))),
    ] {
        documented(what, message.as_str(), "not yet implemented: no unary function for u8");
    }
    documented("powf", error(masks.powf(2.0)), "unsupported dtype U8 for op powf".to_owned());
    documented("matmul", error(masks.matmul(&masks)), "unsupported dtype U8 for op matmul".to_owned());
    let cast = masks.to_dtype(DType::F32).unwrap();
    assert_eq!(float(cast.sqr().unwrap().sum_all()), 464.0);
    // Pairwise intersections: [2, 3, 24 * 24] x [2, 24 * 24, 3].
    let flat = cast.flatten_from(2).unwrap();
    let shared = flat.matmul(&flat.transpose(1, 2).unwrap()).unwrap();
    assert_eq!(floats(shared.get(0)), [400.0, 64.0, 0.0, 64.0, 64.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn u8_and_floats_do_not_mix() {
    let (masks, _) = masks_and_valid();
    let logits = masks.to_dtype(DType::F32).unwrap();
    let mismatch = |op: &str| format!("dtype mismatch in {op}, lhs: F32, rhs: U8");
    documented("logits * masks", error(&logits * &masks), mismatch("mul"));
    documented("broadcast_mul", error(logits.broadcast_mul(&masks)), mismatch("mul"));
    documented("mse", error(loss::mse(&logits, &masks)), mismatch("sub"));
    let cross_entropy = loss::binary_cross_entropy_with_logit(&logits, &masks);
    documented("cross-entropy", error(cross_entropy), "dtype mismatch in mul, lhs: U8, rhs: F32".to_owned());
    assert_eq!(float((&logits * masks.to_dtype(logits.dtype()).unwrap()).unwrap().sum_all()), 464.0);
}

#[test]
fn u8_masks_are_conditions_and_floats_are_not() {
    let condition = u8s(&[0, 1, 128, 255]);
    let (inside, outside) = (f32s(&[1.0, 2.0, 3.0, 4.0]), f32s(&[-1.0; 4]));
    // Any value but 0 is inside, in area masks as well.
    assert_eq!(floats(condition.where_cond(&inside, &outside)), [-1.0, 2.0, 3.0, 4.0]);
    let cast = condition.to_dtype(DType::F32).unwrap();
    let refused = "unsupported dtype F32 for op where-cond".to_owned();
    documented("where_cond on f32", error(cast.where_cond(&inside, &outside)), refused);
    // Nothing is broadcast.
    let scalar = Tensor::new(-1f32, CPU).unwrap();
    let refused = "shape mismatch in where_cond, lhs: [4], rhs: []".to_owned();
    documented("where_cond with a scalar", error(condition.where_cond(&inside, &scalar)), refused);
    let broadcast = scalar.broadcast_as(4).unwrap();
    assert_eq!(floats(condition.where_cond(&inside, &broadcast)), [-1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn index_255_of_u8_reads_nothing() {
    let table = Tensor::arange(0f32, 300.0, CPU).unwrap();
    let (of_u8, of_u32) = (u8s(&[254, 255]), Tensor::new(&[254u32, 255], CPU).unwrap());
    let rows = table.reshape((300, 1)).unwrap();
    documented("index_select", floats(table.index_select(&of_u8, 0)), vec![254.0, 0.0]);
    documented("gather", floats(table.gather(&of_u8, 0)), vec![254.0, 0.0]);
    documented("embedding", floats(rows.embedding(&of_u8)), vec![254.0, 0.0]);
    let added = |ids: &Tensor| table.zeros_like()?.index_add(ids, &f32s(&[1.0, 1.0]), 0)?.narrow(0, 254, 2);
    documented("index_add", floats(added(&of_u8)), vec![1.0, 0.0]);
    // Also where the table has no row 255.
    let short = f32s(&[10.0, 20.0]);
    documented("beyond the end", floats(short.index_select(&u8s(&[1, 255]), 0)), vec![20.0, 0.0]);
    assert!(error(short.index_select(&u8s(&[1, 254]), 0)).contains("invalid index 254"));

    assert_eq!(floats(table.index_select(&of_u32, 0)), [254.0, 255.0]);
    assert_eq!(floats(rows.embedding(&of_u32)), [254.0, 255.0]);
    assert_eq!(floats(added(&of_u32)), [1.0, 1.0]);
}

#[test]
fn classes_are_integers_and_255_counts_as_a_sample() {
    let logits = Tensor::new(&[[1f32, 2.0, 3.0], [3.0, 2.0, 1.0]], CPU).unwrap();
    let of = |classes: Tensor| loss::cross_entropy(&logits, &classes);
    let expected = float(of(Tensor::new(&[2u32, 0], CPU).unwrap()));
    assert!((expected - 0.407_605_96).abs() < 1e-6);
    assert_eq!(float(of(Tensor::new(&[2i64, 0], CPU).unwrap())), expected);
    assert_eq!(float(of(u8s(&[2, 0]))), expected);
    documented("f32 classes", error(of(f32s(&[2.0, 0.0]))), "unsupported dtype F32 for op gather".to_owned());
    // 255 adds no loss, and is divided by; PyTorch's -100 is refused.
    documented("class 255 of u8", float(of(u8s(&[2, 255]))), expected / 2.0);
    let ignored = error(of(Tensor::new(&[2i64, -100], CPU).unwrap()));
    assert!(ignored.contains("invalid index"), "docs/tensors.md says class -100 is refused; update it: {ignored}");
}

#[test]
fn sizes_and_ids_are_integers_too() {
    let batch = squares(every_field()).into_candle(CPU).unwrap();
    let sizes = &batch.original_sizes;
    assert_eq!(sizes.to_vec2::<u32>().unwrap(), [[24, 24], [0, 0]]);
    documented("original_sizes / 2.0", floats(sizes / 2.0), vec![0.0; 4]);
    assert_eq!(floats(sizes.to_dtype(DType::F32).unwrap() / 2.0), [12.0, 12.0, 0.0, 0.0]);
    // The 24 bits of an f32 are too few for an id.
    let ids = Tensor::new(&[535_822_431i64, 535_822_432], CPU).unwrap();
    assert_eq!(floats(ids.to_dtype(DType::F32)), [535_822_432.0; 2]);
    assert_eq!(bytes(ids.eq(535_822_431i64)), [1, 0]);
}

#[test]
fn images_are_normalized_on_the_device_as_by_the_loader_but_for_padding() {
    for by in [Normalization::UNIT, Normalization::IMAGENET] {
        // Four images of several sizes, letterboxed.
        let batch = |dtype| {
            let by = if dtype == FieldDType::U8 { Normalization::UNIT } else { by };
            let options = every_field().image_dtype(dtype).normalize(by);
            crate::tensors::batches(options).remove(0).into_candle(CPU).unwrap().images
        };
        let (of_bytes, of_loader) = (batch(FieldDType::U8), batch(FieldDType::F32));
        assert_eq!((of_bytes.dtype(), of_loader.dtype()), (DType::U8, DType::F32));
        let on_device = normalized(&of_bytes, by).unwrap();
        let difference = floats((on_device - &of_loader).unwrap().abs());
        let padding = floats(of_loader.eq(0f32));
        let real = difference.iter().zip(&padding).filter(|(_, padding)| **padding == 0.0).map(|(d, _)| *d);
        assert!(real.fold(0.0, f32::max) < 1e-6);
        // The loader pads with 0 after normalizing; black pixels become -mean / std on the device.
        let largest = difference.iter().copied().fold(0.0, f32::max);
        if by == Normalization::UNIT {
            assert!(largest < 1e-6);
        } else {
            assert!((largest - 0.485 / 0.229).abs() < 1e-5);
        }
        // Dividing before the cast.
        documented("images / 255.0", bytes(&of_bytes / 255.0).iter().all(|&v| v == 0), true);
    }
}

#[test]
fn area_masks_are_shares_of_255() {
    let options = every_field().mask_size(Some([10, 10])).mask_kind(MaskKind::Area);
    let masks = squares(options).into_candle(CPU).unwrap().masks.unwrap();
    // Cells of 2.4 x 2.4 pixels: the square of 20 ends in the 9th, of which it covers a third.
    let row = bytes(masks.get(0).unwrap().get(0).unwrap().get(0));
    assert_eq!(row, [255, 255, 255, 255, 255, 255, 255, 255, 85, 0]);
    let mask = masks.get(0).unwrap().get(0).unwrap();
    documented("area masks / 255.0", bytes(&mask / 255.0), vec![0; 100]);
    let shares = (mask.to_dtype(DType::F32).unwrap() / 255.0).unwrap();
    // 400 pixels in cells of 5.76; each value is rounded to 1 / 255.
    assert!((float(shares.sum_all()) * 5.76 - 400.0).abs() < 0.5);
    // As a condition any touched cell is inside; from 128 on, those that are covered by half or more.
    assert_eq!(bytes(mask.ne(0u8)).iter().filter(|&&v| v == 1).count(), 81);
    assert_eq!(bytes(mask.ge(128u8)).iter().filter(|&&v| v == 1).count(), 64);
    let products: Vec<u8> = bytes(Ok(mask.clone())).into_iter().map(|v| v.wrapping_mul(v)).collect();
    assert_eq!(products[0], 1);
    overflows("the product of area masks", || &mask * &mask, &products);
}

#[test]
fn sums_of_halves_stand_still() {
    for (dtype, stop) in [(DType::F16, 2048.0), (DType::BF16, 256.0)] {
        let ones = Tensor::ones(4096, dtype, CPU).unwrap();
        documented("sum_all of 4096 ones", float(ones.sum_all()), stop);
        documented("mean_all of 4096 ones", float(ones.mean_all()), stop / 4096.0);
        let pooled = ones.reshape((1, 1, 64, 64)).unwrap().avg_pool2d(64);
        documented("avg_pool2d of 4096 ones", float(pooled), stop / 4096.0);
        documented("softmax of 4096 equal logits", floats(softmax(&ones, 0)), vec![1.0 / stop; 4096]);
        // In f32, or by matmul, which accumulates in f32.
        let wide = ones.to_dtype(DType::F32).unwrap();
        assert_eq!((float(wide.sum_all()), float(wide.mean_all())), (4096.0, 1.0));
        assert_eq!(floats(softmax(&wide, 0)), vec![1.0 / 4096.0; 4096]);
        let (row, column) = (ones.reshape((1, 4096)).unwrap(), ones.reshape((4096, 1)).unwrap());
        assert_eq!(float(row.matmul(&column).unwrap().sum_all()), 4096.0);
    }
    // Pixels of 0 to 255 themselves are exact in both.
    let pixels = Tensor::arange(0u32, 256, CPU).unwrap().to_dtype(DType::U8).unwrap();
    for dtype in [DType::F16, DType::BF16] {
        assert_eq!(floats(pixels.to_dtype(dtype)), (0..256u16).map(f32::from).collect::<Vec<_>>());
    }
}

#[test]
fn nan_is_lost_on_the_way() {
    let nan = f32::NAN;
    let is_nan = |tensor: Made| floats(tensor).into_iter().map(f32::is_nan).collect::<Vec<_>>();
    documented("relu(NaN)", floats(f32s(&[nan, -1.0, 2.0]).relu()), vec![0.0, 0.0, 2.0]);
    documented("max of [1, NaN]", float(f32s(&[1.0, nan]).max(0)), 1.0);
    documented("max of [NaN, 1]", is_nan(f32s(&[nan, 1.0]).max(0)), vec![true]);
    documented("argmax of [1, NaN, 2]", float(f32s(&[1.0, nan, 2.0]).argmax(0)), 2.0);
    documented("NaN.ge(0.0)", bytes(f32s(&[nan]).ge(0f32)), vec![0]);
    documented("NaN as u8", bytes(f32s(&[nan, -1.0, 254.9, 300.0]).to_dtype(DType::U8)), vec![0, 0, 254, 255]);
    // These keep it.
    assert_eq!(is_nan(f32s(&[nan]).maximum(0.0)), [true]);
    assert_eq!(is_nan(f32s(&[nan]).clamp(0.0, 1.0)), [true]);
    assert_eq!(is_nan(f32s(&[nan, 1.0]).sum_all()), [true]);
    assert_eq!(is_nan(f32s(&[nan]) * f32s(&[0.0])), [true]);
}

#[test]
fn cross_entropy_is_nan_for_confident_logits() {
    let of = |logit: f32, target: f32| loss::binary_cross_entropy_with_logit(&f32s(&[logit]), &f32s(&[target]));
    assert!(float(of(16.0, 1.0)) < 1e-6);
    documented("cross-entropy of logit 17 and target 1", float(of(17.0, 1.0)).is_nan(), true);
    documented("cross-entropy of logit -100 and target 0", float(of(-100.0, 0.0)).is_nan(), true);
    // Targets of 0 to 255 are no probabilities: the loss is no longer bounded below.
    documented("cross-entropy of target 255", float(of(1.0, 255.0)) < 0.0, true);

    let of = |logit: f32, target: u8| float(cross_entropy_of_masks(&f32s(&[logit]), &u8s(&[target])));
    for (logit, target, expected) in [
        (0.0, 0, std::f32::consts::LN_2),
        (0.0, 1, std::f32::consts::LN_2),
        (2.0, 1, 0.126_928_01),
        (-2.0, 1, 2.126_928),
        (17.0, 1, 4.1e-8),
        (100.0, 1, 0.0),
        (100.0, 0, 100.0),
        (-100.0, 0, 0.0),
        (-100.0, 1, 100.0),
    ] {
        let found = of(logit, target);
        assert!((found - expected).abs() < 2e-7 * expected.max(1.0), "{logit}, {target}: {found}");
    }
    assert!(of(f32::NAN, 0).is_nan(), "a NaN is not hidden");
    // Its gradient is sigmoid(logit) - target, at 0 too.
    let logits = Var::new(&[0f32, 2.0, -100.0], CPU).unwrap();
    let loss = cross_entropy_of_masks(&logits, &u8s(&[1, 1, 1])).unwrap();
    let gradients = loss.backward().unwrap();
    let gradient = floats(Ok(gradients.get(&logits).unwrap().clone()));
    for (found, expected) in gradient.into_iter().zip([-0.5, -0.119_202_92, -1.0]) {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }
}

#[test]
fn a_mean_over_valid_masks_leaves_padding_out() {
    let (masks, valid) = masks_and_valid();
    assert_eq!(valid.to_vec2::<u8>().unwrap(), [[1, 1, 0], [0, 0, 0]]);
    // A loss of 3 and 5 on the two real masks, and arbitrary values on padding.
    let per_mask = Tensor::new(&[[3f32, 5.0, f32::NAN], [7.0, f32::INFINITY, 9.0]], CPU).unwrap();
    let loss = per_mask.reshape((2, 3, 1, 1)).unwrap().broadcast_as((2, 3, 24, 24)).unwrap();
    assert_eq!(float(mean_over_valid(&loss, &valid)), 4.0);
    assert_eq!(float(mean_over_valid(&loss.to_dtype(DType::BF16).unwrap(), &valid)), 4.0);
    assert_eq!(float(mean_over_valid(&loss, &valid.zeros_like().unwrap())), 0.0);
    // A product does not leave a NaN out, and a plain mean divides by padding.
    let weight = valid.to_dtype(DType::F32).unwrap();
    assert!(float((&per_mask * &weight).unwrap().sum_all()).is_nan());
    let zeros = masks.to_dtype(DType::F32).unwrap().zeros_like().unwrap();
    let of_cells = cross_entropy_of_masks(&(zeros + 100.0).unwrap(), &masks).unwrap();
    // Padding is a wrong "outside" of 100 here; real masks are wrong in 176 and 512 of 576 cells.
    let expected = (176.0 + 512.0) / 576.0 * 100.0 / 2.0;
    assert!((float(mean_over_valid(&of_cells, &valid)) - expected).abs() < 1e-3);
    assert!((float(of_cells.mean_all()) - (2.0 * expected + 400.0) / 6.0).abs() < 1e-3);
}

#[test]
fn a_gradient_behind_a_condition_may_still_be_nan() {
    let x = Var::new(&[0f32, 4.0], CPU).unwrap();
    let valid = u8s(&[0, 1]);
    let gradient = |loss: Tensor| floats(Ok(loss.sum_all().unwrap().backward().unwrap().get(&x).unwrap().clone()));
    let after = valid.where_cond(&x.log().unwrap(), &x.zeros_like().unwrap()).unwrap();
    assert_eq!(floats(Ok(after.clone()))[0], 0.0);
    documented("a condition after the log", gradient(after)[0].is_nan(), true);
    // Make the input harmless instead.
    let before = valid.where_cond(&x, &x.ones_like().unwrap()).unwrap().log().unwrap();
    assert_eq!(gradient(before), [0.0, 0.25]);
}

//! Fixtures of the tests of both frameworks: small batches that hold every field, and one whose masks are known.

use maskstream::{Batch, Loader, LoaderBuilder, NegativeClicks, Prompts};

use crate::fixture::{Made, annotation, document, jpeg, made_many, rectangle, set_of, shard};

/// Options for small batches that hold every field.
pub(crate) fn every_field() -> LoaderBuilder {
    let prompts = Prompts::none().positive(2).negative(1, NegativeClicks::Anywhere).box_jitter(0.1, 20.0);
    let options = Loader::builder().batch_size(4).image_size(24).mask_size(Some([8, 6])).coverage(Some(4)).top_k(5);
    options.num_workers(2).prompts(prompts)
}

/// The batches of six samples; the last one is half empty.
pub(crate) fn batches(options: LoaderBuilder) -> Vec<Batch> {
    let loader = options.build(set_of(vec![shard(&made_many(6))])).unwrap();
    loader.epoch(0).unwrap().map(Result::unwrap).collect()
}

/// The height and width of the image, canvas and mask grid of [`squares`].
pub(crate) const SIDE: u32 = 24;

/// One image with two masks, a square of 20 x 20 pixels in the upper left corner and one of 8 x 8 inside it, in a batch
/// of two rows of three masks: one row and one mask are padding.
pub(crate) fn squares(options: LoaderBuilder) -> Batch {
    let masks = [([0, 0, 20, 20], 0.99), ([4, 4, 8, 8], 0.95)];
    let annotations: Vec<_> = (1..)
        .zip(masks)
        .map(|(id, (square, stability))| annotation(id, &rectangle(SIDE, SIDE, square), 0.9, stability))
        .collect();
    let made = Made {
        id: 7,
        width: SIDE,
        height: SIDE,
        image: jpeg(SIDE, SIDE, 7),
        json: document(7, SIDE, SIDE, &annotations),
    };
    let loader = options.batch_size(2).image_size(SIDE).top_k(3).num_workers(1).build(set_of(vec![shard(&[made])]));
    loader.unwrap().epoch(0).unwrap().next().unwrap().unwrap()
}

/// Each code block of a part of docs/tensors.md must be in the test that compiles it, apart from indentation.
pub(crate) fn assert_compiled(part: &str, test: &str) {
    let trimmed = |text: &str| text.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    let test = trimmed(test);
    let blocks: Vec<&str> = part.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(test.contains(&trimmed(block)), "no test compiles this block of docs/tensors.md:\n{block}");
    }
}

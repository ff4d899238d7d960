//! Scores -> which patches are kept, and how many tokens each gets. Comes in: one image's scores. Goes out: patches and
//! tokens. Cannot fail; never part of a loss, as choosing has no derivative.

/// Patches that ARR-COC keeps of 1024.
pub(crate) const TOP: usize = 200;
/// Tokens of a patch whose score is 0, how many more a score of 1 gets, and those of an image.
const LEAST: f32 = 64.0;
const SPAN: f32 = 336.0;
pub(crate) const TOTAL: u32 = 5120;

/// All patches from the highest score down; of equal ones the lower index first.
pub(crate) fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The `count` patches of the highest scores, best first.
pub(crate) fn top(scores: &[f32], count: usize) -> Vec<usize> {
    let mut order = ranked(scores);
    order.truncate(count);
    order
}

/// Tokens of each patch: 64 to 400 by its score in 0 to 1, given from the highest score down until the next patch finds
/// no room in `total`.
pub(crate) fn budget(scores: &[f32], total: u32) -> Vec<u32> {
    let (mut tokens, mut left) = (vec![0; scores.len()], total);
    for patch in ranked(scores) {
        let wanted = (scores[patch] * SPAN + (LEAST + 0.5)).floor() as u32;
        let Some(rest) = left.checked_sub(wanted) else { break };
        (tokens[patch], left) = (wanted, rest);
    }
    tokens
}

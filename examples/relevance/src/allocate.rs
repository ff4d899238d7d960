//! Selection of patches by score, and their token budgets. Selection has no gradient, so it is not part of a loss.

/// Number of patches that ARR-COC keeps of 1024.
pub const TOP_K: usize = 200;
/// Tokens of a patch with score 0.
const MIN_TOKENS: f32 = 64.0;
/// Additional tokens of a patch with score 1.
const TOKEN_SPAN: f32 = 336.0;
/// Tokens of an image.
pub const TOTAL_TOKENS: u32 = 5120;

/// All patches in descending order of score; ties by index.
pub fn ranked(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The `k` patches with the highest scores, best first.
pub fn top_k(scores: &[f32], k: usize) -> Vec<usize> {
    let mut order = ranked(scores);
    order.truncate(k);
    order
}

/// Tokens of each patch: 64 to 400 by its score in [0, 1], in descending order of score, until the next patch would
/// exceed `total`. All further patches get 0.
pub fn token_budget(scores: &[f32], total: u32) -> Vec<u32> {
    let (mut tokens, mut left) = (vec![0; scores.len()], total);
    for patch in ranked(scores) {
        let count = (scores[patch] * TOKEN_SPAN + (MIN_TOKENS + 0.5)).floor() as u32;
        let Some(rest) = left.checked_sub(count) else { break };
        (tokens[patch], left) = (count, rest);
    }
    tokens
}

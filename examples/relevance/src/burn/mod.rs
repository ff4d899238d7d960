//! The heads in Burn. Like Burn itself, they panic on tensors of the wrong shape.

pub mod adamw;
pub mod heads;
pub mod metrics;
pub mod model;
pub mod trainer;
pub mod weights;

//! underdog trains language models on any GPU that Vulkan, Metal or DirectX 12 can drive, and lets a weaker, earlier
//! checkpoint of a model make the model stronger (weak-driven learning, WMSS, arXiv 2602.08222).
//!
//! Rooms and who may import whom: `docs/architecture.md`, held by `tests/layers.rs`.
//!
//! Letters for shapes: `T` tokens, `C` width, `H` heads, `K` kv heads, `D` head size, `F` feed-forward, `V` vocabulary;
//! `x: [T, C]`. The gradient of `x` is `dx`.

pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod curriculum;
pub mod data;
pub mod doctor;
pub mod engine;
pub mod eval;
pub mod fit;
pub mod generate;
pub mod gpu;
pub mod method;
pub mod model;
pub mod ops;
pub mod optim;
pub mod plan;
pub mod report;
pub mod run;
pub mod score;
pub mod tape;
pub mod tensor;
pub mod train;

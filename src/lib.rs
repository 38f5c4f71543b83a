//! underdog trains language models on any GPU that Vulkan, Metal or DirectX 12 can drive, and lets a weaker, earlier
//! checkpoint of a model make the model stronger (weak-driven learning, WMSS, arXiv 2602.08222).
//!
//! Rooms and who may import whom: `docs/architecture.md`, held by `tests/layers.rs`.
//!
//! Letters for shapes: `T` tokens, `C` width, `H` heads, `K` kv heads, `D` head size, `F` feed-forward, `V` vocabulary;
//! `x: [T, C]`. The gradient of `x` is `dx`.

pub mod bench;
pub mod choice;
pub mod cli;
pub mod clock;
pub mod data;
pub mod doctor;
pub mod eval;
pub mod events;
pub mod formats;
pub mod gpu;
pub mod graph;
pub mod infer;
pub mod kernels;
pub mod model;
pub mod objective;
pub mod platform;
pub mod recipes;
pub mod report;
pub mod session;
pub mod settings;
pub mod train;

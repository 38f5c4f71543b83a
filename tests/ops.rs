//! Every op against an f64 oracle written from its formula, forward and backward, and every oracle's gradient against
//! finite differences: awkward sizes, random upstream gradients, memory full of NaN, gradients written and added to.

mod common;

#[path = "ops/adamw.rs"]
mod adamw;
#[path = "ops/adamw_widths.rs"]
mod adamw_widths;
#[path = "ops/attention.rs"]
mod attention;
#[path = "ops/attention_variants.rs"]
mod attention_variants;
#[path = "ops/causal_conv.rs"]
mod causal_conv;
#[path = "ops/check.rs"]
mod check;
#[path = "ops/embedding.rs"]
mod embedding;
#[path = "ops/head_loss.rs"]
mod head_loss;
#[path = "ops/head_oracle.rs"]
mod head_oracle;
#[path = "ops/largest.rs"]
mod largest;
#[path = "ops/linear.rs"]
mod linear;
#[path = "ops/lora.rs"]
mod lora;
#[path = "ops/noise.rs"]
mod noise;
#[path = "ops/packed.rs"]
mod packed;
#[path = "ops/product_variants.rs"]
mod product_variants;
#[path = "ops/rows.rs"]
mod rows;
#[path = "common/skip.rs"]
mod skip;
#[path = "ops/tape.rs"]
mod tape;
#[path = "ops/trips.rs"]
mod trips;

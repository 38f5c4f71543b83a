//! Folders that bitsandbytes and MLX quantised, against the logits of the numbers that these libraries widen.

use underdog::graph::tensor::Format::{self, Bf16, Nf4, Q4, Q8};

use crate::support::*;

/// Folders, and how `k_proj`, `q_proj` and the embedding are held.
const CASES: [(&str, [Format; 3]); 5] = [
    ("quantised/nf4", [Bf16, Nf4, Bf16]),
    ("quantised/nf4_double", [Nf4, Nf4, Bf16]),
    ("quantised/mlx4", [Q4; 3]),
    ("quantised/mlx4_128", [Q4; 3]),
    ("quantised/mlx8", [Q8; 3]),
];

#[test]
fn quantised_folders_are_held_as_they_are() {
    for (case, formats) in CASES {
        let golden = Golden::open(case);
        let batch = rows(&golden.examples(), ROW).remove(0);
        let held = config(case);
        let names = ["layers.0.self_attn.k_proj", "layers.0.self_attn.q_proj", "embed_tokens"];
        let found = names.map(|name| held.formats.get(&format!("model.{name}.weight")).copied());
        assert_eq!(found, formats.map(Some), "{case}");
        let mut widened = held.clone();
        widened.widen();
        let mut checks = Checks::of(case);
        for (how, config) in [("logits ", held), ("logits, held as f32 ", widened)] {
            assert!(config.quantised, "{case}");
            let forward = forward_held(case, config, None, &batch);
            checks.tensor(how, "", &in_order(&batch, &forward.logits), &golden.get("logits"), 1e-5);
        }
        checks.finish();
    }
}

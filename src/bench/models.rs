//! Named model shapes, as the `config.json` of each. They have random weights: none is a download.

use std::path::Path;

use crate::model::{Config, Part, config};

/// A model shape and the row that it is trained on.
#[derive(Debug)]
pub(super) struct Shape {
    /// What people call it.
    pub(super) name: &'static str,
    /// Tokens of a packed row.
    pub(super) tokens: usize,
    /// Tokens of each of its documents.
    pub(super) document: usize,
    json: &'static str,
}

/// All of them, the smallest first.
pub(super) const SHAPES: &[Shape] = &[
    Shape {
        name: "tiny",
        tokens: 512,
        document: 512,
        json: r#"{"model_type": "qwen3", "vocab_size": 6400, "hidden_size": 256, "num_hidden_layers": 4,
            "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "intermediate_size": 768,
            "max_position_embeddings": 4096, "rope_theta": 1000000, "tie_word_embeddings": true}"#,
    },
    Shape {
        name: "smollm2-135m",
        tokens: 1024,
        document: 512,
        json: r#"{"model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "intermediate_size": 1536,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 8192, "rope_theta": 100000, "tie_word_embeddings": true}"#,
    },
    Shape {
        name: "qwen3-0.6b",
        tokens: 2048,
        document: 1024,
        json: r#"{"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
            "max_position_embeddings": 40960, "rope_theta": 1000000, "tie_word_embeddings": true}"#,
    },
    Shape {
        name: "qwen3-1.7b",
        tokens: 2048,
        document: 1024,
        json: r#"{"model_type": "qwen3", "vocab_size": 151936, "hidden_size": 2048, "num_hidden_layers": 28,
            "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 6144,
            "max_position_embeddings": 40960, "rope_theta": 1000000, "tie_word_embeddings": true}"#,
    },
];

impl Shape {
    pub(super) fn config(&self) -> Result<Config, config::Error> {
        Config::from_json(self.json, Path::new(self.name))
    }

    /// Operations that a forward pass over one row takes at least: products with matrices, the head at the positions that
    /// have a target, and attention to what a token may see.
    pub(super) fn flops(&self, config: &Config) -> f64 {
        let Config { hidden, layers, vocab, .. } = config;
        let matrices =
            config.parameters().into_iter().filter(|parameter| parameter.is_matrix() && !parameter.is_table());
        let factors: usize = matrices.map(|matrix| matrix.count()).sum();
        let documents = self.tokens / self.document;
        let products = 2 * self.tokens * factors + 2 * (self.tokens - documents) * hidden * vocab;
        let widths: usize = layers.iter().map(|layer| layer.mixer.score_width()).sum();
        let attention = 2 * self.tokens * self.document * widths;
        (products + attention) as f64
    }
}

//! SmolLM3: Llama's layers, of which every fourth does not turn with the position.

use serde_json::{Value, json};

use super::super::config::{Attention, BEFORE, Error, Family, Fields, Gated, windows::Windows};

pub(super) const FAMILY: Family = Family {
    model_type: "smollm3",
    architecture: "SmolLM3ForCausalLM",
    class: || {
        json!({
            "vocab_size": 128_256, "hidden_size": 2048, "num_hidden_layers": 36, "num_attention_heads": 16,
            "num_key_value_heads": 4, "max_position_embeddings": 32_768, "rope_theta": 2e6,
            "no_rope_layer_interval": 4, "tie_word_embeddings": true, "bos_token_id": 128_000,
            "eos_token_id": 128_001, "pad_token_id": 128_004
        })
    },
    names: &[],
    read: |file, model| {
        let turning = turning(file)?;
        let windows = file.windows(Windows::Switched(turning.iter().map(|turns| !turns).collect()))?;
        let attention = file.attention(file.rotation()?)?.biased(file.flag("attention_bias")?);
        let ffn = Gated { bias: file.flag("mlp_bias")?, ..file.gated("hidden_act")? };
        let layer = |(turns, window): (bool, Option<usize>)| {
            let rotation = attention.rotation.clone().filter(|_| turns);
            Attention { rotation, ..attention.clone() }.layers(&[window], ffn, BEFORE)
        };
        model.layers = turning.into_iter().zip(windows).flat_map(layer).collect();
        Ok(())
    },
};

/// Which layers turn: those with a 1 in `no_rope_layers`, whose name says the opposite, or all but each n-th.
fn turning(file: &Fields<'_>) -> Result<Vec<bool>, Error> {
    let layers = file.layers()?;
    let Some(given) = file.get("no_rope_layers") else {
        let interval = file.size("no_rope_layer_interval", 1 << 10)?;
        return Ok((0..layers).map(|layer| (layer + 1) % interval != 0).collect());
    };
    let turns = |value: &Value| value.as_u64().filter(|value| *value < 2).map(|value| value == 1);
    // There may be more than there are layers.
    let listed = given.as_array().and_then(|list| list.iter().take(layers).map(turns).collect::<Option<Vec<_>>>());
    let wants = || format!("a list of {layers} numbers, 0 or 1");
    listed.filter(|listed| listed.len() == layers).ok_or_else(|| file.wrong("no_rope_layers", given, wants()))
}

//! Which layers of LFM2 are convolutions, and how wide their feed-forward is.

use serde_json::{Value, json};
use underdog::model::config::{QkNorm, ShortConv};

use crate::{attention, parse, refusal, with};

#[test]
fn lfm2_has_convolutions_where_the_file_says() {
    let types = json!(["conv", "full_attention"]);
    let lfm2 = |changes: Value| {
        let mut file = with("lfm2", json!({ "layer_types": types }));
        file.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        file
    };
    let config = parse(&lfm2(json!({}))).unwrap();
    assert_eq!(config.layers[0].mixer, ShortConv { width: 24, taps: 3, bias: false }.into());
    assert_eq!(attention(&config, 1).qk_norm, QkNorm::Head);
    let names: Vec<String> = config.parameters().into_iter().map(|p| p.name).collect();
    let own = names.iter().filter_map(|name| name.strip_prefix("model.layers.0."));
    assert_eq!(own.filter(|name| name.starts_with("conv.conv")).collect::<Vec<_>>(), ["conv.conv.weight"]);
    let biased = parse(&lfm2(json!({ "conv_bias": true, "conv_L_cache": 4 }))).unwrap();
    assert_eq!(biased.layers[0].mixer, ShortConv { width: 24, taps: 4, bias: true }.into());
    let older = with("lfm2", json!({ "full_attn_idxs": [1], "block_ff_dim": 40 }));
    assert_eq!(parse(&older).unwrap(), config);

    let width = |changes: Value| parse(&lfm2(changes)).unwrap().layers[0].ffn.width;
    assert_eq!(width(json!({})), 256);
    assert_eq!(width(json!({ "block_multiple_of": 16 })), 32);
    assert_eq!(width(json!({ "block_multiple_of": 16, "block_ffn_dim_multiplier": 1.5 })), 48);
    assert_eq!(width(json!({ "block_auto_adjust_ff_dim": false })), 40);

    for (wrong, wants) in [
        (json!({ "layer_types": ["conv", "mamba"] }), "layer_types|full_attention or conv"),
        (json!({ "layer_types": ["conv"] }), "layer_types|2 names"),
        (json!({ "conv_L_cache": 0 }), "conv_L_cache"),
        (json!({ "conv_L_cache": 65 }), "conv_L_cache"),
        (json!({ "block_ffn_dim_multiplier": -1.0 }), "block_ffn_dim_multiplier"),
    ] {
        let message = refusal(&lfm2(wrong));
        assert!(wants.split('|').all(|part| message.contains(part)), "{message} lacks {wants}");
    }
}

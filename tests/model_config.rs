//! `config.json` of every supported family: shapes, refusals, the parameter list, rotary tables, initial values.

use std::path::{Path, PathBuf};

#[path = "model_config/lfm2.rs"]
mod lfm2;
#[path = "model_config/real.rs"]
mod real;
#[path = "common/skip.rs"]
mod skip;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use underdog::formats::{Folder, ReadTensors};
use underdog::model::config::{
    Attention, Config, Error, Init, Mixer, Parameter, QkNorm, Rope, RopeScaling, Rotation,
};

fn parse(value: &Value) -> Result<Config, Error> {
    Config::from_json(&value.to_string(), Path::new("config.json"))
}

/// A small valid config of a family, with some fields replaced.
fn with(model_type: &str, changes: Value) -> Value {
    let mut config = json!({
        "model_type": model_type, "vocab_size": 96, "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "intermediate_size": 40
    });
    let changes = changes.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(changes);
    config
}

/// The attention of a layer that has one.
fn attention(config: &Config, layer: usize) -> &Attention {
    match &config.layers[layer].mixer {
        Mixer::Attention(attention) => attention,
        Mixer::ShortConv(_) => panic!("layer {layer} has no attention"),
    }
}

/// How the first layer turns.
fn rotation(config: &Config) -> &Rotation {
    attention(config, 0).rotation.as_ref().unwrap()
}

fn refusal(value: &Value) -> String {
    parse(value).expect_err("should be refused").to_string()
}

#[test]
fn families_differ_in_norms_biases_and_head_size() {
    let names = |config: &Config| config.parameters().into_iter().map(|p| p.name).collect::<Vec<_>>();
    let qwen3 = parse(&with("qwen3", json!({}))).unwrap();
    let of_attention = |config: &Config| {
        let Attention { heads, qk_norm, qkv_bias, out_bias, .. } = *attention(config, 1);
        (heads.kv_heads, heads.head_dim, qk_norm, qkv_bias, out_bias)
    };
    assert_eq!(of_attention(&qwen3), (2, 128, QkNorm::Head, false, false));
    let qwen2 = parse(&with("qwen2", json!({}))).unwrap();
    assert_eq!(of_attention(&qwen2), (2, 4, QkNorm::None, true, false));
    let biased = json!({ "attention_bias": true, "mlp_bias": true, "num_key_value_heads": null });
    let llama = parse(&with("llama", biased)).unwrap();
    assert_eq!((of_attention(&llama), llama.layers[1].ffn.bias), ((6, 4, QkNorm::None, true, true), true));
    assert_eq!((llama.bos, llama.eos.as_slice(), llama.pad), (Some(1), &[2][..], None));
    let layer = |names: &[String]| -> Vec<String> {
        let own = names.iter().filter_map(|name| name.strip_prefix("model.layers.1."));
        own.map(|name| name.trim_end_matches(".weight").to_string()).collect()
    };
    assert_eq!(
        layer(&names(&qwen3)).join(" "),
        "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj self_attn.q_norm self_attn.k_norm \
         mlp.gate_proj mlp.up_proj mlp.down_proj input_layernorm post_attention_layernorm"
    );
    assert_eq!(
        layer(&names(&qwen2)).join(" "),
        "self_attn.q_proj self_attn.q_proj.bias self_attn.k_proj self_attn.k_proj.bias self_attn.v_proj \
         self_attn.v_proj.bias self_attn.o_proj mlp.gate_proj mlp.up_proj mlp.down_proj input_layernorm \
         post_attention_layernorm"
    );
    let phi3 = parse(&with("phi3", json!({ "num_attention_heads": 3, "num_key_value_heads": 1 }))).unwrap();
    assert_eq!(
        layer(&names(&phi3)).join(" "),
        "self_attn.o_proj self_attn.qkv_proj mlp.gate_up_proj mlp.down_proj input_layernorm post_attention_layernorm"
    );
    let fused = |name: &str| phi3.parameters().into_iter().find(|p| p.name.ends_with(name)).unwrap();
    assert_eq!(fused("qkv_proj.weight").parts, [24, 8, 8]);
    assert_eq!((fused("gate_up_proj.weight").dims, fused("gate_up_proj.weight").parts), (vec![80, 24], vec![40, 40]));
    let olmo2 = parse(&with("olmo2", json!({}))).unwrap();
    assert!(
        layer(&names(&olmo2)).ends_with(&["post_attention_layernorm".into(), "post_feedforward_layernorm".into()])
    );
    let width = olmo2.parameters().into_iter().find(|p| p.name.ends_with("k_norm.weight")).unwrap();
    assert_eq!(width.dims, [8]);
    assert_eq!(names(&qwen3).last().unwrap(), "lm_head.weight");
    let tied = parse(&with("qwen3", json!({ "tie_word_embeddings": true }))).unwrap();
    assert_eq!(names(&tied).last().unwrap(), "model.norm.weight");
}

#[test]
fn the_class_in_architectures_serves_where_model_type_is_missing() {
    let mut value = with("qwen2", json!({ "architectures": ["Qwen2ForCausalLM"] }));
    value.as_object_mut().unwrap().remove("model_type");
    assert_eq!(parse(&value).unwrap().family.model_type, "qwen2");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let sliding = ["full_attention", "sliding_attention"];
    let cases = [
        (json!({ "model_type": "gemma" }), "known|qwen3, qwen2, llama"),
        (json!({ "model_type": "gemma3", "vision_config": {} }), "\"gemma3\"|images|gemma3_text"),
        (json!({ "model_type": "own_moe", "num_experts": 8 }), "\"own_moe\"|mixture"),
        (json!({ "model_type": null, "top_p": 0.9 }), "generation_config.json|config.json"),
        (json!({ "model_type": "gemma3_text", "attn_logit_softcapping": 50.0 }), "attn_logit_softcapping|50"),
        (json!({ "model_type": "gemma2", "use_bidirectional_attention": true }), "use_bidirectional_attention|true"),
        (json!({ "model_type": "gemma2", "hidden_activation": "gelu" }), "hidden_activation|gelu_pytorch_tanh"),
        (json!({ "model_type": "gemma2", "final_logit_softcapping": 0 }), "final_logit_softcapping|is 0"),
        (json!({ "model_type": "gemma2", "sliding_window": null }), "sliding_window|null"),
        (json!({ "model_type": "qwen2", "layer_types": sliding }), "sliding_window|in use"),
        (json!({ "model_type": "mistral", "layer_types": sliding }), "layer_types|one kind"),
        (json!({ "model_type": "mistral", "sliding_window": 0 }), "sliding_window|is 0"),
        (json!({ "layer_types": ["linear_attention", "full_attention"] }), "layer_types|linear_attention"),
        (json!({ "model_type": "phi3", "resid_pdrop": 0.1 }), "resid_pdrop|set it to 0"),
        (json!({ "model_type": "phi3", "partial_rotary_factor": 0.3 }), "partial_rotary_factor|even number"),
        (json!({ "partial_rotary_factor": 0.5 }), "partial_rotary_factor|0.5"),
        (
            json!({ "model_type": "gemma3_text", "rope_parameters": { "rope_type": "default" } }),
            "rope_parameters.rope_type|sliding_attention",
        ),
        (
            json!({ "model_type": "gemma3_text", "rope_theta": 1e4, "rope_parameters": {
                "full_attention": { "rope_theta": 1e5 }
            } }),
            "rope_parameters.full_attention.rope_theta|the same",
        ),
        (json!({ "hidden_act": "gelu" }), "hidden_act|\"gelu\""),
        (json!({ "use_sliding_window": true, "max_window_layers": 1 }), "use_sliding_window|no window"),
        (json!({ "layer_types": sliding }), "layer_types|sliding_attention"),
        (json!({ "layer_types": ["full_attention"] }), "layer_types|num_hidden_layers"),
        (json!({ "rope_scaling": { "type": "yarn", "factor": 4.0 } }), "rope_scaling.rope_type|yarn"),
        (json!({ "rope_parameters": { "rope_type": "dynamic" } }), "rope_parameters.rope_type|dynamic"),
        (json!({ "rope_parameters": { "partial_rotary_factor": 0.5 } }), "partial_rotary_factor|0.5"),
        (json!({ "rope_parameters": { "full_attention": {} } }), "rope_parameters.full_attention|{}"),
        (json!({ "rope_theta": 1e6, "rope_parameters": { "rope_theta": 1e4 } }), "rope_parameters.rope_theta|10000"),
        (json!({ "rope_scaling": { "rope_type": "llama3", "factor": 8 } }), "rope_scaling.low_freq_factor|missing"),
        (json!({ "num_experts": 8 }), "num_experts|mixture"),
        (json!({ "vision_config": {} }), "vision_config|images"),
        (json!({ "quantization_config": { "bits": 4 } }), "quantization_config|unquantised"),
        (json!({ "quantization_config": { "quant_method": "gptq", "bits": 4 } }), "by gptq|unquantised"),
        (json!({ "quantization_config": { "quant_method": "awq" } }), "by awq|--quantize 4bit"),
        (json!({ "quantization_config": { "quant_method": "fp8" } }), "by fp8|unquantised"),
        (
            json!({ "quantization_config": { "quant_method": "compressed-tensors" } }),
            "compressed-tensors|unquantised",
        ),
        (
            json!({ "quantization_config": { "quant_method": "bitsandbytes", "load_in_8bit": true } }),
            "8 bits by bitsandbytes|--quantize 8bit",
        ),
        (
            json!({ "quantization_config": { "quant_method": "bitsandbytes", "load_in_4bit": true } }),
            "nf4 is read|unquantised",
        ),
        (json!({ "quantization": { "group_size": 64, "bits": 3 } }), "4 or 8 bits|convert"),
        (json!({ "quantization": { "group_size": 32, "bits": 4 } }), "groups of 64|unquantised"),
        (json!({ "quantization": { "group_size": 64, "bits": 4, "mode": "mxfp4" } }), "affine|convert"),
        (json!({ "pretraining_tp": 2 }), "pretraining_tp|2"),
        (json!({ "attention_dropout": 0.1 }), "attention_dropout|set it to 0"),
        (json!({ "num_key_value_heads": 4 }), "num_key_value_heads|divisor"),
        (json!({ "head_dim": 7 }), "head_dim|multiple of 4"),
        (
            json!({ "num_attention_heads": 5, "num_key_value_heads": 5 }),
            "num_attention_heads|divisor of `hidden_size`",
        ),
        (json!({ "num_attention_heads": 0 }), "num_attention_heads|is 0"),
        (json!({ "num_attention_heads": 4096, "num_key_value_heads": 1 }), "num_attention_heads|divisor"),
        (json!({ "vocab_size": 5_000_000_000_u64 }), "vocab_size|2097152"),
        (json!({ "num_hidden_layers": -1 }), "num_hidden_layers|-1"),
        (json!({ "intermediate_size": "40" }), "intermediate_size|\"40\""),
        (json!({ "hidden_size": 24.5 }), "hidden_size|24.5"),
        (json!({ "rms_norm_eps": 0 }), "rms_norm_eps|is 0"),
        (json!({ "rope_theta": -1 }), "rope_theta|-1"),
        (json!({ "tie_word_embeddings": "yes" }), "tie_word_embeddings|true or false"),
        (json!({ "eos_token_id": [1, "x"] }), "eos_token_id|a token id"),
    ];
    for (changes, wants) in cases {
        let message = refusal(&with("llama", changes));
        assert!(message.starts_with("config.json: "), "{message}");
        for part in wants.split('|').filter(|part| *part != "known") {
            assert!(message.contains(part), "{message} lacks {part}");
        }
    }
    for text in ["", "[]", "{", "null", "{\"model_type\": 1}"] {
        assert!(Config::from_json(text, Path::new("config.json")).is_err(), "{text}");
    }
    let long = refusal(&with("llama", json!({ "hidden_act": "x".repeat(100_000) })));
    assert!(long.len() < 300, "{}", long.len());
}

#[test]
fn windows_that_no_layer_uses_do_not_matter() {
    for changes in [
        json!({ "use_sliding_window": false, "sliding_window": 32768, "max_window_layers": 0 }),
        json!({ "use_sliding_window": true, "sliding_window": null, "max_window_layers": 0 }),
        json!({ "use_sliding_window": true, "sliding_window": 32768, "max_window_layers": 2 }),
        json!({ "layer_types": ["full_attention", "full_attention"] }),
    ] {
        parse(&with("qwen2", changes)).unwrap();
    }
}

#[test]
fn windows_are_those_of_the_class() {
    let some = |window: usize, layers: &[bool]| layers.iter().map(|sliding| sliding.then_some(window)).collect();
    let windows = |model_type, changes| {
        let config = parse(&with(model_type, changes)).unwrap();
        (0..config.layers.len()).map(|layer| attention(&config, layer).scores.window).collect::<Vec<_>>()
    };
    let qwen = json!({ "use_sliding_window": true, "sliding_window": 32, "max_window_layers": 1 });
    let named = ["sliding_attention", "full_attention"];
    let cases: [(&str, Value, Vec<Option<usize>>); 8] = [
        ("qwen2", qwen, some(32, &[false, true])),
        ("qwen3", json!({ "use_sliding_window": true, "layer_types": named }), some(4096, &[true, false])),
        ("mistral", json!({}), some(4096, &[true, true])),
        ("mistral", json!({ "sliding_window": null }), vec![None; 2]),
        ("phi3", json!({}), vec![None; 2]),
        ("phi3", json!({ "sliding_window": 2047 }), some(2047, &[true, true])),
        ("gemma2", json!({ "num_hidden_layers": 3 }), some(4096, &[true, false, true])),
        (
            "gemma3_text",
            json!({ "num_hidden_layers": 4, "sliding_window": 512, "sliding_window_pattern": 3 }),
            some(512, &[true, true, false, true]),
        ),
    ];
    for (model_type, changes, wants) in cases {
        assert_eq!(windows(model_type, changes.clone()), wants, "{model_type} {changes}");
    }
}

/// `long` of a phi3 config with factors for 2 of its 4 pairs of channels.
fn longrope(changes: Value) -> Value {
    let mut scaling = json!({ "type": "longrope", "short_factor": [1.0, 1.5], "long_factor": [2.0, 8.0] });
    let object = scaling.as_object_mut().unwrap();
    object.extend(changes.as_object().unwrap().clone());
    object.retain(|_, value| !value.is_null());
    with(
        "phi3",
        json!({
            "num_attention_heads": 3, "num_key_value_heads": 3, "partial_rotary_factor": 0.5, "rope_scaling": scaling,
            "max_position_embeddings": 131_072
        }),
    )
}

#[test]
fn factors_of_long_texts_are_read_and_checked() {
    let config = parse(&longrope(json!({ "type": "su" }))).unwrap();
    let Rotation { dim, rope, long } = rotation(&config);
    let long = long.as_ref().unwrap();
    assert_eq!((attention(&config, 0).heads.head_dim, *dim, long.beyond), (8, 4, 4096));
    let attention = (1.0 + 32f64.ln() / 4096f64.ln()).sqrt();
    assert_eq!(rope.scaling, RopeScaling::Each { factors: vec![1.0, 1.5], attention });
    let (cos, sin) = long.rope.tables(4, 2);
    let wants = [0.5, 0.01 / 8.0].map(|angle: f64| [angle.cos(), angle.sin()].map(|x| x * attention));
    assert_eq!(&cos[..2], &[attention as f32; 2]);
    for (pair, [wanted_cos, wanted_sin]) in wants.into_iter().enumerate() {
        assert!((f64::from(cos[2 + pair]) - wanted_cos).abs() < 2e-7);
        assert!((f64::from(sin[2 + pair]) - wanted_sin).abs() < 2e-7);
    }
    let given = parse(&longrope(json!({ "attention_factor": 1.25 }))).unwrap();
    assert_eq!(rotation(&given).rope.scaling, RopeScaling::Each { factors: vec![1.0, 1.5], attention: 1.25 });
    for (changes, wants) in [
        (json!({ "long_factor": null }), "rope_scaling.long_factor|a list of 2 numbers"),
        (json!({ "short_factor": [1.0] }), "rope_scaling.short_factor|a list of 2 numbers"),
        (json!({ "short_factor": [1.0, 0.0] }), "rope_scaling.short_factor|a list of 2 numbers"),
        (json!({ "original_max_position_embeddings": 8192 }), "original_max_position_embeddings|the same as outside"),
        (json!({ "type": "yarn" }), "rope_scaling.rope_type|yarn"),
    ] {
        let message = refusal(&longrope(changes));
        assert!(wants.split('|').all(|part| message.contains(part)), "{message} lacks {wants}");
    }
}

#[test]
fn layers_that_do_not_turn_are_those_of_the_file() {
    let turning = |changes: Value| -> Vec<bool> {
        let config = parse(&with("smollm3", changes)).unwrap();
        (0..config.layers.len()).map(|layer| attention(&config, layer).rotation.is_some()).collect()
    };
    assert_eq!(turning(json!({ "num_hidden_layers": 5 })), [true, true, true, false, true]);
    assert_eq!(turning(json!({ "no_rope_layer_interval": 2 })), [true, false]);
    assert_eq!(turning(json!({ "no_rope_layers": [0, 1, 1] })), [false, true]);
    for wrong in [json!([1]), json!([1, 2]), json!("all")] {
        let message = refusal(&with("smollm3", json!({ "no_rope_layers": wrong })));
        assert!(message.contains("no_rope_layers") && message.contains("2 numbers"), "{message}");
    }
}

#[test]
fn gemma_has_its_own_scales_and_positions() {
    let linear_by = |factor: f64| json!({ "rope_type": "linear", "factor": factor });
    let changes = json!({ "rope_scaling": linear_by(8.0), "rope_local_base_freq": 500.0 });
    let old = parse(&with("gemma3_text", changes)).unwrap();
    let linear = Rope { theta: 1e6, scaling: RopeScaling::Linear { factor: 8.0 } };
    let local = Rope { theta: 500.0, scaling: RopeScaling::Default };
    let six = parse(&with(
        "gemma3_text",
        json!({ "num_hidden_layers": 6, "rope_scaling": linear_by(8.0), "rope_local_base_freq": 500.0 }),
    ));
    let six = six.unwrap();
    let ropes = [0, 4, 5].map(|layer| &attention(&six, layer).rotation.as_ref().unwrap().rope);
    assert_eq!(ropes, [&local, &local, &linear]);
    let nested = json!({ "rope_parameters": {
        "full_attention": { "rope_type": "linear", "factor": 8.0, "rope_theta": 1e6 },
        "sliding_attention": { "rope_type": "default", "rope_theta": 500.0 }
    } });
    assert_eq!(parse(&with("gemma3_text", nested)).unwrap(), old);
    let scores = attention(&old, 0).scores;
    assert_eq!((old.tied, old.embedding_scale, scores.scale), (true, 24f32.sqrt(), 1.0 / 16.0));
    assert_eq!((scores.softcap, old.final_softcap, old.eos.as_slice(), old.pad), (None, None, &[1][..], Some(0)));
    let capped = parse(&with("gemma2", json!({ "attn_logit_softcapping": null }))).unwrap();
    assert_eq!((attention(&capped, 0).scores.softcap, capped.final_softcap), (None, Some(30.0)));
    assert_eq!(rotation(&capped), attention(&capped, 1).rotation.as_ref().unwrap());
    let norm = old.parameters().into_iter().find(|p| p.name == "model.norm.weight").unwrap();
    assert_eq!(norm.init, Init::Zeros);
}

const LLAMA3: RopeScaling =
    RopeScaling::Llama3 { factor: 32.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 8192 };

/// Frequencies in f64 from the published description of Llama 3.1's scaling: a wavelength is kept below
/// `context / high`, divided by `factor` above `context / low`, and blended linearly in `context / wavelength` between.
fn published(theta: f64, head_dim: usize, scaling: &RopeScaling) -> Vec<f64> {
    let pairs = (0..head_dim / 2).map(|pair| theta.powf(-2.0 * pair as f64 / head_dim as f64));
    let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } = *scaling else {
        return pairs.collect();
    };
    let scaled = pairs.map(|freq| {
        let turns = original_max_positions as f64 * freq / std::f64::consts::TAU;
        let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
        freq * (kept + (1.0 - kept) / factor)
    });
    scaled.collect()
}

#[test]
fn rotary_frequencies_follow_the_published_formula() {
    for (theta, scaling) in [(1e4, RopeScaling::Default), (1e6, RopeScaling::Default), (5e5, LLAMA3)] {
        for head_dim in [2, 64, 96, 128] {
            let wants = published(theta, head_dim, &scaling);
            let found = Rope { theta, scaling: scaling.clone() }.inv_freq(head_dim);
            assert_eq!(found.len(), head_dim / 2);
            for (found, wants) in found.iter().zip(&wants) {
                assert!((f64::from(*found) / wants - 1.0).abs() < 3e-6, "{theta} {head_dim}: {found} {wants}");
            }
        }
    }
}

#[test]
fn rotary_tables_are_cosine_and_sine_of_position_times_frequency() {
    let rope = Rope { theta: 1e4, scaling: RopeScaling::Default };
    let (cos, sin) = rope.tables(8, 300);
    assert_eq!((cos.len(), sin.len()), (1200, 1200));
    assert_eq!((&cos[..4], &sin[..4]), (&[1.0; 4][..], &[0.0; 4][..]));
    for (position, pair) in [(1, 0), (1, 3), (299, 0), (299, 2)] {
        let angle = f64::from(position as f32 * rope.inv_freq(8)[pair]);
        assert_eq!(cos[position * 4 + pair], angle.cos() as f32);
        assert_eq!(sin[position * 4 + pair], angle.sin() as f32);
    }
}

#[test]
fn initial_values_depend_on_seed_and_name_alone() {
    let of = |name: &str, dims: &[usize], init| Parameter {
        name: name.into(),
        dims: dims.to_vec(),
        init,
        parts: Vec::new(),
        layer: None,
    };
    let weight = of("a.weight", &[301, 333], Init::Normal(0.02));
    let values = weight.init_values(7);
    assert_eq!(values, weight.init_values(7));
    assert_eq!(values.len(), 301 * 333);
    assert_ne!(values, weight.init_values(8));
    assert_ne!(values, of("b.weight", &[301, 333], Init::Normal(0.02)).init_values(7));
    assert_eq!(of("n.weight", &[3], Init::Ones).init_values(7), [1.0; 3]);
    assert_eq!(of("n.bias", &[3], Init::Zeros).init_values(7), [0.0; 3]);

    let count = values.len() as f64;
    let moment = |power: i32| values.iter().map(|v| (f64::from(*v) / 0.02).powi(power)).sum::<f64>() / count;
    let wants = [(1, 0.0, 0.015), (2, 1.0, 0.025), (3, 0.0, 0.05), (4, 3.0, 0.2)];
    for (power, wants, within) in wants {
        assert!((moment(power) - wants).abs() < within, "moment {power}: {}", moment(power));
    }
}

#[test]
fn a_parameter_is_a_matrix_of_rows_and_columns() {
    let sizes = |dims: &[usize]| {
        let (dims, parts) = (dims.to_vec(), Vec::new());
        let parameter = Parameter { name: "w".into(), dims, init: Init::Zeros, parts, layer: None };
        (parameter.rows(), parameter.cols(), parameter.count())
    };
    assert_eq!(sizes(&[5]), (1, 5, 5));
    assert_eq!(sizes(&[4, 5]), (4, 5, 20));
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// `[name]` of the rotary golden file, which PyTorch and transformers computed.
fn rotary_golden(name: &str, dims: &[usize]) -> Vec<f32> {
    Folder::open_file(&golden().join("rope.safetensors")).unwrap().read_vec(name, dims).unwrap()
}

#[test]
fn rotary_frequencies_are_those_of_transformers_to_the_last_bit() {
    for (name, theta, scaling, head_dim) in [("llama3", 5e5, LLAMA3, 64), ("default", 1e6, RopeScaling::Default, 128)]
    {
        let wants = rotary_golden(&format!("{name}.inv_freq"), &[head_dim / 2]);
        let found = Rope { theta, scaling }.inv_freq(head_dim);
        for (pair, (found, wants)) in found.iter().zip(&wants).enumerate() {
            let apart = found.to_bits().abs_diff(wants.to_bits());
            assert!(apart <= 1, "{name} {pair}: {found} and {wants} are {apart} steps apart");
        }
    }
}

#[test]
fn rotary_tables_are_those_of_transformers() {
    let positions = [0, 1, 17, 4095, 100_000];
    let (cos, sin) = Rope { theta: 1e6, scaling: RopeScaling::Default }.tables(128, 100_001);
    for (name, found) in [("default.cos", cos), ("default.sin", sin)] {
        let wants = rotary_golden(name, &[positions.len(), 64]);
        for (position, wants) in positions.iter().zip(wants.chunks(64)) {
            for (pair, wants) in wants.iter().enumerate() {
                let apart = (found[position * 64 + pair] - wants).abs();
                assert!(apart <= 1e-6, "{name} {position} {pair}: {apart}");
            }
        }
    }
}

#[test]
fn golden_models_have_the_listed_tensors_and_no_others() {
    let text = std::fs::read(golden().join("cases.json")).unwrap();
    let cases: Value = serde_json::from_slice(&text).unwrap();
    for case in cases["families"].as_array().unwrap() {
        let folder = golden().join(case["folder"].as_str().unwrap());
        let config = Config::open(&folder).unwrap();
        Folder::open(&folder).unwrap().check(&config.entries()).unwrap();
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        let (_, stored) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(stored.tensors().len(), config.parameters().len(), "{}", folder.display());
        for other in case["configs"].as_array().unwrap() {
            let path = folder.join(other.as_str().unwrap());
            let other = Config::from_json(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
            assert_eq!(other, config, "{}", path.display());
        }
    }
    for case in cases["narrow"].as_array().unwrap() {
        let folder = golden().join(case["folder"].as_str().unwrap());
        let (config, stored) = (Config::open(&folder).unwrap(), Folder::open(&folder).unwrap());
        stored.check(&config.entries()).unwrap();
        let wide = Folder::open(folder.parent().unwrap()).unwrap();
        for Parameter { name, dims, .. } in config.parameters() {
            let pairs = stored.read_vec(&name, &dims).unwrap().into_iter().zip(wide.read_vec(&name, &dims).unwrap());
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() <= b.abs() / 256.0 + 1e-7), "{name}");
        }
    }
}

//! Real `config.json` files: each loads as the model it is, or is refused with the reason.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use underdog::model::Config;

use super::parse;

/// Every file with the family and the number of parameters that it loads as, or what its refusal says.
const FILES: &[(&str, &str)] = &[
    ("HuggingFaceTB--SmolLM-135M.finetuned-classifier.json", "llama 134515584"),
    ("HuggingFaceTB--SmolLM2-135M.readme.json", "llama 134515008"),
    ("Qwen--Qwen2.5-0.5B-Instruct.generation_config.json", "this is a generation_config.json"),
    ("Qwen--Qwen2.5-0.5B-Instruct.json", "qwen2 494032768"),
    ("Qwen--Qwen2.5-1.5B-Instruct.v5.json", "qwen2 1543714304"),
    ("Qwen--Qwen3-0.6B.json", "qwen3 596049920"),
    ("Qwen--Qwen3-1.7B.json", "qwen3 1720574976"),
    ("Qwen--Qwen3-30B-A3B.json", "\"qwen3_moe\"): mixture-of-experts layers are not supported"),
    ("Qwen--Qwen3-32B.json", "qwen3 32762123264"),
    ("Qwen--Qwen3-32B.servingsim.json", "qwen3 32762123264"),
    ("Qwen--Qwen3-4B-2507.json", "qwen3 4022468096"),
    ("Qwen--Qwen3-8B.json", "qwen3 8190735360"),
    ("Qwen--Qwen3-VL-2B-Instruct.json", "\"qwen3_vl\"): models that see images are not supported"),
    ("Qwen--Qwen3.5-27B.json", "\"qwen3_5\"): layers of linear or recurrent attention are not supported"),
    ("Qwen--Qwen3.5-35B-A3B.json", "\"qwen3_5_moe\"): mixture-of-experts layers are not supported"),
    ("XiaomiMiMo--MiMo-7B-Base.json", "\"mimo\"): layers that predict several tokens at once are not supported"),
    ("deepseek-ai--DeepSeek-V3.json", "\"deepseek_v3\"): mixture-of-experts layers are not supported"),
    ("google--gemma-3-1b-it.json", "gemma3_text 999885952"),
    ("google--gemma-4-26B-A4B.json", "\"gemma4\"): models that see images are not supported"),
    ("llmprof--Llama-3.1-8B.json", "llama 8030261248"),
    ("llmprof--Llama-3.2-3B.json", "llama 3212749824"),
    ("llmprof--Qwen2.5-14B.json", "qwen2 14770033664"),
    ("llmprof--Qwen2.5-32B.json", "qwen2 32763876352"),
    ("llmprof--Qwen2.5-3B.json", "qwen2 3085938688"),
    ("llmprof--Qwen2.5-7B.json", "qwen2 7615616512"),
    ("llmprof--Qwen3-14B.json", "qwen3 14768307200"),
    ("llmprof--Qwen3-30B-A3B.json", "\"qwen3_moe\"): mixture-of-experts layers are not supported"),
    ("llmprof--Qwen3-32B.json", "qwen3 32762123264"),
    ("llmprof--Qwen3-4B.json", "qwen3 4022468096"),
    ("llmprof--Qwen3-8B.json", "qwen3 8190735360"),
    ("meta-llama--Llama-3.2-1B-Instruct.generation_config.json", "this is a generation_config.json"),
    ("meta-llama--Llama-3.2-1B-Instruct.json", "llama 1235814400"),
    ("meta-llama--Llama-3.2-1B.generation_config.json", "this is a generation_config.json"),
    ("meta-llama--Llama-3.2-1B.json", "llama 1235814400"),
    ("meta-llama--Llama-3.2-3B-Instruct.generation_config.json", "this is a generation_config.json"),
    ("meta-llama--Llama-3.2-3B-Instruct.json", "llama 1235814400"),
    ("meta-llama--Llama-3.2-3B.generation_config.json", "this is a generation_config.json"),
    ("meta-llama--Llama-3.2-3B.json", "llama 3212749824"),
    ("meta-llama--Meta-Llama-3.1-70B.json", "llama 70553706496"),
    ("meta-llama--Meta-Llama-3.1-8B.json", "llama 8030261248"),
    ("microsoft--Phi-mini-MoE-instruct.json", "\"phimoe\"): mixture-of-experts layers are not supported"),
    ("mistralai--Mixtral-8x7B-v0.1.json", "\"mixtral\"): mixture-of-experts layers are not supported"),
    ("mistralai--Mixtral-8x7B-v0.1.servingsim.json", "\"mixtral\"): mixture-of-experts layers are not supported"),
    (
        "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.json",
        "\"nemotron_h\"): layers of linear or recurrent attention are not supported",
    ),
    ("openai--gpt-oss-20b.json", "\"gpt_oss\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/HuggingFaceTB--SmolLM-135M.finetuned-classifier.json", "llama 134515584"),
    ("v5_resaved/HuggingFaceTB--SmolLM2-135M.readme.json", "llama 134515008"),
    ("v5_resaved/Qwen--Qwen2.5-0.5B-Instruct.json", "qwen2 494032768"),
    ("v5_resaved/Qwen--Qwen2.5-1.5B-Instruct.v5.json", "qwen2 1543714304"),
    ("v5_resaved/Qwen--Qwen3-0.6B.json", "qwen3 596049920"),
    ("v5_resaved/Qwen--Qwen3-1.7B.json", "qwen3 1720574976"),
    ("v5_resaved/Qwen--Qwen3-30B-A3B.json", "\"qwen3_moe\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/Qwen--Qwen3-32B.json", "qwen3 32762123264"),
    ("v5_resaved/Qwen--Qwen3-32B.servingsim.json", "qwen3 32762123264"),
    ("v5_resaved/Qwen--Qwen3-4B-2507.json", "qwen3 4022468096"),
    ("v5_resaved/Qwen--Qwen3-8B.json", "qwen3 8190735360"),
    ("v5_resaved/Qwen--Qwen3-VL-2B-Instruct.json", "\"qwen3_vl\"): models that see images are not supported"),
    ("v5_resaved/Qwen--Qwen3.5-27B.json", "\"qwen3_5\"): layers of linear or recurrent attention are not supported"),
    ("v5_resaved/Qwen--Qwen3.5-35B-A3B.json", "\"qwen3_5_moe\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/deepseek-ai--DeepSeek-V3.json", "\"deepseek_v3\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/google--gemma-3-1b-it.json", "gemma3_text 999885952"),
    ("v5_resaved/google--gemma-4-26B-A4B.json", "\"gemma4\"): models that see images are not supported"),
    ("v5_resaved/llmprof--Llama-3.1-8B.json", "llama 8030261248"),
    ("v5_resaved/llmprof--Llama-3.2-3B.json", "llama 3212749824"),
    ("v5_resaved/llmprof--Qwen2.5-14B.json", "qwen2 14770033664"),
    ("v5_resaved/llmprof--Qwen2.5-32B.json", "qwen2 32763876352"),
    ("v5_resaved/llmprof--Qwen2.5-3B.json", "qwen2 3085938688"),
    ("v5_resaved/llmprof--Qwen2.5-7B.json", "qwen2 7615616512"),
    ("v5_resaved/llmprof--Qwen3-14B.json", "qwen3 14768307200"),
    ("v5_resaved/llmprof--Qwen3-30B-A3B.json", "\"qwen3_moe\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/llmprof--Qwen3-32B.json", "qwen3 32762123264"),
    ("v5_resaved/llmprof--Qwen3-4B.json", "qwen3 4022468096"),
    ("v5_resaved/llmprof--Qwen3-8B.json", "qwen3 8190735360"),
    ("v5_resaved/meta-llama--Llama-3.2-1B-Instruct.json", "llama 1235814400"),
    ("v5_resaved/meta-llama--Llama-3.2-1B.json", "llama 1235814400"),
    ("v5_resaved/meta-llama--Llama-3.2-3B-Instruct.json", "llama 1235814400"),
    ("v5_resaved/meta-llama--Llama-3.2-3B.json", "llama 3212749824"),
    ("v5_resaved/meta-llama--Meta-Llama-3.1-70B.json", "llama 70553706496"),
    ("v5_resaved/meta-llama--Meta-Llama-3.1-8B.json", "llama 8030261248"),
    ("v5_resaved/microsoft--Phi-mini-MoE-instruct.json", "\"phimoe\"): mixture-of-experts layers are not supported"),
    ("v5_resaved/mistralai--Mixtral-8x7B-v0.1.json", "\"mixtral\"): mixture-of-experts layers are not supported"),
    (
        "v5_resaved/mistralai--Mixtral-8x7B-v0.1.servingsim.json",
        "\"mixtral\"): mixture-of-experts layers are not supported",
    ),
    ("v5_resaved/nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.json", "expected value at line 129 column 3"),
    ("v5_resaved/openai--gpt-oss-20b.json", "\"gpt_oss\"): mixture-of-experts layers are not supported"),
    ("maxtext_kwargs/gemma2_2b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/gemma2_9b.json", "neither `model_type` nor `architectures` names one;"),
    (
        "maxtext_kwargs/gemma3_12b.json",
        "\"gemma3\"): models that see images are not supported; its text part alone (`model_type` gemma3_text) is",
    ),
    (
        "maxtext_kwargs/gemma3_27b.json",
        "\"gemma3\"): models that see images are not supported; its text part alone (`model_type` gemma3_text) is",
    ),
    (
        "maxtext_kwargs/gemma3_4b.json",
        "\"gemma3\"): models that see images are not supported; its text part alone (`model_type` gemma3_text) is",
    ),
    ("maxtext_kwargs/gpt_oss_20b.json", "\"gpt_oss\"): mixture-of-experts layers are not supported"),
    ("maxtext_kwargs/llama31_70b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/llama31_8b.json", "llama 8030261248"),
    ("maxtext_kwargs/mixtral_8x7b.json", "\"mixtral\"): mixture-of-experts layers are not supported"),
    ("maxtext_kwargs/olmo3_7b.json", "\"olmo3\"): positions that only some layers stretch are not supported"),
    ("maxtext_kwargs/qwen25_14b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen25_1_5b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen25_7b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_0_6b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_14b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_1_7b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_30b_a3b_base.json", "\"qwen3_moe\"): mixture-of-experts layers are not supported"),
    ("maxtext_kwargs/qwen3_32b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_4b.json", "neither `model_type` nor `architectures` names one;"),
    ("maxtext_kwargs/qwen3_8b.json", "neither `model_type` nor `architectures` names one;"),
    ("transformers_class_defaults/gemma2.json", "gemma2 2614341888"),
    ("transformers_class_defaults/gemma3_text.json", "gemma3_text 2628658432"),
    ("transformers_class_defaults/gpt2.json", "\"gpt2\"): learned positions and layer norms are not supported"),
    ("transformers_class_defaults/llama.json", "llama 6738415616"),
    ("transformers_class_defaults/mistral.json", "mistral 7241732096"),
    ("transformers_class_defaults/olmo2.json", "olmo2 6888624128"),
    (
        "transformers_class_defaults/olmo3.json",
        "\"olmo3\"): positions that only some layers stretch are not supported",
    ),
    ("transformers_class_defaults/phi3.json", "phi3 3821079552"),
    ("transformers_class_defaults/qwen2.json", "qwen2 12049846272"),
    ("transformers_class_defaults/qwen3.json", "qwen3 12049461248"),
    ("transformers_class_defaults/smollm3.json", "smollm3 3075098624"),
    ("partial/allenai--OLMo-2-0425-1B.json", "olmo2 1484916736"),
    ("partial/microsoft--Phi-4-mini-instruct.json", "phi3 3836021760"),
];

/// The folder of real config files, or a visible skip.
fn real_configs(test: &str) -> Option<PathBuf> {
    crate::skip::shared(test, "hf_configs").map(|root| root.join("hf_configs"))
}

fn json_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
    files.sort();
    files
}

#[test]
fn every_real_config_loads_or_is_refused_with_the_reason() {
    let Some(root) = real_configs("every_real_config_loads_or_is_refused_with_the_reason") else { return };
    let mut wrong = Vec::new();
    for folder in ["", "v5_resaved", "maxtext_kwargs", "transformers_class_defaults", "partial"] {
        for path in json_files(&root.join(folder)) {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            let found = match Config::from_json(&std::fs::read_to_string(&path).unwrap(), &path) {
                Ok(config) => format!("{} {}", config.family.model_type, config.parameter_count()),
                Err(error) => error.to_string(),
            };
            let row = FILES.iter().find(|(file, _)| *file == name);
            if !row.is_some_and(|(_, wants)| found.contains(wants)) {
                wrong.push(format!("(\"{name}\", \"{found}\"),"));
            }
        }
    }
    assert!(wrong.is_empty(), "not as in the table:\n{}", wrong.join("\n"));
    for (file, _) in FILES {
        assert!(root.join(file).is_file(), "no {file}");
    }
}

#[test]
fn keyword_arguments_load_once_their_class_is_named() {
    let Some(root) = real_configs("keyword_arguments_load_once_their_class_is_named") else { return };
    let classes = [("qwen25", "qwen2"), ("qwen3_30b", "qwen3_moe"), ("qwen3", "qwen3"), ("llama", "llama")];
    let mut loaded = 0;
    for path in json_files(&root.join("maxtext_kwargs")) {
        let name = path.file_name().unwrap().to_string_lossy();
        let Some((_, class)) = classes.iter().find(|(start, _)| name.starts_with(start)) else { continue };
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        value["model_type"] = json!(class);
        assert_eq!(parse(&value).is_ok(), *class != "qwen3_moe", "{name}");
        loaded += 1;
    }
    assert!(loaded >= 11, "{loaded}");
}

#[test]
fn both_forms_of_a_config_are_the_same_model() {
    let Some(root) = real_configs("both_forms_of_a_config_are_the_same_model") else { return };
    let mut compared = 0;
    for new in json_files(&root.join("v5_resaved")) {
        let old = root.join(new.file_name().unwrap());
        let open = |path: &Path| Config::from_json(&std::fs::read_to_string(path).unwrap(), path);
        if let (Ok(old), Ok(new)) = (open(&old), open(&new)) {
            assert_eq!(old, new);
            compared += 1;
        }
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn parameter_counts_are_the_published_ones() {
    let Some(root) = real_configs("parameter_counts_are_the_published_ones") else { return };
    for (name, count) in [
        ("Qwen--Qwen3-0.6B", 596_049_920),
        ("Qwen--Qwen2.5-0.5B-Instruct", 494_032_768),
        ("meta-llama--Llama-3.2-1B", 1_235_814_400),
        ("meta-llama--Meta-Llama-3.1-8B", 8_030_261_248),
        ("HuggingFaceTB--SmolLM2-135M.readme", 134_515_008),
    ] {
        let path = root.join(format!("{name}.json"));
        let config = Config::from_json(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
        assert_eq!(config.parameter_count(), count, "{name}");
    }
}

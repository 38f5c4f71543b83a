"""Writes the golden files: python generate.py OUTPUT_FOLDER. Deterministic; takes some seconds."""

import copy
import functools
import json
import math
import shutil
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, Qwen3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

import adapters
import measure
import methods
from families import FAMILIES, WEAK, build, in_float64, old_form, rope

LAMBDA = 0.42
OLD_FORMS = {
    "qwen3": {"config_old.json": "rope_type"},
    "qwen2": {"config_old.json": "rope_type"},
    "llama3": {"config_old.json": "rope_type", "config_old_type.json": "type"},
    "smollm2": {"config_old.json": "rope_type"},
    "mistral": {"config_old.json": "rope_type"},
    "gemma3": {"config_old.json": "rope_type"},
    "phi3": {"config_old.json": "type"},
    "olmo2": {"config_old.json": "rope_type"},
    "gemma2": {"config_old.json": "rope_type"},
    "smollm3": {"config_old.json": "rope_type"},
    "lfm2": {"config_old.json": "rope_type"},
}
MIXES = {"mix_same": ("qwen3", None), "mix_smaller": ("qwen3", None), "mix_heads": ("qwen3_untied", "qwen3")}


def narrowed(tensors):
    return {k: (v.float() if v.is_floating_point() else v).contiguous().clone() for k, v in tensors.items()}


def write(path, tensors):
    save_file(narrowed(tensors), path)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=1) + "\n")


def batch_tensors(batch):
    """Flattened token ids, document lengths, and the mask of targets, all int32."""
    return {
        "tokens": torch.cat(batch.tokens).int(),
        "doc_lengths": torch.tensor([len(ids) for ids in batch.tokens], dtype=torch.int32),
        "trained": torch.cat(batch.trained).int(),
    }


def prefixed(prefix, model):
    return {f"{prefix}{name}": p.detach() for name, p in model.named_parameters()}


def outputs(model, batch):
    with torch.no_grad():
        pairs = [measure.forward(model, ids) for ids in batch.tokens]
    return {"hidden": torch.cat([h for h, _ in pairs]), "logits": torch.cat([z for _, z in pairs])}


def family_case(model, batch):
    """Everything in a family's golden file that depends on the precision of `model`."""
    model = copy.deepcopy(model)
    loss, grads = measure.gradients(measure.plain(model), {"grad.": model}, batch)
    case = outputs(model, batch) | {
        "loss": loss[None],
        "doc_loss": measure.document_losses(model, batch),
        "entropy": measure.entropies(model, batch),
        **grads,
    }
    case["curve"], case["grad_norms"] = measure.train(measure.plain(model), [model], batch)
    return case | prefixed("final.", model)


def mix_case(strong, weak, batch):
    """As `family_case`, for weak-driven training: joint (both models learn) and frozen (the strong one only)."""
    models = {"grad.strong.": strong, "grad.weak.": weak}
    loss, grads = measure.gradients(measure.mixed(strong, weak, LAMBDA), models, batch)
    case = {
        "loss": loss[None],
        "entropy_strong": measure.entropies(strong, batch),
        "entropy_weak": measure.entropies(weak, batch),
        **grads,
    }
    for arm, freeze in (("joint", False), ("frozen", True)):
        pair = copy.deepcopy(strong), copy.deepcopy(weak)
        logits_of = measure.mixed(*pair, LAMBDA, freeze_weak=freeze)
        curve, norms = measure.train(logits_of, pair[:1] if freeze else pair, batch)
        case |= {f"{arm}.curve": curve, f"{arm}.grad_norms": norms} | prefixed(f"{arm}.final.strong.", pair[0])
        if not freeze:
            case |= prefixed("joint.final.weak.", pair[1])
    return case


def in_both(case, models, batch):
    """`case` in float64, and per kind of tensor how far PyTorch's own float32 run strays from it."""
    truth = case(*(in_float64(m) for m in models), batch)
    single = case(*(copy.deepcopy(m) for m in models), batch)
    errors = {}
    for name, want in truth.items():
        kind = ".".join(p for p in name.split(".")[:3] if p in KINDS)
        error = ((single[name].double() - want).abs().max() / want.abs().max()).item()
        errors[kind] = max(errors.get(kind, 0.0), error)
    return truth, {kind: float(f"{error:.2e}") for kind, error in errors.items()}


KINDS = {
    "hidden", "logits", "loss", "doc_loss", "entropy", "entropy_strong", "entropy_weak", "grad", "curve", "grad_norms",
    "final", "joint", "frozen", "strong", "weak",
} | methods.KINDS


def check_old_form(folder, file, model, ids):
    """The old form must mean the same model to transformers."""
    config = AutoConfig.for_model(**json.loads((folder / file).read_text()))
    twin = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(twin(ids[None]).logits, model(ids[None]).logits), f"{folder}/{file}"


def write_family(out, seed, name):
    model, batch = build(FAMILIES[name], seed), measure.draw_batch(FAMILIES[name].vocab_size, seed + 1)
    folder = out / name
    model.save_pretrained(folder)
    for file, type_key in OLD_FORMS.get(name, {}).items():
        write_json(folder / file, old_form(model.config, type_key))
        check_old_form(folder, file, model, batch.tokens[2])
    truth, errors = in_both(family_case, [model], batch)
    write(folder / "golden.safetensors", batch_tensors(batch) | truth)
    return model, batch, errors


def write_narrow(folder, model, batch, dtype, **options):
    """The model saved in a narrow type; its golden logits are those of the rounded weights, widened.

    They come from the saved folder: narrowing a model in memory narrows its rotary frequencies too.
    """
    narrow = copy.deepcopy(model).to(dtype)
    narrow.config.dtype = dtype
    narrow.save_pretrained(folder, **options)
    widened = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    write(folder / "golden.safetensors", batch_tensors(batch) | outputs(in_float64(widened), batch))


def write_mix(out, seed, name, models):
    strong_name, weak_name = MIXES[name]
    folder = out / name
    folder.mkdir()
    weak = models[weak_name] if weak_name else build(WEAK[name], seed)
    if not weak_name:
        weak.save_pretrained(folder / "weak")
    batch = measure.draw_batch(weak.config.vocab_size, seed + 1)
    truth, errors = in_both(mix_case, [models[strong_name], weak], batch)
    write(folder / "golden.safetensors", batch_tensors(batch) | truth)
    where = {"strong": strong_name, "weak": weak_name or f"{name}/weak"}
    return {"folder": name, **where, "lambda": LAMBDA}, errors


def write_rope(path):
    """Frequencies of Llama-3.2-1B; tables of theta 1e6 and 128 channels as transformers computes them, and exactly."""
    llama = LlamaConfig(
        hidden_size=2048, num_attention_heads=32, head_dim=64, max_position_embeddings=131072, rope_parameters=rope(
            500000.0, rope_type="llama3", factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
    )
    qwen = Qwen3Config(head_dim=128, rope_parameters=rope(1e6))
    rotary = Qwen3RotaryEmbedding(qwen)
    positions = torch.tensor([0, 1, 17, 4095, 100000])
    cos, sin = rotary(torch.zeros(1), positions[None])
    exact = positions.double()[:, None] * 1e6 ** (-torch.arange(0, 128, 2, dtype=torch.float64) / 128)
    write(path, {
        "llama3.inv_freq": LlamaRotaryEmbedding(llama).inv_freq,
        "default.inv_freq": rotary.inv_freq,
        "default.positions": positions.int(),
        "default.cos": cos[0, :, :64],
        "default.sin": sin[0, :, :64],
        "exact.cos": exact.cos(),
        "exact.sin": exact.sin(),
    })


def sampling_weights(weak, strong, alpha, beta, gamma):
    """p_i = alpha H_i/sum H + beta [-dH_i]+/sum [-dH]+ + gamma [dH_i]+/sum [dH]+, normalised; zero sums drop out."""
    change = [s - w for w, s in zip(weak, strong)]
    terms = [(alpha, weak), (beta, [max(-d, 0.0) for d in change]), (gamma, [max(d, 0.0) for d in change])]
    kept = [(c / math.fsum(values), values) for c, values in terms if math.fsum(values) > 0.0]
    raw = [math.fsum(c * values[i] for c, values in kept) for i in range(len(weak))]
    return [r / math.fsum(raw) for r in raw]


def curriculum_cases():
    weak = [2.31, 0.07, 1.4, 3.9, 0.0, 1.1, 0.52, 2.75, 0.003, 1.9, 0.88, 1.25]
    strong = [1.02, 0.11, 0.35, 4.2, 0.0, 1.1, 0.09, 1.61, 0.0041, 0.7, 1.03, 0.2]
    lower, higher = [0.5 * w for w in weak], [w + 0.25 for w in weak]
    cases = {
        "script_defaults": (weak, strong, 0.1, 0.8, 0.1),
        "argument_defaults": (weak, strong, 0.2, 0.7, 0.1),
        "coefficients_of_any_sum": (weak, strong, 3.0, 1.0, 0.5),
        "no_gamma": (weak, strong, 0.3, 0.7, 0.0),
        "nothing_forgotten": (weak, lower, 0.1, 0.8, 0.1),
        "nothing_learnt": (weak, higher, 0.1, 0.8, 0.1),
        "nothing_changed": (weak, weak, 0.1, 0.8, 0.1),
        "weak_is_certain": ([0.0] * 12, strong, 0.1, 0.8, 0.1),
    }
    keys = ("entropy_weak", "entropy_strong", "alpha", "beta", "gamma")
    return [{"name": n, **dict(zip(keys, c)), "weights": sampling_weights(*c)} for n, c in cases.items()]


def write_methods(out):
    """The methods on the models already written to `out`."""
    batch, cases = methods.batch(), []
    for name, case in methods.CASES.items():
        truth, errors = in_both(functools.partial(methods.run, case), methods.load(out, case), batch)
        (out / "methods" / name).mkdir(parents=True, exist_ok=True)
        write(out / "methods" / name / "golden.safetensors", batch_tensors(batch) | truth)
        cases.append({"folder": name, **case, "errors": errors})
    write_json(out / "methods" / "cases.json", methods.settings() | {"cases": cases})


def main(out):
    for name in (*FAMILIES, *MIXES):
        shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    models, errors, narrow, mixes = {}, {}, [], []
    for i, name in enumerate(FAMILIES):
        models[name], batch, errors[name] = write_family(out, 100 + 10 * i, name)
        if name == "qwen3":
            write_narrow(out / name / "bf16", models[name], batch, torch.bfloat16, max_shard_size="12KB")
            narrow.append({"folder": "qwen3/bf16", "dtype": "bfloat16"})
        if name == "llama3":
            write_narrow(out / name / "f16", models[name], batch, torch.float16)
            narrow.append({"folder": "llama3/f16", "dtype": "float16"})
    for i, name in enumerate(MIXES):
        mix, errors[name] = write_mix(out, 200 + 10 * i, name, models)
        mixes.append(mix)
    write_methods(out)
    adapters.write(out, write, batch_tensors, write_json)
    write_rope(out / "rope.safetensors")
    write_json(out / "curriculum.json", curriculum_cases())
    write_json(out / "reference_error.json", errors)
    families = [{"folder": n, "configs": ["config.json", *OLD_FORMS.get(n, {})]} for n in FAMILIES]
    write_json(out / "cases.json", {
        "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__,
        "optimizer": {**measure.ADAMW, "clip": measure.CLIP, "steps": measure.STEPS},
        "families": families, "narrow": narrow, "mixes": mixes,
    })


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: generate.py OUTPUT_FOLDER")
    torch.set_num_threads(1)  # one order of summation
    transformers.utils.logging.disable_progress_bar()
    main(Path(sys.argv[1]))

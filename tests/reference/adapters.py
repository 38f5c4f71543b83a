"""LoRA as peft computes it, on the tiny models: adapter folders, gradients, ten steps, merged logits.

A case is a row of CASES; `settings` are peft's. Parameters have peft's names in its files. Dropout takes the mask of a hash of the
token's key, the module and the column in place of torch's.
"""

import copy
import hashlib
import json

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

import measure
import methods
from families import in_float64

LAMBDA = 0.42
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
# `holds`: final = the adapter after ten steps; merged = logits of the merged model.
CASES = {
    "lora": {"base": "qwen3", "settings": dict(r=4, lora_alpha=6, target_modules="all-linear"), "holds": ["final", "merged"]},
    "rslora": {
        "base": "llama_bias",
        "settings": dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"], layers_to_transform=[1]),
        "holds": ["merged"],
    },
    "patterns": {
        "base": "gemma3",
        "settings": dict(
            r=2, lora_alpha=4, target_modules=[*ATTENTION, "down_proj"], rank_pattern={"q_proj": 5, "layers.1.mlp.down_proj": 1},
            alpha_pattern={"v_proj": 1.5},
        ),
        "holds": ["merged"],
    },
    "dora": {"base": "llama_bias", "settings": dict(r=4, lora_alpha=6, use_dora=True, target_modules=[*ATTENTION, "up_proj"]), "holds": ["final", "merged"]},
    "fused": {"base": "phi3", "settings": dict(r=4, lora_alpha=4, target_modules="all-linear"), "holds": ["merged"]},
    "fused_dora": {"base": "phi3", "settings": dict(r=3, lora_alpha=4, use_dora=True, target_modules="all-linear"), "holds": ["merged"]},
    "saved": {
        "base": "qwen3_untied",
        "settings": dict(r=2, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["embed_tokens", "lm_head"]),
        "holds": ["merged"],
    },
    "saved_tied": {
        "base": "qwen3", "settings": dict(r=2, lora_alpha=4, target_modules=["v_proj"], modules_to_save=["embed_tokens"]), "holds": [],
    },
    "dropout": {"base": "llama3", "settings": dict(r=4, lora_alpha=6, lora_dropout=0.25, target_modules="all-linear"), "holds": []},
    "dropout_dora": {
        "base": "llama_bias", "settings": dict(r=4, lora_alpha=6, lora_dropout=0.25, use_dora=True, target_modules=["q_proj", "o_proj", "gate_proj"]),
        "holds": [],
    },
    "weak_base": {
        "base": "qwen3", "settings": dict(r=4, lora_alpha=6, target_modules="all-linear"), "weak": "base", "lambda": LAMBDA, "holds": ["final"],
    },
}


class HashDropout(nn.Module):
    """Keeps what a hash of key, module and column keeps. `now` is the step and the document that goes through."""

    now = (0, 0)

    def __init__(self, module, rate):
        super().__init__()
        self.salt, self.rate = int.from_bytes(hashlib.sha256(module.encode()).digest()[:4], "little"), rate

    def forward(self, x):
        if not self.training:
            return x
        step, example = HashDropout.now
        keys = [methods.pcg(methods.key(step, example, t) ^ self.salt) for t in range(x.shape[-2])]
        hashes = [[methods.pcg((k + c) & methods.MASK) >> 8 for c in range(x.shape[-1])] for k in keys]
        kept = torch.tensor(hashes) >= int(self.rate * 2**24)
        return x * kept * torch.tensor(1 / (1 - self.rate), dtype=torch.float32).to(x.dtype)


def base_of(out, case):
    return AutoModelForCausalLM.from_pretrained(out / case["base"], dtype=torch.float32).eval()


def adapted(out, case, seed):
    """The base with an adapter whose every matrix is random; in training mode, so that dropout drops."""
    torch.manual_seed(seed)
    model = get_peft_model(base_of(out, case), LoraConfig(task_type="CAUSAL_LM", **case["settings"]))
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, p in trained(model.base_model.model).items():
            normal = torch.from_numpy(rng.standard_normal(tuple(p.shape))).float()
            if "lora_A" in name or "lora_B" in name:
                p.copy_((0.3 if "lora_B" in name else 1.0) * normal / p.shape[1] ** 0.5)
            else:
                p.mul_(1 + 0.1 * normal)
    for name, module in model.base_model.model.named_modules():
        rate = case["settings"].get("lora_dropout", 0.0)
        if rate and hasattr(module, "lora_dropout") and "default" in module.lora_dropout:
            module.lora_dropout["default"] = HashDropout(name, rate)
    return model


def trained(inner):
    """What learns, by peft's names in its files."""
    def in_file(name):
        name = name.replace("lora_magnitude_vector.default.weight", "lora_magnitude_vector")
        return "base_model.model." + name.replace(".modules_to_save", "").replace(".default", "")

    return {in_file(name): p for name, p in inner.named_parameters() if p.requires_grad}


def logits_of(inner, weak, case, batch, step):
    order = [ids.data_ptr() for ids in batch.tokens]

    def logits(ids):
        HashDropout.now = (step, order.index(ids.data_ptr()))
        z = measure.forward(inner, ids)[1]
        if weak is None:
            return z
        with torch.no_grad():
            of_weak = measure.forward(weak, ids)[1]
        return case["lambda"] * z + (1.0 - case["lambda"]) * of_weak

    return logits


def run(case, model, weak, batch):
    inner = model.base_model.model
    inner.eval()
    with torch.no_grad():
        found = {"logits": torch.cat([measure.forward(inner, ids)[1] for ids in batch.tokens])}
    inner.train()
    parameters = trained(inner)
    loss = measure.batch_loss(logits_of(inner, weak, case, batch, 0), batch)
    gradients = torch.autograd.grad(loss, list(parameters.values()))
    found |= {"loss": loss.detach()[None]} | {f"grad.{n}": g for n, g in zip(parameters, gradients)}
    if "merged" in case["holds"]:
        merged = copy.deepcopy(model).merge_and_unload().eval()
        with torch.no_grad():
            found["merged"] = torch.cat([measure.forward(merged, ids)[1] for ids in batch.tokens])
    found["curve"], found["grad_norms"] = train(case, inner, weak, batch, list(parameters.values()))
    if "final" in case["holds"]:
        found |= {f"final.{n}": p.detach() for n, p in parameters.items()}
    return found


def train(case, inner, weak, batch, parameters):
    optimizer = torch.optim.AdamW(parameters, **measure.ADAMW, foreach=False)
    curve, norms = [], []
    for step in range(measure.STEPS):
        optimizer.zero_grad()
        loss = measure.batch_loss(logits_of(inner, weak, case, batch, step), batch)
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(parameters, measure.CLIP))
        curve.append(loss.detach())
        optimizer.step()
    return torch.stack(curve), torch.stack(norms)


def write(out, write_tensors, batch_tensors, write_json):
    """Every case on the models already written to `out`."""
    (out / "adapters").mkdir(exist_ok=True)
    for i, (name, case) in enumerate(CASES.items()):
        folder = out / "adapters" / name
        model = adapted(out, case, 300 + 10 * i)
        weak = base_of(out, case) if case.get("weak") == "base" else None
        batch = measure.draw_batch(model.config.vocab_size, 301 + 10 * i)
        model.save_pretrained(folder)
        (folder / "README.md").unlink(missing_ok=True)
        settings = json.loads((folder / "adapter_config.json").read_text())
        settings |= {"base_model_name_or_path": case["base"], "target_modules": sorted(settings["target_modules"])}
        write_json(folder / "adapter_config.json", settings)
        check_saved(out, case, model, folder, batch)
        truth = run(case, in_float64(model), weak and in_float64(weak), batch)
        write_tensors(folder / "golden.safetensors", batch_tensors(batch) | truth)
    write_json(out / "adapters" / "cases.json", [{"folder": n, **c} for n, c in CASES.items()])


def check_saved(out, case, model, folder, batch):
    """What peft loads from the folder must be what was saved."""
    twin = PeftModel.from_pretrained(base_of(out, case), folder).eval()
    inner = model.base_model.model.eval()
    with torch.no_grad():
        for ids in batch.tokens:
            assert torch.equal(measure.forward(twin.base_model.model, ids)[1], measure.forward(inner, ids)[1]), folder

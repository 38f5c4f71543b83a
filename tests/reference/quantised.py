"""Tiny models as bitsandbytes and MLX quantise them: folders, and the logits of the numbers that the libraries widen.

Run by itself: python quantised.py OUTPUT_FOLDER. transformers writes the folders of bitsandbytes; those of MLX are written as
mlx-lm does, with `mx.quantize`. Widened numbers are kept in float32: the libraries round them to the type of the checkpoint.
"""

import copy
import json
import shutil
import sys
import tempfile
from pathlib import Path

import bitsandbytes
import mlx.core as mx
import numpy as np
import torch
from bitsandbytes.functional import QuantState, dequantize_4bit
from safetensors import safe_open
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, Qwen3Config

import measure
from families import build, in_float64, rope
from generate import batch_tensors, outputs, write

SHAPE = Qwen3Config(
    vocab_size=176, hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1,
    head_dim=64, tie_word_embeddings=True, initializer_range=0.3, bos_token_id=0, eos_token_id=1, rope_parameters=rope(1e4),
)
NF4 = {
    "nf4": dict(bnb_4bit_use_double_quant=False, llm_int8_skip_modules=["lm_head", "k_proj"]),
    "nf4_double": dict(bnb_4bit_use_double_quant=True),
}
MLX = {"mlx4": (4, 64, mx.bfloat16), "mlx8": (8, 64, mx.float16), "mlx4_128": (4, 128, mx.bfloat16)}


def write_nf4(folder, model, settings):
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16, **settings)
    with tempfile.TemporaryDirectory() as plain:
        model.save_pretrained(plain)
        quantised = AutoModelForCausalLM.from_pretrained(plain, quantization_config=settings, dtype=torch.bfloat16, device_map="cpu")
    quantised.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        stored = {name: file.get_tensor(name) for name in file.keys()}
    widened = {}
    for name, values in stored.items():
        parts = {n[len(name) + 1 :]: t for n, t in stored.items() if n.startswith(f"{name}.")}
        if parts:
            state = QuantState.from_dict(parts, "cpu")
            state.dtype = torch.float32
            values = dequantize_4bit(values, state)
        if not any(name.startswith(f"{other}.") for other in stored):
            widened[name] = values.float()
    return widened


def write_mlx(folder, model, bits, group_size, dtype):
    folder.mkdir()
    stored, widened = {}, {}
    for name, values in model.state_dict().items():
        if name == "lm_head.weight":
            continue
        values = mx.array(values.float().numpy()).astype(dtype)
        if values.ndim == 2:
            parts = mx.quantize(values, group_size=group_size, bits=bits)
            module = name.removesuffix(".weight")
            stored |= {f"{module}.{part}": p for part, p in zip(("weight", "scales", "biases"), parts)}
            codes, scales, biases = parts
            values = mx.dequantize(codes, scales.astype(mx.float32), biases.astype(mx.float32), group_size=group_size, bits=bits)
        else:
            stored[name] = values
        widened[name] = torch.from_numpy(np.array(values.astype(mx.float32)))
    mx.save_safetensors(str(folder / "model.safetensors"), stored, metadata={"format": "mlx"})
    config = json.loads(model.config.to_json_string()) | {"architectures": ["Qwen3ForCausalLM"]}
    config["quantization"] = config["quantization_config"] = {"group_size": group_size, "bits": bits, "mode": "affine"}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return widened


def main(out):
    out = out / "quantised"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    model, batch = build(SHAPE, 300), measure.draw_batch(SHAPE.vocab_size, 301)
    for name in (*NF4, *MLX):
        widened = write_nf4(out / name, model, NF4[name]) if name in NF4 else write_mlx(out / name, model, *MLX[name])
        twin = copy.deepcopy(model)
        missing, unexpected = twin.load_state_dict(widened, strict=False)
        assert not unexpected and missing in ([], ["lm_head.weight"]), (missing, unexpected)
        twin.tie_weights()
        write(out / name / "golden.safetensors", batch_tensors(batch) | {"logits": outputs(in_float64(twin), batch)["logits"]})
        for extra in out.glob("*/generation_config.json"):
            extra.unlink()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: quantised.py OUTPUT_FOLDER")
    print(f"bitsandbytes {bitsandbytes.__version__}, mlx {mx.__version__}")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

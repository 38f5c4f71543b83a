"""What transformers says of a model folder: python compare.py DIR TOKENS_JSON OUT [ADAPTER]

TOKENS_JSON holds a list of token ids, a list of such lists, or {"documents": [[...], ...]}. The folder is loaded with
AutoModelForCausalLM in float32 (and AutoTokenizer where it has a tokenizer.json); every document is
forwarded alone. OUT ending in .safetensors gets `logits.0` [T, V], `tokens.0` [T], ...; any other OUT gets the same as JSON. Exits 1
where the folder (or the adapter's, which peft loads) lacks a tensor, holds one too many or one of another shape, or its tokenizer exceeds the vocabulary.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def read_documents(path):
    value = json.loads(Path(path).read_text())
    if isinstance(value, dict):
        value = value["documents"]
    return value if value and isinstance(value[0], list) else [value]


def load(folder, adapter=None):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = {kind: found for kind, found in info.items() if found}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    if adapter is not None:
        model = adapted(model, adapter)
    return model.eval()


def adapted(model, folder):
    from peft import PeftModel, get_peft_model_state_dict

    wanted = load_file(Path(folder) / "adapter_model.safetensors")
    model = PeftModel.from_pretrained(model, folder)
    held = get_peft_model_state_dict(model)
    wrong = {name for name in wanted.keys() ^ held.keys()} | {n for n in wanted if n in held and not torch.equal(wanted[n], held[n])}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    return model


def load_tokenizer(folder, vocab):
    if not (Path(folder) / "tokenizer.json").exists():
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) > vocab:
        sys.exit(f"{folder}: {len(tokenizer)} tokens in the tokenizer, {vocab} in the model")
    return tokenizer


def main(folder, tokens, out, adapter=None):
    logging.disable_progress_bar()
    model, documents = load(folder, adapter), read_documents(tokens)
    tokenizer = load_tokenizer(folder, model.config.vocab_size)
    with torch.no_grad():
        logits = [model(torch.tensor([ids])).logits[0].float() for ids in documents]
    if out.endswith(".safetensors"):
        tensors = {f"logits.{i}": z.contiguous() for i, z in enumerate(logits)}
        save_file(tensors | {f"tokens.{i}": torch.tensor(ids).int() for i, ids in enumerate(documents)}, out)
    else:
        rows = [{"tokens": ids, "logits": z.tolist()} for ids, z in zip(documents, logits)]
        Path(out).write_text(json.dumps({"documents": rows}) + "\n")
    texts = [tokenizer.decode(ids) for ids in documents] if tokenizer else None
    print(json.dumps({"model": type(model).__name__, "vocab": model.config.vocab_size, "texts": texts}))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])

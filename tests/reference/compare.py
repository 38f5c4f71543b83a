"""What transformers says of a model folder: python compare.py DIR TOKENS_JSON OUT

TOKENS_JSON holds a list of token ids, a list of such lists, or {"documents": [[...], ...]}. The folder is loaded with
AutoModelForCausalLM in float32 (and AutoTokenizer where it has a tokenizer.json); every document is
forwarded alone. OUT ending in .safetensors gets `logits.0` [T, V], `tokens.0` [T], ...; any other OUT gets the same as JSON. Exits 1
where the folder lacks a tensor, holds one too many or one of another shape, or its tokenizer exceeds the vocabulary.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging


def read_documents(path):
    value = json.loads(Path(path).read_text())
    if isinstance(value, dict):
        value = value["documents"]
    return value if value and isinstance(value[0], list) else [value]


def load(folder):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    wrong = {kind: found for kind, found in info.items() if found}
    if wrong:
        sys.exit(f"{folder}: {wrong}")
    return model.eval()


def load_tokenizer(folder, vocab):
    if not (Path(folder) / "tokenizer.json").exists():
        return None
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if len(tokenizer) > vocab:
        sys.exit(f"{folder}: {len(tokenizer)} tokens in the tokenizer, {vocab} in the model")
    return tokenizer


def main(folder, tokens, out):
    logging.disable_progress_bar()
    model, documents = load(folder), read_documents(tokens)
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
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])

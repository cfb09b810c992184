"""The original: what Hugging Face's transformers makes of a checkpoint, in a process of its own.

It runs in an environment with torch and transformers and without TensorFlow (`make test-original`),
and exchanges files with the tests:

    forward FOLDER INPUTS.npz OUTPUTS.npz   states, logits, routing, losses, greedy tokens
    make FOLDER CONFIG.json SEED            a checkpoint of random weights, as the original saves it
    tokenize FOLDER TEXTS.json OUTPUTS.json ids and texts of a folder with a spiece.model
    train MODEL_PREFIX CORPUS.txt SIZE      a SentencePiece model by T5's settings
"""

import json
import re
import sys
from pathlib import Path

RIGHT = "5.18 or newer, or 4.52.4 to 4.57"


def version():
    import transformers

    return tuple(map(int, re.findall(r"\d+", transformers.__version__)[:3]))


def is_right(release):
    """Whether a release computes the published model: 5.0 to 5.17 do not, nor before 4.52."""
    return (4, 52, 4) <= release < (4, 58) or release >= (5, 18)


def check_release():
    if not is_right(version()):
        sys.exit(f"Expected transformers {RIGHT}. Received: {version()}. Others route wrongly.")


def load(folder):
    import torch
    from transformers import SwitchTransformersForConditionalGeneration as Switch

    torch.set_num_threads(2)
    model, report = Switch.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        # 5.x looks for tables that it can do without where they are tied or copied
        assert not report[problem], (problem, report[problem])
    return model.eval()


def forward(folder, inputs, outputs):
    import numpy as np
    import torch

    model, routed = load(folder), {}

    def keep(name):
        def hook(module, args, result):
            chosen, _, logits = result
            routed[name] = chosen.numpy(), logits.numpy()

        return hook

    for name, module in model.named_modules():
        if name.endswith(".mlp.router"):
            module.register_forward_hook(keep(name.removesuffix(".layer.1.mlp.router")))
    given = {name: torch.tensor(x) for name, x in np.load(inputs).items()}
    found = {}
    with torch.no_grad():
        ids = {"input_ids": given["source"], "attention_mask": given["mask"].long()}
        result = model(
            **ids,
            decoder_input_ids=given["target"],
            labels=given["labels"],
            output_router_logits=True,
        )
        found["states"], found["logits"] = result.encoder_last_hidden_state, result.logits
        found["loss"] = result.loss
        for name in ("encoder_z_loss", "encoder_aux_loss", "decoder_z_loss", "decoder_aux_loss"):
            found[name] = getattr(result, name)
        for name, (chosen, logits) in routed.copy().items():
            place = ".".join(re.search(r"(encoder|decoder)\.block\.(\d+)", name).groups())
            found[f"{place}.chosen"], found[f"{place}.router"] = chosen, logits
        for cached in (True, False):
            settings = {"max_new_tokens": 12, "do_sample": False, "num_beams": 1}
            text = model.generate(**ids, **settings, use_cache=cached, decoder_start_token_id=0)
            found["cached" if cached else "uncached"] = text
    np.savez(outputs, **{name: np.asarray(x) for name, x in found.items()})


def make(folder, config, seed):
    import torch
    from transformers import SwitchTransformersConfig
    from transformers import SwitchTransformersForConditionalGeneration as Switch

    torch.manual_seed(int(seed))
    model = Switch(SwitchTransformersConfig(**json.loads(Path(config).read_text())))
    with torch.no_grad():
        for name, x in model.named_parameters():
            if "norm" in name:
                x.copy_(1 + 0.3 * torch.randn(x.shape))
            elif "relative" in name:
                x.copy_(torch.randn(x.shape))
            elif "router" in name:
                x.copy_(0.7 * torch.randn(x.shape))
    model.save_pretrained(folder)


def tokenize(folder, texts, outputs):
    from transformers import T5Tokenizer

    tokenizer = T5Tokenizer.from_pretrained(folder)
    ids = [tokenizer(text)["input_ids"] for text in json.loads(Path(texts).read_text())]
    kept = [[i for i in row if i not in (0, 1)] for row in ids]
    Path(outputs).write_text(json.dumps({"ids": ids, "texts": [*map(tokenizer.decode, kept)]}))


def train(prefix, corpus, size):
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        input=corpus,
        model_prefix=prefix,
        vocab_size=int(size),
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        minloglevel=2,
    )


if __name__ == "__main__":
    check_release()
    actions = {"forward": forward, "make": make, "tokenize": tokenize, "train": train}
    actions.get(sys.argv[1], lambda: None)(*sys.argv[2:])

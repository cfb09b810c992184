"""The LSTM language model without the command line: text, model, SavedModel, generated text."""

import tempfile

import keras

from moe_zoo.export import load_served
from moe_zoo.models import LSTMLanguageModel, mixture_block
from moe_zoo.models.tokenizers.tokenizer import Tokenizer, train_vocabulary
from moe_zoo.training.text.text_dataset import encode_documents, language_model_batches

TEXT = "".join(
    f"{i} bottles on the wall, {i} bottles;\ntake one down: {i - 1}.\n" for i in range(99, 0, -1)
)


def main(steps=150):
    """Train on a song and continue its first line from the exported model. Returns the text."""
    keras.utils.set_random_seed(0)
    tokenizer = Tokenizer(train_vocabulary([TEXT], size=300))
    tokens = encode_documents(tokenizer, [("song", TEXT)])

    block = mixture_block(num_experts=4, hidden_dim=64, top_k=2)
    model = LSTMLanguageModel(None, width=64, middle=[block], dropout=0.0, tokenizer=tokenizer)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    batches = language_model_batches(tokens, batch_size=8, sequence_length=24, seed=0)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=2)

    with tempfile.TemporaryDirectory() as folder:
        model.export(folder)
        return load_served(folder).generate("99 bottles", max_new_tokens=20, temperature=0)


if __name__ == "__main__":
    print(main())

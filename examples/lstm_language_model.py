"""The LSTM language model without the command line: text, model, SavedModel, generated text."""

import tempfile

import keras
import tensorflow as tf

from moe_zoo.export import export_saved_model
from moe_zoo.models import LSTMLanguageModel, language_model_endpoints, mixture_block
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
    model = LSTMLanguageModel(tokenizer.vocabulary_size, width=64, middle=[block], dropout=0.0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=False)
    batches = language_model_batches(tokens, batch_size=8, sequence_length=24, seed=0)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=2)

    with tempfile.TemporaryDirectory() as folder:
        endpoints = language_model_endpoints(model, tokenizer)
        export_saved_model(model, f"{folder}/song", endpoints, track=[tokenizer])
        served = tf.saved_model.load(f"{folder}/song")
        text = served.generate(tf.constant(["99 bottles"]), 20, 0.0, 0, 1.0, 0, 1, 0.0)
    return text.numpy()[0].decode()


if __name__ == "__main__":
    print(main())

"""Measures how well an exported model's out-of-distribution score separates other data sets from its own.

    python -m semppl.benchmarks.out_of_distribution --model=served/digits/1 --own=digits \
        --others=tfds:cifar10,tfds:fashion_mnist,noise --source_dir=…

Asks the signature `ood` about test images of each data set, as PNG files, or about uniform noise; the first line is of the model's
own data set, of which 5 % should lie above the 95th percentile. The area under the ROC curve is of the distance, between own test
images and the others.
"""

import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn.metrics import roc_auc_score

from semppl.configs.reading import ReadingSettings
from semppl.data.sources import load_source
from semppl.programs import model_flags

_OWN = flags.DEFINE_string("own", None, "Training data set of the model.")
_OTHERS = flags.DEFINE_list("others", None, "Other data sets, comma-separated; noise: uniform noise.")
_SOURCE_DIR = flags.DEFINE_string("source_dir", "", "Folder of prepared data sets.")
_COUNT = flags.DEFINE_integer("pictures", 1000, "Maximum number of pictures per data set.", lower_bound=1)

_BATCH = 100
_NOISE = "noise"


def picture_files(name: str, count: int) -> list[bytes]:
    """Encodes up to `count` test images of a data set, the same ones every time, as PNG files."""
    rng = np.random.default_rng(0)
    if name == _NOISE:
        images = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        return [tf.io.encode_png(image).numpy() for image in images]
    source = load_source(name, reading=ReadingSettings(data_dir=_SOURCE_DIR.value))
    test = source.test if source.test is not None else source.train
    chosen = rng.permutation(len(test.labels))[:count]
    parts = test.batches(lambda image: tf.image.convert_image_dtype(image, tf.uint8), batch_size=1, positions=chosen)
    return [tf.io.encode_png(part[0]).numpy() for part in parts]


def ask(model: str, files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distance and the percentile of each file."""
    ood = tf.saved_model.load(model).signatures["ood"]
    answers = [ood(bytes=tf.constant(files[first : first + _BATCH])) for first in range(0, len(files), _BATCH)]
    distance, percentile = (np.concatenate([answer[name] for answer in answers]) for name in ("distance", "ood"))
    return distance, percentile


def main(argv: list[str]) -> None:
    """Prints a Markdown table."""
    del argv
    model = str(model_flags.MODEL.value)
    own, percentile = ask(model, picture_files(str(_OWN.value), _COUNT.value))
    print("| pictures | above the 95th percentile | area under the ROC curve |\n|---|---|---|")
    print(f"| {_OWN.value} | {np.mean(percentile > 95):.1%} | |")
    for name in _OTHERS.value or []:
        distance, percentile = ask(model, picture_files(name, _COUNT.value))
        truth = np.repeat([0, 1], [len(own), len(distance)])
        area = roc_auc_score(truth, np.concatenate([own, distance]))
        print(f"| {name} | {np.mean(percentile > 95):.1%} | {area:.3f} |")


if __name__ == "__main__":
    flags.mark_flags_as_required(["model", "own", "others"])
    app.run(main)

"""The article's loader, written anew: OpenCV reads and resizes, one imgaug operation of five, one-hot, one process.

Run by tests/bench_input.py in the environment of tests/bench_peers_input.txt, which has nothing of ours:

    python tests/bench_peer_input.py IMAGES MASKS COUNT

IMAGES and MASKS are folders of 1080p JPEGs and PNGs of class ids with equal names. Prints the seconds that COUNT images
took in batches of 8 at 512×512, after a first batch.
"""

import random
import sys
import time
from pathlib import Path

import cv2
import imgaug.augmenters as iaa
import numpy as np

SIZE, BATCH, CLASSES = 512, 8, 21
FLIPS = [iaa.Fliplr(1.0), iaa.Flipud(1.0)]
FILTERS = [
    iaa.Emboss(alpha=1.0, strength=1.0),
    iaa.DirectedEdgeDetect(alpha=0.8, direction=1.0),
    iaa.Sharpen(alpha=1.0, lightness=1.5),
]


def load(image_path, mask_path):
    """One image float32 (512, 512, 3) in 0..1 and its mask float32 (512, 512, 21)."""
    image = cv2.cvtColor(cv2.imread(str(image_path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    mask = cv2.imread(str(mask_path), cv2.IMREAD_GRAYSCALE)
    image = cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    operation = random.choice(FLIPS + FILTERS)
    image = operation.augment_image(image)
    if operation in FLIPS:
        mask = operation.augment_image(mask)
    one_hot = np.stack([mask == class_id for class_id in range(CLASSES)], axis=-1).astype(np.float32)
    return image.astype(np.float32) / 255.0, one_hot


def batches(pairs):
    """Batches for ever, as a Keras ``Sequence`` of the course gives them."""
    while True:
        random.shuffle(pairs)
        for first in range(0, len(pairs) - BATCH + 1, BATCH):
            loaded = [load(*pair) for pair in pairs[first : first + BATCH]]
            yield np.stack([image for image, _ in loaded]), np.stack([mask for _, mask in loaded])


def main():
    """Measure and print."""
    images, masks, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    pairs = [(path, masks / f"{path.stem}.png") for path in sorted(images.glob("*.jpg"))]
    random.seed(1)
    stream = batches(pairs)
    next(stream)
    started = time.perf_counter()
    for _ in range(count // BATCH):
        next(stream)
    sys.stdout.write(f"{time.perf_counter() - started}\n")


if __name__ == "__main__":
    main()

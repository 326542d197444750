"""Save a few test pictures of a run's data set as PNG files, to have something to ask its model about.

python examples/save_test_pictures.py runs/fashion_mnist-resnet pictures/
"""

import sys
from pathlib import Path

from PIL import Image

import iconoclass as ic


def main(run_path: str, folder: str, count: int = 8) -> None:
    data = ic.load_dataset(**dict(ic.Run.open(run_path).config.data))
    Path(folder).mkdir(parents=True, exist_ok=True)
    for position in range(count):
        pixels = data.test.pixels[position]
        name = data.class_names[data.test.labels[position]].replace("/", "-")
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        picture.save(Path(folder) / f"{position}-is-{name}.png")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

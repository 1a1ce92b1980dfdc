"""The official DeepLab checkpoints that can be fetched by name.

Names, addresses, sizes and scores are those of the model zoo (`research/deeplab/g3doc/model_zoo.md` in
tensorflow/models), class counts those of `datasets/data_generator.py` beside it. The zoo publishes neither exact sizes
nor checksums, so both are None here except for the one archive that another public index records.
Left out are the networks this package doesn't build: Xception-71 with the dense prediction cell, MobileNet-v3,
EdgeTPU-DeepLab, ResNet.
"""

from dataclasses import dataclass

BASE_URL = "http://download.tensorflow.org/models/"

MULTI_SCALE = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
CITYSCAPES_SCALES = (0.75, 1.0, 1.25)


@dataclass(frozen=True)
class Score:
    """A published mIoU and the settings it was measured with.

    Attributes:
        miou: fraction in [0, 1].
        split: "val", or "test" where the data set's own server measured it.
        output_stride: of the evaluated network; the atrous rates double from 16 to 8.
        scales: the image scales whose probabilities are averaged.
        flip: whether the mirrored images are averaged in, too.
    """

    miou: float
    split: str
    output_stride: int
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __str__(self) -> str:
        scales = "one scale" if self.scales == (1.0,) else f"scales {self.scales[0]:g} to {self.scales[-1]:g}"
        flip = "flip" if self.flip else "no flip"
        return f"{100 * self.miou:.2f} ({self.split}, stride {self.output_stride}, {scales}, {flip})"


@dataclass(frozen=True)
class Archive:
    """One `.tar.gz` of the model zoo.

    Attributes:
        name: what the zoo calls the checkpoint.
        file_name: the last part of its address.
        published_size: the size as the zoo prints it, rounded.
        backbone: "xception_41", "xception_65", "xception_71" or "mobilenet_v2".
        trained_on: the data sets it has seen, in this order.
        num_classes: channels of the logits, background included; None if the zoo doesn't say or there are no logits.
        depth_multiplier: of the MobileNetV2.
        aspp: has the atrous branches (MobileNetV2 has the pooling branch and a 1x1 convolution only).
        decoder_output_stride: None without a decoder.
        scores: the published ones; empty for checkpoints that are only a start for training.
        size: exact size in bytes, None if not published.
        checksum: "algorithm:hexadecimal digest", None if not published.
    """

    name: str
    file_name: str
    published_size: str
    backbone: str
    trained_on: tuple[str, ...]
    num_classes: int | None = None
    depth_multiplier: float = 1.0
    aspp: bool = False
    decoder_output_stride: int | None = None
    scores: tuple[Score, ...] = ()
    size: int | None = None
    checksum: str | None = None

    @property
    def url(self) -> str:
        """Where the zoo says it is."""
        return BASE_URL + self.file_name

    @property
    def stem(self) -> str:
        """The file name without `.tar.gz`: also the folder it is unpacked to."""
        return self.file_name.removesuffix(".tar.gz")


ARCHIVES: tuple[Archive, ...] = (
    Archive(
        name="mobilenetv2_dm05_coco_voc_trainaug",
        file_name="deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01.tar.gz",
        published_size="7.6MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug"),
        num_classes=21,
        depth_multiplier=0.5,
        scores=(Score(0.7019, "val", 16),),
    ),
    Archive(
        name="mobilenetv2_dm05_coco_voc_trainval",
        file_name="deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01.tar.gz",
        published_size="7.6MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug + trainval"),
        num_classes=21,
        depth_multiplier=0.5,
        scores=(Score(0.7183, "test", 8),),
    ),
    Archive(
        name="mobilenetv2_coco_voc_trainaug",
        file_name="deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz",
        published_size="23MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug"),
        num_classes=21,
        scores=(Score(0.7532, "val", 16), Score(0.7733, "val", 8, MULTI_SCALE, flip=True)),
        # Recorded by Intel's Open Model Zoo (models/public/deeplabv3/model.yml), which mirrors this very archive.
        size=23_882_985,
        checksum=(
            "sha384:d3f2b27bb00c485ca45d68731f7198a23926cb865dd010fc444bcad9158e33413cd60da2588a9be3ff1e8c9b4557362b"
        ),
    ),
    Archive(
        name="mobilenetv2_coco_voc_trainval",
        file_name="deeplabv3_mnv2_pascal_trainval_2018_01_29.tar.gz",
        published_size="23MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug + trainval"),
        num_classes=21,
        scores=(Score(0.8025, "test", 8, MULTI_SCALE, flip=True),),
    ),
    Archive(
        name="xception65_coco_voc_trainaug",
        file_name="deeplabv3_pascal_train_aug_2018_01_04.tar.gz",
        published_size="439MB",
        backbone="xception_65",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug"),
        num_classes=21,
        aspp=True,
        decoder_output_stride=4,
        scores=(Score(0.8220, "val", 16), Score(0.8358, "val", 8, MULTI_SCALE, flip=True)),
    ),
    Archive(
        name="xception65_coco_voc_trainval",
        file_name="deeplabv3_pascal_trainval_2018_01_04.tar.gz",
        published_size="439MB",
        backbone="xception_65",
        trained_on=("ImageNet", "MS-COCO", "VOC 2012 train_aug + trainval"),
        num_classes=21,
        aspp=True,
        decoder_output_stride=4,
        scores=(Score(0.8780, "test", 8, MULTI_SCALE, flip=True),),
    ),
    Archive(
        name="mobilenetv2_coco_cityscapes_trainfine",
        file_name="deeplabv3_mnv2_cityscapes_train_2018_02_05.tar.gz",
        published_size="23MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "MS-COCO", "Cityscapes train_fine"),
        num_classes=19,
        scores=(Score(0.7071, "val", 16), Score(0.7357, "val", 8, CITYSCAPES_SCALES, flip=True)),
    ),
    Archive(
        name="xception65_cityscapes_trainfine",
        file_name="deeplabv3_cityscapes_train_2018_02_06.tar.gz",
        published_size="439MB",
        backbone="xception_65",
        trained_on=("ImageNet", "Cityscapes train_fine"),
        num_classes=19,
        aspp=True,
        decoder_output_stride=4,
        scores=(Score(0.7879, "val", 16), Score(0.8042, "val", 8, CITYSCAPES_SCALES, flip=True)),
    ),
    Archive(
        name="mobilenetv2_ade20k_train",
        file_name="deeplabv3_mnv2_ade20k_train_2018_12_03.tar.gz",
        published_size="24.8MB",
        backbone="mobilenet_v2",
        trained_on=("ImageNet", "ADE20K train"),
        num_classes=151,
        decoder_output_stride=4,
        scores=(Score(0.3204, "val", 16),),
    ),
    Archive(
        name="xception65_ade20k_train",
        file_name="deeplabv3_xception_ade20k_train_2018_05_29.tar.gz",
        published_size="439MB",
        backbone="xception_65",
        trained_on=("ImageNet", "ADE20K train"),
        num_classes=151,
        aspp=True,
        decoder_output_stride=4,
        scores=(Score(0.4565, "val", 8, MULTI_SCALE, flip=True),),
    ),
    Archive(
        name="xception_41_imagenet",
        file_name="xception_41_2018_05_09.tar.gz",
        published_size="288MB",
        backbone="xception_41",
        trained_on=("ImageNet",),
    ),
    Archive(
        name="xception_65_imagenet",
        file_name="deeplabv3_xception_2018_01_04.tar.gz",
        published_size="447MB",
        backbone="xception_65",
        trained_on=("ImageNet",),
    ),
    Archive(
        name="xception_65_imagenet_coco",
        file_name="xception_65_coco_pretrained_2018_10_02.tar.gz",
        published_size="292MB",
        backbone="xception_65",
        trained_on=("ImageNet", "MS-COCO"),
    ),
    Archive(
        name="xception_71_imagenet",
        file_name="xception_71_2018_05_09.tar.gz",
        published_size="474MB",
        backbone="xception_71",
        trained_on=("ImageNet",),
    ),
)


def find_archive(name: str) -> Archive | None:
    """Returns the archive that the zoo's name, the file name or the file name without `.tar.gz` stands for, or None."""
    return next((archive for archive in ARCHIVES if name in (archive.name, archive.file_name, archive.stem)), None)


def markdown_table() -> str:
    """Returns the table of `checkpoints/README.md`: one line per archive, without a line break at the end."""
    lines = [
        "| name | archive | size | network | seen in training | classes | published mIoU, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for archive in ARCHIVES:
        network = archive.backbone
        if archive.depth_multiplier != 1.0:
            network += f", depth multiplier {archive.depth_multiplier:g}"
        if archive.aspp:
            network += ", ASPP"
        if archive.decoder_output_stride is not None:
            network += f", decoder at stride {archive.decoder_output_stride}"
        size = f"{archive.size:,} bytes" if archive.size else archive.published_size
        cells = [
            f"`{archive.name}`",
            f"[{archive.file_name}]({archive.url})",
            size,
            network,
            ", ".join(archive.trained_on),
            str(archive.num_classes or "-"),
            "; ".join(map(str, archive.scores)) or "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

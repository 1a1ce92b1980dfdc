"""Labels images with an exported model.

python -m load_tf.predict --saved_model=DIR --images=PATH... --output=DIR [--overlays] [--probabilities]

Images are files, folders or globs, given by --images (which may be repeated) or after the flags. For x.jpg the label
map is x.png, a palette PNG of the image's size: the pixels are class indices, the palette holds the class colours.
A video, named in full, gives x_overlay.mp4 (it takes OpenCV: pip install '.[video]').
Only the SavedModel is needed, no code of the model. A JPEG with an EXIF orientation is turned upright, as viewers do.

Exit status: 0 if every image was labelled, 1 if some were not (each is named), 2 if flags or folders are wrong.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from load_tf import commands
from load_tf.errors import UserError

if TYPE_CHECKING:
    from load_tf.serving.loaded import LoadedSegmentor

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this command."""
    flags.DEFINE_string(
        "saved_model", None, "Folder of a SavedModel, or of its numbered versions (the newest is taken)."
    )
    flags.DEFINE_multi_string("images", [], "An image file, a folder of images, a glob, or a video; may be repeated.")
    flags.DEFINE_string("output", None, "Folder for the results.")
    flags.DEFINE_bool("overlays", False, "Also write x_overlay.png: the image blended with the class colours.")
    flags.DEFINE_bool("probabilities", False, "Also write x_probabilities.npy: float32 [height, width, classes].")
    flags.DEFINE_bool("overwrite", False, "Replace results that are in the output folder already.")
    commands.define_engine_flag()
    flags.DEFINE_integer("batch_size", 4, "How many images of one size are labelled together, at most.", lower_bound=1)


def label(*positional: str) -> int:
    """Labels the images that the flags, and what stands after them, name; returns the exit status."""
    patterns = [*FLAGS.images, *positional]
    for name in ("saved_model", "output"):
        if not FLAGS[name].value:
            raise UserError(f"--{name} is missing; see --help.")
    if FLAGS.probabilities and FLAGS.engine != "tensorflow":
        raise UserError(f"--probabilities are TensorFlow's; --engine={FLAGS.engine} gives labels. Leave one out.")
    if not patterns:
        raise UserError("no images were given; expected files, folders or globs after --images.")
    from load_tf.serving.image_files import divide, find_images

    patterns, videos = divide(patterns)
    images = find_images(patterns) if patterns else []
    commands.quiet_tensorflow()
    # TensorFlow takes seconds to import; --help and wrong paths need not wait for it.
    from load_tf.serving import engines, loaded

    segmentor = engines.with_engine(loaded.load(FLAGS.saved_model), FLAGS.engine)
    for video in videos:
        _label_video(segmentor, video)
    status = _label_images(segmentor, images) if images else 0
    if isinstance(segmentor, engines.EngineSegmentor):
        print(segmentor.compared.text(FLAGS.engine))
    return status


def _label_video(segmentor: "LoadedSegmentor", video: Path) -> None:
    from load_tf.serving.video import label_video

    options = {"batch_size": FLAGS.batch_size, "overwrite": FLAGS.overwrite}
    done = label_video(segmentor, video, Path(FLAGS.output), **options)
    rate = done.frames / max(done.seconds, 1e-9)
    print(f"{done.frames} frames labelled in {done.seconds:.1f} s ({rate:.1f} images/s), written to {done.file}.")


def _label_images(segmentor: "LoadedSegmentor", images: list[Path]) -> int:
    """Labels image files; returns the exit status."""
    from load_tf.serving import label_files

    result = label_files.predict(
        segmentor,
        images,
        FLAGS.output,
        overlays=FLAGS.overlays,
        probabilities=FLAGS.probabilities,
        batch_size=FLAGS.batch_size,
        overwrite=FLAGS.overwrite,
    )
    for failure in result.failures.values():
        print(failure, file=sys.stderr)
    print(
        f"{len(result.written)} of {len(images)} images labelled in {result.seconds:.1f} s "
        f"({result.images_per_second:.1f} images/s), written to {FLAGS.output}."
    )
    return 1 if result.failures else 0


def main() -> None:
    """Entry point of the console script."""
    define_flags()
    commands.run(label, positional=True)


if __name__ == "__main__":
    main()

"""Exports the model of a run as a TFLite file.

python -m load_tf.export --run_dir=DIR --output=model.tflite [--height=H --width=W]

A run already leaves a SavedModel in DIR/saved_model, for TensorFlow Serving and load_tf.predict. This makes a TFLite
file of it for images of one size: uint8 [1, H, W, 3] in, label map uint8 [1, H, W] out. Beside it, model.json holds the
names and colours of the classes. Only the SavedModel is needed, no code of the model.

Exit status: 0 if the file was written, 2 if flags or folders are wrong.
"""

from pathlib import Path

from absl import flags

from load_tf import commands
from load_tf.errors import UserError

FLAGS = flags.FLAGS


def define_flags() -> None:
    """The flags of this command."""
    flags.DEFINE_string("run_dir", None, "Folder of a finished run; its saved_model is taken.")
    flags.DEFINE_string("saved_model", None, "In place of --run_dir: a SavedModel, or its numbered versions.")
    flags.DEFINE_enum("format", "tflite", ["tflite"], "What to write.")
    flags.DEFINE_string("output", None, "The file to write, e.g. model.tflite.")
    flags.DEFINE_integer(
        "height", None, "Height of the images in pixels; the crop's if it is not given.", lower_bound=1
    )
    flags.DEFINE_integer("width", None, "Width of the images in pixels; the crop's if it is not given.", lower_bound=1)
    flags.DEFINE_bool("overwrite", False, "Replace a file that is there already.")


def export() -> None:
    """Writes the file that the flags name."""
    if bool(FLAGS.run_dir) == bool(FLAGS.saved_model):
        raise UserError("expected either --run_dir or --saved_model; see --help.")
    if not FLAGS.output:
        raise UserError("--output is missing; see --help.")
    output = Path(FLAGS.output)
    classes = output.with_suffix(".json")
    for file in (output, classes):
        if file.exists() and not FLAGS.overwrite:
            raise UserError(f"{file} exists already; choose another --output, or add --overwrite.")
    source = Path(FLAGS.saved_model) if FLAGS.saved_model else Path(FLAGS.run_dir) / "saved_model"
    if not source.is_dir():
        raise UserError(f"there is no folder {source}; has the run ended?")
    commands.quiet_tensorflow()
    from load_tf.arrays import write_atomically
    from load_tf.serving import lite, loaded

    segmentor = loaded.load(source)
    size = (FLAGS.height or segmentor.crop[0], FLAGS.width or segmentor.crop[1])
    content = lite.convert(segmentor, size)
    names = (segmentor.folder / "assets.extra" / "classes.json").read_bytes()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, content)
        write_atomically(classes, names)
    except OSError as error:
        raise UserError(f"{output} can't be written: {error.strerror}.") from None
    print(
        f"written: {output}, {len(content) / 1e6:.1f} MB, for images of {size[0]} x {size[1]} pixels (height x width)."
    )


def main() -> None:
    """Entry point of the console script."""
    define_flags()
    commands.run(export)


if __name__ == "__main__":
    main()

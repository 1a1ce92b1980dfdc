"""`python -m tests.fuzz CASES`: spoilt images, masks, lists, configs and run directories, drawn by key.

Whatever is read, there are two ends: it is used, or a `UserError` says in a sentence what is wrong. Anything else would
be a traceback on a user's screen. The test runs some hundred cases, this command as many as it is told.
"""

import contextlib
import functools
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from load_tf import commands
from load_tf.data.decoding import decode_image, decode_mask
from load_tf.data.folder import folder
from load_tf.errors import UserError
from load_tf.experiment import config
from load_tf.progress import progress
from load_tf.randomness import generator
from load_tf.storage.run_directory import RunDirectory
from load_tf.storage.run_state import decode, encode
from tests import bad_inputs

Random = np.random.Generator
Subject = Callable[[Random, Path], None]

_CONFIG = "experiment.seed = 1\n"
_BYTES = b"\x00\xff\x89PNG\xd8IDATGIF89aRIFF"
_TOKENS = (
    *(
        "=",
        "@",
        "%",
        "()",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "\n",
        "#",
        "/",
        ".",
        ":",
        "\\",
        "\x00",
        "é",
        "日",
        "\u2028",
    ),
    *("None", "-1", "1e999", "nan", "True", "'x'", "(1, 2, 3)", "9" * 400, "voc", "Lookahead.patience", "macro"),
    *("import os", "include 'x'", "experiment.dataset", "@synthetic()", "@nothing", "%unset", "\t", "  ", "é.é = 1"),
)


def spoil(data: bytes, random: Random) -> bytes:
    """Flips bits, cuts, doubles, inserts and overwrites, some of it."""
    spoilt = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        place = int(random.integers(len(spoilt) + 1))
        match int(random.integers(6)):
            case 0 if spoilt:
                spoilt[place % len(spoilt)] ^= 1 << int(random.integers(8))
            case 1:
                del spoilt[place:]
            case 2:
                spoilt[place:place] = random.bytes(int(random.integers(1, 20)))
            case 3:
                spoilt[place:place] = _BYTES
            case 4:
                spoilt[place : place + 4] = int(random.integers(2**32)).to_bytes(4, "big")
            case 5:
                other = int(random.integers(len(spoilt) + 1))
                spoilt[place:place] = spoilt[min(place, other) : max(place, other)]
    return bytes(spoilt)


def spoil_text(text: str, random: Random) -> str:
    """Swaps pieces of a text, drops and repeats them, and puts in what means something to somebody."""
    for _ in range(int(random.integers(1, 5))):
        place, other = sorted(int(random.integers(len(text) + 1)) for _ in range(2))
        token = str(random.choice(_TOKENS))
        text = (
            text[:place] + token + text[place:],
            text[:place] + text[other:],
            text[:place] + token + text[other:],
            text[:other] + text[place:],
        )[int(random.integers(4))]
    return text


def fuzz_image(random: Random, _: Path) -> None:
    """An image file."""
    form = ("JPEG", "PNG", "GIF", "BMP", "WEBP")[int(random.integers(5))]
    array = random.integers(0, 256, (int(random.integers(1, 24)), int(random.integers(1, 24)), 3), dtype=np.uint8)
    picture = Image.fromarray(array).convert(("RGB", "L")[int(random.integers(2))])
    buffer = io.BytesIO()
    picture.save(buffer, form)
    image = decode_image(spoil(buffer.getvalue(), random), "x")
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


def fuzz_mask(random: Random, _: Path) -> None:
    """A mask file."""
    form = ("PNG", "BMP", "GIF", "TIFF")[int(random.integers(4))]
    array = random.integers(0, 256, (int(random.integers(1, 24)), int(random.integers(1, 24))), dtype=np.uint8)
    picture = Image.fromarray(array).convert(("L", "P", "RGB", "1")[int(random.integers(4))])
    buffer = io.BytesIO()
    picture.save(buffer, form)
    table = {(0, 0, 0): 0, (255, 255, 255): 1} if random.random() < 0.5 else None
    label = decode_mask(spoil(buffer.getvalue(), random), "x", table)
    assert label.dtype == np.uint8 and label.ndim == 2


def fuzz_lists(random: Random, root: Path) -> None:
    """The text files of a folder, and what they are said to be."""
    bad_inputs.make_sound(root)
    (root / "colours.txt").write_text("0 0 0\n9 9 9\n200 1 3\n")
    for name in ("train.txt", "val.txt", "classes.txt", "colours.txt"):
        file = root / name
        if random.random() < 0.5:
            text = spoil_text(file.read_text(), random)
            data = text.encode("utf-8", "surrogatepass")
            file.write_bytes(spoil(data, random) if random.random() < 0.3 else data)
    dataset = folder(str(root))
    for name in dataset.sources:
        split = dataset.split(name)
        assert len(split[0].image)


def fuzz_config(random: Random, root: Path) -> None:
    """A gin file, and a binding of the command line."""
    import gin

    names = config.shipped_gin_files()
    text = config.find_gin_file(names[int(random.integers(len(names)))]).read_text()
    data = spoil_text(text, random).encode("utf-8", "surrogatepass")
    (root / "x.gin").write_bytes(spoil(data, random) if random.random() < 0.2 else data)
    lines = [line for line in text.splitlines() if "=" in line]
    binding = spoil_text(lines[int(random.integers(len(lines)))], random)
    gin.clear_config()
    commands.FLAGS.gin_file = [str(root / "x.gin")]
    commands.FLAGS.gin_param = [binding] if random.random() < 0.3 else []
    config.parse_gin()
    from load_tf.experiment import registry

    # All but the networks and the files: what is built from a config that parses is checked by its own type.
    for parameters in registry.PARAMETERS:
        config.configured(registry.configured(parameters))


def fuzz_run_directory(random: Random, root: Path) -> None:
    """A file of a run directory: its bytes, or what its state says, with a checksum that is right."""
    path = root / "run"
    run = RunDirectory(path, _CONFIG)
    for number in range(2):
        run.record("evaluate", miou=0.5 + number)
        run.commit({"phase": "one"}, {"segmentor": functools.partial(dict, w=np.full(3, number))}, set())
    run.close()
    names = ("state.json", "state.previous.json", "journal.jsonl", "config.gin", "checkpoints/segmentor-000002.arrays")
    for _ in range(int(random.integers(1, 3))):
        file = path / names[int(random.integers(len(names)))]
        if file.name.startswith("state") and random.random() < 0.6:
            with contextlib.suppress(ValueError):
                file.write_bytes(encode(_other(decode(file.read_bytes()), random)))
        elif random.random() < 0.1:
            file.unlink(missing_ok=True)
        elif file.exists():
            file.write_bytes(spoil(file.read_bytes(), random))
    run = RunDirectory(path, _CONFIG)
    try:
        for name in run.state.get("files", {}):
            assert run.arrays(name)
        run.journal()
        run.commit({"phase": "three"}, {}, set(run.state.get("files", {})))
    finally:
        run.close()


def _other(value: Any, random: Random) -> Any:
    """A value of JSON with one thing in it changed."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = str(random.choice(list(value)))
        if random.random() < 0.2:
            return {key: one for key, one in value.items() if key != name}
        return {**value, name: _other(value[name], random)}
    others: tuple[Any, ...] = (
        None,
        -1,
        2**70,
        1.5,
        True,
        "",
        "../x",
        "checkpoints/x.arrays",
        [],
        {},
        [1],
        {"path": 3},
        "é" * 9,
    )
    return others[int(random.integers(len(others)))]


SUBJECTS: dict[str, Subject] = {
    "images": fuzz_image,
    "masks": fuzz_mask,
    "lists": fuzz_lists,
    "configs": fuzz_config,
    "run directories": fuzz_run_directory,
}


def run_case(subject: str, number: int, seed: int = 0) -> str | None:
    """One case: the sentence that refused it, None if it was accepted; raises what a user would see as a crash."""
    random = generator(seed, "fuzz", subject, number)
    root = Path(tempfile.mkdtemp())
    try:
        SUBJECTS[subject](random, root)
    except UserError as error:
        message = commands._without_gin_trace(error)
        assert message.strip() and "Traceback" not in message
        return message
    finally:
        shutil.rmtree(root)
    return None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """libjpeg and the like talk to descriptor 2 themselves."""
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def main() -> None:
    cases = int(sys.argv[1]) if sys.argv[1:] else 1000
    commands.quiet_tensorflow()
    commands.define_experiment_flags()
    commands.FLAGS(["fuzz"])
    crashes = []
    for subject in SUBJECTS:
        refused = 0
        for number in progress(range(cases), subject, cases, "case"):
            try:
                with quiet():
                    refused += run_case(subject, number) is not None
            except Exception as error:
                crashes.append(f"{subject} {number}: {error!r}")
        print(f"{subject}: {cases} cases, {refused} refused in a sentence, {cases - refused} accepted", flush=True)
    print(json.dumps(crashes[:20], indent=1))
    print(f"{len(crashes)} tracebacks in {cases * len(SUBJECTS)} cases")
    sys.exit(bool(crashes))


if __name__ == "__main__":
    main()

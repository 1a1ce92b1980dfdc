"""The shipped experiments: each says how it is run, parses, assembles, and binds nothing in vain."""

import dataclasses
import functools
import re
import shlex
from pathlib import Path
from typing import Any

import gin
import pytest
from absl import flags

from load_tf import commands
from load_tf.experiment import config
from load_tf.methods.method import Method
from tests.pages import PAGES, gin_bindings

GIN = Path(__file__).resolve().parents[1] / "gin"
FILES = sorted(path.name for path in GIN.glob("*.gin"))

MOBILENET = "checkpoints/mobilenet_1_0_224_tf_no_top.h5"
CHECKPOINT = "checkpoints/deeplabv3_mnv2_pascal_train_aug_fp16"
NEEDS = {
    "demo.gin": {},
    "camvid.gin": {"data_dir": "data/camvid"},
    "folder.gin": {"data_dir": "data/camvid"},
    "voc.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "voc_mobilenetv2.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "voc_mobilenetv2_valsplit.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "voc_mobilenetv2_convolutional.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "cityscapes.gin": {"checkpoint": CHECKPOINT},
    "study_synthetic.gin": {},
    "study_camvid.gin": {"data_dir": "data/camvid360", "checkpoint": CHECKPOINT},
    "study_voc.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "study_stanford.gin": {"data_dir": "data/stanford_background", "checkpoint": MOBILENET},
    "study_few_labels.gin": {"data_dir": "data/camvid360", "checkpoint": CHECKPOINT},
    "study_few_labels_voc.gin": {"data_dir": "data/VOC2012", "checkpoint": CHECKPOINT},
    "stanford.gin": {"data_dir": "data/stanford_background", "checkpoint": MOBILENET},
    "camvid_mobilenetv2.gin": {"data_dir": "data/camvid360", "checkpoint": CHECKPOINT},
    "paper.gin": {},
    "right_here.gin": {},
    "imagenet.gin": {},
}
"""What each takes from the shared folder to be assembled; where its own checkpoint is not there, the small one."""

BASE = {
    "paper.gin": ("demo.gin",),
    "right_here.gin": ("demo.gin",),
    "imagenet.gin": ("demo.gin",),
    "study_camvid.gin": ("camvid_mobilenetv2.gin", "imagenet.gin"),
    "study_voc.gin": ("voc_mobilenetv2.gin", "imagenet.gin"),
    "study_stanford.gin": ("stanford.gin", "imagenet.gin"),
    "study_few_labels.gin": ("camvid_mobilenetv2.gin", "imagenet.gin"),
    "study_few_labels_voc.gin": ("voc_mobilenetv2.gin", "imagenet.gin"),
}
"""Files that change another one."""

PAPER = {
    "Lookahead": {
        "max_fruitless_cycles": 50, "patience": 50, "upper": 0.001, "lower": 0.05, "max_buffer_sets": 3,
        "max_cycles": None,
    },
    "Discriminator": {"alpha": 1.0, "input_size": 224, "dropout": 0.01},
    "DiscriminatorTraining": {"batch_size": 16, "learning_rate": 0.01, "optimizer": "adagrad"},
    "AdversarialTraining": {"batch_size": 5, "learning_rate": 2.5e-7, "momentum": 0.95, "updates_per_iteration": 1},
    "Sampling": {"temperature": 20.0, "gumbel_noise": True},
}  # fmt: skip
"""Section 4 of the paper."""

SAME_RESULT = {
    ("AdversarialTraining", "accumulate"): "an update in parts is the same update",
    ("AdversarialTraining", "checkpointing"): "what is computed a second time is the same",
}
"""Parameters that `paper.gin` leaves to the file below it, and why it may."""


MAY_DIFFER = {
    *("AdversarialTraining.learning_rate", "AdversarialTraining.batch_size"),
    *("Lookahead.max_fruitless_cycles", "Lookahead.max_iterations"),
}
"""What files of the convolutional setting have each for itself: it belongs to their data and their budget."""


def parse(name: str, *arguments: str, over: tuple[str, ...] | None = None) -> str:
    """Parses a file over those it changes: `BASE`'s, or `over`."""
    if "gin_file" not in flags.FLAGS:
        commands.define_experiment_flags()
    gin.clear_config()
    for flag in ("gin_file", "gin_param", "run_dir", "data_dir", "checkpoint", "seed", "math"):
        flags.FLAGS[flag].unparse()
    below = BASE.get(name, ()) if over is None else over
    files = [f"--gin_file={file}" for file in (*below, name)]
    commands.parse_flags(["load_tf", *files, *arguments])
    return config.parse_gin()


def text_of(name: str) -> str:
    return (GIN / name).read_text()


def header(name: str) -> str:
    lines = text_of(name).splitlines()
    end = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").strip() for line in lines[:end])


def test_the_folder_is_no_package() -> None:
    assert FILES and not list(GIN.glob("*.py"))
    assert config.shipped_gin_files() == FILES


def test_every_file_is_covered_here() -> None:
    assert sorted(NEEDS) == FILES


@pytest.mark.parametrize("name", FILES)
def test_the_header_has_a_command_that_parses(name: str) -> None:
    lines = re.findall(r"^python -m load_tf\.(main|evaluate|study) +(.*)$", header(name), re.M)
    assert ("study" if name.startswith("study_") else "main") in dict(lines)
    for command, arguments in lines:
        words = shlex.split(arguments)
        assert f"--gin_file={name}" in words
        assert command == "evaluate" or any(word.startswith("--run_dir=") for word in words)
        assert parse(name, *(word for word in words if not word.startswith(("--gin_file", "--results"))))


@pytest.mark.parametrize("name", FILES)
def test_the_text_is_readable(name: str) -> None:
    text = (GIN / name).read_text()
    assert len(header(name).split()) > 15 and text.endswith("\n")
    prose = [line for line in text.splitlines() if not line.startswith("#   python")]
    assert max(map(len, prose)) <= 120
    assert "experiment.name" in gin_bindings(text)
    assert all(below in header(name) for below in BASE.get(name, ()))


@pytest.mark.parametrize("name", FILES)
def test_the_header_says_source_score_time_memory_and_what_to_change(name: str) -> None:
    """ "not measured" where nothing in the docs has measured it, but never silence."""
    text = header(name)
    for word in ("Source", "Expected", "Time", "Memory", "Change first"):
        assert len(re.findall(rf"(?:^|\. ){word}: \S", text, re.M)) == 1, word
    places = [text.index(word) for word in ("Source: ", "Expected: ", "Time: ", "Change first: ", "python -m load_tf.")]
    assert places == sorted(places)


@pytest.mark.parametrize("name", FILES)
def test_scores_and_times_in_a_header_are_those_of_the_docs(name: str) -> None:
    """A number that is measured anew has to change here, too."""
    text = header(name)
    claimed = text[text.index("Expected: ") : text.index("Change first: ")]
    pages = " ".join(re.sub(r"\s+", " ", page.read_text()) for page in PAGES)
    scores, times = re.findall(r"\d+\.\d+", claimed), re.findall(r"\d+ (?:minutes|hours)", claimed)
    assert [number for number in (*scores, *times) if number not in pages] == []


def test_files_of_the_convolutional_setting_agree() -> None:
    """It is written out in every file, so that a file can be read, copied and changed alone. This keeps them equal."""
    texts = [text for text in map(text_of, FILES) if "architecture = 'convolutional'" in text]
    parameters = tuple(f"{name}." for name in PAPER)
    bound = [{key: value for key, value in gin_bindings(text).items() if key.startswith(parameters)} for text in texts]
    shared = [{key: value for key, value in one.items() if key not in MAY_DIFFER} for one in bound]
    assert len(texts) == 5 and len(shared[0]) == 15
    assert all(one == shared[0] for one in shared) and all(one.keys() > MAY_DIFFER for one in bound)
    comments = {text[: text.index("\nDiscriminator:")].rpartition("\n\n")[2] for text in texts}
    assert len(comments) == 1 and "docs/gin_files.md" in comments.pop()


@pytest.mark.parametrize("name", FILES)
def test_bindings_are_read_as_gin_reads_them(name: str) -> None:
    """`gin_bindings`, which the tests above trust, and gin's own parser."""
    parsed = parse(name, over=())
    assert sorted(gin_bindings(text_of(name))) == sorted(re.findall(r"^([^\s#=]+) *=", parsed, re.M))


@pytest.mark.parametrize("name", FILES)
def test_the_experiment_assembles(name: str, request: pytest.FixtureRequest) -> None:
    """Every configurable is called, the network is built, and no binding is left over."""
    needs = NEEDS[name]
    folder = request.getfixturevalue("shared") if needs else None
    parse(name, *(f"--{flag}={folder / path}" for flag, path in needs.items()))
    from load_tf.experiment import plan

    assembled = config.configured(functools.partial(plan.assemble, beside=("study",)))
    classes = assembled.experiment.dataset.num_classes
    assert assembled.experiment.name
    assert assembled.segmentor.model.output_shape[-1] == classes
    assert assembled.segmentor.pretrained == ("checkpoint" in needs and classes == 21)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "study_camvid.gin" else pytest.mark.slow)
        for name in FILES
        if name.startswith("study_")
    ],
)
def test_every_variant_of_a_study_assembles(name: str, request: pytest.FixtureRequest) -> None:
    """A typo in a variant would show hours after the study began."""
    from load_tf.experiment import plan, registry
    from load_tf.experiment.study_plan import Study

    needs = NEEDS[name]
    folder = request.getfixturevalue("shared") if needs else None
    flags_ = [f"--{flag}={folder / path}" for flag, path in needs.items()]
    parse(name, *flags_)
    study = config.configured(registry.configured(Study))
    assert len(study.seeds) >= 1 and len(study.variants) >= 3
    for bindings in (*study.variants.values(), *study.starts.values()):
        parse(name, *flags_, *(f"--gin_param={binding}" for binding in bindings))
        config.configured(functools.partial(plan.assemble, beside=("study",)))


def test_the_defaults_are_the_papers() -> None:
    from load_tf.experiment import registry

    classes = {cls.__name__: cls for cls in registry.PARAMETERS}
    for name, values in PAPER.items():
        defaults = dataclasses.asdict(classes[name]())
        assert {parameter: defaults[parameter] for parameter in values} == values


def test_the_papers_file_repeats_them() -> None:

    parse("voc.gin")
    bound = {(name, p): v for name in PAPER for p, v in gin.get_bindings(name).items()}
    assert {key for key in bound if key[1] in PAPER[key[0]]} >= {
        ("Lookahead", "patience"), ("Discriminator", "alpha"), ("AdversarialTraining", "learning_rate"),
        ("Sampling", "temperature"), ("DiscriminatorTraining", "optimizer"),
    }  # fmt: skip
    from load_tf.experiment import registry

    classes = {cls.__name__: dataclasses.asdict(cls()) for cls in registry.PARAMETERS}
    assert bound == {(name, parameter): classes[name][parameter] for name, parameter in bound}


def parameters_of_load() -> dict[tuple[str, str], Any]:
    """Every parameter that makes LoAd what it is, with the code's default."""
    from load_tf.experiment import registry

    classes = {cls.__name__: cls() for cls in registry.PARAMETERS if cls.__name__ in PAPER}
    assert len(classes) == len(PAPER) == 5
    every = {(n, field.name): getattr(c, field.name) for n, c in classes.items() for field in dataclasses.fields(c)}
    assert every.keys() >= SAME_RESULT.keys() and len(every) > 35
    return {key: value for key, value in every.items() if key not in SAME_RESULT}


def assembled_parameters() -> tuple[dict[tuple[str, str], Any], Method]:
    """The same as the parsed files have them, without building what they are for; and the method."""
    from load_tf.experiment import plan, registry

    made = {cls.__name__: config.configured(registry.configured(cls)) for cls in registry.PARAMETERS}
    method = config.configured(plan.make_experiment).method
    return {(name, parameter): getattr(made[name], parameter) for name, parameter in parameters_of_load()}, method


def test_paper_gin_binds_every_parameter() -> None:
    """A parameter that comes after it needs a line there, or a reason in `SAME_RESULT`."""
    parse("paper.gin", over=())
    bound = {(name, parameter) for name in PAPER for parameter in gin.get_bindings(name)}
    assert bound == parameters_of_load().keys()
    assert "method" in gin.get_bindings("experiment")


NO_DATA = ("--gin_param=experiment.dataset = @synthetic()", "--gin_param=experiment.segmentor = @small_deeplab")


@pytest.mark.parametrize("below", [name for name in FILES if name != "paper.gin"])
def test_paper_gin_over_any_file_is_the_papers_setting(below: str) -> None:
    from load_tf.methods.load import LoAd

    parse("paper.gin", *NO_DATA, over=(*BASE.get(below, ()), below))
    assert assembled_parameters() == (parameters_of_load(), LoAd())


def another(value: Any) -> Any:
    """A value that is not this default, and allowed."""
    others = {
        None: 0.75, "mobilenet": "convolutional", "split": "both", "adagrad": "adam", "loss": "pair_accuracy",
        ".*": "logits", "map": "place", "real": "right here",
    }  # fmt: skip
    if value is None or isinstance(value, str):
        return others[value]
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(another(one) for one in value)
    return value + 1 if isinstance(value, int) else 0.5 * value + 0.1


def test_paper_gin_over_a_file_that_departs_in_everything(tmp_path: Path) -> None:
    """Also what no shipped file binds is taken back; without `paper.gin` nothing is the paper's."""
    from load_tf.methods.descent_ascent import DescentAscent
    from load_tf.methods.load import LoAd

    paper = parameters_of_load()
    chosen = {
        ("Lookahead", "max_cycles"): 7,
        ("Lookahead", "race"): 0.25,
        ("Lookahead", "max_iterations"): 7,
        ("DiscriminatorTraining", "first_max_epochs"): 7,
        ("DiscriminatorTraining", "unlabelled_fakes"): False,
        ("Discriminator", "weights"): "imagenet",
        ("Discriminator", "alpha"): 0.5,
        ("Discriminator", "stride"): 16,
        ("Discriminator", "input_size"): 256,
    }
    departed = {key: chosen[key] if key in chosen else another(value) for key, value in paper.items()}
    lines = [f"{name}.{parameter} = {value!r}" for (name, parameter), value in departed.items()]
    (tmp_path / "other.gin").write_text("\n".join(["experiment.method = @DescentAscent()", *lines, ""]))
    for files, parameters, method in (
        ((), departed, DescentAscent()),
        (("paper.gin",), paper, LoAd()),
    ):
        names = ("demo.gin", str(tmp_path / "other.gin"), *files)
        parse(names[-1], *NO_DATA, over=names[:-1])
        assert assembled_parameters() == (parameters, method)
    assert all(departed[key] != value for key, value in paper.items())


def test_voc_gin_has_the_papers_images() -> None:
    parse("voc.gin")
    assert gin.query_parameter("experiment.crop") == (513, 513)
    assert gin.query_parameter("experiment.holdout_images") == 500

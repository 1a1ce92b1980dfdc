"""LoAd from Python: the README's snippet as it stands, a plain U-Net, KerasHub's DeepLabv3+, and what is refused."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import keras
import numpy as np
import pytest
from PIL import Image

import load_tf
from load_tf.data.synthetic import synthetic
from load_tf.errors import UserError
from load_tf.experiment import plan, scoring
from load_tf.experiment import run as experiment
from tests.networks import unet

ROOT = Path(__file__).resolve().parents[2]
SIZE = (48, 64)
GROUPS = ["p", "q", "p", "r", "q", "r"]
"""Of the validation images."""
SMALL = {
    "lookahead": load_tf.Lookahead(max_cycles=2, patience=2, upper=0.0),
    "discriminator": load_tf.Discriminator(input_size=32, alpha=0.25),
    "discriminator_training": load_tf.DiscriminatorTraining(max_epochs=1, batch_size=4),
    "adversarial": load_tf.AdversarialTraining(learning_rate=1e-3, batch_size=2),
    "sampling": load_tf.Sampling(gumbel_noise=False),
    "stage_one": load_tf.StageOne(epochs=1, batch_size=4, learning_rate=0.01),
}


def pairs(split: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Scenes as anyone's data: images and label maps, nothing else."""
    source = synthetic(train=6, validation=6, size=SIZE).split(split)
    return [(source[i].image, source[i].label.astype(np.int32)) for i in range(len(source))]


def both() -> tuple[list[tuple[np.ndarray, np.ndarray]], ...]:
    return pairs("train"), pairs("validation")


def hub_deeplab(classes: int) -> keras.Model:
    """KerasHub's DeepLabv3+ on a small ResNet, randomly initialised."""
    hub = pytest.importorskip("keras_hub", reason="needs keras-hub (pip install keras-hub)")
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 64, 64, 64],
        stackwise_num_blocks=[1, 1, 1, 1], stackwise_num_strides=[1, 2, 2, 2], block_type="basic_block",
        image_shape=(None, None, 3),
    )  # fmt: skip
    backbone = hub.models.DeepLabV3Backbone(
        image_encoder=encoder, spatial_pyramid_pooling_key="P4", low_level_feature_key="P2", upsampling_size=4,
        dilation_rates=[6, 12, 18], projection_filters=8, image_shape=(None, None, 3),
    )  # fmt: skip
    network = hub.models.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=classes)
    images = keras.Input((None, None, 3))
    return keras.Model(images, network(keras.layers.Rescaling(1 / 127.5, offset=-1)(images)), name="hub")


HEARD: list[dict[str, Any]] = []
"""What a user's function was given."""


def clumsy(event: dict[str, Any]) -> None:
    """Takes note of an event, spoils what it was given, and fails at the end of the second cycle."""
    HEARD.append(dict(event))
    event.clear()
    if HEARD[-1]["event"] == "cycle_end" and HEARD[-1]["cycle"] == 1:
        raise ValueError("a fault of the user's")


@pytest.fixture(name="played", scope="module")
def _played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, keras.Model]:
    """A U-Net from nothing: stage 1, then LoAd."""
    folder = tmp_path_factory.mktemp("unet") / "run"
    model = unet()
    return (
        load_tf.run(model, *both(), run_dir=folder, pretrained=False, groups=GROUPS, on_event=clumsy, **SMALL),
        folder,
        model,
    )


def test_a_plain_unet_runs_from_stage_one_to_the_report(played: tuple[Any, Path, keras.Model]) -> None:
    result, folder, _ = played
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events].count("cycle_end") == 2 and events[0]["event"] == "stage_one"
    assert (result.summary["holdout"]["images"], result.summary["untouched"]["images"]) == (2, 4)
    assert result.summary["settings"]["crop"] == [48, 64], "the images' own size"
    assert result.summary["settings"]["resizing"] == "none: logits of full resolution"
    assert "largest_image" not in result.summary["settings"]
    page = (folder / "report/index.html").read_text()
    assert "<h1>unet</h1>" in page and "Lookahead.patience = 2" in page
    assert (folder / "saved_model/1/saved_model.pb").is_file()


def test_on_event_is_given_the_journal_and_can_damage_nothing(played: tuple[Any, Path, keras.Model]) -> None:
    """Stage 1's events among them; after its exception it is not called any more, and the run has its report."""
    result, folder, _ = played
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert HEARD[0]["event"] == "stage_one" and HEARD[-1]["event"] == "cycle_end"
    assert events[: len(HEARD)] == HEARD and [e for e in events if e["event"] == "cycle_end"][-1] == HEARD[-1]
    assert result.summary["cycles"] == 2 and (folder / "report/table1.csv").is_file()


def test_groups_are_drawn_as_a_whole_and_resampled_together(played: tuple[Any, Path, keras.Model]) -> None:
    summary = played[0].summary
    places = sorted(int(identity.rpartition("_")[2]) for identity in summary["holdout_ids"])
    assert places in ([0, 2], [1, 4], [3, 5])
    assert summary["groups"] == "3 groups of up to 2 images"
    assert [summary[part]["groups"] for part in ("full", "holdout", "untouched")] == [3, 1, 2]
    for groups, expected in (
        (["p", "q", "p", "r", "r", "q"], "another config"),
        (["p", "q"], "2 names; expected one for"),
    ):
        with pytest.raises(UserError, match=expected):
            load_tf.run(unet(), *both(), run_dir=played[1], pretrained=False, groups=groups, **SMALL)


def test_the_model_has_the_weights_of_the_result(played: tuple[Any, Path, keras.Model]) -> None:
    """The SavedModel is the judge: its label map is that of the returned model."""
    result, folder, given = played
    from load_tf.serving import loaded

    image = pairs("validation")[0][0]
    expected = loaded.load(folder / "saved_model").label_maps(image[None])[0]
    np.testing.assert_array_equal(np.argmax(result.model(image[None].astype(np.float32))[0], -1), expected)
    assert len(np.unique(expected)) > 1
    assert result.model is given


def test_the_same_call_on_a_finished_run_gives_its_result(played: tuple[Any, Path, keras.Model]) -> None:
    result, folder, _ = played
    again = load_tf.run(unet(), *both(), run_dir=folder, pretrained=False, groups=GROUPS, **SMALL)
    assert again.summary == result.summary
    for a, b in zip(again.model.variables, result.model.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    with pytest.raises(UserError, match="another config"):
        load_tf.run(unet(), *both(), run_dir=folder, pretrained=False, groups=GROUPS, seed=1, **SMALL)


def miou_of(label_map: Callable[[np.ndarray], np.ndarray], data: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """In numpy alone, in per cent, over the classes that occur."""
    confusion = np.zeros((8, 8), np.int64)
    for image, label in data:
        seen = label < 8
        np.add.at(confusion, (label[seen], label_map(image)[seen]), 1)
    hit, union = np.diag(confusion), confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    return 100 * float(np.mean(hit[union > 0] / union[union > 0]))


def script(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """An image's labels as a Keras user gets them."""
    import tensorflow as tf

    return lambda image: np.argmax(
        tf.image.resize(model(image[None].astype(np.float32)), image.shape[:2])[0].numpy(), -1
    )


def test_the_scores_of_a_run_are_those_of_a_script(played: tuple[Any, Path, keras.Model]) -> None:
    result, folder, _ = played
    from load_tf.serving import loaded

    segmentor, data = loaded.load(folder / "saved_model"), pairs("validation")
    expected = miou_of(script(result.model), data)
    assert miou_of(lambda image: segmentor.label_maps(image[None])[0], data) == pytest.approx(expected, abs=0.01)
    assert result.summary["full"]["load"] == pytest.approx(expected, abs=0.01)


def test_a_transposed_unet_with_low_resolution_runs_by_gin_as_from_python(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A pre-trained network at stride 4: `main`'s path, `evaluate`, and `load_tf.run` agree with the script."""
    model = unet(up="transposed")
    strided = keras.layers.AveragePooling2D(4)(model.output)
    model = keras.Model(model.input, strided, name="strided")
    start = keras.models.clone_model(model)
    start.set_weights(model.get_weights())
    expected = miou_of(script(model), pairs("validation"))
    small = {**SMALL, "lookahead": load_tf.Lookahead(max_cycles=1, patience=1)}
    result = load_tf.run(model, pairs("train"), pairs("validation"), run_dir=tmp_path / "run", **small)
    assert result.summary["full"]["baseline"] == pytest.approx(expected, abs=0.01)
    assert result.summary["settings"]["resizing"] == "bilinear, half-pixel centres"
    start.save(tmp_path / "start.keras")
    bindings = ["experiment.dataset = @synthetic()", "synthetic.train = 6", "synthetic.validation = 6",
                f"synthetic.size = {SIZE}", f"experiment.crop = {SIZE}", "experiment.holdout_images = 2",
                "experiment.method = @Baseline()", "experiment.segmentor = @keras_model",
                f"keras_model.path = '{tmp_path / 'start.keras'}'"]  # fmt: skip
    gin.parse_config(bindings)
    assembled = plan.assemble()
    assert assembled.segmentor.convention == load_tf.Convention("half_pixel", 4, any_crop=False)
    scoring.evaluate_only(assembled, tmp_path / "evaluated")
    experiment.run(assembled, tmp_path / "main", "\n".join(bindings))
    printed = capsys.readouterr().out
    assert "bilinear, half-pixel centres" in printed
    assert "mIoU within 3 pixels of a boundary" in printed and "boundary F1" in printed
    alone = experiment.read_summary(tmp_path / "evaluated")["where"]
    assert alone["images"] == 6 and {measure["gain"] for measure in alone["measures"]} == {None}
    for folder in ("evaluated", "main"):
        summary = experiment.read_summary(tmp_path / folder)
        assert summary["full"]["baseline"] == pytest.approx(expected, abs=0.01)


def test_what_comes_back_labels_large_photos_and_loads_without_us(
    played: tuple[Any, Path, keras.Model], tmp_path: Path
) -> None:
    from load_tf.serving import loaded
    from load_tf.serving.label_files import predict

    result, folder, _ = played
    segmentor = loaded.load(folder / "saved_model")
    photos = {}
    for size in ((96, 128), (245, 330)):
        name = tmp_path / f"{size[0]}.png"
        photos[name] = np.random.default_rng(size).integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(photos[name]).save(name)
    done = predict(segmentor, list(photos), tmp_path / "labels")
    assert not done.failures
    for name, image in photos.items():
        padded = np.pad(image.astype(np.float32), [(0, -side % 4) for side in image.shape[:2]] + [(0, 0)],
                        constant_values=127.5)  # fmt: skip
        expected = np.argmax(result.model(padded[None])[0, : image.shape[0], : image.shape[1]], -1)
        assert (np.asarray(Image.open(done.written[name])) == expected).mean() > 0.999
    result.model.save(tmp_path / "better.keras")
    np.save(tmp_path / "photo.npy", photos[tmp_path / "96.png"])
    code = (
        "import sys; sys.modules['load_tf'] = None\n"
        "import keras, numpy as np\n"
        "logits = keras.saving.load_model('better.keras')(np.load('photo.npy')[None].astype(np.float32))\n"
        "np.save('logits.npy', logits)\n"
    )
    done_alone = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done_alone.returncode == 0, done_alone.stderr
    expected = result.model(photos[tmp_path / "96.png"][None].astype(np.float32))
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), expected, atol=1e-3)


class OneSize(keras.Model):
    """A network whose graph is not known, with a layer that asks for the size in Python."""

    def __init__(self) -> None:
        super().__init__(name="one_size")
        self.inside = unet()

    def call(self, images: Any, training: bool = False) -> Any:
        return self.inside(images, training=training)


def test_a_network_of_one_size_says_so_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from load_tf.serving import loaded
    from load_tf.serving.label_files import predict

    small = {**SMALL, "lookahead": load_tf.Lookahead(max_cycles=1, patience=1)}
    result = load_tf.run(OneSize(), pairs("train"), pairs("validation"), run_dir=tmp_path / "run", **small)
    sentence = "the network takes images of 48 x 64 pixels at the most (height x width)"
    assert sentence in capsys.readouterr().out
    assert result.summary["settings"]["largest_image"].startswith(sentence)
    assert sentence in (tmp_path / "run/report/index.html").read_text()
    segmentor = loaded.load(tmp_path / "run/saved_model")
    assert segmentor.largest == (48, 64)
    Image.fromarray(np.zeros((60, 90, 3), np.uint8)).save(tmp_path / "photo.png")
    Image.fromarray(np.zeros((40, 64, 3), np.uint8)).save(tmp_path / "small.png")
    done = predict(segmentor, [tmp_path / "photo.png", tmp_path / "small.png"], tmp_path / "labels")
    assert list(done.written) == [tmp_path / "small.png"]
    assert "has 60 x 90 pixels (height x width); the model's network takes at most 48 x 64." in str(done.failures)


def test_images_without_labels_go_into_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    for number, (image, _) in enumerate(pairs("validation")[:3]):
        Image.fromarray(255 - image).save(tmp_path / f"photos/{number}.png")
    judge = load_tf.Discriminator(alpha=0.1, input_size=32, architecture="convolutional", sees="masks")
    options = {**SMALL, "discriminator": judge, "run_dir": tmp_path / "run", "pretrained": False}
    result = load_tf.run(unet(), *both(), unlabelled=tmp_path / "photos", **options)
    assert "6 images with labels and 3 without are trained on" in capsys.readouterr().out
    assert result.summary["cycles"] == 2
    with pytest.raises(UserError, match="holds a run of another config"):
        load_tf.run(unet(), *both(), **options)


def test_keras_hub_deeplab_runs(tmp_path: Path) -> None:
    import tensorflow as tf

    training = tf.data.Dataset.from_generator(
        lambda: iter(pairs("train")),
        output_signature=(tf.TensorSpec([*SIZE, 3], tf.uint8), tf.TensorSpec(SIZE, tf.int32)),
    )
    small = {**SMALL, "lookahead": load_tf.Lookahead(max_cycles=1, patience=1)}
    result = load_tf.run(
        hub_deeplab(8), training, pairs("validation"), run_dir=tmp_path / "hub", holdout_images=3,
        class_names=[f"thing {k}" for k in range(8)], **small,
    )  # fmt: skip
    assert list(result.summary["classes"])[:2] == ["thing 0", "thing 1"]
    assert result.summary["holdout"]["images"] == 3 and result.summary["cycles"] == 1


def frozen() -> keras.Model:
    """A network of which nothing may learn."""
    model = unet()
    model.trainable = False
    return model


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (lambda: unet(last="softmax"), {}, "the model gives probabilities; expected logits"),
        (frozen, {}, "the model 'unet' has no trainable variables: its layers are frozen; expected some to train: set"),
        (frozen, {"pretrained": False}, "the model 'unet' has no trainable variables"),
        (unet, {"pretrained": False, "adversarial": load_tf.AdversarialTraining(trainable="logits")},
         "AdversarialTraining.trainable 'logits' finds none of the segmentor's variables, such as '"),
        (unet, {"class_names": ["a", "b"]}, "8 outputs a pixel, but 2 class names"),
        (unet, {"crop": (48, 64), "convention": load_tf.Convention("aligned", 16, 1)}, "multiples of 4 pixels only"),
        (unet, {"holdout_images": 6}, "the hold-out is to have 6 images"),
        (lambda: unet(4), {}, "expected 0 to 3"),
        (lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(8)]), {},
         "gives [1, 8] for one image; expected logits [1, h, w, K]"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(model: Any, options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(expected)):
        load_tf.run(model(), pairs("train"), pairs("validation"), run_dir=tmp_path / "run", **{**SMALL, **options})
    assert not (tmp_path / "run/state.json").exists(), "before anything is trained"


def test_import_is_cheap() -> None:
    code = "import load_tf, sys; print('tensorflow' in sys.modules, 'run' in dir(load_tf))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "False True\n", done.stderr


def readme_snippet() -> str:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    return str(snippet)


@pytest.mark.portable
def test_the_readme_snippet_is_short_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands, on a folder of scenes; the setting is the default one, the first line says how long it takes."""
    snippet = readme_snippet()
    lines = [line for line in snippet.splitlines() if line.strip()]
    assert len(lines) <= 8 and max(map(len, lines)) <= 120
    monkeypatch.chdir(tmp_path)
    unet().save("mine.keras")
    for kind in ("images", "masks"):
        (tmp_path / "photos" / kind).mkdir(parents=True)
    for index, (image, label) in enumerate(pairs("train") + pairs("validation")):
        Image.fromarray(image).save(f"photos/images/{index}.png")
        Image.fromarray(label.astype(np.uint8)).save(f"photos/masks/{index}.png")
    Path("photos/classes.txt").write_text("".join(f"class {k}\n" for k in range(8)))
    Path("photos/val.txt").write_text("".join(f"{k}\n" for k in range(4)))
    Path("photos/train.txt").write_text("".join(f"{k}\n" for k in range(4, 12)))
    namespace: dict[str, Any] = {}
    exec(compile(snippet, "README.md", "exec"), namespace)
    printed = capsys.readouterr().out
    assert re.match(r"time: about .*for 10 iterations in 2 cycles", printed)
    assert "'gain'" in printed
    config = (tmp_path / "runs/mine/config.gin").read_text()
    assert "Lookahead.max_iterations = 10" in config and "Discriminator.architecture = 'convolutional'" in config
    assert (tmp_path / "runs/mine/report/index.html").is_file()
    assert keras.saving.load_model("better.keras").output_shape[-1] == 8

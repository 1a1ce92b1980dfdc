"""How well does the discriminator learn? Trains it against the start model's maps alone and prints a table.

    python -m benchmarks.discriminator --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR \
        --gin_param=Discriminator.alpha=1.0

Per epoch: the training loss, then on the hold-out, in inference mode, the loss, the accuracy on real and on fake maps,
how often the real map of an image is ranked above its fake one (chance: 0.5), and seconds so far.
"""

import tempfile
import time
from typing import Any

from load_tf import commands


def _main() -> None:
    commands.quiet_tensorflow()
    config = commands.parse_gin()
    from load_tf import experiment, plan
    from load_tf.evaluation.evaluator import Evaluator
    from load_tf.game import AdversarialGame
    from load_tf.run_directory import RunDirectory

    parts = commands.configured(plan.assemble)
    if not parts.segmentor.pretrained:
        raise commands.UserError("this benchmark needs a segmentor with weights.")
    data = experiment.read_data(parts)
    began = time.monotonic()
    print("| epoch | training loss | loss | real | fake | pairs | seconds |\n|--:|--:|--:|--:|--:|--:|--:|", flush=True)

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "discriminator":
            numbers = [event[n] for n in ("training_loss", "loss", "real_accuracy", "fake_accuracy", "pair_accuracy")]
            cells = [str(event["epoch"]), *(f"{n:.3f}" for n in numbers), f"{time.monotonic() - began:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)

    crop, classes = parts.experiment.crop, parts.experiment.dataset.num_classes
    with tempfile.TemporaryDirectory() as folder:
        game = AdversarialGame(
            parts.segmentor.model,
            Evaluator(parts.segmentor.model, data.holdout, crop, classes),
            data.training,
            data.holdout,
            parts.players,
            crop=crop,
            num_classes=classes,
            seed=parts.experiment.seed,
            run=RunDirectory(folder, config),
            strategy=parts.strategy,
            listener=show,
        )
        game.aggregate("g0", 0)
        began = time.monotonic()
        game.train_discriminator(["g0"], 0)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)

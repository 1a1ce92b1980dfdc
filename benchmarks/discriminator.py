"""How well does the discriminator learn? Trains it against the start model's maps alone and prints a table.

    python -m benchmarks.discriminator --gin_file=voc_mobilenetv2_valsplit.gin --data_dir=VOC2012 --checkpoint=DIR \
        --gin_param=Discriminator.alpha=1.0

Per epoch: the training loss, then on the hold-out, in inference mode, the loss, the accuracy on real and on fake maps,
how often the real map of an image is ranked above its fake one (chance: 0.5), and seconds so far.
"""

import time
from typing import Any

from benchmarks import setting
from load_tf import commands


def _main() -> None:
    print("| epoch | training loss | loss | real | fake | pairs | seconds |\n|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    began = time.monotonic()

    def show(event: dict[str, Any]) -> None:
        if event["event"] == "discriminator":
            numbers = [event[n] for n in ("training_loss", "loss", "real_accuracy", "fake_accuracy", "pair_accuracy")]
            cells = [str(event["epoch"]), *(f"{n:.3f}" for n in numbers), f"{time.monotonic() - began:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)

    with setting.game(show) as game:
        began = time.monotonic()
        game.train_discriminator(["g0"], 0)


if __name__ == "__main__":
    commands.define_experiment_flags()
    commands.run(_main)

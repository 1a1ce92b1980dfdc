"""Updates with a pixel-wise loss on labelled images and another one on as many images without labels behind them.

Self-training with made-up labels, the mean teacher, and the semi-supervised loss of Hung et al. 2018: what LoAd's use
of such images is compared with.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from load_tf.data.dataset import IGNORE_LABEL, UNLABELLED, Split
from load_tf.data.unlabelled import Relabelled
from load_tf.devices.replicas import Batch
from load_tf.discriminator.conditional import per_map
from load_tf.discriminator.grid import Size
from load_tf.evaluation.evaluator import Evaluator
from load_tf.progress import progress
from load_tf.segmentors.labelling import upsample
from load_tf.training.adversarial import adversarial_loss
from load_tf.training.augmentation import padded_batch
from load_tf.training.slow_weights import SlowWeightsTrainer
from load_tf.training.stage_one import pixel_losses, pixels_seen
from load_tf.training.step_by_step import StepByStepHybridTrainer
from load_tf.training.supervised import SupervisedTrainer, mean_cross_entropy


def with_made_up_labels(
    unlabelled: Split, evaluator: Evaluator, crop: Size, confidence: float, batch_size: int
) -> Split:
    """Images with the labels that a model gives them where it is sure; the others are void.

    Args:
      unlabelled: the images.
      evaluator: whose forward pass labels them, with the model's present weights.
      crop: the padded height and width.
      confidence: the least probability of a label, in [0, 1).
      batch_size: images in a step.

    Returns:
      The images with label maps uint8 [H, W].
    """
    evaluator.forward.refresh()

    @tf.function(input_signature=[tf.TensorSpec([None, *crop, 3], tf.float32)])
    def labelled(images: tf.Tensor) -> tf.Tensor:
        logits = tf.cast(evaluator.forward(images, training=False), tf.float32)
        probabilities = tf.nn.softmax(upsample(logits, tf.constant(crop), evaluator.convention))
        sure = tf.reduce_max(probabilities, -1) >= confidence
        return tf.where(sure, tf.cast(tf.argmax(probabilities, -1), tf.uint8), tf.constant(IGNORE_LABEL, tf.uint8))

    maps: list[np.ndarray] = []
    for start in progress(range(0, len(unlabelled), batch_size), "made-up labels", unit="batch"):
        places = range(start, min(start + batch_size, len(unlabelled)))
        images, labels = padded_batch(unlabelled, places, crop)
        for row, made in enumerate(labelled(tf.constant(images)).numpy()):
            height, width = (labels[row] != IGNORE_LABEL).any(1).sum(), (labels[row] != IGNORE_LABEL).any(0).sum()
            maps.append(made[:height, :width])
    return Relabelled(unlabelled, maps)


def known(truth: tf.Tensor) -> tf.Tensor:
    """Label maps, uint8 [...], in which what nobody has labelled is void."""
    return tf.where(truth == UNLABELLED, tf.constant(IGNORE_LABEL, tf.uint8), truth)


def _per_image(values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(values, tf.range(1, tf.rank(values)))


class BesideTrainer(SupervisedTrainer):
    """Cross-entropy per pixel of the labelled images, and of those beside them where these have made-up labels.

    `labelled_loss` and `beside_loss` are measured beside their sum.
    """

    measures: tuple[str, ...] = ("labelled_loss", "beside_loss")

    def __init__(self, *arguments: Any, beside: Split, weight: float) -> None:
        """Nothing is trained yet.

        Args:
          *arguments: as `SupervisedTrainer`.
          beside: images without labels, or with made-up ones.
          weight: of their loss.
        """
        self.beside, self.weight = beside, weight
        super().__init__(*arguments)

    def totals(self, batch: Batch) -> Batch:
        truth, labelled = known(batch["truth"]), batch["labelled"] > 0
        return {
            "pixels": pixels_seen(tf.boolean_mask(truth, labelled)),
            "pixels_beside": pixels_seen(tf.boolean_mask(truth, ~labelled)),
        }

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        each = _per_image(pixel_losses(logits, known(batch["truth"]), self.convention))
        labelled = tf.math.divide_no_nan(tf.reduce_sum(each * batch["labelled"]), batch["pixels"])
        beside = self.loss_beside(logits, batch, each)
        return labelled + self.weight * beside, {"labelled_loss": labelled, "beside_loss": beside}

    def loss_beside(self, logits: tf.Tensor, batch: Batch, each: tf.Tensor) -> tf.Tensor:
        """This part's share of the loss that no label was drawn for.

        Args:
          logits: [b, h, w, K] float32.
          batch: the part.
          each: float32 [b], the cross-entropy of every image, summed over its pixels.
        """
        return tf.math.divide_no_nan(tf.reduce_sum(each * (1 - batch["labelled"])), batch["pixels_beside"])


class MeanTeacherTrainer(SlowWeightsTrainer, BesideTrainer):
    """The mean teacher (Tarvainen, Valpola 2017): a disturbed student agrees with its own average, which is not.

    After every update `teacher <- decay * teacher + (1 - decay) * student`. The loss beside cross-entropy is the mean
    square difference of both class probabilities, summed over the classes, at the resolution of the logits, of all
    images of a batch where they are neither void nor padding. The student's images have another brightness and
    contrast, and noise. The teacher is what is evaluated.
    """

    def __init__(self, *arguments: Any, decay: float, jitter: float, noise: float, **named: Any) -> None:
        """Nothing is trained yet.

        Args:
          *arguments: as `BesideTrainer`, also those by name.
          decay: of the teacher, in an update.
          jitter: the student's contrast is multiplied by, and its brightness moved by that share of, 1 +- jitter.
          noise: standard deviation of the student's noise, of the 255 steps of grey.
        """
        self.decay, self.jitter, self.noise = decay, jitter, noise
        super().__init__(*arguments, **named)

    def step(self, batch: Batch) -> None:
        super().step({**batch, "undisturbed": batch["images"], "images": self.disturbed(batch)})

    def disturbed(self, batch: Batch) -> tf.Tensor:
        """What the student sees: float32 [B, H, W, 3], by the batch's key."""
        images = batch["images"]
        keys = tf.random.experimental.stateless_split(batch["key"], 3)
        one_each = [tf.shape(images)[0], 1, 1, 1]
        contrast = tf.random.stateless_uniform(one_each, keys[0], 1 - self.jitter, 1 + self.jitter)
        brightness = tf.random.stateless_uniform(one_each, keys[1], -127.5 * self.jitter, 127.5 * self.jitter)
        noise = self.noise * tf.random.stateless_normal(tf.shape(images), keys[2])
        return tf.clip_by_value((images - 127.5) * contrast + 127.5 + brightness + noise, 0.0, 255.0)

    def teacher(self, images: tf.Tensor) -> tf.Tensor:
        """The teacher's logits of images, [b, h, w, K] float32, while updates are made."""
        instead = [(variable, other.value) for variable, other in zip(self.trained, self.others, strict=True)]
        with keras.StatelessScope(state_mapping=instead):
            return tf.cast(self.segmentor(images, training=False), tf.float32)

    def loss_beside(self, logits: tf.Tensor, batch: Batch, each: tf.Tensor) -> tf.Tensor:
        agreed = tf.stop_gradient(tf.nn.softmax(self.teacher(batch["undisturbed"])))
        visible = tf.cast(batch["truth"] != IGNORE_LABEL, tf.float32)[..., None]
        visible = tf.image.resize(visible, tf.shape(logits)[1:3], "nearest")[..., 0]
        apart = tf.reduce_sum(tf.square(tf.nn.softmax(logits) - agreed), -1)
        return self.share_of_batch(batch) * tf.reduce_mean(apart * visible)

    def after_update(self) -> None:
        for teacher, student in zip(self.others, self.trained, strict=True):
            teacher.value.assign_add((1 - self.decay) * (student.value - teacher.value))


class SemiAdversarialTrainer(StepByStepHybridTrainer):
    """Hung et al.'s whole loss: beside that of the labelled images two terms of those without labels.

    Their adversarial term has a weight of its own. Where the discriminator takes a place of their map for ground truth,
    its labels are believed: cross-entropy with them, at the points of the discriminator's grid. The discriminator is
    shown the generated maps of both kinds and the ground truth of the labelled ones, in equal weight.
    """

    measures: tuple[str, ...] = (*StepByStepHybridTrainer.measures, "believed_share", "believed_loss")

    def __init__(
        self,
        *arguments: Any,
        beside: Split,
        weight_beside: float,
        weight_believed: float,
        threshold: float,
        begins: int,
        **named: Any,
    ) -> None:
        """Nothing is trained yet.

        Args:
          *arguments: as `StepByStepHybridTrainer`, also those by name.
          beside: images without labels.
          weight_beside: of their adversarial loss.
          weight_believed: of the cross-entropy with labels that are believed.
          threshold: the least probability of being ground truth that a place must have for that.
          begins: how many updates are made before any label is.
        """
        self.beside, self.weight_beside, self.weight_believed = beside, weight_beside, weight_believed
        self.threshold, self.begins = threshold, begins
        super().__init__(*arguments, **named)

    def totals(self, batch: Batch) -> Batch:
        labelled = batch["labelled"] > 0
        return {
            **super().totals({**batch, "truth": known(batch["truth"])}),
            "visible_beside": pixels_seen(tf.boolean_mask(batch["labels"], ~labelled)),
        }

    def objective(self, logits: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        on_grid, maps = self.live_maps(logits, batch, self.parts)
        inputs = self.discriminator.inputs(batch["grid_images"], maps)
        verdicts = tf.cast(self.discriminator(inputs, training=False), tf.float32)
        beside = 1 - batch["labelled"]
        weights = self.weight * batch["labelled"] + self.weight_beside * beside
        # Half of the rows have labels, and each kind has a mean of its own.
        adversarial = (
            2 * self.share_of_batch(batch) * tf.reduce_mean(per_map(adversarial_loss(verdicts, False)) * weights)
        )
        pixelwise = mean_cross_entropy(logits, {**batch, "truth": known(batch["truth"])}, self.convention)
        believed, share = self._believed(on_grid, verdicts, batch)
        loss = pixelwise + adversarial + self.weight_believed * believed
        measures = self.shares(on_grid, maps, verdicts, batch)
        return loss, {**measures, "cross_entropy": pixelwise, "believed_share": share, "believed_loss": believed}

    def _believed(self, on_grid: tf.Tensor, verdicts: tf.Tensor, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Shares of the cross-entropy with the labels that are believed, and of how many of the points they are."""
        size = tf.shape(on_grid)[1:3]
        sure = tf.image.resize(tf.sigmoid(verdicts)[..., None], size, "bilinear")[..., 0] > self.threshold
        visible = (batch["labels"] != IGNORE_LABEL) & (batch["labelled"] == 0)[:, None, None]
        begun = tf.cast(self.optimizer.iterations >= self.begins, tf.float32)
        believed = tf.stop_gradient(tf.cast(sure & visible, tf.float32) * begun)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.argmax(on_grid, -1), on_grid)
        found = (tf.reduce_sum(losses * believed), tf.reduce_sum(believed))
        loss, share = (tf.math.divide_no_nan(value, batch["visible_beside"]) for value in found)
        return loss, share

    def _pairs(self, part: Batch) -> Batch:
        found = super()._pairs(part)
        weights = tf.stack([2 * part["labelled"], tf.ones_like(part["labelled"])], axis=1)
        return {**found, "weights": tf.reshape(weights, [-1])}

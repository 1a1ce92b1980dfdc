"""What gin complains of is one sentence; a fault of ours keeps its words and its traceback, whatever they are."""

import gin
import pytest

from load_tf.errors import UserError
from load_tf.experiment import config, registry
from load_tf.segmentors.keras_model import keras_model


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TypeError])
def test_a_fault_of_ours_is_none_of_the_config(error: type[Exception]) -> None:
    """Its words hold "gin" twice, "configurable" and "macro", and gin adds the call to them."""

    def start() -> None:
        raise error("the engine of the macroscope does not begin; is it configurable?")

    with gin.unlock_config():
        made = gin.external_configurable(start, "start_of_the_test")
    try:
        with pytest.raises(error, match="the engine of the macroscope does not begin") as found:
            config.configured(made)
        assert not isinstance(found.value, UserError)
        assert found.traceback[-1].name == "start"
    finally:
        gin.config._REGISTRY.pop(f"{__name__}.start_of_the_test")
        gin.clear_config()


def test_a_missing_binding_is_named() -> None:
    made = registry.configured(keras_model)
    expected = r"the config is not complete: Required bindings for `keras_model` not provided in config: \['path'\]"
    with pytest.raises(UserError, match=expected):
        config.configured(lambda: made(num_classes=3))

"""The inner loops: many steps in one graph, begun and ended in Python. They are orbit's, of tf-models-official.

Nothing else imports orbit, and nothing of tf-models-official but orbit is used. It pins TensorFlow (2.20). On the day
it takes a later one, the bounds in setup.py are all that changes; to do without it, this module is:
`StandardTrainer.train` and `StandardEvaluator.evaluate` with their hooks are all that is needed.
"""

from orbit import StandardEvaluator as StandardEvaluator
from orbit import StandardTrainer as StandardTrainer
from orbit import StandardTrainerOptions as StandardTrainerOptions

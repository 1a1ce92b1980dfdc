"""Packaging: the versions are those the tests were run with; the upper bounds keep next month's install the same."""

from pathlib import Path

from setuptools import find_packages, setup

# 37 MB to download, 115 MB on the disk; ONNX Runtime only uses the file (--score, the tests).
ONNX = ("tf2onnx>=1.17,<1.18", "onnx>=1.23,<1.24", "onnxruntime>=1.32,<1.33")

setup(
    name="load-tf",
    version="0.1.0",
    description="Lookahead adversarial semantic segmentation (LoAd) in TensorFlow 2 and Keras 3",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # All tests were run on 3.11; on 3.12.1 and 3.13.0 the installation and the part of the quick tests that is marked
    # "portable" (make portable): a whole run from the README's lines, an exported model in TensorFlow's own command,
    # data sets, names, packaging. TensorFlow 2.21 waits for tf-models-official, which pins 2.20; load_tf.devices.loops
    # is all that uses it.
    python_requires=">=3.11,<3.14",
    packages=[*find_packages(include=["load_tf", "load_tf.*"]), "load_tf.configs"],
    # The folder is called gin, as users expect; as a package of that name it would shadow gin-config.
    package_dir={"load_tf.configs": "gin"},
    package_data={"load_tf": ["py.typed"], "load_tf.configs": ["*.gin"], "load_tf.report": ["page/*"]},
    install_requires=[
        "tensorflow>=2.20,<2.21",
        "keras>=3.15,<3.16",
        "tf-models-official>=2.20,<2.21",  # orbit's inner loops, in load_tf.devices.loops only
        "tensorflow-datasets>=4.9.10,<4.10",
        "array_record>=0.5,<1",  # random access to prepared tfds data sets
        "importlib_resources>=6,<8",  # tfds imports it to prepare a data set, but does not ask for it
        "numpy>=2,<2.5",
        "scipy>=1.14,<2",  # quantiles of the t distribution; tf-models-official brings it anyway
        "absl-py>=1.4,<2",
        "gin-config>=0.5,<0.6",
        "matplotlib>=3.10,<3.12",  # the figures of the report
        "pillow>=11,<14",  # palette masks, whose indices TensorFlow's PNG decoder does not give
        "tqdm>=4.66,<5",  # progress bars
    ],
    extras_require={
        "dev": [
            *("pytest>=9,<10", "pytest-xdist>=3.8,<4", "ruff>=0.17,<0.18", "mypy>=2.4,<2.5", "dill>=0.3,<1"),
            "tensorflow-serving-api>=2.20,<2.21",  # each release asks for its own TensorFlow or a later one
            *("build>=1.2,<2", "twine>=6,<8", "pdoc>=15,<17"),  # make wheel, make docs
            *ONNX,
        ],
        "docs": ["pdoc>=15,<17"],  # make docs
        "export": [*ONNX, "openvino>=2026.4,<2027"],  # load_tf-export --format=onnx or openvino; 300 MB on the disk
        "bench": ["openvino>=2026.4,<2027"],  # a reference in benchmarks.inference
        "gpu": ["tensorflow[and-cuda]>=2.20,<2.21"],
        "video": ["opencv-python-headless>=4.10,<6"],  # load_tf.predict on videos
    },
    entry_points={
        "console_scripts": [
            "load_tf=load_tf.main:main",
            "load_tf-evaluate=load_tf.evaluate:main",
            "load_tf-predict=load_tf.predict:main",
            "load_tf-check-dataset=load_tf.check_dataset:main",
            "load_tf-study=load_tf.study.__main__:main",
            "load_tf-export=load_tf.export:main",
            "load_tf-report=load_tf.report.__main__:main",
        ]
    },
)

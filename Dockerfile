# load_tf without installing anything but Docker: docker build -t load_tf . (docs/gin_files.md and README.md for the rest).
#
#   docker run --rm -v "$PWD:/work" load_tf --gin_file=demo.gin --run_dir=runs/demo
#   docker run --rm -v "$PWD:/work" --entrypoint load_tf-check-dataset load_tf --gin_file=folder.gin --data_dir=photos
#
# With a GPU: docker build --build-arg EXTRA='[gpu]' -t load_tf . and docker run --gpus=all ...
FROM python:3.11-slim
ARG EXTRA=""
COPY setup.py README.md /src/
COPY load_tf /src/load_tf
COPY gin /src/gin
RUN pip install --no-cache-dir "/src${EXTRA}"
WORKDIR /work
ENTRYPOINT ["load_tf"]

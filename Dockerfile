# One image for every Ockham service: coordinator, Ray head and Ray workers run the same versions.
# docker build .                            CPU
# docker build --build-arg LOCK=gpu .       with CUDA libraries, for workers with an NVIDIA GPU
FROM python:3.13.13-slim-trixie AS packages
ARG LOCK=runtime
COPY requirements/installer.lock requirements/${LOCK}.lock /build/
RUN python -m venv /opt/ockham \
    && /opt/ockham/bin/pip install --no-cache-dir --require-hashes --requirement /build/installer.lock \
    && VIRTUAL_ENV=/opt/ockham /opt/ockham/bin/uv pip install --no-cache --compile-bytecode --require-hashes \
        --requirement /build/${LOCK}.lock
COPY pyproject.toml README.md LICENSE /build/source/
COPY db /build/source/db
COPY search_spaces /build/source/search_spaces
COPY tuner /build/source/tuner
COPY workers /build/source/workers
# Needs nothing from outside: the build backend came with the lock.
RUN /opt/ockham/bin/pip install --no-cache-dir --no-index --no-deps --no-build-isolation /build/source \
    && /opt/ockham/bin/pip uninstall --yes uv

FROM python:3.13.13-slim-trixie
COPY --from=packages /opt/ockham /opt/ockham
COPY docker /opt/ockham/docker
# Volumes take the owner of these folders when they are made.
RUN useradd --uid 10001 --create-home ockham \
    && install --directory --owner=10001 --group=10001 /data /models /studies
ENV PATH=/opt/ockham/bin:/opt/ockham/docker:$PATH PYTHONUNBUFFERED=1 TF_CPP_MIN_LOG_LEVEL=2 RAY_USAGE_STATS_ENABLED=0
USER 10001:10001
WORKDIR /studies
CMD ["tuner", "--help"]

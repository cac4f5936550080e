# DLBS itself: plans, runs and reports experiments inside this container.
#   docker build -t dlbs .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" dlbs run -- echo hello
# EXTRAS (which may be empty) adds frameworks, as in pip install 'dlbs[torch,reports]'. TORCH is installed first, so that a build for the CPU can be chosen.
# BASE is any Debian or Ubuntu with python3 and python3-venv. docker/ has the images that experiments run in (exp.docker=true).
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG EXTRAS=reports
ARG TORCH=
RUN python3 -m venv /opt/dlbs
RUN test -z "${TORCH}" || /opt/dlbs/bin/pip install --no-cache-dir "${TORCH}"
COPY . /tmp/dlbs
RUN /opt/dlbs/bin/pip install --no-cache-dir "/tmp/dlbs${EXTRAS:+[${EXTRAS}]}" && rm -rf /tmp/dlbs
ENV PATH=/opt/dlbs/bin:${PATH} HOME=/tmp
LABEL org.opencontainers.image.title="dlbs" org.opencontainers.image.licenses="Apache-2.0"
WORKDIR /work
ENTRYPOINT ["dlbs"]
CMD ["--help"]

# The image of the consumer and of the producer's tools.
#
#   docker build -t conversation-consumer .
#
# Where the base image has no pip, or no registry of packages is reached from inside a build,
# install the packages on the host first, with the Python version of the base image:
#
#   make site-packages && docker build --build-arg PYTHON_IMAGE=some/base -t conversation-consumer .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS packages
COPY pyproject.toml constraints.txt /build/
COPY deploy /build/deploy
COPY scripts/requirements.py /build/
WORKDIR /build
# Packages that were left there for another Python would make an image that cannot start.
RUN mkdir -p /opt/consumer \
    && if [ -d deploy/site-packages ]; then \
         tag=$(python3 -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))') \
         && foreign=$(find deploy/site-packages -name '*.cpython-*.so' ! -name "*.$tag.so" | head -n 1) \
         && if [ -n "$foreign" ]; then \
              echo "deploy/site-packages is not for the Python of ${tag}: ${foreign}; delete it," \
                "or fill it anew: make site-packages with that Python" >&2; exit 1; fi \
         && cp -r deploy/site-packages/. /opt/consumer/; \
       else python3 requirements.py pyproject.toml > requirements.txt \
            && python3 -m pip install --no-cache-dir --target /opt/consumer \
                 --constraint constraints.txt --requirement requirements.txt; fi
COPY consumer /opt/consumer/consumer
COPY producer_tools /opt/consumer/producer_tools
COPY LICENSE /opt/consumer/
# The user below may not write here, so this is the time to compile.
RUN python3 -m compileall -q -j 0 /opt/consumer

FROM ${PYTHON_IMAGE}
ENV PYTHONPATH=/opt/consumer \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CONSUMER_HTTP__PORT=8080
COPY deploy/bin /usr/local/bin
COPY --from=packages /opt/consumer /opt/consumer
# A number, so that an orchestrator can see without asking that it is not root.
USER 10001:10001
WORKDIR /tmp
# /livez, /readyz, /metrics and the status page; CONSUMER_HTTP__PORT says where, empty for nowhere.
EXPOSE 8080
# Whether a restart would help; an outage of the servers is no reason for one.
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["consumer-health", "livez"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["consumer"]
CMD ["run"]
# docker build --build-arg REVISION=$(git rev-parse HEAD) --build-arg CREATED=$(date -u +%FT%TZ)
ARG REVISION=unknown
ARG CREATED=unknown
ARG PYTHON_IMAGE
LABEL org.opencontainers.image.title="conversation-consumer" \
      org.opencontainers.image.description="Kafka session and event messages, applied idempotently to MongoDB" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# syntax=docker/dockerfile:1
# Handrail's gateway: a builder that installs from the lock, and a small image that runs as nobody in particular.

FROM python:3.11-slim-bookworm AS build
WORKDIR /opt/handrail
RUN apt-get update && apt-get install --yes --no-install-recommends gcc && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
COPY deploy/requirements.lock deploy/requirements.lock
RUN /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r deploy/requirements.lock
COPY . .
# Linked, not copied: the policies and migrations beside the packages are part of the program.
RUN /opt/venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation --no-index -e client -e . \
    && /opt/venv/bin/handrail jail build \
    && /opt/venv/bin/python -m pip uninstall --yes --quiet pip

FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 handrail \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin handrail \
    && install -d -m 0700 -o handrail -g handrail /var/lib/handrail /var/lib/handrail-master
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/handrail /opt/handrail
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HANDRAIL_HOME=/var/lib/handrail \
    HANDRAIL_KEYS__MASTER_KEY_FILE=/var/lib/handrail-master/master.key \
    HANDRAIL_TELEMETRY__LOG_FORMAT=json
WORKDIR /var/lib/handrail
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["handrail"]
CMD ["serve"]
